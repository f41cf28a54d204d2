import NetTypes
import Testing

@testable import Signaling
@testable import SignalingMessages

@Suite("Sequence numbers and resume")
struct SequenceTests {
    @Test func `the server acknowledges within a second`() {
        var world = World()
        let ada = world.join(1)
        _ = world.join(2)
        world.say(.candidate(to: ada.id, nil), seq: 1, on: 2)
        world.say(.candidate(to: ada.id, nil), seq: 2, on: 2)
        world.wait(.milliseconds(999))
        #expect(world.take(2).isEmpty)
        world.wait(.milliseconds(1))
        #expect(world.take(2) == [ServerFrame(.acknowledge, acknowledged: 2)])
        world.wait(.seconds(5))
        #expect(world.take(2).isEmpty)
    }

    @Test func `the server acknowledges every sixteenth message at once`() {
        var world = World()
        let ada = world.join(1)
        _ = world.join(2)
        for sequence in UInt64(1)...40 { world.say(.candidate(to: ada.id, nil), seq: sequence, on: 2) }
        #expect(world.take(2).map(\.acknowledged) == [16, 32])
        world.wait(.seconds(1))
        #expect(world.take(2).map(\.acknowledged) == [40])
    }

    @Test func `a pong carries the acknowledgement that is owed`() {
        var world = World()
        let ada = world.join(1)
        _ = world.join(2)
        world.say(.candidate(to: ada.id, nil), seq: 1, on: 2)
        world.say(.ping(id: 7), on: 2)
        #expect(world.take(2) == [ServerFrame(.pong(id: 7), acknowledged: 1)])
        world.wait(.seconds(2))
        #expect(world.take(2).isEmpty)
    }

    @Test func `a repeated message is delivered once and acknowledged again`() {
        var world = World()
        let ada = world.join(1)
        _ = world.join(2)
        _ = world.take(1)
        for _ in 0..<3 { world.say(.description(to: ada.id, offer), seq: 1, on: 2) }
        #expect(world.take(1).count == 1)
        #expect(world.engine.statistics.duplicates == 2)
        world.wait(.seconds(1))
        #expect(world.take(2).map(\.acknowledged) == [1])
        world.say(.description(to: ada.id, offer), seq: 1, on: 2)
        world.wait(.seconds(1))
        #expect(world.take(2).map(\.acknowledged) == [1])
    }

    @Test func `a message to an unknown peer uses up its number`() {
        var world = World()
        let ada = world.join(1)
        _ = world.join(2)
        _ = world.take(1)
        world.say(.description(to: "nobody", offer), seq: 1, on: 2)
        world.say(.description(to: ada.id, offer), seq: 2, on: 2)
        #expect(world.take(2).errorCodes == [.unknownPeer])
        #expect(world.take(1).count == 1)
    }

    @Test func `what was missed follows a resume in order under its old numbers`() {
        var world = World()
        let ada = world.join(1)
        let bob = world.join(2)
        world.say(.candidate(to: bob.id, nil), seq: 1, on: 1)
        _ = (world.take(1), world.take(2))
        world.drop(2)
        for sequence in UInt64(2)...5 { world.say(.candidate(to: bob.id, nil), seq: sequence, on: 1) }
        let frames = world.resume(bob.session, ack: 1, on: 3)
        #expect(frames.replay == .complete)
        #expect(frames.first?.acknowledged == 0)
        #expect(frames.dropFirst().map(\.sequence) == [2, 3, 4, 5])
        // Others have not noticed.
        #expect(world.take(1).filter { $0.message.isSequenced }.isEmpty)
        world.say(.candidate(to: ada.id, nil), seq: 1, on: 3)
        #expect(world.take(1).map(\.sequence) == [2])
    }

    @Test func `resumed tells what has arrived of the client's messages`() {
        var world = World()
        let ada = world.join(1)
        let bob = world.join(2)
        for sequence in UInt64(1)...3 { world.say(.candidate(to: ada.id, nil), seq: sequence, on: 2) }
        world.drop(2)
        let frames = world.resume(bob.session, ack: 0, on: 3)
        #expect(frames.first?.acknowledged == 3)
        world.say(.candidate(to: ada.id, nil), seq: 3, on: 3)
        world.say(.candidate(to: ada.id, nil), seq: 4, on: 3)
        #expect(world.take(1).map(\.sequence) == [1, 2, 3, 4, 5])
    }

    @Test func `a resume while the old connection lives replaces it`() {
        var world = World()
        let ada = world.join(1)
        let bob = world.join(2)
        _ = world.take(1)
        #expect(world.resume(ada.session, ack: 1, on: 3).replay == .complete)
        #expect(world.closes == [1: .replaced])
        world.say(.candidate(to: bob.id, nil), seq: 1, on: 1)
        #expect(world.take(2).isEmpty)
        world.drop(1)
        world.wait(.seconds(30))
        world.say(.candidate(to: bob.id, nil), seq: 1, on: 3)
        #expect(world.take(2).count == 1)
        #expect(world.engine.statistics.awaySessions == 0)
    }

