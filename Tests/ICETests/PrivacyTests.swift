import NetTypes
import STUN
import Testing

@testable import ICE

@Suite struct PrivacyTests {
    private func named(_ agent: inout ICEAgent, at now: Instant) throws {
        let candidate = try Candidate(text: "candidate:1 1 udp 5000 abc.local 2000 typ host")
        let disposition = agent.addRemoteCandidate(candidate.resolved(to: Lone.remote.ip), at: now)
        #expect(disposition == .added)
    }

    @Test func `Statistics show no address behind a name, and none that nobody has signalled (ice 152, 172)`() throws {
        var lone = Lone()
        _ = lone.agent.setRemoteDescription(Lone.peer, at: lone.now)
        var host = LocalCandidate(.host, Lone.local)
        host.concealedName = "1f4712db-ea17-4bcf-a596-105139dfd8bf.local"
        let added = lone.agent.addLocalCandidate(host, base: Lone.base, at: lone.now)
        let signalled = try #require(added)
        #expect(signalled.address == .name("1f4712db-ea17-4bcf-a596-105139dfd8bf.local"))
        #expect(!signalled.text.contains("10.0.0.1"))
        try named(&lone.agent, at: lone.now)
        lone.deliver(lone.request(), from: at("10.7.7.7:7"))
        for check in lone.run(for: .milliseconds(30)) where check.isRequest { lone.answer(check) }
        let pairs = lone.agent.pairSnapshots
        #expect(pairs.count == 2)
        for pair in pairs {
            #expect(pair.local == nil && pair.remote == nil)
            #expect(pair.requestsSent >= 1 && pair.responsesReceived >= 1 && pair.currentRoundTrip != nil)
        }
    }

    @Test func `A relay of ours does not pair with a name of the peer, a name of ours with its relay does (ice 153)`()
        throws
    {
        var lone = Lone()
        _ = lone.agent.setRemoteDescription(Lone.peer, at: lone.now)
        let relayed = LocalCandidate(.relayed, at("198.51.100.1:9"))
        _ = lone.agent.addLocalCandidate(relayed, base: BaseID(rawValue: 2), at: lone.now)
        try named(&lone.agent, at: lone.now)
        let none = lone.agent.pairCount
        lone.add("2", at("198.51.100.2:9"), .relayed)
        var host = LocalCandidate(.host, Lone.local)
        host.concealedName = "x.local"
        _ = lone.agent.addLocalCandidate(host, base: Lone.base, at: lone.now)
        let pairs = lone.agent.pairCount
        #expect(none == 0 && pairs == 3)
    }

    @Test func `On a relayed base the mapped address is the peer behind the relay (ice 63)`() throws {
        var lone = Lone()
        _ = lone.agent.setRemoteDescription(Lone.peer, at: lone.now)
        let relayed = LocalCandidate(.relayed, at("198.51.100.1:9"))
        _ = lone.agent.addLocalCandidate(relayed, base: Lone.base, at: lone.now)
        lone.deliver(lone.request(), from: at("192.0.2.5:55"))
        let answer = try #require(lone.drain().first)
        let view = try STUNMessageView(answer.bytes.span)
        #expect(try view.xorMappedAddress() == SocketAddress("192.0.2.5:55"))
    }

    @Test func `A better candidate on the same base takes over a pair that waits, not one under way (ice 98)`() {
        var lone = Lone()
        _ = lone.agent.setRemoteDescription(Lone.peer, at: lone.now)
        let mapped = LocalCandidate(.serverReflexive, at("192.0.2.1:1"), base: Lone.local)
        _ = lone.agent.addLocalCandidate(mapped, base: Lone.base, at: lone.now)
        lone.add("1", Lone.remote)
        lone.add("1", at("10.0.0.3:3"), priority: 7)
        _ = lone.drain()
        let before = lone.agent.pairSnapshots.map(\.priority)
        _ = lone.agent.addLocalCandidate(LocalCandidate(.host, Lone.local), base: Lone.base, at: lone.now)
        let after = lone.agent.pairSnapshots.map(\.priority)
        #expect(after.count == 2 && after[0] == before[0] && after[1] > before[1])
    }

    @Test func `An agent with nothing to check sleeps and takes a late pair at once (ice 38, 93)`() {
        var lone = Lone()
        lone.begin(candidate: false)
        #expect(lone.drain().isEmpty)
        let timeout = lone.agent.nextTimeout
        #expect(timeout == lone.agent.patienceEnds)
        lone.now = lone.now + .milliseconds(3)
        lone.add("1", Lone.remote)
        #expect(lone.drain().count == 1)
    }

    @Test func `A candidate is paired when it is returned, so that it is signalled before its first check (ice 96)`() {
        var lone = Lone()
        lone.begin()
        let second = LocalCandidate(.host, at("10.3.0.1:1"))
        let candidate = lone.agent.addLocalCandidate(second, base: BaseID(rawValue: 9), at: lone.now)
        #expect(candidate?.usernameFragment == lone.agent.localDescription.credentials.usernameFragment)
        let sent = lone.run(for: .milliseconds(30))
        #expect(sent.contains { $0.base == BaseID(rawValue: 9) })
    }
}
