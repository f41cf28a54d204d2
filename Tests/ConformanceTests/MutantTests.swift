import EventLoop
import NetTypes
import STUN
import Testing
import Transport

@testable import Conformance

/// Each rule that is tried must be able to fail: servers that are wrong in one thing are caught by its rule.
@Suite(.serialized) struct MutantTests {
    @Test(arguments: Mutant.all)
    func `a server that is wrong in one thing is caught`(_ mutant: Mutant) throws {
        let relay = try TestRelay()
        var target = relay.target
        target.answerTime = .milliseconds(500)
        var suite = ConformanceSuite(target)
        suite.only = [mutant.rule]
        suite.transports = [.udp]
        #expect(suite.run().count(.fail) == 0, "without the mutant the rule is kept")
        let report = suite.run(tamper: { MutantWire($0, mutant) })
        #expect(report.count(.fail) > 0, "\(report.results.map(\.line))")
        #expect(report.results.allSatisfy { $0.verdict != .fail || !$0.reason.isEmpty })
    }

    @Test func `of a server that says nothing nothing passes`() throws {
        let silent = try UDPSocket(boundTo: SocketAddress(.loopback(.ipv4), port: 0))
        let report = Self.run(at: silent.localAddress, tamper: nil)
        #expect(report.count(.pass) == 0)
        #expect(report.count(.blocked) > 100)
        #expect(!report.isConformant)
    }

    @Test func `of a server that repeats what it hears nothing passes`() throws {
        let echo = Mutant(name: "echo", rule: 0, send: { (nil, [$0]) })
        let silent = try UDPSocket(boundTo: SocketAddress(.loopback(.ipv4), port: 0))
        let report = Self.run(at: silent.localAddress, tamper: { MutantWire($0, echo) })
        #expect(report.count(.pass) == 0)
        #expect(!report.isConformant)
    }

    @Test func `a server that agrees to everything passes no rule about credentials or refusals`() throws {
        let agreeable = Mutant(
            name: "agrees",
            rule: 0,
            send: { bytes in
                guard let message = try? STUNMessage(decoding: bytes.span), message.type.messageClass == .request,
                    let answer = try? STUNMessage(
                        STUNMessageType(message.type.method, .success),
                        message.transactionID
                    ).encoded()
                else { return (nil, []) }
                return (nil, [answer])
            }
        )
        let silent = try UDPSocket(boundTo: SocketAddress(.loopback(.ipv4), port: 0))
        let report = Self.run(at: silent.localAddress, tamper: { MutantWire($0, agreeable) })
        let passed = Set(report.results.filter { $0.verdict == .pass }.map(\.rule.number))
        // What it keeps by luck: it discards everything that is no request, and reads no attribute.
        #expect(passed.isSubset(of: [1, 2, 5, 25, 26, 27, 29, 32, 37, 47, 89, 96]), "\(passed.sorted())")
        #expect(!report.isConformant)
    }

    @Test func `a rule that looks at nothing has not passed`() throws {
        let relay = try TestRelay()
        var table = RuleTable()
        table.add(1, "nothing", "RFC 8489 §5", due: "nothing") { _ throws(Finding) in }
        let result = ConformanceSuite(relay.target).run(rules: table.rules).results.first
        #expect(result?.verdict == .blocked)
        #expect(result?.reason == "nothing was observed")
    }

    private static func run(at address: SocketAddress, tamper: Probe.Tamper?) -> ConformanceReport {
        var target = ConformanceTarget(
            address: address,
            account: TestRelay.account,
            peerAddresses: [.loopback(.ipv4), .loopback(.ipv4)]
        )
        target.answerTime = .milliseconds(20)
        target.quietTime = .milliseconds(5)
        var suite = ConformanceSuite(target)
        suite.transports = [.udp]
        return suite.run(tamper: tamper)
    }
}
