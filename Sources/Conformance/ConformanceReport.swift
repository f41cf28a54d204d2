public import NetTypes

/// What a trial has shown.
public enum RuleVerdict: String, Sendable, Hashable, CaseIterable {
    /// All observations were right.
    case pass
    /// The server does something else than the rule says.
    case fail
    /// The rule says nothing about this server or this place.
    case notApplicable = "n/a"
    /// What the rule presupposes could not be brought about: nothing is known.
    case blocked
}

/// The outcome of one rule over one transport.
public struct RuleResult: Sendable {
    /// The rule.
    public let rule: Rule
    /// Over what it was tried.
    public let transport: TransportProtocol
    /// The outcome.
    public let verdict: RuleVerdict
    /// Why, unless it has passed.
    public let reason: String
    /// The last thing that was sent.
    public internal(set) var sent = ""
    /// What came after that.
    public internal(set) var came = ""
    /// How long the trial took.
    public internal(set) var milliseconds: UInt64 = 0

    init(_ rule: Rule, _ transport: TransportProtocol, _ verdict: RuleVerdict, _ reason: String) {
        self.rule = rule
        self.transport = transport
        self.verdict = verdict
        self.reason = reason
    }

    /// One line about it.
    public var line: String {
        let name = "\(transport)".uppercased()
        let start = "\(verdict.rawValue.padded(to: 8))\(name.padded(to: 4))\(rule.level.rawValue.padded(to: 7))"
        let text = "\(start)\(String(rule.number).padded(to: 5))\(rule.title) (\(rule.section))"
        return reason.isEmpty ? text : text + ": \(reason)"
    }
}

/// What all trials have shown.
public struct ConformanceReport: Sendable {
    /// The server.
    public let server: SocketAddress
    /// The outcomes in the order of the trials.
    public let results: [RuleResult]

    /// How many trials ended so, among all or those of one level.
    public func count(_ verdict: RuleVerdict, _ level: RuleLevel? = nil) -> Int {
        results.count { $0.verdict == verdict && (level == nil || $0.rule.level == level) }
    }

    /// Whether no MUST has failed and something was found out at all.
    public var isConformant: Bool { count(.fail, .must) == 0 && count(.pass) > 0 }

    /// The table of counts, then each failure with what was sent, what came and what was due.
    public var text: String {
        var text = "\n        " + RuleVerdict.allCases.map { $0.rawValue.padded(to: 9) }.joined() + "\n"
        for level in RuleLevel.allCases where results.contains(where: { $0.rule.level == level }) {
            let counts = RuleVerdict.allCases.map { String(count($0, level)).padded(to: 9) }.joined()
            text += level.rawValue.padded(to: 8) + counts + "\n"
        }
        for result in results where result.verdict == .fail {
            text += "\n\(result.line)\n  sent  \(result.sent)\n  came  \(result.came)\n  due   \(result.rule.due)\n"
        }
        let blocked = Dictionary(grouping: results.filter { $0.verdict == .blocked }, by: \.reason)
        if !blocked.isEmpty { text += "\nNothing is known of some rules, because what they presuppose was missing:\n" }
        for (reason, results) in blocked.sorted(by: { $0.key < $1.key }) {
            let numbers = Set(results.map(\.rule.number)).sorted().map(String.init).joined(separator: ", ")
            text += "  \(reason): rules \(numbers)\n"
        }
        return text
    }

    /// A page with a row for each rule and a column for each transport.
    public var markdown: String {
        let transports = TransportProtocol.allCases.filter { one in results.contains { $0.transport == one } }
        var text = "# Conformance of \(server)\n\n| rule | what a server does | section | level |"
        text += transports.map { " \("\($0)".uppercased()) |" }.joined() + "\n|---|---|---|---|"
        text += transports.map { _ in "---|" }.joined() + "\n"
        var seen: Set<String> = []
        for result in results where seen.insert("\(result.rule.number) \(result.rule.title)").inserted {
            let rule = result.rule
            text += "| \(rule.number) | \(rule.title) | \(rule.section) | \(rule.level.rawValue) |"
            for transport in transports {
                let own = results.first {
                    $0.transport == transport && $0.rule.number == rule.number && $0.rule.title == rule.title
                }
                text += " \(own?.verdict.rawValue ?? "") |"
            }
            text += "\n"
        }
        let notable = results.filter { !$0.reason.isEmpty && $0.verdict != .notApplicable }
        if !notable.isEmpty { text += "\n" }
        for result in notable { text += "- \(result.line)\n" }
        return text
    }
}

extension String {
    func padded(to width: Int) -> String { self + String(repeating: " ", count: max(1, width - count)) }
}
