import NetTypes
import STUN
import TestSupport
import Testing

@testable import ICE

@Suite struct NominationTests {
    private static let other = at("10.0.0.3:3000")

    @Test func `Data may go as soon as a pair is valid; it is nominated by a check of its own (ice 69, 81)`() throws {
        var lone = Lone()
        lone.begin()
        let check = try #require(lone.drain().first)
        #expect(lone.agent.path() == nil)
        lone.answer(check)
        #expect(lone.agent.path()?.destination == Lone.remote)
        #expect(lone.agent.state == .connected)
        let nomination = try #require(lone.drain().first)
        #expect(nomination.has(.useCandidate) && !nomination.has(.nomination))
        #expect(!lone.agent.pairSnapshots[0].isNominated)
        lone.answer(nomination)
        #expect(lone.agent.pairSnapshots[0].isNominated)
        #expect(lone.events().contains { if case .selected = $0 { true } else { false } })
    }

    @Test func `A better pair is waited for while its answer can still come, and no longer (ice 69)`() throws {
        var lone = Lone()
        lone.begin(candidate: false)
        lone.add("1", Self.other, priority: 2000)
        lone.add("2", Lone.remote, priority: 1000)
        let checks = lone.run(for: .milliseconds(6))
        lone.now = lone.now + .milliseconds(14)
        let start = lone.now
        let worse = try #require(checks.first { $0.destination == Lone.remote })
        lone.answer(worse)
        // Data goes, the nomination waits.
        #expect(lone.agent.path()?.destination == Lone.remote)
        #expect(lone.drain().allSatisfy { !$0.has(.useCandidate) })
        var nominatedAt: Instant?
        while let next = lone.agent.nextTimeout, nominatedAt == nil, next - start < .seconds(1) {
            lone.now = next
            lone.agent.handleTimeout(at: next)
            if lone.drain().contains(where: { $0.has(.useCandidate) && $0.destination == Lone.remote }) {
                nominatedAt = lone.now
            }
        }
        // Three round trips of 15 ms and 20 ms after the better pair's check.
        let waited = try #require(nominatedAt) - start
        #expect(waited > .zero && waited <= .milliseconds(80))
    }

    @Test func `The better pair is nominated if it answers in time (ice 69)`() throws {
        var lone = Lone()
        lone.begin(candidate: false)
        lone.add("1", Self.other, priority: 2000)
        lone.add("2", Lone.remote, priority: 1000)
        let checks = lone.run(for: .milliseconds(6))
        lone.now = lone.now + .milliseconds(14)
        for check in checks.reversed() {
            lone.answer(check)
            lone.now = lone.now + .milliseconds(5)
        }
        let nominations = lone.drain().filter { $0.has(.useCandidate) }
        #expect(nominations.map(\.destination) == [Self.other])
        #expect(lone.agent.path()?.destination == Self.other)
    }

    @Test func `A component is nominated once, and its other pairs leave the checklist (ice 70, 72)`() throws {
        var lone = Lone()
        lone.begin()
        let checks = lone.drain()
        lone.add("2", Self.other, priority: 100)
        lone.add("2", at("10.0.0.4:1"), priority: 90)
        let others = lone.run(for: .milliseconds(30))
        for check in checks { lone.answer(check) }
        for nomination in lone.drain() where nomination.has(.useCandidate) { lone.answer(nomination) }
        let pairs = lone.agent.pairSnapshots
        #expect(!pairs.contains { $0.state == .waiting || $0.state == .frozen || $0.state == .inProgress })
        // The cancelled check is not sent again, its answer is welcome, nothing new is nominated.
        let later = lone.run(for: .seconds(2))
        #expect(later.allSatisfy { $0.destination == Lone.remote })
        for check in others where check.isRequest { lone.answer(check) }
        #expect(lone.run(for: .seconds(1)).allSatisfy { !$0.has(.useCandidate) })
        #expect(lone.agent.path()?.destination == Lone.remote)
    }

