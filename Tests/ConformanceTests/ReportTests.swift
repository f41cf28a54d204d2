import Bytes
import Crypto
import FoundationEssentials
import NetTypes
import STUN
import Testing

@testable import Conformance

@Suite struct ReportTests {
    private static func result(_ verdict: RuleVerdict, _ level: RuleLevel = .must, number: Int = 99) -> RuleResult {
        var table = RuleTable()
        table.add(number, "title \(number)", "RFC 8656 §7.2", level, due: "437") { _ throws(Finding) in }
        var result = RuleResult(table.rules[0], .udp, verdict, verdict == .pass ? "" : "because")
        (result.sent, result.came) = ("Allocate request", "Allocate success")
        return result
    }

    private static func report(_ results: RuleResult...) -> ConformanceReport {
        ConformanceReport(server: SocketAddress(.loopback(.ipv4), port: 3478), results: results)
    }

    @Test func `only a MUST that failed, or no pass at all, makes a server not conformant`() {
        #expect(Self.report(Self.result(.pass)).isConformant)
        #expect(Self.report(Self.result(.pass), Self.result(.fail, .should), Self.result(.fail, .ours)).isConformant)
        #expect(!Self.report(Self.result(.pass), Self.result(.fail)).isConformant)
        #expect(!Self.report(Self.result(.blocked)).isConformant)
        #expect(!Self.report().isConformant)
    }

    @Test func `a failure is told with what was sent, what came and what was due`() {
        let text = Self.report(Self.result(.pass), Self.result(.fail), Self.result(.blocked, number: 7)).text
        #expect(text.contains("fail    UDP MUST   99   title 99 (RFC 8656 §7.2): because"))
        #expect(text.contains("sent  Allocate request\n  came  Allocate success\n  due   437"))
        #expect(text.contains("because: rules 7"))
        #expect(text.contains("MUST    1        1        0        1"))
    }

    @Test func `the JSON has every trial`() throws {
        struct Document: Decodable {
            struct Entry: Decodable { let rule: Int, verdict: String, transport: String, due: String }
            let isConformant: Bool
            let results: [Entry]
        }
        let json = Self.report(Self.result(.pass), Self.result(.notApplicable, number: 3)).json
        let document = try JSONDecoder().decode(Document.self, from: Data(json.utf8))
        #expect(document.isConformant)
        #expect(document.results.map(\.rule) == [99, 3])
        #expect(document.results.map(\.verdict) == ["pass", "n/a"])
        #expect(document.results.map(\.transport) == ["udp", "udp"])
    }

    @Test func `the page has a row for each rule`() {
        let page = Self.report(Self.result(.pass), Self.result(.fail, number: 3)).markdown
        #expect(page.contains("| 99 | title 99 | RFC 8656 §7.2 | MUST | pass |"))
        #expect(page.contains("| 3 | title 3 | RFC 8656 §7.2 | MUST | fail |"))
        #expect(page.contains("- fail"))
    }

    @Test func `every trial has the number of a rule in the list, and a title of its own`() throws {
        let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        let data = try Data(contentsOf: root.appending(path: "Documentation/rules/turn.md"))
        let numbers = Set(
            String(decoding: data, as: UTF8.self).split(separator: "\n").compactMap { line in
                line.split(separator: ".").first.flatMap { Int($0) }
            }
        )
        var titles: Set<String> = []
        for rule in ConformanceSuite.rules {
            #expect(numbers.contains(rule.number), "\(rule.number) \(rule.title)")
            #expect(titles.insert("\(rule.number) \(rule.title)").inserted, "\(rule.number) \(rule.title)")
            #expect(!rule.transports.isEmpty && !rule.due.isEmpty)
        }
        #expect(Set(ConformanceSuite.rules.map(\.number)).count > 70)
    }
}

@Suite struct RawMessageTests {
    private let key = IntegrityKey(Array("key".utf8).span)

    @Test func `a message that is put together byte by byte is the one that the encoder makes`() throws {
        let peer = SocketAddress(IPAddress(ipv4: 0xC000_0201), port: 32853)
        let peer6 = SocketAddress(IPAddress(ipv6: 0x2001_0DB8_1234_5678, 0x0011_2233_4455_6677), port: 1)
        let raw = RawMessage(.allocate, .request, [.lifetime(600), .peer(peer), .peer(peer6), .data([1, 2, 3])])
        let message = try STUNMessage(decoding: raw.bytes.span)
        #expect(try message.encoded() == raw.bytes)
        let view = try STUNMessageView(raw.bytes.span)
        #expect(try view.xorAddress(.xorPeerAddress) == peer)
        for (type, protection) in [
            (AttributeType.messageIntegrity, MessageProtection.sha1(key)),
            (.messageIntegritySHA256, .sha256(key)),
        ] {
            var signed = raw
            signed.addIntegrity(type, key)
            signed.addFingerprint()
            #expect(try message.encoded(protectedBy: protection, fingerprint: true) == signed.bytes)
        }
    }

    @Test func `what is made wrong is wrong`() throws {
        var signed = RawMessage(.binding)
        signed.addIntegrity(.messageIntegrity, key, isWrong: true)
        #expect(try STUNMessageView(signed.bytes.span).checkMessageIntegrity(key) == .invalid)
        var marked = RawMessage(.binding)
        marked.addFingerprint(isWrong: true)
        #expect(try STUNMessageView(marked.bytes.span).checkFingerprint() == .invalid)
        let old = RawMessage(.binding, cookie: 1)
        #expect(throws: STUNError.badMagicCookie(1)) { try STUNMessage(decoding: old.bytes.span) }
        #expect(old.name == "Binding request")
    }
}
