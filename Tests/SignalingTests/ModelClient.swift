import NetTypes
import Testing

@testable import Signaling
@testable import SignalingMessages

/// A client as the protocol describes it, on a network that may lose everything that is under way.
struct ModelClient {
    let name: String
    let room: String
    var id = ""
    var session: String?
    var connection: UInt64?
    var isEstablished = false
    var nextSequence: UInt64 = 1
    var received: UInt64 = 0
    var unacknowledged: [ClientFrame] = []
    /// What was written to the connection and has not reached the server.
    var uplink: [String] = []
    /// What the server has sent and the client has not read.
    var downlink: [ServerFrame] = []
    /// How many messages were sent to each peer, and which ones came from each.
    var sentCounts: [String: Int] = [:]
    var inbox: [String: [Int]] = [:]
    var roster: Set<String> = []
    var losses = 0
    var errors: [SignalingErrorCode] = []

    init(name: String, room: String) {
        self.name = name
        self.room = room
    }

    /// Begins on a new connection: what was under way on the old one is lost.
    mutating func connect(_ id: UInt64) {
        connection = id
        isEstablished = false
        uplink = []
        downlink = []
        if let session {
            uplink.append(ClientFrame(.resume(session: session), acknowledged: received).text)
        } else {
            uplink.append(ClientFrame(.join(room: room, name: name)).text)
        }
    }

    mutating func disconnect() {
        connection = nil
        isEstablished = false
        uplink = []
        downlink = []
    }

    mutating func send(to peer: String) {
        let count = sentCounts[peer, default: 0]
        sentCounts[peer] = count + 1
        let description = SessionDescription(type: .offer, sdp: "\(count)")
        let frame = ClientFrame(.description(to: peer, description), sequence: nextSequence)
        nextSequence += 1
        unacknowledged.append(frame)
        if isEstablished { uplink.append(frame.text) }
    }

    /// Says again what may have arrived already.
    mutating func repeatUnacknowledged() {
        if isEstablished { uplink += unacknowledged.map(\.text) }
    }

    mutating func acknowledge() {
        if isEstablished { uplink.append(ClientFrame(.acknowledge, acknowledged: received).text) }
    }

    /// Reads one frame of the downlink.
    mutating func read() {
        guard !downlink.isEmpty else { return }
        let frame = downlink.removeFirst()
        if let sequence = frame.sequence {
            #expect(sequence <= received + 1, "a gap")
            guard sequence == received + 1 else { return }
            received = sequence
        }
        if case .resumed = frame.message {} else if let number = frame.acknowledged { drop(upTo: number) }
        switch frame.message {
        case .joined(let secret, let welcome):
            session = secret
            id = welcome.id
            roster = Set(welcome.peers.map(\.id))
            isEstablished = true
        case .resumed(let replay, let welcome):
            isEstablished = true
            if replay == .lost {
                losses += 1
                nextSequence = 1
                received = 0
                unacknowledged = []
                roster = Set(welcome.peers.map(\.id))
            } else {
                drop(upTo: frame.acknowledged ?? 0)
                repeatUnacknowledged()
            }
        case .description(let from, let description): inbox[from, default: []].append(Int(description.sdp) ?? -1)
        case .peerJoined(let peer): roster.insert(peer.id)
        case .peerLeft(let id, _): roster.remove(id)
        case .error(let code, _, _): errors.append(code)
        case .candidate, .iceServers, .pong, .acknowledge: break
        }
    }

    private mutating func drop(upTo number: UInt64) { unacknowledged.removeAll { ($0.sequence ?? 0) <= number } }
}
