import NetTypes
import STUN
import Testing

@testable import ICE

@Suite struct CheckTests {
    @Test func `A check has all that the text wants and nothing else (ice 40, 41, 42, 44, 46, 89)`() throws {
        var lone = Lone()
        lone.begin()
        let sent = lone.drain()
        let check = try #require(sent.first)
        #expect(check.destination == Lone.remote && check.base == Lone.base)
        let fragment = lone.agent.localDescription.credentials.usernameFragment
        #expect(check.value(.username) == Array("PEER:\(fragment)".utf8))
        #expect(check.has(.iceControlling) && !check.has(.iceControlled) && !check.has(.useCandidate))
        let preference = lone.agent.locals[0].localPreference
        let priority = CandidatePriority.candidate(typePreference: 110, localPreference: preference, component: 1)
        #expect(check.value(.priority) == Lone.big(UInt64(priority), 4))
        let view = try STUNMessageView(check.bytes.span)
        #expect(view.checkFingerprint() == .valid)
        #expect(view.checkMessageIntegrity(Lone.peerKey) == .valid)
        #expect(check.bytes.count <= 548)
        // A controlled agent never nominates.
        var other = Lone(.controlled)
        other.begin()
        let theirs = try #require(other.drain().first)
        #expect(theirs.has(.iceControlled) && !theirs.has(.iceControlling) && !theirs.has(.useCandidate))
    }

    @Test func `A check is sent at 0, 0.5, 1.5 … 31.5 s and has failed at 39.5 s (ice 50, 88)`() {
        var lone = Lone()
        lone.begin()
        var times: [UInt64] = []
        var identifiers: Set<TransactionID> = []
        let start = lone.now
        for sent in lone.drain() { identifiers.insert(sent.message.transactionID) }
        times.append(0)
        while let next = lone.agent.nextTimeout, next - start < .seconds(45) {
            lone.now = next
            lone.agent.handleTimeout(at: next)
            for sent in lone.drain() where sent.isRequest {
                times.append((next - start).milliseconds)
                identifiers.insert(sent.message.transactionID)
            }
            if lone.agent.pairSnapshots[0].state == .failed { break }
        }
        #expect(times == [0, 500, 1500, 3500, 7500, 15500, 31500])
        #expect(identifiers.count == 1)
        #expect((lone.now - start).milliseconds == 39500)
    }

    @Test func `With many pairs the first wait grows, and never falls below 500 ms (ice 88)`() {
        var lone = Lone { $0.pacing = .milliseconds(50) }
        lone.begin(candidate: false)
        for index in 1...30 { lone.add("\(index)", at("10.0.1.\(index):5"), priority: UInt32(index)) }
        let start = lone.now
        _ = lone.drain()
        let due = lone.agent.pairs[29].retransmitAt - start
        #expect(due == .milliseconds(1500))
    }

