import Bytes
import NetTypes
import Testing

@testable import Signaling
@testable import SignalingMessages

/// A server in virtual time with everything that it has said and done.
struct World: ~Copyable {
    var engine: SignalingEngine
    var now = Instant(nanoseconds: 1_000_000_000)
    var sent: [UInt64: [ServerFrame]] = [:]
    var closes: [UInt64: SignalingCloseCode] = [:]
    var events: [SignalingEvent] = []
    /// What a store that does as the events say would hold.
    var stored: [SessionDigest: StoredSession] = [:]

    static let startUnixSeconds: UInt64 = 1_700_000_000

    init(limits: SignalingLimits = SignalingLimits(), minter: ICEServersMinter? = nil, seed: UInt64 = 1) {
        engine = SignalingEngine(
            limits: limits,
            iceServers: minter ?? ICEServersMinter(secret: "secret"),
            entropy: .seeded(seed),
            unixSeconds: Self.startUnixSeconds,
            at: Instant(nanoseconds: 1_000_000_000)
        )
    }

    /// Takes everything that the engine has to say, as a driver does.
    mutating func drain() {
        while let transmit = engine.pollTransmit() {
            switch transmit {
            case .text(let text, let connection):
                #expect(closes[connection] == nil, "text after the close")
                do { sent[connection, default: []].append(try ServerFrame(decoding: text)) } catch {
                    Issue.record("\(error) in \(text)")
                }
            case .close(let connection, let code, let reason):
                #expect(closes[connection] == nil, "closed twice")
                #expect(reason.utf8.count <= 123, "a close frame has room for no more")
                closes[connection] = code
            }
        }
        while let event = engine.pollEvent() {
            events.append(event)
            if case .sessionStored(let session) = event { stored[session.digest] = session }
            if case .sessionRemoved(let digest) = event { stored[digest] = nil }
        }
    }

    mutating func open(_ connection: UInt64, host: String? = "example.org:8443") {
        engine.connectionOpened(connection, host: host, at: now)
        drain()
    }

    mutating func drop(_ connection: UInt64) {
        engine.connectionClosed(connection, at: now)
        drain()
    }

    mutating func say(_ text: String, on connection: UInt64) {
        engine.receive(text, from: connection, at: now)
        drain()
    }

    mutating func say(_ message: ClientMessage, seq: UInt64? = nil, ack: UInt64? = nil, on connection: UInt64) {
        say(ClientFrame(message, sequence: seq, acknowledged: ack).text, on: connection)
    }

    /// Lets time pass and fires every timer at its very moment.
    mutating func wait(_ span: TimeSpan) {
        let end = now + span
        var rounds = 0
        while let next = engine.nextTimeout, next <= end {
            now = max(now, next)
            engine.handleTimeout(at: now)
            drain()
            rounds += 1
            if rounds > 100_000 {
                Issue.record("timers that never end")
                break
            }
        }
        now = end
    }

    /// Takes what was sent on a connection since the last call.
    mutating func take(_ connection: UInt64) -> [ServerFrame] { sent.removeValue(forKey: connection) ?? [] }

    /// Opens a connection and joins; returns what the client learns.
    mutating func join(_ connection: UInt64, room: String = "room", name: String = "Ada") -> Member {
        open(connection)
        say(.join(room: room, name: name), on: connection)
        let frames = take(connection)
        guard case .joined(let session, let welcome)? = frames.first?.message else {
            Issue.record("not joined: \(frames)")
            return Member(id: "", session: "", peers: [])
        }
        return Member(id: welcome.id, session: session, peers: welcome.peers)
    }

    /// Opens a connection and resumes; returns all that the server says, `resumed` first.
    mutating func resume(_ session: String, ack: UInt64, on connection: UInt64) -> [ServerFrame] {
        open(connection)
        say(.resume(session: session), ack: ack, on: connection)
        return take(connection)
    }
}

/// What a client knows after joining.
struct Member {
    let id: String
    let session: String
    let peers: [SignalingPeer]
}

let offer = SessionDescription(type: .offer, sdp: "v=0\r\n")
let someCandidate = TrickledCandidate(
    candidate: "candidate:1 1 udp 2130706431 192.0.2.1 5000 typ host",
    sdpMid: "0",
    sdpMLineIndex: 0,
    usernameFragment: "abcd"
)

extension [ServerFrame] {
    /// The codes of the errors among the messages.
    var errorCodes: [SignalingErrorCode] {
        compactMap { frame in
            if case .error(let code, _, _) = frame.message { code } else { nil }
        }
    }

    var replay: ServerMessage.Replay? {
        if case .resumed(let replay, _)? = first?.message { replay } else { nil }
    }
}
