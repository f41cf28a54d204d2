import NetTypes

/// What is wrong with a scenario, where, and what to write instead.
public struct ScenarioError: Error, Sendable, Hashable, CustomStringConvertible {
    /// The file, as it was named.
    public let file: String
    /// The line, from 1.
    public let line: Int
    /// What is wrong and what to do.
    public let message: String

    /// The sentence for a person.
    public var description: String { "\(file):\(line): \(message)" }
}

/// One line of a scenario: its words, and its settings of the form `name=value`.
struct ScenarioLine {
    let file: String
    let number: Int
    private(set) var words: [String]
    private var settings: [String: String] = [:]
    private var used: Set<String> = []

    init(_ text: Substring, file: String, number: Int) {
        self.file = file
        self.number = number
        let content = text.prefix { $0 != "#" }
        words = []
        for part in content.split(whereSeparator: { $0 == " " || $0 == "\t" || $0 == "\r" }) {
            if let equals = part.firstIndex(of: "=") {
                settings[String(part[..<equals])] = String(part[part.index(after: equals)...])
            } else {
                words.append(String(part))
            }
        }
    }

    var isEmpty: Bool { words.isEmpty && settings.isEmpty }

    func error(_ message: String) -> ScenarioError { ScenarioError(file: file, line: number, message: message) }

    /// The next word, which must be there.
    mutating func take(_ what: String) throws(ScenarioError) -> String {
        guard !words.isEmpty else { throw error("\(what) is missing at the end of the line.") }
        return words.removeFirst()
    }

    /// The next word if it is this one.
    mutating func take(if word: String) -> Bool {
        guard words.first == word else { return false }
        words.removeFirst()
        return true
    }

    mutating func setting(_ name: String) -> String? {
        used.insert(name)
        return settings[name]
    }

    mutating func choice<Value>(_ name: String, _ choices: [(String, Value)]) throws(ScenarioError) -> Value? {
        guard let text = setting(name) else { return nil }
        guard let choice = choices.first(where: { $0.0 == text }) else {
            throw error("'\(text)' is no value of '\(name)'; write \(list(choices.map(\.0))).")
        }
        return choice.1
    }

    mutating func span(_ name: String) throws(ScenarioError) -> TimeSpan? {
        guard let text = setting(name) else { return nil }
        return try span(of: text)
    }

    func span(of text: String) throws(ScenarioError) -> TimeSpan {
        let digits = text.prefix { $0.isNumber }
        let units: [String: UInt64] = ["us": 1000, "ms": 1_000_000, "s": 1_000_000_000, "m": 60_000_000_000]
        guard let count = UInt64(digits), count < 1_000_000, let unit = units[String(text[digits.endIndex...])] else {
            throw error("'\(text)' is no time; write a number with us, ms, s or m, such as 250ms.")
        }
        return TimeSpan(nanoseconds: count * unit)
    }

    mutating func fraction(_ name: String) throws(ScenarioError) -> Double? {
        guard let text = setting(name) else { return nil }
        guard text.hasSuffix("%"), let number = Double(text.dropLast()), (0...100).contains(number) else {
            throw error("'\(text)' is no share; write a percentage, such as \(name)=2%.")
        }
        return number / 100
    }

    mutating func number(_ name: String) throws(ScenarioError) -> Int? {
        guard let text = setting(name) else { return nil }
        guard let number = Int(text), number >= 0 else {
            throw error("'\(text)' is no number; write \(name)=1000, for example.")
        }
        return number
    }

    /// To be called when everything was taken: what is left was not understood.
    func finish() throws(ScenarioError) {
        if let word = words.first { throw error("'\(word)' is not understood here; leave it out.") }
        if let name = settings.keys.filter({ !used.contains($0) }).min() {
            throw error("there is no setting '\(name)' here; known are \(list(used.sorted())).")
        }
    }

    private func list(_ names: [String]) -> String { names.joined(separator: ", ") }
}
