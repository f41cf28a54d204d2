import Connectivity
import EventLoop
import ICE
import ICETransport
import NetTypes
import SignalingMessages
import Testing

@testable import PeerTools

extension ServerMessage {
    static func welcome(peers: [String], away: [String] = []) -> Welcome {
        Welcome(
            id: "own",
            room: "room",
            peers: away.map { SignalingPeer(id: $0, name: "floe", isAway: true) }
                + peers.map { SignalingPeer(id: $0, name: "floe") },
            iceServers: ICEServerList(iceServers: [], ttlSeconds: 600),
            heartbeatSeconds: 15,
            limits: AdvertisedLimits(
                messageBytes: 65_536,
                messagesPerSecond: 50,
                messageBurst: 200,
                peersPerRoom: 6,
                nameCharacters: 64,
                replayMessages: 512,
                resumeSeconds: 120
            )
        )
    }
}

/// A signaling server's words, as this end hears them; the other end is made of words alone.
private struct Room {
    static let other = "other"

    let client: SignalingClient
    let server: AsyncStream<ServerMessage>.Continuation
    private let said: Mailbox<ClientMessage?>

    init(peers: [String], away: [String] = []) throws {
        let (messages, server) = AsyncStream<ServerMessage>.makeStream()
        said = try Mailbox(limit: 1024)
        client = SignalingClient(messages, said)
        self.server = server
        server.yield(.joined(session: "session", ServerMessage.welcome(peers: peers, away: away)))
    }

    /// To whom what was described, in this order, until that has been done so often.
    func descriptions(_ count: Int) async throws -> [String] {
        try await onThread { [said] in
            var words: [String] = []
            var mail: [ClientMessage?] = []
            let poller = try Poller()
            var events = PollEvents(capacity: 1)
            try poller.add(said.descriptor, token: 0, interest: .read)
            while words.count < count {
                try poller.wait(until: MonotonicClock.now() + .seconds(30), into: &events)
                guard events.count > 0 else { break }
                said.receive(into: &mail)
                for case .description(let peer, let description)? in mail {
                    words.append("\(description.type) \(peer)")
                }
                mail.removeAll()
            }
            return words
        }
    }

    func describe(_ type: SessionDescription.Kind) throws {
        let credentials = try ICECredentials(usernameFragment: "abcd", password: "abcdefghijklmnopqrstuv")
        let description = ICEDescription(credentials: credentials, options: [.ice2, .trickle], pacing: nil)
        let lines = PeerCode(description, []).lines
        server.yield(.description(from: Self.other, SessionDescription(type: type, sdp: lines)))
    }

    /// Meets the other end; ICE itself is patient for an hour, or for no time.
    func meet(_ loop: ICELoop, isPatient: Bool, patience: Duration) async throws -> Meeting {
        try await Meetings.join(client, loop, patience: patience) { role, _ in
            var configuration = ICESessionConfiguration(ICEConfiguration(role: role))
            configuration.usesLoopback = true
            configuration.usesPortMapping = false
            configuration.ice.patience = isPatient ? .seconds(3600) : .zero
            return configuration
        }
    }
}

