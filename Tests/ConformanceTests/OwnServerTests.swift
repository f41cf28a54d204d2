import NetTypes
import Testing

@testable import Conformance

/// The suite against the relay of this package, in this process, over real sockets of the loopback.
@Suite(.serialized) struct OwnServerTests {
    @Test func `Floe keeps every rule over UDP, TCP, TLS and DTLS, and none is blocked`() throws {
        let relay = try TestRelay()
        let report = ConformanceSuite(relay.target).run()
        for result in report.results where result.verdict == .fail || result.verdict == .blocked {
            Issue.record("\(result.line); sent \(result.sent), came \(result.came)")
        }
        #expect(report.isConformant)
        #expect(report.count(.pass) > 700)
        // What is left out is known: rules that need minutes, no opened loopback, no USERHASH beside a secret, and what is
        // due only without a second address (177) or without access tokens (184).
        let left = Set(report.results.filter { $0.verdict == .notApplicable }.map(\.rule.number))
        #expect(left == [42, 98, 119, 137, 157, 177, 184])
    }

    @Test func `a server without temporary credentials knows users by USERHASH`() throws {
        let relay = try TestRelay(hasSecret: false)
        var suite = ConformanceSuite(relay.target)
        suite.only = [42, 206, 207, 208]
        let report = suite.run()
        #expect(report.results.filter { $0.rule.number == 42 }.allSatisfy { $0.verdict == .pass })
        #expect(report.results.filter { $0.rule.number != 42 }.allSatisfy { $0.verdict == .notApplicable })
        #expect(report.count(.pass) == 4)
    }

    @Test func `a second user is asked for where one is needed`() throws {
        let relay = try TestRelay()
        var target = relay.target
        target.otherAccount = nil
        target.peerAddresses = [target.peerAddresses[0]]
        var suite = ConformanceSuite(target)
        suite.transports = [.udp]
        suite.only = [90, 120, 127]
        let report = suite.run()
        #expect(report.count(.notApplicable) == report.results.count)
        #expect(!report.isConformant, "a run that found nothing out proves nothing")
    }

    @Test func `a wrong password blocks what it keeps from being found out`() throws {
        let relay = try TestRelay()
        var target = relay.target
        target.account = ConformanceAccount(username: "alice", password: "not hers")
        var suite = ConformanceSuite(target)
        suite.transports = [.udp]
        suite.only = [93, 97, 99, 116, 120, 129, 130, 139, 142]
        let report = suite.run()
        #expect(report.count(.pass) == 0)
        #expect(report.count(.blocked) > 8)
        #expect(report.count(.fail) >= 1, "that nobody can allocate is a finding")
    }

    @Test func `a transport that the server does not have is not tried`() throws {
        let relay = try TestRelay()
        var target = relay.target
        target.tlsAddress = nil
        target.dtlsAddress = nil
        var suite = ConformanceSuite(target)
        suite.only = [33, 93]
        let report = suite.run()
        #expect(Set(report.results.map(\.transport)) == [.udp, .tcp])
        #expect(report.isConformant)
    }
}
