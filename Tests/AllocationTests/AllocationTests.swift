import CMallocCounter
import Glibc

/// One thing that the program does over and over, and how many blocks of memory it may take each time.
struct Scenario: Sendable {
    let name: String
    /// Blocks per operation, once buffers have grown to what is needed.
    let budget: Double
    /// Does it many times and returns blocks per operation.
    let measure: @Sendable () throws -> Double

    init(_ name: String, budget: Double = 0, _ measure: @escaping @Sendable () throws -> Double) {
        self.name = name
        self.budget = budget
        self.measure = measure
    }
}

/// What a scenario needs and the machine or the program under test does not give.
struct SetupError: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}

/// How often an operation is done when its instructions are counted from outside, in place of blocks from inside.
private let requestedOperations: Int? =
    CommandLine.arguments.count == 4 && CommandLine.arguments[1] == "--do" ? Int(CommandLine.arguments[2]) : nil

/// Runs `body` until buffers have grown, then counts the blocks that it takes per operation.
func blocksPerOperation(_ operations: Int = 2000, _ body: (Int) throws -> Void) rethrows -> Double {
    if let requestedOperations {
        for index in 0..<requestedOperations { try body(index) }
        return 0
    }
    for index in 0..<operations { try body(index) }
    let before = floe_allocation_count()
    for index in 0..<operations { try body(operations + index) }
    return Double(floe_allocation_count() - before) / Double(operations)
}

@main
struct AllocationTests {
    static func main() throws {
        let scenarios =
            engineScenarios + iceScenarios + sessionScenarios + cryptoScenarios + secureScenarios + containerScenarios
            + driverScenarios
        if requestedOperations != nil { return try perform(CommandLine.arguments[3], in: scenarios) }
        try checkCounter()
        var failures = 0
        print("| operation | blocks | budget |\n|---|---|---|")
        for scenario in scenarios {
            do {
                let blocks = try scenario.measure()
                let isWithin = blocks <= scenario.budget
                if !isWithin { failures += 1 }
                let verdict = isWithin ? "" : " <- above its budget"
                print("| \(scenario.name) | \(rounded(blocks)) | \(rounded(scenario.budget)) |\(verdict)")
            } catch {
                failures += 1
                print("| \(scenario.name) | - | \(rounded(scenario.budget)) | <- did not run: \(error)")
            }
        }
        print("\nICE: \(try iceChecksPerSecond()) checks per second on one core, without sockets\n")
        print("\(scenarios.count - failures) passed, \(failures) failed")
        if failures > 0 { exit(1) }
    }

    /// Does one thing as often as `--do COUNT NAME` says, for Scripts/count-instructions.
    private static func perform(_ name: String, in scenarios: [Scenario]) throws {
        guard let scenario = scenarios.first(where: { $0.name == name }) else {
            throw SetupError("There is no scenario '\(name)'.")
        }
        _ = try scenario.measure()
    }

    private static func rounded(_ value: Double) -> String {
        value == value.rounded() ? "\(Int(value))" : "\((value * 1000).rounded() / 1000)"
    }

    /// A counter that counts nothing would let everything pass.
    private static func checkCounter() throws {
        var kept: [[UInt8]] = []
        kept.reserveCapacity(4000)
        let blocks = blocksPerOperation { kept.append([UInt8](repeating: UInt8($0 & 255), count: 100)) }
        guard blocks >= 1, kept.count == 4000 else { throw SetupError("The counter of allocations does not count.") }
    }
}
