import NetTypes
import TestSupport
import Testing

@testable import Transport

@Suite struct SendOrderTests {
    @Test(arguments: seeds(20))
    func `groups and members keep the order of their coming`(seed: UInt64) {
        var random = Entropy.seeded(seed)
        var order = SendOrder(capacity: 256)
        for _ in 0..<50 {
            let count = Int.random(in: 0...256, using: &random)
            let spread = Int32.random(in: 1...300, using: &random)
            let stride = Int32.random(in: 1...600, using: &random)
            let descriptors = (0..<count).map { _ in Int32.random(in: 0..<spread, using: &random) * stride }
            for descriptor in descriptors { order.append(descriptor) }
            order.sort()
            let groups = (0..<order.groupCount).map { order.range(ofGroup: $0).map { order.element(at: $0) } }

            var expected: [[Int]] = []
            var numbers: [Int32: Int] = [:]
            for (position, descriptor) in descriptors.enumerated() {
                if let number = numbers[descriptor] {
                    expected[number].append(position)
                } else {
                    numbers[descriptor] = expected.count
                    expected.append([position])
                }
            }
            #expect(groups == expected)
            order.removeAll()
        }
    }
}
