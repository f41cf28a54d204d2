import NetTypes
import STUN
import Testing

@testable import ICE

@Suite struct ChecklistTests {
    private static func address(_ index: Int) -> SocketAddress { at("10.0.1.\(index):2000") }

    @Test func `Pairs need equal component, family and transport (ice 29)`() {
        var lone = Lone { $0.componentCount = 2 }
        lone.begin(candidate: false)
        lone.add("1", at("[2001:db8::1]:5"))
        lone.add("2", Self.address(1)) { $0.component = 2 }
        lone.add("3", Self.address(2)) {
            $0.transport = .tcp
            $0.tcpType = .passive
        }
        let none = lone.agent.pairCount
        #expect(none == 0)
        lone.add("4", Self.address(3))
        let one = lone.agent.pairCount
        #expect(one == 1)
    }

    @Test func `Link-local IPv6 pairs with link-local only (ice 30)`() {
        var lone = Lone()
        lone.begin(candidate: false)
        let host = LocalCandidate(.host, at("[fe80::1]:5"))
        _ = lone.agent.addLocalCandidate(host, base: BaseID(rawValue: 2), at: lone.now)
        lone.add("1", at("[2001:db8::1]:5"))
        let none = lone.agent.pairCount
        lone.add("2", at("[fe80::2]:5"))
        let one = lone.agent.pairCount
        #expect(none == 0 && one == 1)
        // What the system knows of the interface is no part of the peer's address.
        let base = BaseID(rawValue: 2)
        let source = SocketAddress(at("[fe80::2]:5").ip, port: 5, scope: 3)
        #expect(lone.deliver(lone.request(), on: base, from: source) == .consumed)
        let still = lone.agent.pairCount
        #expect(still == 1)
    }

    @Test func `A reflexive candidate forms no pairs beside its base (ice 32, 97)`() {
        var lone = Lone()
        lone.begin()
        let mapped = LocalCandidate(.serverReflexive, at("192.0.2.1:1"), base: Lone.local)
        let candidate = lone.agent.addLocalCandidate(mapped, base: Lone.base, at: lone.now)
        lone.add("2", Self.address(1))
        let count = lone.agent.pairCount
        #expect(candidate != nil && count == 2)
    }

    @Test func `A reflexive candidate whose base is no candidate checks by itself (ice 32)`() {
        var lone = Lone()
        _ = lone.agent.setRemoteDescription(Lone.peer, at: lone.now)
        let mapped = LocalCandidate(.serverReflexive, at("192.0.2.1:1"), base: Lone.local)
        _ = lone.agent.addLocalCandidate(mapped, base: Lone.base, at: lone.now)
        lone.add("2", Self.address(1))
        let sent = lone.drain()
        #expect(sent.count == 1 && sent[0].base == Lone.base)
    }

    @Test func `The number of pairs is bounded, and the best stay (ice 33, 99)`() {
        var lone = Lone { $0.pairLimit = 5 }
        lone.begin(candidate: false)
        for index in 1...20 { lone.add("\(index)", Self.address(index), priority: UInt32(index)) }
        let pairs = lone.agent.pairSnapshots
        #expect(pairs.count == 5)
        let remotes = Set(pairs.compactMap(\.remote))
        #expect(remotes == Set((16...20).map(Self.address)))
        lone.add("21", Self.address(21), priority: 1)
        #expect(Set(lone.agent.pairSnapshots.compactMap(\.remote)) == remotes)
    }

    @Test func `A failed pair makes room first (ice 99)`() {
        var lone = Lone { $0.pairLimit = 2 }
        lone.begin(candidate: false)
        lone.add("1", Self.address(1), priority: 900)
        lone.add("2", Self.address(2), priority: 800)
        for sent in lone.drain() where sent.destination == Self.address(1) { lone.answer(sent, code: 400) }
        lone.add("3", Self.address(3), priority: 1)
        let remotes = Set(lone.agent.pairSnapshots.compactMap(\.remote))
        #expect(remotes == [Self.address(2), Self.address(3)])
    }

