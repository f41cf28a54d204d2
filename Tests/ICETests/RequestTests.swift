import NetTypes
import STUN
import TestSupport
import Testing

@testable import ICE

@Suite struct RequestTests {
    @Test func `A request is answered and its check triggered in the same turn (ice 58, 60, 65)`() throws {
        var lone = Lone()
        lone.begin()
        _ = lone.drain()
        #expect(lone.deliver(lone.request()) == .consumed)
        let sent = lone.drain()
        #expect(sent.count == 2)
        let answer = try #require(sent.first)
        #expect(answer.message.type.messageClass == .success && answer.destination == Lone.remote)
        #expect(!answer.has(.username))
        let view = try STUNMessageView(answer.bytes.span)
        #expect(view.checkFingerprint() == .valid && view.checkMessageIntegrity(lone.ownKey) == .valid)
        #expect(try view.xorMappedAddress() == Lone.remote)
        #expect(sent[1].isRequest && sent[1].destination == Lone.remote)
    }

    @Test func `A response has one integrity attribute, of the request's kind, and no USERNAME (turn 53)`() throws {
        var lone = Lone()
        lone.begin()
        _ = lone.drain()
        for (protection, isSHA256) in [
            (MessageProtection.sha1(lone.ownKey), false), (.sha256(lone.ownKey), true), (.both(lone.ownKey), true),
        ] {
            let request = lone.request()
            #expect(lone.receive(Lone.bytes(request, protection)) == .consumed)
            let answer = try #require(lone.drain().first { $0.message.transactionID == request.transactionID })
            let view = try STUNMessageView(answer.bytes.span)
            let (sha1, sha256) = (
                view.checkMessageIntegrity(lone.ownKey), view.checkMessageIntegritySHA256(lone.ownKey)
            )
            #expect(sha1 == (isSHA256 ? .absent : .valid))
            #expect(sha256 == (isSHA256 ? .valid : .absent))
            #expect(view.messageClass == .success && !answer.has(.username))
        }
    }

    @Test func `A refusal for want of proof is 400 or 401, without integrity and USERNAME (turn 53)`() throws {
        var lone = Lone()
        lone.begin()
        _ = lone.drain()
        let stranger = lone.request(username: "NOBODY:PEER")
        for (request, protection, code) in [
            (lone.request(), MessageProtection.none, [0, 0, 4, 0] as [UInt8]),
            (stranger, .sha256(lone.ownKey), [0, 0, 4, 1]),
            (lone.request(), .sha1(Lone.peerKey), [0, 0, 4, 1]),
            (lone.request(), .both(Lone.peerKey), [0, 0, 4, 1]),
        ] {
            _ = lone.receive(Lone.bytes(request, protection))
            let answer = try #require(lone.drain().first { $0.message.transactionID == request.transactionID })
            let view = try STUNMessageView(answer.bytes.span)
            #expect(answer.value(.errorCode).map { Array($0.prefix(4)) } == code)
            #expect(!view.hasIntegrity && !answer.has(.username))
            // An indication is met with silence.
            let indication = STUNMessage(
                STUNMessageType(.binding, .indication),
                request.transactionID,
                attributes: request.attributes
            )
            _ = lone.receive(Lone.bytes(indication, protection))
            #expect(!lone.drain().contains { $0.message.transactionID == request.transactionID })
        }
    }

    @Test func `An early request is answered at once, its check follows when the credentials are there (ice 26, 59)`() {
        var lone = Lone()
        _ = lone.agent.addLocalCandidate(LocalCandidate(.host, Lone.local), base: Lone.base, at: lone.now)
        #expect(lone.deliver(lone.request()) == .consumed)
        let early = lone.drain()
        #expect(early.count == 1 && early[0].message.type.messageClass == .success)
        _ = lone.agent.setRemoteDescription(Lone.peer, at: lone.now)
        let later = lone.drain()
        #expect(later.count == 1 && later[0].isRequest && later[0].destination == Lone.remote)
        // The address is validated: data may come.
        #expect(lone.receive([200, 1]) == .data(component: 1))
    }

