import NetTypes
import STUN
import TestSupport
import Testing

@testable import ICE

@Suite struct ConsentTests {
    /// A lone agent, connected and nominated, whose checks are answered at once.
    private func connected(_ change: (inout ICEConfiguration) -> Void = { _ in }) -> Lone {
        var lone = Lone(change: change)
        lone.connect()
        for nomination in lone.drain() where nomination.isRequest { lone.answer(nomination) }
        _ = lone.drain()
        return lone
    }

    @Test func `Consent checks come every 4 to 6 s, each once and new (ice 128, 129, 130)`() {
        var intervals: Set<UInt64> = []
        for seed in seeds(20) {
            var lone = connected()
            lone.agent.entropy = AgentEntropy(.seeded(seed))
            var times: [Instant] = []
            var identifiers: Set<TransactionID> = []
            let end = lone.now + .seconds(120)
            while let next = lone.agent.nextTimeout, next <= end {
                lone.now = max(lone.now, next)
                lone.agent.handleTimeout(at: lone.now)
                for sent in lone.drain() where sent.isRequest {
                    times.append(lone.now)
                    identifiers.insert(sent.message.transactionID)
                    lone.answer(sent)
                }
            }
            #expect(times.count >= 20 && identifiers.count == times.count)
            for index in times.indices.dropFirst(2) {
                let interval = times[index] - times[index - 1]
                #expect(interval >= .seconds(4) && interval <= .seconds(6))
                intervals.insert(interval.milliseconds / 500)
            }
        }
        #expect(intervals.count >= 3)
    }

    @Test func `After 30 s without an authentic answer nothing is sent any more (ice 131, 132)`() {
        var lone = connected()
        let start = lone.now
        var requests = 0
        while let next = lone.agent.nextTimeout, lone.agent.path() != nil {
            lone.now = max(lone.now, next)
            lone.agent.handleTimeout(at: lone.now)
            for sent in lone.drain() where sent.isRequest {
                requests += 1
                // Neither the peer's requests, nor its data, nor false answers renew consent.
                lone.answer(sent, key: IntegrityKey([9].span))
                lone.deliver(lone.request())
                lone.receive([200])
            }
            _ = lone.drain()
        }
        #expect(lone.now - start == .seconds(30))
        // Three probes behind one consent check, then consent checks only.
        #expect((5...10).contains(requests))
        #expect(lone.agent.path() == nil)
        #expect(lone.agent.state == .disconnected)
        #expect(lone.events().contains(.restartAdvised))
        let verdict = lone.agent.verdict
        #expect(verdict.contains(.consentLost))
    }

    @Test func `The patience of the start does not hide the end of a connection (ice 131, 137)`() {
        var lone = connected { $0.patience = .seconds(900) }
        lone.agent.localGatheringDone(at: lone.now)
        lone.agent.endOfRemoteCandidates(at: lone.now)
        _ = lone.run(for: .seconds(40))
        #expect(lone.agent.path() == nil)
        #expect(lone.agent.state == .failed)
    }

    @Test func `Data that come and go are asked about once a second at most`() {
        var lone = connected()
        var questions = 0
        for _ in 0..<6 {
            lone.receive([200])
            for sent in lone.run(for: .milliseconds(550)) where sent.isRequest {
                questions += 1
                lone.answer(sent)
            }
        }
        // 3.3 s: no consent check is due yet.
        #expect((1...4).contains(questions))
    }

    @Test func `Any outstanding request's answer renews consent (ice 132)`() throws {
        var lone = connected()
        let start = lone.now
        var kept: [Lone.Sent] = []
        while lone.now - start < .seconds(28), let next = lone.agent.nextTimeout {
            lone.now = max(lone.now, next)
            lone.agent.handleTimeout(at: lone.now)
            kept += lone.drain().filter(\.isRequest)
        }
        let oldest = try #require(kept.first)
        #expect(lone.answer(oldest) == .consumed)
        _ = lone.run(for: .seconds(25))
        #expect(lone.agent.path() != nil)
        #expect(lone.agent.state == .disconnected || lone.agent.state == .connected)
    }

    @Test func `Lost consent does not come back without a restart (ice 133)`() {
        var lone = connected()
        let sent = lone.run(for: .seconds(40)).filter(\.isRequest)
        #expect(lone.agent.path() == nil)
        for request in sent { lone.answer(request) }
        lone.deliver(lone.request())
        for check in lone.drain() where check.isRequest { lone.answer(check) }
        #expect(lone.agent.path() == nil)
    }

    @Test func `A path that stops answering is known in about ten round trips`() throws {
        var net = TestNetwork()
        net.start()
        net.run(for: .seconds(10))
        net.drops = { _, _, _, _ in true }
        let start = net.now
        net.run(for: .seconds(20)) { $0.first.state == .disconnected }
        #expect(net.first.state == .disconnected)
        // Up to 6 s until the next consent check, then 700 ms.
        #expect(net.now - start <= .milliseconds(6800))
        // And it recovers.
        net.drops = { _, _, _, _ in false }
        net.run(for: .seconds(7)) { $0.first.state == .completed }
        #expect(net.first.state == .completed)
    }