    @Test func `Once the round-trip time is known, a lost check is followed by a new one after 2.5 of it`() {
        var lone = Lone()
        let other = at("10.0.0.3:3000")
        lone.begin()
        lone.add("2", other, priority: 100)
        var sent = lone.run(for: .milliseconds(6))
        #expect(sent.count == 2)
        lone.now = lone.now + .milliseconds(34)
        for check in sent where check.destination == Lone.remote { lone.answer(check) }
        let lost = sent.first { $0.destination == other }
        sent = lone.run(for: .milliseconds(75)).filter { $0.destination == other }
        // 40 ms of round trip: at 100 ms a new check, under a new identifier.
        #expect(sent.count == 1)
        #expect(sent[0].message.transactionID != lost?.message.transactionID)
        // The answer to the first one still counts.
        if let lost { #expect(lone.answer(lost) == .consumed) }
        #expect(lone.agent.pairSnapshots.first { $0.remote == other }?.isValid == true)
    }

    @Test func `A response from elsewhere, or to elsewhere, fails the pair (ice 48)`() throws {
        let elsewhere = at("10.0.0.2:2001")
        var lone = Lone()
        lone.begin()
        let check = try #require(lone.drain().first)
        #expect(lone.answer(check, from: elsewhere) == .refused(.asymmetricResponse))
        #expect(lone.agent.pairSnapshots[0].state == .failed)
        var other = Lone()
        other.begin()
        let second = try #require(other.drain().first)
        #expect(other.answer(second, on: BaseID(rawValue: 7)) == .refused(.asymmetricResponse))
        #expect(other.agent.pairSnapshots[0].state == .failed)
        #expect(other.agent.path() == nil)
    }

    @Test func `An answer without proof does not retire the check (ice 51)`() throws {
        var lone = Lone()
        lone.begin()
        let check = try #require(lone.drain().first)
        #expect(lone.answer(check, code: 401, key: nil) == .refused(.badIntegrity))
        #expect(lone.answer(check, key: IntegrityKey([1, 2, 3].span)) == .refused(.badIntegrity))
        #expect(lone.agent.pairSnapshots[0].state == .inProgress)
        #expect(lone.answer(check) == .consumed)
        #expect(lone.agent.pairSnapshots[0].isValid)
        // Nor does the same answer count twice.
        #expect(lone.answer(check) == .refused(.unknownTransaction))
    }

    @Test func `A proven error fails the pair (ice 51, 57)`() throws {
        var lone = Lone()
        lone.begin()
        let check = try #require(lone.drain().first)
        #expect(lone.answer(check, code: 400) == .consumed)
        #expect(lone.agent.pairSnapshots[0].state == .failed)
    }

    @Test func `An unknown mapped address becomes a peer-reflexive candidate (ice 52, 53)`() throws {
        var lone = Lone()
        lone.begin()
        let mapped = at("192.0.2.77:7777")
        let check = try #require(lone.drain().first)
        lone.answer(check, mapped: mapped)
        let entry = try #require(lone.agent.locals.last)
        #expect(entry.type == .peerReflexive && entry.address == mapped && entry.base == Lone.base)
        #expect(check.value(.priority) == Lone.big(UInt64(entry.priority), 4))
        let events = lone.events()
        #expect(events.contains(.foundPeerReflexive(base: Lone.base, address: mapped)))
        let pair = lone.agent.pairSnapshots[0]
        #expect(pair.isValid && pair.localType == .peerReflexive && !pair.isNominated)
        // Data leaves from the base.
        #expect(lone.agent.path()?.base == Lone.base)
    }

    @Test func `A mapped address that is a candidate makes the valid pair that candidate's (ice 53)`() throws {
        var lone = Lone()
        lone.begin()
        let mapped = LocalCandidate(.serverReflexive, at("192.0.2.1:1"), base: Lone.local)
        _ = lone.agent.addLocalCandidate(mapped, base: Lone.base, at: lone.now)
        let check = try #require(lone.drain().first)
        lone.answer(check, mapped: mapped.address)
        #expect(lone.agent.pairSnapshots[0].localType == .serverReflexive)
        #expect(lone.agent.locals.count == 2)
    }

    @Test func `A 487 changes the role once, with a new tiebreaker and new priorities (ice 47, 90)`() throws {
        var lone = Lone()
        let other = at("10.0.0.3:3000")
        lone.begin()
        lone.add("2", other, priority: 100)
        let checks = lone.run(for: .milliseconds(6))
        let before = lone.agent.tiebreaker
        let priorities = lone.agent.pairSnapshots.map(\.priority)
        for check in checks { lone.answer(check, code: 487) }
        #expect(lone.agent.role == .controlled)
        let after = lone.agent.tiebreaker
        #expect(after != before)
        #expect(lone.agent.pairSnapshots.map(\.priority) != priorities)
        #expect(lone.events().contains(.roleChanged(.controlled)))
        // Both pairs are checked again under the new role.
        let again = lone.run(for: .milliseconds(50)).filter(\.isRequest)
        #expect(Set(again.map(\.destination)) == [Lone.remote, other])
        for check in again { #expect(check.value(.iceControlled) == Lone.big(after, 8)) }
        #expect(Set(again.map(\.message.transactionID)).isDisjoint(with: checks.map(\.message.transactionID)))
    }

    @Test func `A relayed candidate's permission is asked for before its check (ice 43)`() {
        var lone = Lone()
        _ = lone.agent.setRemoteDescription(Lone.peer, at: lone.now)
        var relayed = LocalCandidate(.relayed, at("198.51.100.1:9"))
        relayed.server = SocketAddress("198.51.100.1:3478")
        _ = lone.agent.addLocalCandidate(relayed, base: Lone.base, at: lone.now)
        lone.add("1", Lone.remote)
        #expect(lone.events().contains(.permissionNeeded(base: Lone.base, peer: Lone.remote)))
        #expect(lone.drain().count == 1)
    }

    @Test func `A lost socket or a hard error fails one pair only (ice 49, 127)`() {
        var lone = Lone()
        let other = at("10.0.0.3:3000")
        lone.begin()
        lone.add("2", other, priority: 100)
        _ = lone.run(for: .milliseconds(10))
        lone.agent.sendFailed(on: Lone.base, to: Lone.remote, .unreachable, at: lone.now)
        // One report may be forged: the pair goes on until a request was repeated in vain.
        #expect(lone.agent.pairSnapshots[0].state == .inProgress)
        _ = lone.run(for: .milliseconds(600))
        lone.agent.sendFailed(on: Lone.base, to: Lone.remote, .unreachable, at: lone.now)
        let states = lone.agent.pairSnapshots.map(\.state)
        #expect(states == [.failed, .inProgress])
    }

    @Test
    func
        `The distance of a server tells when a first check is likely lost; new checks keep the pacer's distance (ice 87)`()
    {
        func times(_ hint: TimeSpan?) -> [UInt64] {
            var lone = Lone()
            if let hint { lone.agent.noteServerRoundTrip(hint, at: lone.now) }
            lone.begin()
            for host in 1...3 { lone.add("\(host)", at("10.0.1.\(host):1")) }
            let start = lone.now
            var times: [UInt64] = []
            let end = start + .milliseconds(450)
            times += lone.drain().filter(\.isRequest).map { _ in 0 }
            while let next = lone.agent.nextTimeout, next <= end {
                lone.now = max(lone.now, next)
                lone.agent.handleTimeout(at: lone.now)
                times += lone.drain().filter(\.isRequest).map { _ in (lone.now - start).milliseconds }
            }
            return times
        }
        #expect(times(nil) == [0, 5, 10, 15])
        #expect(times(.milliseconds(40)) == [0, 5, 10, 15, 100, 105, 110, 115, 300, 305, 310, 315])
        // A server next door says little of a peer.
        #expect(times(.milliseconds(1)).count == 12)
        #expect(times(.milliseconds(1))[4] == 50)
    }
}
