import FoundationEssentials
import NetTypes

extension ConformanceReport {
    /// The report as JSON, for programs: one object for each rule and transport.
    public var json: String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        let document = Document(
            server: server.description,
            isConformant: isConformant,
            results: results.map { Document.Entry($0) }
        )
        // Strings and numbers only: nothing in it can fail to be written.
        guard let data = try? encoder.encode(document) else { return "{}" }
        return String(decoding: data, as: UTF8.self) + "\n"
    }

    private struct Document: Encodable {
        struct Entry: Encodable {
            let rule: Int
            let title: String
            let section: String
            let level: String
            let transport: String
            let verdict: String
            let reason: String
            let sent: String
            let came: String
            let due: String
            let milliseconds: UInt64

            init(_ result: RuleResult) {
                rule = result.rule.number
                title = result.rule.title
                section = result.rule.section
                level = result.rule.level.rawValue
                transport = "\(result.transport)"
                verdict = result.verdict.rawValue
                reason = result.reason
                sent = result.sent
                came = result.came
                due = result.rule.due
                milliseconds = result.milliseconds
            }
        }

        let server: String
        let isConformant: Bool
        let results: [Entry]
    }
}
