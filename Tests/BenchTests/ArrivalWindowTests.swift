import NetTypes
import Testing

@testable import Bench

@Suite struct ArrivalWindowTests {
    @Test func `numbers in order, in disorder, with gaps and twice`() {
        var window = ArrivalWindow()
        func next(_ skipped: UInt32 = 0) -> ArrivalWindow.Arrival { .next(skipped: skipped) }
        let given: [(UInt32, ArrivalWindow.Arrival)] = [
            (0, next()), (0, .again), (1, next()), (3, next(1)), (2, .late), (2, .again), (1, .again), (66, next(62)),
            (3, .again), (4, .late), (2, .late), (1000, next(933)), (66, .late), (937, .late), (937, .again),
            (936, .late),
            (1000, .again), (1064, next(63)), (1001, .late), (1001, .again), (1000, .late),
        ]
        for (number, wanted) in given { #expect(window.take(number) == wanted, "\(number)") }
    }

    @Test(arguments: 0..<50 as Range<UInt64>) func `within 64 packets every one is counted once`(seed: UInt64) {
        var (entropy, window) = (Entropy.seeded(seed), ArrivalWindow())
        // Each is at most 30 places from where it belongs, and comes up to three times.
        var order = (0..<500 as Range<UInt32>).map { ($0, UInt64($0) + entropy.next() % 30) }
        order += order.filter { $0.0 % 7 == 0 }.map { ($0.0, $0.1 + 1) } + order.filter { $0.0 % 49 == 0 }
        var once: Set<UInt32> = []
        for (number, _) in order.sorted(by: { ($0.1, $0.0) < ($1.1, $1.0) }) {
            let isNew = once.insert(number).inserted
            #expect((window.take(number) != .again) == isNew)
        }
        #expect(once.count == 500)
    }
}