    @Test func `A nomination that fails is followed by the next valid pair (ice 55)`() {
        var lone = Lone()
        lone.begin()
        lone.add("2", Self.other, priority: 100)
        for check in lone.run(for: .milliseconds(6)) { lone.answer(check) }
        let first = lone.drain().filter { $0.has(.useCandidate) }
        #expect(first.map(\.destination) == [Lone.remote])
        for nomination in first { lone.answer(nomination, code: 400) }
        #expect(lone.agent.pairSnapshots[0].state == .failed && !lone.agent.pairSnapshots[0].isValid)
        let second = lone.drain().filter { $0.has(.useCandidate) }
        #expect(second.map(\.destination) == [Self.other])
        #expect(lone.agent.path()?.destination == Self.other)
    }

    @Test func `The controlled agent nominates when its own check has succeeded (ice 56, 67)`() throws {
        var lone = Lone(.controlled)
        lone.begin()
        _ = lone.drain()
        lone.deliver(lone.request(role: .controlling, use: true))
        #expect(!lone.agent.pairSnapshots[0].isNominated)
        let check = try #require(lone.drain().first { $0.isRequest })
        lone.answer(check)
        #expect(lone.agent.pairSnapshots[0].isNominated)
        // On a pair that works already, at once.
        var other = Lone(.controlled)
        other.connect()
        #expect(other.agent.state == .connected && !other.agent.pairSnapshots[0].isNominated)
        other.deliver(other.request(role: .controlling, use: true))
        #expect(other.agent.pairSnapshots[0].isNominated)
        // And requests are answered afterwards (ice 73).
        _ = other.drain()
        other.deliver(other.request(role: .controlling, use: true))
        #expect(other.drain().count == 1)
    }

    @Test func `Of several nominations of an RFC 5245 peer the highest priority counts (ice 71)`() {
        var lone = Lone(.controlled)
        lone.begin()
        lone.add("2", Self.other, priority: 100)
        for check in lone.run(for: .milliseconds(6)) { lone.answer(check) }
        lone.deliver(lone.request(role: .controlling, use: true), from: Self.other)
        #expect(lone.agent.path()?.destination == Self.other)
        lone.deliver(lone.request(role: .controlling, use: true))
        #expect(lone.agent.path()?.destination == Lone.remote)
        lone.deliver(lone.request(role: .controlling, use: true), from: Self.other)
        #expect(lone.agent.path()?.destination == Lone.remote)
    }

    @Test func `Renomination: the highest number counts, whatever the priority (ice 173)`() {
        var lone = Lone(.controlled)
        var description = Lone.peer
        description.options.insert(.renomination)
        lone.begin(description)
        lone.add("2", Self.other, priority: 100)
        for check in lone.run(for: .milliseconds(6)) { lone.answer(check) }
        lone.deliver(lone.request(role: .controlling, use: true, nomination: 1))
        #expect(lone.agent.path()?.destination == Lone.remote)
        lone.deliver(lone.request(role: .controlling, use: true, nomination: 3), from: Self.other)
        #expect(lone.agent.path()?.destination == Self.other)
        lone.deliver(lone.request(role: .controlling, use: true, nomination: 2))
        #expect(lone.agent.path()?.destination == Self.other)
    }

    @Test func `Both sides switch to the faster path when both can renominate (ice 173)`() {
        var net = TestNetwork()
        net.exchange()
        net.addHost(0, "10.0.0.1:1000", network: 1)
        net.addHost(0, "10.1.0.1:1000", network: 2)
        net.addHost(1, "10.0.0.2:2000")
        net.endCandidates()
        net.run(for: .seconds(2))
        let before = net.first.path()
        #expect(before?.base == BaseID(rawValue: 1))
        // The first network gets slow: packets of base 1 take their time.
        net.slow = { source in source == SocketAddress("10.0.0.1:1000") ? .milliseconds(150) : .zero }
        net.run(for: .seconds(60))
        let after = (net.first.path(), net.second.path())
        #expect(after.0?.base == BaseID(rawValue: 2))
        #expect(after.1?.destination == SocketAddress("10.1.0.1:1000"))
        let numbers = net.requests(0).compactMap { message in
            message.attributes.first { $0.type == .nomination }?.value
        }
        #expect(Set(numbers).count == 2)
    }

