import Bytes
import NetTypes
import Testing

@testable import Signaling
@testable import SignalingMessages

@Suite("Rooms")
struct RoomTests {
    @Test func `a newcomer learns who is there and the others learn of the newcomer`() {
        var world = World()
        let ada = world.join(1, name: "Ada")
        #expect(ada.peers.isEmpty)
        let bob = world.join(2, name: "Bob")
        #expect(bob.peers == [SignalingPeer(id: ada.id, name: "Ada")])
        #expect(
            world.take(1) == [ServerFrame(.peerJoined(SignalingPeer(id: bob.id, name: "Bob")), sequence: 1)]
        )
        let eve = world.join(3, name: "Eve")
        #expect(eve.peers.map(\.id) == [ada.id, bob.id])
        #expect(world.take(1).map(\.sequence) == [2])
        #expect(world.take(2).map(\.sequence) == [1])
    }

    @Test func `a newcomer is told who is away, until that one is back`() {
        var world = World()
        let ada = world.join(1, name: "Ada")
        world.drop(1)
        let bob = world.join(2, name: "Bob")
        #expect(bob.peers == [SignalingPeer(id: ada.id, name: "Ada", isAway: true)])
        _ = world.resume(ada.session, ack: 0, on: 3)
        let eve = world.join(4, name: "Eve")
        #expect(eve.peers.map(\.id) == [ada.id, bob.id] && eve.peers.allSatisfy { !$0.isAway })
    }

    @Test func `ids and secrets have the promised size and differ`() {
        var world = World()
        var seen: Set<String> = []
        for connection in UInt64(1)...50 {
            let member = world.join(connection, room: "room\(connection)")
            #expect(member.id.utf8.count == 16)
            #expect(Base64.decode(member.id, .url)?.count == 12)
            #expect(member.session.utf8.count == 32)
            #expect(Base64.decode(member.session, .url)?.count == 24)
            #expect(seen.insert(member.id).inserted && seen.insert(member.session).inserted)
        }
    }

    @Test func `the secret is in no event and reaches only its owner`() throws {
        var world = World()
        let ada = world.join(1)
        let bob = world.join(2)
        world.say(.description(to: ada.id, offer), seq: 1, on: 2)
        let events = String(describing: world.events)
        #expect(!events.contains(ada.session) && !events.contains(bob.session))
        #expect(world.take(1).allSatisfy { !$0.text.contains(bob.session) })
        let digest = SessionDigest(secret: ada.session)
        #expect(world.stored[digest]?.peerID == ada.id)
        #expect(world.stored[digest]?.lastSeenUnixSeconds == World.startUnixSeconds)
    }

    @Test func `the welcome carries limits and credentials`() throws {
        var world = World()
        world.open(1)
        world.say(.join(room: "r", name: "n"), on: 1)
        let frame = try #require(world.take(1).first)
        guard case .joined(_, let welcome) = frame.message else { return #expect(Bool(false), "\(frame)") }
        #expect(welcome.room == "r")
        #expect(welcome.heartbeatSeconds == 15)
        #expect(
            welcome.limits
                == AdvertisedLimits(
                    messageBytes: 65536,
                    messagesPerSecond: 50,
                    messageBurst: 500,
                    peersPerRoom: 6,
                    nameCharacters: 64,
                    replayMessages: 512,
                    resumeSeconds: 120
                )
        )
        #expect(welcome.iceServers.ttlSeconds == 86400)
        #expect(welcome.iceServers.iceServers.first?.urls == ["stun:example.org:3478"])
        #expect(welcome.iceServers.iceServers.last?.username == "\(World.startUnixSeconds + 86400):\(welcome.id)")
    }

    @Test func `messages go to their addressee alone, as they were sent`() {
        var world = World()
        let ada = world.join(1)
        let bob = world.join(2)
        let eve = world.join(3)
        _ = (world.take(1), world.take(2))
        world.say(.description(to: bob.id, offer), seq: 1, on: 1)
        world.say(.candidate(to: bob.id, someCandidate), seq: 2, on: 1)
        world.say(.candidate(to: bob.id, nil), seq: 3, on: 1)
        #expect(
            world.take(2).map(\.message) == [
                .description(from: ada.id, offer), .candidate(from: ada.id, someCandidate),
                .candidate(from: ada.id, nil),
            ]
        )
        #expect(world.take(1).isEmpty && world.take(3).isEmpty)
        #expect(eve.peers.count == 2)
    }

    @Test func `two rooms learn nothing of each other`() {
        var world = World()
        let ada = world.join(1, room: "one")
        let eve = world.join(2, room: "two")
        #expect(eve.peers.isEmpty)
        world.say(.description(to: ada.id, offer), seq: 1, on: 2)
        #expect(world.take(1).isEmpty)
        let answer = world.take(2)
        // A stranger in another room and a peer that never was look the same.
        world.say(.description(to: "AAAAAAAAAAAAAAAA", offer), seq: 2, on: 2)
        let other = world.take(2)
        #expect(answer.errorCodes == [.unknownPeer] && other.errorCodes == [.unknownPeer])
        let sentences = [answer, other].map { frames in
            frames.map { frame in
                if case .error(_, let sentence, _) = frame.message { sentence } else { "" }
            }
        }
        #expect(sentences[0] == sentences[1])
        world.say(.leave, on: 1)
        #expect(world.take(2).isEmpty)
        #expect(world.closes[2] == nil)
    }

    @Test func `nobody is a peer of oneself`() {
        var world = World()
        let ada = world.join(1)
        world.say(.description(to: ada.id, offer), seq: 1, on: 1)
        #expect(world.take(1).errorCodes == [.unknownPeer])
    }

    @Test func `who leaves is closed with 1000 and the others are told`() {
        var world = World()
        let ada = world.join(1)
        let bob = world.join(2)
        _ = world.take(1)
        world.say(.leave, on: 2)
        #expect(world.closes[2] == .left)
        #expect(world.take(1).map(\.message) == [.peerLeft(id: bob.id, reason: .left)])
        #expect(world.stored[SessionDigest(secret: bob.session)] == nil)
        #expect(world.resume(bob.session, ack: 0, on: 3).errorCodes == [.sessionUnknown])
        #expect(world.stored[SessionDigest(secret: ada.session)] != nil)
    }

    @Test func `an empty room is forgotten`() {
        var world = World()
        for connection in UInt64(1)...20 {
            _ = world.join(connection, room: "room\(connection)")
            world.say(.leave, on: connection)
        }
        let statistics = world.engine.statistics
        #expect(statistics.rooms == 0 && statistics.sessions == 0 && statistics.connections == 0)
    }

    @Test(arguments: ["r", "ABCxyz019-_.~", String(repeating: "a", count: 64)])
    func `a good room's name is taken`(room: String) {
        #expect(SignalingNames.isRoom(room))
    }

    @Test(arguments: ["", String(repeating: "a", count: 65), "a b", "a/b", "ä", "a%20", "a\n", "\u{0}"])
    func `a bad room's name is refused and the connection stays`(room: String) {
        var world = World()
        world.open(1)
        world.say(.join(room: room, name: "Ada"), on: 1)
        #expect(world.take(1).errorCodes == [.badRoom])
        #expect(world.closes[1] == nil)
        world.say(.join(room: "good", name: "Ada"), on: 1)
        #expect(world.take(1).first?.message.typeName == "joined")
    }

    @Test(arguments: [
        "A", "Ada Lovelace", "名前", "\u{0639}\u{0644}\u{064A}", "👩🏽‍🚀", "a\u{0301}", "می\u{200C}خواهم",
        String(repeating: "ä", count: 64),
    ])
    func `a good name is taken`(name: String) {
        #expect(SignalingNames.isPeerName(name, limits: SignalingLimits()))
    }

    @Test(arguments: [
        "", " ", "\u{3000}\u{A0}", "\u{200D}", String(repeating: "a", count: 65), "a\nb", "a\u{0}", "\u{7F}", "\u{85}",
        "\u{202E}abc", "a\u{2066}b", "\u{200E}a", "\u{FEFF}a", "a\u{2028}b", "\u{FFFE}", "\u{E000}", "a\u{E0041}",
        "a" + String(repeating: "\u{0301}", count: 200), "\u{115F}",
    ])
    func `a bad name is refused and the connection stays`(name: String) {
        var world = World()
        world.open(1)
        world.say(.join(room: "room", name: name), on: 1)
        #expect(world.take(1).errorCodes == [.badName])
        #expect(world.closes[1] == nil)
    }

    @Test func `a full room takes the next one when somebody has left`() {
        var limits = SignalingLimits()
        limits.peersPerRoom = 2
        var world = World(limits: limits)
        _ = (world.join(1), world.join(2))
        world.open(3)
        world.say(.join(room: "room", name: "Eve"), on: 3)
        #expect(world.take(3).errorCodes == [.roomFull])
        world.say(.leave, on: 1)
        world.say(.join(room: "room", name: "Eve"), on: 3)
        #expect(world.take(3).first?.message.typeName == "joined")
    }

    @Test func `there are no more rooms than allowed but known ones are open`() {
        var limits = SignalingLimits()
        limits.rooms = 2
        var world = World(limits: limits)
        _ = (world.join(1, room: "a"), world.join(2, room: "b"))
        world.open(3)
        world.say(.join(room: "c", name: "Eve"), on: 3)
        #expect(world.take(3).errorCodes == [.tooManyRooms])
        world.say(.join(room: "b", name: "Eve"), on: 3)
        #expect(world.take(3).first?.message.typeName == "joined")
    }

    @Test func `there are no more connections than allowed`() {
        var limits = SignalingLimits()
        limits.connections = 2
        var world = World(limits: limits)
        world.open(1)
        world.open(2)
        world.open(3)
        #expect(world.closes == [3: .tooManyConnections])
        world.drop(1)
        world.open(4)
        #expect(world.closes[4] == nil)
        #expect(world.engine.statistics.connections == 2)
    }
}