    @Test
    func
        `Data that stay away are a reason to ask at once, and a restart is advised long before consent ends (ice 131)`()
    {
        var lone = connected()
        let asked = lone.run(for: .milliseconds(1500)).filter(\.isRequest)
        #expect(asked.isEmpty)
        let begun = lone.now
        for _ in 0..<20 {
            lone.receive([200])
            #expect(lone.run(for: .milliseconds(50)).filter(\.isRequest).isEmpty)
        }
        _ = lone.events()
        // Half a second of silence, then four questions in less than a second.
        let questions = lone.run(for: .milliseconds(1500)).filter(\.isRequest)
        #expect((3...5).contains(questions.count))
        #expect(lone.agent.state == .disconnected)
        #expect(lone.events().contains(.restartAdvised))
        #expect(lone.agent.path() != nil, "the path stays until consent ends")
        #expect(lone.now - begun < .seconds(3))
        // Once, not at each consent check.
        _ = lone.run(for: .seconds(20))
        #expect(!lone.events().contains(.restartAdvised))
    }

    @Test func `Silence that has its answer changes nothing, and is asked about once`() {
        var lone = connected()
        lone.receive([200])
        var count = 0
        let end = lone.now + .seconds(3)
        while let next = lone.agent.nextTimeout, next <= end {
            lone.now = max(lone.now, next)
            lone.agent.handleTimeout(at: lone.now)
            for sent in lone.drain() where sent.isRequest {
                count += 1
                lone.answer(sent)
            }
        }
        #expect(count == 1)
        #expect(!lone.events().contains(.restartAdvised))
    }

    @Test func `A restart is not advised once more while it is under way (ice 167)`() {
        var lone = connected()
        _ = lone.run(for: .seconds(40))
        #expect(lone.events().contains(.restartAdvised))
        _ = lone.agent.restart(at: lone.now)
        #expect(lone.agent.state == .checking)
        _ = lone.run(for: .seconds(10))
        #expect(!lone.events().contains(.restartAdvised))
    }

    @Test func `A clock that jumps ends consent, and a restart is advised in the same call (ice 131)`() {
        var lone = connected()
        // A check is still under way.
        lone.add("2.2.2.2", at("10.0.0.3:2000"), priority: 2_130_706_430)
        _ = lone.drain()
        _ = lone.events()
        lone.now = lone.now + .seconds(3600)
        lone.agent.handleTimeout(at: lone.now)
        #expect(lone.agent.path() == nil)
        #expect(lone.events().contains(.restartAdvised))
    }

    @Test func `A pair that nobody keeps up lapses, and is asked anew before data go over it (ice 134)`() throws {
        var lone = Lone(.controlled)
        let other = at("10.0.0.3:3000")
        lone.begin()
        lone.add("2.2.2.2", other, priority: 2_130_706_430)
        for sent in lone.run(for: .milliseconds(100)).filter(\.isRequest) { lone.answer(sent) }
        lone.deliver(lone.request(role: .controlling, use: true))
        let end = lone.now + .seconds(60)
        while let next = lone.agent.nextTimeout, next <= end {
            lone.now = max(lone.now, next)
            lone.agent.handleTimeout(at: lone.now)
            for sent in lone.drain() where sent.isRequest {
                #expect(sent.destination == Lone.remote)
                lone.answer(sent)
            }
        }
        #expect(lone.agent.pairSnapshots.count == 1)
        let asked = lone.run(for: .seconds(8)).filter { $0.isRequest && $0.destination == other }
        let silent = lone.agent.path()
        #expect(silent?.destination == Lone.remote)
        lone.answer(try #require(asked.last))
        let path = lone.agent.path()
        #expect(path?.destination == other)
    }

    @Test func `An authenticated close ends sending at once (ice 135)`() {
        var lone = connected()
        lone.agent.revokeConsent(component: 1, at: lone.now)
        #expect(lone.agent.path() == nil)
        #expect(lone.run(for: .seconds(60)).isEmpty)
    }

    @Test func `A lite agent takes no consent back that was revoked, whatever is nominated (ice 135)`() {
        var lone = Lone(.controlled) { $0.isLite = true }
        lone.begin()
        lone.deliver(lone.request(role: .controlling, use: true))
        #expect(lone.agent.path()?.destination == Lone.remote)
        lone.agent.revokeConsent(component: 1, at: lone.now)
        lone.deliver(lone.request(role: .controlling, use: true))
        #expect(lone.agent.path() == nil)
        #expect(lone.run(for: .seconds(60)).allSatisfy { !$0.isRequest })
    }

    @Test func `Without consent, keepalives go every 15 s: FINGERPRINT and nothing else (ice 79, 80)`() throws {
        var lone = connected { $0.asksConsent = false }
        let sent = lone.run(for: .seconds(61))
        #expect(sent.count == 4)
        for keepalive in sent {
            #expect(keepalive.message.type.messageClass == .indication && keepalive.message.attributes.isEmpty)
            #expect(keepalive.bytes.count == 28)
            let view = try STUNMessageView(keepalive.bytes.span)
            #expect(view.checkFingerprint() == .valid)
        }
        #expect(lone.agent.path() != nil)
        lone.agent.close(at: lone.now)
        #expect(lone.run(for: .seconds(60)).isEmpty)
        let timeout = lone.agent.nextTimeout
        #expect(timeout == nil)
    }

    @Test func `An idle connected agent wakes up about a dozen times a minute`() {
        var net = TestNetwork()
        net.start()
        net.run(for: .seconds(10))
        var wakes = 0
        let end = net.now + .seconds(60)
        while let next = net.first.nextTimeout, next <= end {
            wakes += 1
            net.run(for: next - net.now + .milliseconds(50))
        }
        #expect((9...16).contains(wakes))
    }
}
