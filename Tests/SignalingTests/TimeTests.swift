import NetTypes
import Testing

@testable import Signaling
@testable import SignalingMessages

@Suite("Timeouts, fresh credentials, restart")
struct TimeTests {
    @Test func `a connection that says nothing is closed after ten seconds`() {
        var world = World()
        world.open(1)
        world.wait(.milliseconds(9999))
        #expect(world.closes.isEmpty)
        world.wait(.milliseconds(1))
        #expect(world.closes == [1: .timeout])
        #expect(world.engine.nextTimeout == nil)
    }

    @Test func `who was refused a room may try again for a while`() {
        var world = World()
        world.open(1)
        world.say(.join(room: "", name: "Ada"), on: 1)
        world.wait(.seconds(30))
        #expect(world.closes.isEmpty)
        world.wait(.seconds(8))
        #expect(world.closes == [1: .timeout])
    }

    @Test func `a client is gone after two and a half heartbeats and may resume`() {
        var world = World()
        let ada = world.join(1)
        let bob = world.join(2)
        for _ in 0..<5 {
            world.wait(.seconds(15))
            world.say(.ping(id: 1), on: 1)
            if world.closes[2] == nil { world.say(.ping(id: 1), on: 2) }
        }
        #expect(world.closes.isEmpty)
        _ = world.take(1)
        world.wait(.seconds(37))
        world.say(.ping(id: 1), on: 1)
        #expect(world.closes.isEmpty)
        world.wait(.milliseconds(500))
        #expect(world.closes == [2: .timeout])
        #expect(world.take(1).map(\.message.typeName) == ["pong"])
        #expect(world.resume(bob.session, ack: 0, on: 3).replay == .complete)
        #expect(ada.peers.isEmpty)
    }

    @Test func `an absent peer is given up when the time to resume is over`() {
        var world = World()
        _ = world.join(1)
        let bob = world.join(2)
        _ = world.take(1)
        world.drop(2)
        for _ in 0..<11 {
            world.wait(.seconds(10))
            world.say(.ping(id: 1), on: 1)
        }
        world.wait(.milliseconds(9999))
        #expect(world.take(1).allSatisfy { $0.message.typeName == "pong" })
        #expect(world.stored[SessionDigest(secret: bob.session)]?.lastSeenUnixSeconds == World.startUnixSeconds)
        world.wait(.milliseconds(1))
        #expect(world.take(1).map(\.message) == [.peerLeft(id: bob.id, reason: .timeout)])
        #expect(world.stored[SessionDigest(secret: bob.session)] == nil)
        #expect(world.resume(bob.session, ack: 0, on: 3).errorCodes == [.sessionUnknown])
    }

    @Test func `going away and coming back starts the time anew`() {
        var world = World()
        let ada = world.join(1)
        for connection in UInt64(2)...20 {
            world.drop(connection - 1)
            world.wait(.seconds(119))
            #expect(world.resume(ada.session, ack: 0, on: connection).replay == .complete)
        }
        #expect(world.engine.statistics.sessions == 1)
        #expect(world.stored[SessionDigest(secret: ada.session)] != nil)
    }

    @Test func `fresh ICE servers come when asked for and when two thirds of their time are over`() throws {
        var world = World(minter: ICEServersMinter(secret: "s", ttlSeconds: 90))
        let ada = world.join(1)
        world.wait(.seconds(30))
        world.say(.refresh, on: 1)
        let expiries = { (frames: [ServerFrame]) -> [String?] in
            frames.compactMap { frame in
                if case .iceServers(let list) = frame.message { list.iceServers.last?.username } else { nil }
            }
        }
        #expect(expiries(world.take(1)) == ["\(World.startUnixSeconds + 30 + 90):\(ada.id)"])
        world.wait(.seconds(30))
        world.say(.ping(id: 1), on: 1)
        world.wait(.seconds(29))
        #expect(expiries(world.take(1)).isEmpty, "the time counts from the last ones that were sent")
        world.say(.ping(id: 1), on: 1)
        world.wait(.seconds(1))
        #expect(expiries(world.take(1)) == ["\(World.startUnixSeconds + 90 + 90):\(ada.id)"])
    }