    @Test func `Pairs that come and go leave the index of pairs sparse (ice 99)`() {
        var lone = Lone()
        lone.begin(candidate: false)
        var known: [Candidate] = []
        for number in 1...60 {
            lone.add("\(number)", Self.address(number)) { known.append($0) }
        }
        for candidate in known { lone.agent.removeRemoteCandidate(candidate, at: lone.now) }
        #expect(lone.agent.pairSnapshots.isEmpty)
        // An index without a free place would be searched for ever.
        for number in 1...60 {
            lone.add("again", Self.address(number + 100))
            let index = lone.agent.places
            #expect(index.used * 2 <= index.slots.count)
        }
    }

    @Test func `One pair of each foundation waits first: lowest component, highest priority (ice 34)`() {
        var lone = Lone { $0.componentCount = 2 }
        lone.begin(candidate: false)
        let second = LocalCandidate(.host, at("10.0.0.1:1001"), component: 2)
        _ = lone.agent.addLocalCandidate(second, base: BaseID(rawValue: 2), at: lone.now)
        lone.add("a", Self.address(1), priority: 500) { $0.component = 2 }
        lone.add("a", Self.address(2), priority: 400)
        lone.add("a", Self.address(3), priority: 450)
        lone.add("b", Self.address(4), priority: 100)
        // Both foundations in a burst, 5 ms apart, then nothing before Ta.
        let first = lone.drain()
        #expect(first.map(\.destination) == [Self.address(3)])
        let burst = lone.run(for: .milliseconds(6))
        #expect(burst.map(\.destination) == [Self.address(4)])
        let snapshots = lone.agent.pairSnapshots
        #expect(snapshots.count { $0.state == .frozen } == 2 && snapshots.count { $0.state == .inProgress } == 2)
    }

    @Test func `The first check leaves at once, foundations 5 ms apart, the others by Ta (ice 36, 37, 38, 86)`() {
        var lone = Lone()
        lone.begin(candidate: false)
        for index in 1...3 { lone.add("\(index)", Self.address(index), priority: UInt32(1000 - index)) }
        for index in 4...6 { lone.add("9", Self.address(index), priority: UInt32(1000 - index)) }
        var times: [UInt64] = []
        var destinations: [SocketAddress] = []
        let start = lone.now
        for _ in 0..<40 {
            for sent in lone.drain() where sent.isRequest {
                times.append((lone.now - start).milliseconds)
                destinations.append(sent.destination)
            }
            lone.now = lone.now + .milliseconds(5)
            lone.agent.handleTimeout(at: lone.now)
        }
        // Foundation 9 gives one pair; its others stay frozen while that one is in progress.
        #expect(Array(times.prefix(4)) == [0, 5, 10, 15])
        #expect(Array(destinations.prefix(4)) == [1, 2, 3, 4].map(Self.address))
        #expect(times.count == 4)
    }

    @Test func `A success thaws its foundation, and those pairs go by Ta (ice 54, 86)`() {
        var lone = Lone()
        lone.begin(candidate: false)
        for index in 1...3 { lone.add("9", Self.address(index), priority: UInt32(1000 - index)) }
        for sent in lone.drain() { lone.answer(sent) }
        let states = lone.agent.pairSnapshots.map(\.state)
        #expect(states.count { $0 == .waiting } == 2)
        let start = lone.now
        var times: [UInt64] = []
        for _ in 0..<20 {
            for sent in lone.drain() where sent.isRequest && sent.destination != Self.address(1) {
                times.append((lone.now - start).milliseconds)
            }
            lone.now = lone.now + .milliseconds(5)
            lone.agent.handleTimeout(at: lone.now)
        }
        // Ta apart; the nomination's second check, sent at 20 ms, keeps the first of them the pacer's 5 ms away.
        #expect(Array(times.prefix(2)) == [25, 45])
    }

    @Test func `A failure leaves its foundation alone, which then gives its next pair (ice 37, 50)`() {
        var lone = Lone()
        lone.begin(candidate: false)
        for index in 1...2 { lone.add("9", Self.address(index), priority: UInt32(1000 - index)) }
        for sent in lone.drain() { lone.answer(sent, code: 400) }
        let states = lone.agent.pairSnapshots.map(\.state)
        #expect(states == [.failed, .frozen])
        let later = lone.run(for: .milliseconds(25))
        #expect(later.map(\.destination) == [Self.address(2)])
    }

