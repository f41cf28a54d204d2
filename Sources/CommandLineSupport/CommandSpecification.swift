/// An option of a command: its name, what it takes and what it is for.
public struct OptionSpecification: Sendable {
    /// The name without the two dashes.
    public let name: String
    /// What stands for the value in the help, or `nil` for a switch that takes none.
    public let value: String?
    /// What the option does, in one line.
    public let help: String
    /// What holds if the option is not given, as the help shows it.
    public let standard: String?
    /// Whether it may be given more than once.
    public let repeats: Bool

    /// Makes an option.
    public init(_ name: String, _ value: String? = nil, standard: String? = nil, repeats: Bool = false, help: String) {
        self.name = name
        self.value = value
        self.help = help
        self.standard = standard
        self.repeats = repeats
    }
}

/// A command of the program: what it is called, what it does and which options it has.
public struct CommandSpecification: Sendable {
    /// The first word on the command line.
    public let name: String
    /// What it does, in one line.
    public let summary: String
    /// Groups of options, each with the heading that the help shows.
    public let groups: [(heading: String, options: [OptionSpecification])]
    /// What the command is about, given without dashes: its name in the help, and what it is.
    public let operand: (name: String, help: String)?
    /// More lines for the end of the help.
    public let notes: String

    /// Makes a command.
    public init(
        _ name: String,
        _ summary: String,
        _ groups: [(heading: String, options: [OptionSpecification])] = [],
        operand: (name: String, help: String)? = nil,
        notes: String = ""
    ) {
        self.operand = operand
        self.name = name
        self.summary = summary
        self.groups = groups
        self.notes = notes
    }

    /// All options, in the order in which the help shows them.
    public var options: [OptionSpecification] { groups.flatMap(\.options) }

    /// The text that `--help` prints.
    public func help(program: String) -> String {
        let subject = operand.map { " \($0.name)" } ?? ""
        var text = "\(summary)\n\nUsage: \(program) \(name)\(subject)\(options.isEmpty ? "" : " [options]")\n"
        if let operand { text += "\n" + Self.columns("  \(operand.name)", operand.help) }
        for (heading, options) in groups {
            text += "\n\(heading)\n"
            for option in options {
                let left = "  --\(option.name)" + (option.value.map { " \($0)" } ?? "") + (option.repeats ? " …" : "")
                let right = option.help + (option.standard.map { " (default: \($0))" } ?? "")
                text += Self.columns(left, right)
            }
        }
        return notes.isEmpty ? text : text + "\n\(notes)\n"
    }

    private static func columns(_ left: String, _ right: String) -> String {
        let indent = 30
        var lines: [String] = []
        var line = ""
        for word in right.split(separator: " ") {
            if !line.isEmpty, line.count + word.count + 1 > 100 - indent {
                lines.append(line)
                line = ""
            }
            line += line.isEmpty ? String(word) : " \(word)"
        }
        lines.append(line)
        let margin = String(repeating: " ", count: indent)
        let head =
            left.count < indent - 1 ? left + String(repeating: " ", count: indent - left.count) : left + "\n" + margin
        return head + lines.joined(separator: "\n" + margin) + "\n"
    }
}

/// A program with several commands.
public struct ProgramSpecification: Sendable {
    /// The name of the program.
    public let name: String
    /// What it is, in one or two lines.
    public let summary: String
    /// Its commands, in the order in which the help shows them.
    public let commands: [CommandSpecification]

    /// Makes a program.
    public init(_ name: String, _ summary: String, _ commands: [CommandSpecification]) {
        self.name = name
        self.summary = summary
        self.commands = commands
    }

    /// The text that `--help` prints.
    public var help: String {
        let width = (commands.map(\.name.count).max() ?? 0) + 4
        let rows = commands.map { command in
            "  \(command.name)" + String(repeating: " ", count: width - command.name.count) + command.summary
        }
        return """
            \(summary)

            Usage: \(name) <command> [options]

            Commands
            \(rows.joined(separator: "\n"))

            '\(name) <command> --help' tells the options of a command.

            """
    }
}