    @Test func `the credentials follow the time of day when it jumps`() {
        var world = World()
        _ = world.join(1)
        world.engine.setWallClock(unixSeconds: 5, at: world.now)
        world.wait(.seconds(2))
        world.say(.refresh, on: 1)
        guard case .iceServers(let list)? = world.take(1).first?.message else { return #expect(Bool(false)) }
        #expect(list.iceServers.last?.username?.hasPrefix("86407:") == true)
    }

    @Test(arguments: [nil, "evil\"host", "a b", "turn:x", "-", "host:99999"] as [String?])
    func `a host that is none is not repeated`(host: String?) throws {
        var world = World()
        world.open(1, host: host)
        world.say(.join(room: "room", name: "Ada"), on: 1)
        let frame = try #require(world.take(1).first)
        guard case .joined(_, let welcome) = frame.message else { return #expect(Bool(false), "\(frame)") }
        #expect(welcome.iceServers.iceServers.isEmpty)
        #expect(world.engine.statistics.unusableHosts == 1)
        if let host { #expect(!frame.text.contains(host) || host == "-") }
    }

    @Test func `a server that stops sends everyone away and takes nobody`() {
        var world = World()
        _ = (world.join(1), world.join(2))
        world.open(3)
        world.engine.shutdown(at: world.now)
        world.drain()
        #expect(world.closes == [1: .goingAway, 2: .goingAway, 3: .goingAway])
        #expect(world.stored.count == 2)
        world.open(4)
        #expect(world.closes[4] == .goingAway)
    }

    @Test func `sessions survive the server and messages do not`() {
        var first = World()
        let ada = first.join(1)
        let bob = first.join(2, name: "Bob")
        first.say(.candidate(to: ada.id, nil), seq: 1, on: 2)
        let stored = first.stored

        var world = World(seed: 2)
        world.engine.restore(Array(stored.values), at: world.now)
        world.drain()
        #expect(world.engine.statistics.awaySessions == 2)
        let frames = world.resume(bob.session, ack: 0, on: 1)
        #expect(frames.replay == .lost)
        guard case .resumed(_, let welcome)? = frames.first?.message else { return #expect(Bool(false), "\(frames)") }
        #expect(welcome.id == bob.id && welcome.peers == [SignalingPeer(id: ada.id, name: "Ada", isAway: true)])
        world.say(.candidate(to: ada.id, nil), seq: 1, on: 1)
        #expect(world.resume(ada.session, ack: 9, on: 2).replay == .lost)
        world.say(.candidate(to: ada.id, nil), seq: 2, on: 1)
        #expect(world.take(2).map(\.sequence) == [1])
    }

    @Test func `restored peers that do not come back are given up`() {
        var first = World()
        _ = (first.join(1), first.join(2))
        var world = World(seed: 2)
        world.stored = first.stored
        world.engine.restore(Array(first.stored.values), at: world.now)
        world.wait(.seconds(120))
        #expect(world.engine.statistics.sessions == 0)
        #expect(world.stored.isEmpty)
        #expect(world.engine.nextTimeout == nil)
    }

    @Test func `stored sessions that break a rule are removed`() throws {
        var limits = SignalingLimits()
        limits.peersPerRoom = 2
        limits.rooms = 1
        let good = "0123456789abcdef"
        let rows = [
            ("room", good, "Ada"), ("room", good, "same id"), ("bad room", good, "Ada"), ("room", "short", "Ada"),
            ("room", "1123456789abcdef", "\u{202E}"), ("room", "2123456789abcdef", "Bob"),
            ("room", "3123456789abcdef", "Eve"),
            ("other", "4123456789abcdef", "Joe"),
        ]
        let stored = try rows.enumerated().map { index, row in
            let digest = try #require(SessionDigest(bytes: Array(repeating: UInt8(index), count: 32)))
            return StoredSession(digest: digest, room: row.0, peerID: row.1, name: row.2, lastSeenUnixSeconds: 0)
        }
        var world = World(limits: limits)
        for session in stored { world.stored[session.digest] = session }
        world.engine.restore(stored, at: world.now)
        world.drain()
        #expect(Set(world.stored.values.map(\.name)) == ["Ada", "Bob"])
        #expect(world.engine.statistics.sessions == 2)
        #expect(SessionDigest(bytes: [1, 2, 3]) == nil)
    }

    @Test func `the queue of timers stays as small as what it serves`() {
        var world = World()
        let ada = world.join(1_000_000)
        for connection in UInt64(1)...20000 {
            world.open(connection)
            world.drop(connection)
        }
        #expect(world.engine.timers.count < 3000)
        // The rebuilt queue still knows what is due.
        world.wait(.seconds(40))
        #expect(world.closes[1_000_000] == .timeout)
        world.wait(.seconds(120))
        #expect(world.events.contains(.left(peerID: ada.id, reason: .timeout)))
    }
}
