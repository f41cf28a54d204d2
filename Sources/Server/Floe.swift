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
            STUNCommand.specification,
            TURNCommand.specification,
            ConformCommand.specification,
            BenchCommand.specification,
            SimulateCommand.specification,
            CommandSpecification("version", "Print the version."),
        ]
    )

    /// Runs the command that `words` name and returns the exit code: 0, 1 (cut short) or 2 (could not start).
    public static func run(_ words: [String]) -> Int32 {
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
        let name = words.first ?? ""
        guard let command = program.commands.first(where: { $0.name == name }) else {
            let names = program.commands.map(\.name).joined(separator: ", ")
            throw UsageError("There is no command '\(name)'; the commands are: \(names).")
        }
        let arguments = try ParsedArguments(words.dropFirst(), for: command)
        if arguments.wantsHelp {
            Console.print(command.help(program: program.name))
            return 0
        }
        switch name {
        case "serve": return try ServeCommand.run(ServeOptions(arguments))
        case "credentials": return try CredentialsCommand.run(arguments)
        case "stun": return try STUNCommand.run(arguments)
        case "turn": return try TURNCommand.run(arguments)
        case "conform": return try ConformCommand.run(arguments)
        case "bench": return try BenchCommand.run(arguments)
        case "simulate": return try SimulateCommand.run(arguments)
        default:
            Console.print("floe \(version)\n")
            return 0
        }
    }
}