@Suite(.timeLimit(.minutes(1))) struct MeetingTests {
    private static let long = Duration.seconds(3600)

    @Test(arguments: [false, true])
    func `no more candidates are waited for when signaling has ended`(isOfferer: Bool) async throws {
        let loop = try ICELoop()
        defer { loop.stop() }
        let room = try Room(peers: isOfferer ? [Room.other] : [])
        try room.describe(isOfferer ? .answer : .offer)
        let meeting = try await room.meet(loop, isPatient: false, patience: Self.long)
        room.server.finish()
        #expect(await meeting.path() == .failed(nil))
        #expect(await meeting.connection.report()?.verdict.contains(.noRemoteCandidates) == true)
        await meeting.end()
    }

    @Test func `an end that was away for too long has no more candidates, and may still come`() async throws {
        let loop = try ICELoop()
        defer { loop.stop() }
        let room = try Room(peers: [Room.other])
        try room.describe(.answer)
        let meeting = try await room.meet(loop, isPatient: false, patience: Self.long)
        room.server.yield(.peerLeft(id: Room.other, reason: .timeout))
        #expect(await meeting.path() == .failed(nil))
        await meeting.end()
    }

    @Test func `an end that leaves is not waited for`() async throws {
        let loop = try ICELoop()
        defer { loop.stop() }
        let room = try Room(peers: [Room.other])
        try room.describe(.answer)
        let meeting = try await room.meet(loop, isPatient: true, patience: Self.long)
        room.server.yield(.peerLeft(id: Room.other, reason: .left))
        #expect(await meeting.path() == .failed("The other end has gone before there was a path: run both ends again."))
        await meeting.end()
    }

    @Test func `an end that says nothing after its description is taken for lost in the end`() async throws {
        let loop = try ICELoop()
        defer { loop.stop() }
        let room = try Room(peers: [Room.other])
        try room.describe(.answer)
        let meeting = try await room.meet(loop, isPatient: true, patience: .milliseconds(100))
        guard case .failed(let words?) = await meeting.path() else {
            Issue.record("it has not failed")
            return
        }
        #expect(words.hasPrefix("No path to the other end was found"))
        await meeting.end()
    }

    @Test func `an end that does not answer is not waited for for ever`() async throws {
        let loop = try ICELoop()
        defer { loop.stop() }
        let room = try Room(peers: [Room.other])
        let error = await #expect(throws: PeerError.self) {
            _ = try await room.meet(loop, isPatient: true, patience: .milliseconds(100))
        }
        #expect(error?.description.hasPrefix("the other end does not answer") == true)
    }

    @Test func `one who is away is offered nothing, and the next to come is waited for`() async throws {
        let loop = try ICELoop()
        defer { loop.stop() }
        let room = try Room(peers: [], away: ["dead"])
        try room.describe(.offer)
        let meeting = try await room.meet(loop, isPatient: true, patience: .seconds(10))
        #expect(!meeting.isOfferer)
        #expect(try await room.descriptions(1) == ["answer other"])
        await meeting.end()
    }

    @Test func `the newest is offered first, and the next when it says nothing`() async throws {
        let loop = try ICELoop()
        defer { loop.stop() }
        let room = try Room(peers: ["oldest", Room.other, "newest"])
        async let meeting = room.meet(loop, isPatient: true, patience: .seconds(8))
        #expect(try await room.descriptions(2) == ["offer newest", "offer other"])
        try room.describe(.answer)
        #expect(try await meeting.isOfferer)
        try await meeting.end()
    }

    /// Whoever comes later offers to us, and we may have offered to somebody who is no more.
    @Test func `an offer that comes while nobody answers is answered`() async throws {
        let loop = try ICELoop()
        defer { loop.stop() }
        let room = try Room(peers: ["dead"])
        try room.describe(.offer)
        let meeting = try await room.meet(loop, isPatient: true, patience: .seconds(10))
        #expect(!meeting.isOfferer)
        #expect(try await room.descriptions(2) == ["offer dead", "answer other"])
        await meeting.end()
    }

    @Test(arguments: [false, true])
    func `when all who were there have gone nobody is waited for`(isTold: Bool) async throws {
        let loop = try ICELoop()
        defer { loop.stop() }
        let room = try Room(peers: ["first", "second"])
        for (number, peer) in [(UInt64(1), "second"), (2, "first")] {
            room.server.yield(
                isTold
                    ? .peerLeft(id: peer, reason: .left)
                    : .error(.unknownPeer, message: "There is no such peer.", sequence: number)
            )
        }
        let error = await #expect(throws: PeerError.self) {
            _ = try await room.meet(loop, isPatient: true, patience: Self.long)
        }
        #expect(error?.description == "the other end has gone: run both ends again")
    }

    @Test func `who waits for the other's path can be told not to`() async throws {
        let loop = try ICELoop()
        defer { loop.stop() }
        let room = try Room(peers: [])
        try room.describe(.offer)
        let meeting = try await room.meet(loop, isPatient: true, patience: Self.long)
        let waiting = Task { await meeting.path() }
        waiting.cancel()
        #expect(await waiting.value == .cancelled)
        await meeting.end()
    }

    /// A person carries the codes: only who has both knows that the other end has both, too.
    @Test func `by codes the time counts from when both are in`() async throws {
        let loop = try ICELoop()
        defer { loop.stop() }
        var configuration = ICESessionConfiguration(ICEConfiguration(role: .controlling))
        configuration.usesLoopback = true
        configuration.usesPortMapping = false
        let other = configuration
        let (offers, offered) = AsyncStream<PeerCode>.makeStream()
        let (answers, answered) = AsyncStream<PeerCode>.makeStream()
        async let offering = Meetings.offer(loop, configuration) {
            offered.yield($0)
        } answer: {
            for await answer in answers { return answer }
            throw PeerError("no answer")
        }
        var offer: PeerCode?
        for await code in offers {
            offer = code
            break
        }
        var answering = other
        answering.ice.role = .controlled
        let second = try await Meetings.answer(try #require(offer), loop, answering) { answered.yield($0) }
        let first = try await offering
        #expect(first.patience == Meetings.patience && second.patience == nil)
        #expect(await first.path() == .connected)
        #expect(await second.path() == .connected)
        await first.end()
        await second.end()
    }
}
