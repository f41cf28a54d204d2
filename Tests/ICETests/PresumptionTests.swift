import NetTypes
import STUN
import Testing

@testable import ICE

/// Data before our own check has succeeded, where the owner wants it.
@Suite struct PresumptionTests {
    private func asked(presumes: Bool = true) -> Lone {
        var lone = Lone(.controlled) { $0.presumesPaths = presumes }
        lone.begin()
        _ = lone.events()
        lone.deliver(lone.request(role: .controlling))
        return lone
    }

    @Test func `Without the option nothing is sent before the check has succeeded (ice 128, 175)`() throws {
        var lone = asked(presumes: false)
        #expect(lone.agent.path() == nil)
        let check = try #require(lone.drain().first { $0.isRequest })
        lone.answer(check)
        #expect(lone.agent.path()?.destination == Lone.remote)
    }

    @Test
    func `An authenticated request gives a path at once, which is a connection when the check succeeds (ice 175)`()
        throws
    {
        var lone = asked()
        #expect(lone.agent.path()?.destination == Lone.remote)
        #expect(lone.agent.state == .checking)
        let check = try #require(lone.drain().first { $0.isRequest })
        lone.answer(check)
        #expect(lone.agent.state == .connected)
        #expect(lone.agent.path()?.destination == Lone.remote)
        // The path has not changed meanwhile.
        #expect(lone.agent.statistics.pathChanges == 1)
    }

    @Test func `A request without proof gives none (ice 175)`() {
        var lone = Lone(.controlled) { $0.presumesPaths = true }
        lone.begin()
        lone.receive(Lone.bytes(lone.request(role: .controlling), .sha1(Lone.peerKey)))
        lone.receive(Lone.bytes(lone.request(role: .controlling), .none))
        #expect(lone.agent.path() == nil)
    }

    @Test func `The path ends with its check, and requests alone do not bring it back (ice 175)`() throws {
        var refused = asked()
        let check = try #require(refused.drain().first { $0.isRequest })
        refused.answer(check, code: 400)
        #expect(refused.agent.path() == nil)
        refused.deliver(refused.request(role: .controlling))
        #expect(refused.agent.path() == nil)
        let again = try #require(refused.drain().first { $0.isRequest })
        refused.answer(again)
        #expect(refused.agent.path() != nil)
    }

    @Test func `Silence ends it in seconds, not in 30 (ice 175)`() {
        var lone = asked()
        _ = lone.run(for: .seconds(1))
        #expect(lone.agent.path() != nil)
        _ = lone.run(for: .seconds(2))
        #expect(lone.agent.path() == nil)
        for _ in 0..<3 { lone.deliver(lone.request(role: .controlling)) }
        #expect(lone.agent.path() == nil)
    }

    @Test func `A proven path goes before one that is presumed (ice 175)`() throws {
        var lone = asked()
        for sent in lone.drain() where sent.isRequest { lone.answer(sent) }
        let better = at("10.0.0.9:9")
        lone.add("2", better, priority: 2_130_706_432)
        lone.deliver(lone.request(role: .controlling), from: better)
        #expect(lone.agent.path()?.destination == Lone.remote)
    }

    @Test func `Requests that come again do not prolong it (ice 175)`() {
        var lone = asked()
        for _ in 0..<9 {
            _ = lone.run(for: .milliseconds(200))
            lone.deliver(lone.request(role: .controlling))
            #expect(lone.agent.path() != nil)
        }
        _ = lone.run(for: .milliseconds(200))
        #expect(lone.agent.path() == nil)
        for _ in 0..<20 {
            lone.deliver(lone.request(role: .controlling))
            #expect(lone.agent.path() == nil)
            _ = lone.run(for: .milliseconds(200))
        }
    }

    @Test func `A restart ends it, and the next generation may presume anew (ice 175)`() {
        var lone = asked()
        #expect(lone.agent.path() != nil)
        _ = lone.agent.restart(at: lone.now)
        #expect(lone.agent.path() == nil)
        var answer = Lone.peer
        answer.credentials = credentials("AGAIN")
        _ = lone.agent.setRemoteDescription(answer, at: lone.now)
        let name = "\(lone.agent.localDescription.credentials.usernameFragment):AGAIN"
        lone.deliver(lone.request(role: .controlling, username: name))
        #expect(lone.agent.path()?.destination == Lone.remote)
        // The peer's restart ends it likewise.
        answer.credentials = credentials("THIRD")
        #expect(lone.agent.setRemoteDescription(answer, at: lone.now) == .restarted)
        #expect(lone.agent.path() == nil)
    }

    @Test func `Nothing is presumed before the agent can check (ice 175)`() {
        var lone = Lone(.controlled) { $0.presumesPaths = true }
        _ = lone.agent.addLocalCandidate(LocalCandidate(.host, Lone.local), base: Lone.base, at: lone.now)
        lone.deliver(lone.request(role: .controlling))
        #expect(lone.agent.path() == nil)
        _ = lone.agent.setRemoteDescription(Lone.peer, at: lone.now)
        lone.deliver(lone.request(role: .controlling))
        #expect(lone.agent.path()?.destination == Lone.remote)
    }

    @Test(.timeLimit(.minutes(1)))
    func `A pair whose nomination failed may be presumed, and time goes on (ice 50, 175)`()
        throws
    {
        var lone = Lone(.controlling) { $0.presumesPaths = true }
        lone.begin()
        for code: UInt16? in [nil, 400] {
            var checks = lone.drain().filter(\.isRequest)
            for _ in 0..<50 where checks.isEmpty { checks = lone.run(for: .milliseconds(100)).filter(\.isRequest) }
            lone.answer(try #require(checks.first), code: code)
        }
        #expect(lone.agent.path() == nil)
        // Past the time of the consent check that the success had asked for.
        _ = lone.run(for: .seconds(7))
        lone.deliver(lone.request(role: .controlled))
        #expect(lone.agent.path()?.destination == Lone.remote)
        _ = lone.run(for: .seconds(3))
        #expect(lone.agent.path() == nil)
    }

    @Test func `Only so many paths are presumed in one generation (ice 175)`() {
        var lone = asked()
        func presumed() -> Int { lone.agent.pairs.count { $0.flags.contains(.presumed) } }
        for port in 1...40 {
            lone.deliver(lone.request(role: .controlling), from: at("10.0.0.3:\(port)"))
        }
        #expect(presumed() == 8)
        _ = lone.run(for: .seconds(3))
        #expect(presumed() == 0)
        for port in 41...60 {
            lone.deliver(lone.request(role: .controlling), from: at("10.0.0.3:\(port)"))
        }
        #expect(presumed() == 0)
        #expect(lone.agent.path() == nil)
    }

    @Test func `A peer that is gone is sent nothing on a presumption either (ice 135, 175)`() {
        var lone = asked()
        lone.agent.revokeConsent(component: 1, at: lone.now)
        #expect(lone.agent.path() == nil)
        lone.deliver(lone.request(role: .controlling))
        #expect(lone.agent.path() == nil)
    }
}
