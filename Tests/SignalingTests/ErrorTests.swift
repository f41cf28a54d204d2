import NetTypes
import Testing

@testable import Signaling
@testable import SignalingMessages

/// One row of the protocol's table of errors.
struct Mistake: CustomTestStringConvertible, Sendable {
    let text: String
    let joined: Bool
    let code: SignalingErrorCode
    let close: SignalingCloseCode?
    var sequence: UInt64?

    var testDescription: String { "\(code.rawValue): \(text.prefix(60))" }
}

@Suite("Errors and close codes")
struct ErrorTests {
    static let mistakes: [Mistake] = [
        Mistake(text: "", joined: false, code: .badMessage, close: .badMessage),
        Mistake(text: "nonsense", joined: true, code: .badMessage, close: .badMessage),
        Mistake(
            text: #"{"type":"nonsense","seq":9}"#,
            joined: true,
            code: .badMessage,
            close: .badMessage,
            sequence: 9
        ),
        Mistake(text: #"{"type":"ack","ack":1}"#, joined: true, code: .badMessage, close: .badMessage),
        Mistake(text: #"{"type":"ping","id":1,"ack":1}"#, joined: true, code: .badMessage, close: .badMessage),
        Mistake(text: #"{"type":"ping","id":1}"#, joined: false, code: .notJoined, close: .notJoined),
        Mistake(text: #"{"type":"leave"}"#, joined: false, code: .notJoined, close: .notJoined),
        Mistake(
            text: #"{"type":"candidate","to":"x","candidate":null,"seq":1}"#,
            joined: false,
            code: .notJoined,
            close: .notJoined,
            sequence: 1
        ),
        Mistake(
            text: #"{"type":"join","version":2,"room":"r","name":"n"}"#,
            joined: false,
            code: .unsupportedVersion,
            close: .unsupportedVersion
        ),
        Mistake(text: #"{"type":"join","version":1,"room":"","name":"n"}"#, joined: false, code: .badRoom, close: nil),
        Mistake(text: #"{"type":"join","version":1,"room":"r","name":""}"#, joined: false, code: .badName, close: nil),
        Mistake(
            text: #"{"type":"join","version":1,"room":"r","name":"n"}"#,
            joined: true,
            code: .alreadyJoined,
            close: nil
        ),
        Mistake(
            text: #"{"type":"resume","version":1,"session":"x","ack":0}"#,
            joined: true,
            code: .alreadyJoined,
            close: nil
        ),
        Mistake(
            text: #"{"type":"resume","version":1,"session":"x","ack":0}"#,
            joined: false,
            code: .sessionUnknown,
            close: nil
        ),
        Mistake(
            text: #"{"type":"candidate","to":"x","candidate":null,"seq":1}"#,
            joined: true,
            code: .unknownPeer,
            close: nil,
            sequence: 1
        ),
        Mistake(
            text: #"{"type":"candidate","to":"x","candidate":null,"seq":2}"#,
            joined: true,
            code: .sequenceGap,
            close: .sequenceGap,
            sequence: 2
        ),
        Mistake(text: String(repeating: " ", count: 65537), joined: true, code: .tooLarge, close: .tooLarge),
        Mistake(text: String(repeating: "ä", count: 32769), joined: false, code: .tooLarge, close: .tooLarge),
    ]

    @Test(arguments: mistakes)
    func `a mistake gets its error, its close code, and nobody else hears of it`(mistake: Mistake) throws {
        var world = World()
        let ada = world.join(1)
        if mistake.joined { _ = world.join(2) } else { world.open(2) }
        _ = (world.take(1), world.take(2))
        world.say(mistake.text, on: 2)
        let frames = world.take(2)
        guard frames.count == 1, case .error(let code, let message, let sequence) = frames[0].message else {
            return #expect(Bool(false), "\(frames)")
        }
        #expect(code == mistake.code)
        #expect(sequence == mistake.sequence)
        #expect(message.hasSuffix("."))
        #expect(world.closes[2] == mistake.close)
        #expect(world.engine.statistics.errors == [mistake.code: 1])
        #expect(world.closes[1] == nil)
        let heard = world.take(1)
        if mistake.joined, mistake.close?.endsSession == true {
            #expect(heard.count == 1)
            if case .peerLeft(_, .expelled)? = heard.first?.message {} else { #expect(Bool(false), "\(heard)") }
        } else {
            #expect(heard.isEmpty)
        }
        #expect(world.engine.statistics.sessions == (mistake.joined && mistake.close == nil ? 2 : 1))
        #expect(ada.peers.isEmpty)
    }

    @Test func `a message of the greatest length is taken`() {
        var world = World()
        _ = world.join(1)
        let ping = #"{"type":"ping","id":1}"#
        world.say(ping + String(repeating: " ", count: 65536 - ping.utf8.count), on: 1)
        #expect(world.take(1).map(\.message) == [.pong(id: 1)])
    }

    @Test func `binary and oversized messages are refused`() {
        var world = World()
        _ = (world.join(1), world.join(2))
        _ = world.take(1)
        world.engine.receiveNonText(from: 1, at: world.now)
        world.engine.receiveOversized(from: 2, at: world.now)
        world.engine.receiveNonText(from: 9, at: world.now)
        world.engine.receiveOversized(from: 9, at: world.now)
        world.drain()
        #expect(world.closes == [1: .badMessage, 2: .tooLarge])
        #expect(world.engine.statistics.strays == 2)
    }

    @Test func `the burst is allowed, one more is too fast, and the session can be resumed`() {
        var world = World()
        let ada = world.join(1)
        for id in UInt64(1)...499 { world.say(.ping(id: id), on: 1) }
        #expect(world.take(1).count == 499)
        #expect(world.closes.isEmpty)
        world.say(.ping(id: 500), on: 1)
        #expect(world.take(1).errorCodes == [.rateLimited])
        #expect(world.closes[1] == .rateLimited)
        #expect(world.resume(ada.session, ack: 0, on: 2).replay == .complete)
    }

    /// A peer would flood the others by connecting again and again.
    @Test func `a new connection brings no new burst to a session`() {
        var world = World()
        let ada = world.join(1)
        for id in UInt64(1)...499 { world.say(.ping(id: id), on: 1) }
        #expect(world.resume(ada.session, ack: 0, on: 2).replay == .complete)
        _ = world.take(2)
        world.say(.ping(id: 500), on: 2)
        #expect(world.take(2).errorCodes == [.rateLimited])
        world.wait(.seconds(1))
        #expect(world.resume(ada.session, ack: 0, on: 3).replay == .complete)
        _ = world.take(3)
        for id in UInt64(1)...50 { world.say(.ping(id: id), on: 3) }
        #expect(world.take(3).errorCodes.isEmpty)
    }

    @Test func `the steady rate is allowed for ever`() {
        var world = World()
        _ = world.join(1)
        for id in UInt64(0)..<3000 {
            world.wait(.milliseconds(20))
            world.say(.ping(id: id), on: 1)
        }
        #expect(world.closes.isEmpty)
        #expect(world.take(1).count == 3000)
    }

    @Test func `what comes after a close, or from nowhere, is counted and not answered`() {
        var world = World()
        _ = world.join(1)
        world.say("nonsense", on: 1)
        _ = world.take(1)
        world.say(.ping(id: 1), on: 1)
        world.say(.ping(id: 1), on: 77)
        #expect(world.sent.isEmpty)
        #expect(world.engine.statistics.strays == 2)
        world.drop(1)
        world.drop(77)
        #expect(world.engine.statistics.connections == 0)
    }

    @Test func `the statistics become a page of metrics`() {
        var world = World()
        _ = (world.join(1), world.join(2))
        world.say(.ping(id: 1), on: 1)
        world.say("nonsense", on: 2)
        let statistics = world.engine.statistics
        let text = metrics(statistics)
        for line in [
            "floe_signaling_connections 1", "floe_signaling_sessions 1", "floe_signaling_rooms 1",
            "floe_signaling_received_total{type=\"join\"} 2", "floe_signaling_sent_total{type=\"peerLeft\"} 1",
            "floe_signaling_errors_total{code=\"badMessage\"} 1", "floe_signaling_closes_total{code=\"4400\"} 1",
        ] {
            #expect(text.contains(line + "\n"), "\(line)")
        }
    }
}
