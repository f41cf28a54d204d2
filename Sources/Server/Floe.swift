public import CommandLineSupport
import EventLoop

/// The program `floe`: finds the command and runs it.
public enum Floe {
    /// The version of this release.
    public static let version = "0.1.0"

    /// All commands and their options.
    public static let program = ProgramSpecification(
        "floe",
        "Everything a WebRTC connection needs: STUN/TURN server, signaling and call page in one process.",
        [
            ServeCommand.specification,
            CredentialsCommand.specification,
            TokenCommand.specification,
        ] + StoreCommands.specifications + [
            STUNCommand.specification,
            TURNCommand.specification,
            NATCommand.specification,
            PipeCommand.specification,
            DoctorCommand.specification,
            ConformCommand.specification,
            BenchCommand.specification,
            SimulateCommand.specification,
            CommandSpecification("version", "Print the version."),
        ]
    )

    /// Runs the command that `words` name and returns the exit code: 0, 1 (cut short) or 2 (could not start).
    public static func run(_ words: [String]) -> Int32 {
        // 'floe help serve' is 'floe serve --help'.
        if words.first == "help", words.count > 1 { return run(Array(words.dropFirst()) + ["--help"]) }
        guard let first = words.first, first != "--help", first != "-h", first != "help" else {
            Console.print(program.help)
            return words.isEmpty ? 2 : 0
        }
        do throws(UsageError) {
            if first == "--version" { return try run(["version"][...]) }
            return try run(words[...])
        } catch {
            Console.printError("floe: \(error)")
            return 2
        }
    }

    private static func run(_ words: ArraySlice<String>) throws(UsageError) -> Int32 {
        var name = words.first ?? ""
        var words = words.dropFirst()
        if let second = words.first, program.commands.contains(where: { $0.name == "\(name) \(second)" }) {
            name += " \(second)"
            words = words.dropFirst()
        }
        guard let command = program.commands.first(where: { $0.name == name }) else {
            let ofIt = program.commands.map(\.name).filter { $0.hasPrefix(name + " ") }.joined(separator: ", ")
            if !ofIt.isEmpty { throw UsageError("'\(name)' needs to know what to do: \(ofIt).") }
            let names = program.commands.map(\.name).joined(separator: ", ")
            throw UsageError("There is no command '\(name)'; the commands are: \(names).")
        }
        let arguments = try ParsedArguments(words, for: command)
        if arguments.wantsHelp {
            Console.print(command.help(program: program.name))
            return 0
        }
        switch name {
        case "serve": return try ServeCommand.run(Array(words))
        case "credentials": return try CredentialsCommand.run(arguments)
        case "token": return try TokenCommand.run(arguments)
        case "stun": return try STUNCommand.run(arguments)
        case "turn": return try TURNCommand.run(arguments)
        case "nat": return try NATCommand.run(arguments)
        case "doctor": return try DoctorCommand.run(arguments)
        case "pipe": return try PipeCommand.run(arguments)
        case "conform": return try ConformCommand.run(arguments)
        case "bench": return try BenchCommand.run(arguments)
        case _ where name.hasPrefix("user ") || name.hasPrefix("key "):
            Console.print(try StoreCommands.run(name, arguments))
            return 0
        case "simulate": return try SimulateCommand.run(arguments)
        default:
            Console.print("floe \(version)\n")
            return 0
        }
    }
}
