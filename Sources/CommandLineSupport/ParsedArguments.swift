/// The options that were given to a command.
public struct ParsedArguments: Sendable {
    private var values: [String: [String]] = [:]
    /// Whether `--help` or `-h` was among them.
    public private(set) var wantsHelp = false
    /// What was given without dashes, for a command that takes it.
    public private(set) var operand: String?

    /// Reads the words after the command's name: `--name value`, `--name=value`, `--switch`, or the command's operand.
    ///
    /// - Throws: a sentence about the first word that is not understood.
    public init(_ words: some Collection<String>, for command: CommandSpecification) throws(UsageError) {
        var words = Array(words)[...]
        while let word = words.popFirst() {
            if word == "--help" || word == "-h" {
                wantsHelp = true
                continue
            }
            if let subject = command.operand, !word.hasPrefix("-") {
                guard operand == nil else {
                    throw UsageError("'\(command.name)' takes one \(subject.name): '\(word)' is one too many.")
                }
                operand = word
                continue
            }
            guard word.hasPrefix("--") else {
                throw UsageError("'\(word)' is not an option of '\(command.name)'; options begin with two dashes.")
            }
            let parts = word.dropFirst(2).split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            let name = String(parts.first ?? "")
            guard let option = command.options.first(where: { $0.name == name }) else {
                throw UsageError("'\(command.name)' has no option '--\(name)'\(Self.suggestion(name, command))")
            }
            try add(option, parts.count > 1 ? String(parts[1]) : nil, &words)
        }
    }

    private mutating func add(
        _ option: OptionSpecification,
        _ inline: String?,
        _ words: inout ArraySlice<String>
    ) throws(UsageError) {
        var given = ""
        if option.value == nil {
            guard inline == nil else { throw UsageError("Option '--\(option.name)' takes no value.") }
        } else {
            guard let value = inline ?? words.popFirst(), !value.isEmpty else {
                throw UsageError("Option '--\(option.name)' needs a value: --\(option.name) \(option.value ?? "").")
            }
            given = value
        }
        guard option.repeats || values[option.name] == nil else {
            throw UsageError("Option '--\(option.name)' is given twice.")
        }
        values[option.name, default: []].append(given)
    }

    /// Whether the option was given.
    public func has(_ name: String) -> Bool { values[name] != nil }

    /// The text of the option, or `nil` if it was not given.
    public func text(_ name: String) -> String? { values[name]?.last }

    /// All texts of an option that may be given more than once.
    public func texts(_ name: String) -> [String] { values[name] ?? [] }

    /// The option's value, or `nil` if it was not given.
    ///
    /// - Throws: a sentence that says what `expected` is, if the text is not such a value.
    public func value<Value: LosslessStringConvertible>(
        _ name: String,
        _ expected: String,
        as type: Value.Type = Value.self
    ) throws(UsageError) -> Value? {
        guard let text = text(name) else { return nil }
        return try Self.convert(text, name, expected)
    }

    /// The values of an option that may be given more than once.
    ///
    /// - Throws: a sentence that says what `expected` is, at the first text that is not such a value.
    public func values<Value: LosslessStringConvertible>(
        _ name: String,
        _ expected: String,
        as type: Value.Type = Value.self
    ) throws(UsageError) -> [Value] {
        try texts(name).map { text throws(UsageError) in try Self.convert(text, name, expected) }
    }

    /// The option's number.
    ///
    /// - Throws: a sentence, if it is not a whole number within `range`.
    public func number(_ name: String, in range: ClosedRange<Int>) throws(UsageError) -> Int? {
        guard let text = text(name) else { return nil }
        guard let number = Int(text), range.contains(number) else {
            throw UsageError(
                "'\(text)' is not right for '--\(name)': "
                    + "it takes a whole number from \(range.lowerBound) to \(range.upperBound)."
            )
        }
        return number
    }

    private static func convert<Value: LosslessStringConvertible>(
        _ text: String,
        _ name: String,
        _ expected: String
    ) throws(UsageError) -> Value {
        guard let value = Value(text) else {
            throw UsageError("'\(text)' is not right for '--\(name)': it takes \(expected).")
        }
        return value
    }

    private static func suggestion(_ name: String, _ command: CommandSpecification) -> String {
        let near = command.options.map(\.name).filter {
            distance($0, name) <= 2 || (name.count > 2 && $0.hasPrefix(name))
        }
        return near.first.map { "; did you mean '--\($0)'?" } ?? "; see '--help'."
    }

    /// How many letters must be changed, added or removed to turn one word into the other.
    static func distance(_ left: String, _ right: String) -> Int {
        var row = Array(0...right.count)
        for (i, a) in left.enumerated() {
            var previous = row[0]
            row[0] = i + 1
            for (j, b) in right.enumerated() {
                let insertion = min(row[j], row[j + 1]) + 1
                (previous, row[j + 1]) = (row[j + 1], min(insertion, previous + (a == b ? 0 : 1)))
            }
        }
        return row[right.count]
    }
}