    @Test func `An unknown source becomes a peer-reflexive candidate that pairs with its base only (ice 64)`() {
        var lone = Lone()
        lone.begin(candidate: false)
        let second = LocalCandidate(.host, at("10.0.0.9:1001"))
        _ = lone.agent.addLocalCandidate(second, base: BaseID(rawValue: 2), at: lone.now)
        lone.deliver(lone.request(priority: 4242))
        let source = at("10.9.9.9:99")
        lone.deliver(lone.request(priority: 17), from: source)
        let pairs = lone.agent.pairSnapshots
        #expect(pairs.count == 2 && pairs.allSatisfy { $0.base == Lone.base && $0.remoteType == .peerReflexive })
        let remotes = lone.agent.remotes
        #expect(remotes.map(\.priority) == [4242, 17])
        #expect(remotes[0].foundation != remotes[1].foundation)
    }

    @Test func `The state decides what a request does to its pair (ice 65, 66)`() throws {
        var lone = Lone()
        lone.begin()
        let first = try #require(lone.drain().first)
        // In progress: cancelled, queued again, the late answer still welcome.
        lone.deliver(lone.request())
        let second = try #require(lone.drain().first { $0.isRequest })
        #expect(second.message.transactionID != first.message.transactionID)
        #expect(lone.agent.pairSnapshots[0].state == .inProgress)
        lone.answer(first)
        #expect(lone.agent.pairSnapshots[0].isValid)
        // Succeeded: nothing.
        let done = lone.drain().filter(\.isRequest)
        for check in done { lone.answer(check) }
        _ = lone.drain()
        lone.deliver(lone.request())
        #expect(lone.drain().count { $0.isRequest } == 0)
        // Failed: revived, and the checklist with it.
        var other = Lone()
        other.begin()
        for check in other.drain() { other.answer(check, code: 400) }
        #expect(other.agent.pairSnapshots[0].state == .failed)
        other.deliver(other.request())
        #expect(other.drain().contains { $0.isRequest })
        #expect(other.agent.pairSnapshots[0].state == .inProgress)
    }

    @Test func `Role conflicts are settled by the tiebreakers (ice 61, 62)`() throws {
        for (ours, theirs, role, larger, refuses) in [
            (ICERole.controlling, ICERole.controlling, ICERole.controlling, true, true),
            (.controlling, .controlling, .controlled, false, false),
            (.controlled, .controlled, .controlling, true, false),
            (.controlled, .controlled, .controlled, false, true),
        ] {
            var lone = Lone(ours)
            lone.begin()
            _ = lone.drain()
            let own = lone.agent.tiebreaker
            let tie = larger ? own - 1 : own + 1
            lone.deliver(lone.request(role: theirs, tiebreaker: tie))
            let answer = try #require(lone.drain().first)
            let code: [UInt8]? = refuses ? [0, 0, 4, 87] : nil
            #expect(answer.value(.errorCode) == code)
            #expect(lone.agent.role == role)
            #expect(lone.agent.tiebreaker == own)
        }
        // Equal tiebreakers: the controlling one stays, the controlled one switches.
        var equal = Lone()
        equal.begin()
        _ = equal.drain()
        equal.deliver(equal.request(role: .controlling, tiebreaker: equal.agent.tiebreaker))
        #expect(equal.drain().first?.value(.errorCode) == [0, 0, 4, 87])
        #expect(equal.agent.role == .controlling)
    }

