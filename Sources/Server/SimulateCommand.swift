import CallSimulation
import CommandLineSupport
import Simulation

/// The command `simulate`: runs a scenario in the simulated internet and draws what has happened.
enum SimulateCommand {
    static let specification = CommandSpecification(
        "simulate",
        "Run calls in a simulated internet: NATs, loss, servers that fail, all from one seed.",
        [
            (
                "How",
                [
                    OptionSpecification("seed", "N", standard: "the scenario's", help: "what decides everything"),
                    OptionSpecification("matrix", help: "run calls between all kinds of NAT and print the table"),
                    OptionSpecification("loss", "PERCENT", standard: "0", help: "packets that are lost in the matrix"),
                ]
            ),
            (
                "What comes out",
                [
                    OptionSpecification("json", help: "print JSON instead of a timeline"),
                    OptionSpecification("pcap", "FILE", help: "write all packets to a file that Wireshark opens"),
                ]
            ),
        ],
        operand: ("SCENARIO", "a file with one statement a line; Examples/Scenarios has some"),
        notes: "Exit code 0 if all that the scenario expects has come true, else 1."
    )

    static func run(_ arguments: ParsedArguments) throws(UsageError) -> Int32 {
        let seed: UInt64? = try arguments.value("seed", "a whole number")
        if arguments.has("matrix") { return try runMatrix(arguments, seed: seed ?? 1) }
        guard let path = arguments.operand else {
            throw UsageError("'simulate' needs a file: floe simulate SCENARIO, or floe simulate --matrix.")
        }
        let run = ScenarioRun(try scenario(path), seed: seed, captures: arguments.has("pcap"))
        run.run()
        if let path = arguments.text("pcap") { try PrivateFile.write(run.network.recorder.capture.bytes, to: path) }
        Console.print(arguments.has("json") ? run.json : run.timeline)
        for line in run.disappointments { Console.printError(line) }
        return run.disappointments.isEmpty ? 0 : 1
    }

    private static func runMatrix(_ arguments: ParsedArguments, seed: UInt64) throws(UsageError) -> Int32 {
        let loss = try arguments.number("loss", in: 0...50) ?? 0
        Console.print(
            "Calls from row to column: D direct, R relayed, - none; milliseconds until both sides had a path.\n"
        )
        var isComplete = true
        for kinds in [Access.everyKind, Access.everyday] {
            let matrix = CallMatrix(kinds, seed: seed) { $0.loss = Double(loss) / 100 }
            Console.print("\n" + matrix.text + "\n\(kinds.count * kinds.count) calls, \(matrix.eventCount) events.\n")
            if loss == 0, kinds == Access.everyKind {
                Console.print(
                    "\nMilliseconds until both sides had a direct path, over the least that is possible.\n\n"
                        + matrix.floorText
                )
            }
            isComplete = isComplete && matrix.rows.allSatisfy { $0.results.allSatisfy(\.isConnected) }
        }
        return isComplete ? 0 : 1
    }

    private static func scenario(_ path: String) throws(UsageError) -> Scenario {
        guard let bytes = try PrivateFile.read(path) else {
            throw UsageError("There is no file '\(path)'; Examples/Scenarios has some.")
        }
        do throws(ScenarioError) {
            return try Scenario(String(decoding: bytes, as: UTF8.self), file: path)
        } catch {
            throw UsageError("\(error)")
        }
    }
}