    @Test(arguments: [UInt64(0), 1])
    func `an acknowledgement in a resume that cannot be met means lost`(ack: UInt64) {
        var world = World()
        let ada = world.join(1)
        _ = (world.join(2), world.join(3))
        // Ada has had both, and said so; now the client knows less, or more than was ever sent.
        world.say(.acknowledge, ack: 2, on: 1)
        world.drop(1)
        let frames = world.resume(ada.session, ack: ack == 0 ? 1 : 3, on: 4)
        #expect(frames.replay == .lost)
        #expect(frames.count == 1)
        #expect(frames.first?.acknowledged == 0)
    }

    @Test func `after lost both sides start again at one`() {
        var limits = SignalingLimits()
        limits.replayMessages = 3
        var world = World(limits: limits)
        let ada = world.join(1)
        let bob = world.join(2)
        world.say(.candidate(to: ada.id, nil), seq: 1, on: 2)
        _ = (world.take(1), world.take(2))
        world.drop(2)
        for sequence in UInt64(1)...10 { world.say(.candidate(to: bob.id, nil), seq: sequence, on: 1) }
        let frames = world.resume(bob.session, ack: 0, on: 3)
        #expect(frames.replay == .lost)
        #expect(frames.count == 1 && frames.first?.acknowledged == 0)
        world.say(.candidate(to: bob.id, nil), seq: 11, on: 1)
        #expect(world.take(3).map(\.sequence) == [1])
        world.say(.candidate(to: ada.id, nil), seq: 1, on: 3)
        #expect(world.take(1).filter { $0.message.isSequenced }.map(\.sequence) == [3])
    }

    @Test func `a client that may not have heard of a loss is told again`() {
        var limits = SignalingLimits()
        limits.replayMessages = 1
        var world = World(limits: limits)
        let ada = world.join(1)
        let bob = world.join(2)
        world.say(.candidate(to: bob.id, nil), seq: 1, on: 1)
        world.drop(2)
        for sequence in UInt64(2)...4 { world.say(.candidate(to: bob.id, nil), seq: sequence, on: 1) }
        #expect(world.resume(bob.session, ack: 1, on: 3).replay == .lost)
        // The new number 1 looks like the one that Bob has acknowledged, and is another message.
        world.say(.candidate(to: bob.id, nil), seq: 5, on: 1)
        #expect(world.resume(bob.session, ack: 1, on: 4).replay == .lost)
        world.say(.ping(id: 1), on: 4)
        world.say(.candidate(to: bob.id, nil), seq: 6, on: 1)
        #expect(world.resume(bob.session, ack: 0, on: 5).replay == .complete)
        #expect(ada.peers.isEmpty)
    }

    @Test func `a client that is there but never acknowledges costs bounded memory`() {
        var limits = SignalingLimits()
        limits.replayBytes = 10000
        var world = World(limits: limits)
        _ = world.join(1)
        let bob = world.join(2)
        _ = (world.take(1), world.take(2))
        let big = SessionDescription(type: .offer, sdp: String(repeating: "x", count: 3000))
        for sequence in UInt64(1)...20 {
            world.say(.description(to: bob.id, big), seq: sequence, on: 1)
            #expect(world.engine.statistics.replayBytes <= 20000)
        }
        // It still gets everything that it can take.
        #expect(world.take(2).count == 20)
        #expect(world.resume(bob.session, ack: 19, on: 3).replay == .lost)
    }

    @Test func `a client that catches up can be helped again`() {
        var limits = SignalingLimits()
        limits.replayMessages = 2
        var world = World(limits: limits)
        _ = world.join(1)
        let bob = world.join(2)
        for sequence in UInt64(1)...5 { world.say(.candidate(to: bob.id, nil), seq: sequence, on: 1) }
        world.say(.acknowledge, ack: 5, on: 2)
        world.drop(2)
        world.say(.candidate(to: bob.id, nil), seq: 6, on: 1)
        let frames = world.resume(bob.session, ack: 5, on: 3)
        #expect(frames.replay == .complete)
        #expect(frames.dropFirst().map(\.sequence) == [6])
    }

    @Test func `all histories together are bounded and empty in the end`() {
        var limits = SignalingLimits()
        limits.totalReplayBytes = 50000
        var world = World(limits: limits)
        let big = SessionDescription(type: .offer, sdp: String(repeating: "x", count: 4000))
        for room in UInt64(0)..<10 {
            _ = world.join(2 * room, room: "\(room)")
            let bob = world.join(2 * room + 1, room: "\(room)")
            for sequence in UInt64(1)...4 { world.say(.description(to: bob.id, big), seq: sequence, on: 2 * room) }
            #expect(world.engine.statistics.replayBytes <= 50000)
        }
        for connection in UInt64(0)..<20 { world.drop(connection) }
        world.wait(.seconds(121))
        #expect(world.engine.statistics.replayBytes == 0)
        #expect(world.engine.statistics.sessions == 0)
        #expect(world.stored.isEmpty)
    }

    @Test func `acknowledged messages are forgotten`() {
        var world = World()
        _ = world.join(1)
        let bob = world.join(2)
        for sequence in UInt64(1)...300 {
            world.say(.candidate(to: bob.id, someCandidate), seq: sequence, on: 1)
            world.wait(.milliseconds(100))
            world.say(.acknowledge, ack: sequence, on: 2)
        }
        let kept = world.engine.statistics.replayBytes
        #expect(kept < 1000, "only Ada's unacknowledged roster message is left")
        // An older acknowledgement changes nothing.
        world.say(.acknowledge, ack: 1, on: 2)
        #expect(world.closes.isEmpty)
    }
}