    @Test func `Requests without proof make no state and get the smallest answer (ice 58)`() throws {
        var lone = Lone()
        lone.begin(candidate: false)
        let good = lone.request()
        let unsigned = Lone.bytes(good, .none)
        #expect(lone.receive(unsigned) == .refused(.missingCredentials))
        let wrong = Lone.bytes(good, .sha1(Lone.peerKey))
        #expect(lone.receive(wrong) == .refused(.badIntegrity))
        let foreign = Lone.bytes(lone.request(username: "NOBODY:PEER"), .sha1(lone.ownKey))
        #expect(lone.receive(foreign) == .refused(.unknownUsernameFragment))
        let prefix = String(lone.agent.localDescription.credentials.usernameFragment.dropLast())
        #expect(lone.deliver(lone.request(username: prefix + ":PEER")) == .refused(.unknownUsernameFragment))
        let bare = Lone.bytes(good, .sha1(lone.ownKey), fingerprint: false)
        #expect(lone.receive(bare) == .refused(.badFingerprint))
        #expect(lone.agent.pairCount == 0 && lone.agent.remotes.isEmpty)
        let answers = lone.drain()
        #expect(answers.count == 4)
        for answer in answers { #expect(answer.bytes.count <= unsigned.count && answer.has(.errorCode)) }
        // Ten in a second, then silence.
        for _ in 0..<50 { lone.receive(wrong) }
        #expect(lone.drain().count <= 6)
    }

    @Test func `A malformed request is refused by an answer with proof (ice 42, 60)`() {
        var lone = Lone()
        lone.begin(candidate: false)
        #expect(lone.deliver(lone.request(priority: nil)) == .refused(.badRequest))
        let both = STUNMessage.Attribute(.iceControlling, Lone.big(1, 8))
        #expect(lone.deliver(lone.request(extra: [both])) == .refused(.badRequest))
        let unknown = STUNMessage.Attribute(AttributeType(rawValue: 0x3F), [1, 2, 3, 4])
        #expect(lone.deliver(lone.request(extra: [unknown])) == .refused(.unknownAttribute))
        let codes = lone.drain().map { $0.value(.errorCode) }
        #expect(codes == [[0, 0, 4, 0], [0, 0, 4, 0], [0, 0, 4, 20]])
        #expect(lone.agent.pairCount == 0)
    }

    @Test func `A request of a generation of the peer that is not known yet is answered and nothing more (ice 95)`() {
        var lone = Lone()
        lone.begin(candidate: false)
        let fragment = lone.agent.localDescription.credentials.usernameFragment
        #expect(lone.deliver(lone.request(username: "\(fragment):NEW1")) == .consumed)
        #expect(lone.drain().count == 1)
        #expect(lone.agent.pairCount == 0)
    }

    @Test func `Bytes of any kind are refused by name and change nothing`() throws {
        for seed in seeds(2000) {
            var lone = Lone()
            lone.begin()
            let check = try #require(lone.drain().first)
            var entropy = Entropy.seeded(seed)
            var bytes = seed % 3 == 0 ? check.bytes : Lone.bytes(lone.request(), .sha1(lone.ownKey))
            for _ in 0...(entropy.next() % 3) {
                bytes[Int(entropy.next() % UInt64(bytes.count))] ^= UInt8(truncatingIfNeeded: entropy.next() | 1)
            }
            if entropy.next() % 4 == 0 { bytes.removeLast(Int(entropy.next() % UInt64(bytes.count))) }
            let disposition = lone.receive(bytes)
            if case .refused(let reason) = disposition {
                #expect(lone.agent.statistics[reason] == 1)
                #expect(lone.agent.path() == nil && lone.agent.pairCount == 1)
            }
        }
    }

    @Test func `What an authenticated peer can make grow is bounded (ice 33)`() {
        var lone = Lone { $0.remoteCandidateLimit = 20 }
        lone.begin()
        var refused = 0
        for index in 0..<500 {
            let source = SocketAddress(IPAddress(ipv4: 0x0A01_0000 + UInt32(index)), port: 9)
            if lone.deliver(lone.request(), from: source) == .refused(.limitReached) { refused += 1 }
            if index % 16 == 15 { _ = lone.drain() }
        }
        #expect(lone.agent.remotes.count == 20 && lone.agent.pairCount <= 20 && refused == 481)
        // Answers that nobody fetches are bounded too.
        for _ in 0..<200 { lone.deliver(lone.request()) }
        #expect(lone.agent.statistics[.tooManyResponses] > 0)
        #expect(lone.drain().count <= 64 + 32)
    }

    @Test func `Data is taken from proven addresses only (ice 84)`() throws {
        var lone = Lone()
        lone.begin()
        #expect(lone.receive([200]) == .refused(.unvalidatedData))
        let check = try #require(lone.drain().first)
        lone.answer(check)
        #expect(lone.receive([200]) == .data(component: 1))
        #expect(lone.receive([200], from: at("10.0.0.2:2001")) == .refused(.unvalidatedData))
        #expect(lone.receive([200], on: BaseID(rawValue: 3)) == .refused(.unvalidatedData))
        #expect(lone.receive([]) == .data(component: 1))
        // A consent indication without proof does nothing.
        let indication = STUNMessage(STUNMessageType(.binding, .indication), TransactionID(high: 1, low: 2))
        #expect(lone.receive(Lone.bytes(indication, .none)) == .consumed)
        lone.agent.close(at: lone.now)
        #expect(lone.receive([200]) == .refused(.closed))
    }

    @Test func `A STUN message of another method is not ours`() {
        var lone = Lone()
        lone.begin()
        let other = STUNMessage(STUNMessageType(.allocate, .success), TransactionID(high: 1, low: 2))
        #expect(lone.receive(Lone.bytes(other, .none)) == .refused(.unexpectedMethod))
        #expect(lone.receive([1, 1, 0, 0]) == .refused(.malformed))
    }
}