    @Test func `One backup per network stays warm, and data moves to it when the path dies`() {
        var net = TestNetwork()
        net.exchange()
        net.addHost(0, "10.0.0.1:1000", network: 1)
        net.addHost(0, "10.1.0.1:1000", network: 2)
        net.addHost(1, "10.0.0.2:2000")
        net.endCandidates()
        net.run(for: .seconds(10))
        let pairs = net.first.pairSnapshots
        #expect(pairs.count == 2 && pairs.count { $0.isBackup } == 1 && pairs.count { $0.isNominated } == 1)
        let start = net.now
        net.drops = { _, source, destination, _ in
            source == SocketAddress("10.0.0.1:1000") || destination == SocketAddress("10.0.0.1:1000")
        }
        net.run(for: .seconds(12)) { $0.first.path()?.base == BaseID(rawValue: 2) }
        let path = net.first.path()
        #expect(path?.base == BaseID(rawValue: 2))
        // A consent interval at most until it is noticed, and about ten round trips.
        #expect(net.now - start <= .milliseconds(7500))
        net.run(for: .seconds(2))
        let other = net.second.path()
        #expect(other?.destination == SocketAddress("10.1.0.1:1000"))
        let states = [net.first.state, net.second.state]
        #expect(states.allSatisfy { $0 == .connected || $0 == .completed })
    }

    @Test func `Both sides keep the same backups, and nothing comes and goes`() {
        var net = TestNetwork()
        net.exchange()
        for network in 1...3 { net.addHost(0, "10.\(network).0.1:1000", network: UInt16(network)) }
        net.addHost(1, "10.0.0.2:2000")
        net.addHost(1, "10.0.0.3:2000")
        net.endCandidates()
        net.run(for: .seconds(60))
        let counts = [net.first.pairCount, net.second.pairCount]
        // The selected one, and the best other one of each network.
        #expect(counts == [4, 4])
        let before = net.sent.count
        let serials = [net.first.lastSerial, net.second.lastSerial]
        net.run(for: .seconds(300))
        #expect([net.first.lastSerial, net.second.lastSerial] == serials)
        // A check and its answer both ways: every 5 s on the path, every 15 s on three backups.
        let packets = net.sent.count - before
        #expect(packets <= 4 * (300 / 4 + 3 * 300 / 12) && packets >= 4 * (300 / 6 + 3 * 300 / 18))
        #expect(net.second.evidence.consentLost == 0)
        let states = [net.first.state, net.second.state]
        #expect(states == [.completed, .completed])
    }

    @Test func `Removing the selected base moves data to the backup at once`() {
        var net = TestNetwork()
        net.exchange()
        net.addHost(0, "10.0.0.1:1000", network: 1)
        net.addHost(0, "10.1.0.1:1000", network: 2)
        net.addHost(1, "10.0.0.2:2000")
        net.endCandidates()
        net.run(for: .seconds(5))
        net.first.removeBase(BaseID(rawValue: 1), at: net.now)
        let path = net.first.path()
        #expect(path?.base == BaseID(rawValue: 2))
        net.run(for: .seconds(1))
        let other = net.second.path()
        #expect(other?.destination == SocketAddress("10.1.0.1:1000"))
    }

    @Test func `What was not selected is freed three seconds later (ice 76)`() {
        var net = TestNetwork()
        net.exchange()
        net.addHost(0, "10.0.0.1:1000")
        for index in 2...5 { net.addHost(0, "10.0.0.\(index + 10):1000") }
        net.addHost(1, "10.0.0.2:2000")
        net.endCandidates()
        net.run(for: .seconds(2))
        #expect(!net.events.0.contains { if case .baseUnused = $0 { true } else { false } })
        net.run(for: .seconds(3))
        let unused = net.events.0.filter { if case .baseUnused = $0 { true } else { false } }
        #expect(unused.count == 3)
        let pairs = net.first.pairs.count
        #expect(pairs == 2)
        let isSent = net.sendData(0)
        #expect(isSent)
        net.run(for: .seconds(1))
        #expect(net.data.count == 1)
    }
}
