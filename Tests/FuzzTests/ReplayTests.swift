import FuzzTargets
import Testing

@Suite struct FuzzReplayTests {
    @Test(arguments: FuzzTarget.allCases)
    func `Every seed of a fuzz target makes sense to it`(_ target: FuzzTarget) throws {
        let seeds = try FuzzInputs.read("\(target.rawValue)/Seeds")
        #expect(!seeds.isEmpty)
        for seed in seeds {
            let makesSense = target.run(seed.bytes.span)
            #expect(makesSense, "\(seed.name)")
        }
    }

    @Test(arguments: FuzzTarget.allCases)
    func `Seeds and inputs that once crashed a target, whole and cut anywhere, are survived`(
        _ target: FuzzTarget
    ) throws {
        let inputs = try FuzzInputs.read("\(target.rawValue)/Seeds") + FuzzInputs.read("\(target.rawValue)/Regressions")
        for input in inputs {
            _ = target.run(input.bytes.span)
            for count in stride(from: 0, to: input.bytes.count, by: max(1, input.bytes.count / 100)) {
                let beginning = Array(input.bytes[..<count])
                let cut = input.bytes[..<(count / 2)] + input.bytes[count...]
                _ = target.run(beginning.span)
                _ = target.run(cut.span)
            }
        }
    }
}