    @Test func `A trickled pair waits if it is the topmost or its foundation works, else it is frozen (ice 101)`() {
        var lone = Lone()
        lone.begin(candidate: false)
        lone.add("a", Self.address(1), priority: 500)
        let first = lone.drain()
        lone.add("a", Self.address(2), priority: 400)
        lone.add("a", Self.address(3), priority: 600)
        let states = lone.agent.pairSnapshots.map(\.state)
        #expect(states == [.inProgress, .frozen, .waiting])
        for sent in first { lone.answer(sent) }
        lone.add("a", Self.address(4), priority: 300)
        let later = lone.agent.pairSnapshots
        #expect(later.first { $0.remote == Self.address(4) }?.state == .waiting)
    }

    @Test func `Nobody starts two transactions within 5 ms, whatever the number of agents (ice 87)`() {
        var pacer = CheckPacer()
        var times: [Instant] = []
        var now = Instant.zero
        for step in 0..<400 {
            now = Instant.zero + .milliseconds(UInt64(step))
            if pacer.take(at: now) { times.append(now) }
            if step % 7 == 0, pacer.takeUrgent(at: now) { times.append(now) }
        }
        // Urgent ones may come ahead of time, but not more than four, and the rate over a while is the same.
        #expect(times.count <= 400 / 5 + 5)
        for index in times.indices.dropFirst(5) { #expect(times[index] - times[index - 5] >= .milliseconds(5)) }
    }

    @Test func `The pacing of both sides counts: the larger, and 50 ms for who names none (ice 86)`() {
        for (theirs, expected) in [(nil, 50), (5, 20), (20, 20), (120, 120)] as [(UInt64?, UInt64)] {
            var lone = Lone()
            var description = Lone.peer
            description.pacing = theirs.map { .milliseconds($0) }
            _ = lone.agent.setRemoteDescription(description, at: lone.now)
            let pacing = lone.agent.pacing
            #expect(pacing == .milliseconds(expected))
        }
    }

    @Test func `A newly signalled address that was peer-reflexive keeps its pair and its priority (ice 100)`() {
        var lone = Lone()
        lone.begin(candidate: false)
        lone.deliver(lone.request(priority: 12345))
        let before = lone.agent.pairSnapshots
        #expect(before.count == 1 && before[0].remote == nil && before[0].remoteType == .peerReflexive)
        let disposition = lone.add("1", Lone.remote)
        #expect(disposition == .merged)
        let after = lone.agent.pairSnapshots
        #expect(after.count == 1 && after[0].remoteType == .host && after[0].remote == Lone.remote)
        #expect(after[0].priority == before[0].priority)
    }

    @Test func `Candidates that nothing can be sent to are ignored, the description is not (ice 109)`() throws {
        var lone = Lone()
        lone.begin(candidate: false)
        #expect(lone.add("1", at("0.0.0.0:9")) == .ignored(.unusableAddress))
        #expect(lone.add("1", at("224.0.0.1:9")) == .ignored(.unusableAddress))
        #expect(lone.add("1", at("10.0.0.9:0")) == .ignored(.unusableAddress))
        let name = try Candidate(text: "candidate:1 1 udp 5 host.example.com 9 typ host")
        #expect(lone.agent.addRemoteCandidate(name, at: lone.now) == .ignored(.unsupportedName))
        // One label and .local: to be resolved (ice 150).
        let local = try Candidate(text: "candidate:1 1 udp 5 abc.local 9 typ host")
        #expect(lone.agent.addRemoteCandidate(local, at: lone.now) == .needsResolution("abc.local"))
        let deep = try Candidate(text: "candidate:1 1 udp 5 a.b.local 9 typ host")
        #expect(lone.agent.addRemoteCandidate(deep, at: lone.now) == .ignored(.unsupportedName))
        let resolved = local.resolved(to: at("10.0.0.7:1").ip)
        #expect(lone.agent.addRemoteCandidate(resolved, at: lone.now) == .added)
    }
}
