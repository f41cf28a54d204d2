/// What the server says to a client.
public enum ServerMessage: Hashable, Sendable {
    /// The client is in the room.
    case joined(session: String, Welcome)
    /// The session goes on, on this connection; the frame's `acknowledged` tells which of the client's messages arrived.
    case resumed(replay: Replay, Welcome)
    /// Somebody has entered the room; sequenced.
    case peerJoined(SignalingPeer)
    /// Somebody has left the room; sequenced.
    case peerLeft(id: String, reason: LeaveReason)
    /// A peer's session description; sequenced.
    case description(from: String, SessionDescription)
    /// A peer's candidate, or `nil` for end-of-candidates; sequenced.
    case candidate(from: String, TrickledCandidate?)
    /// Fresh ICE servers.
    case iceServers(ICEServerList)
    /// The answer to `ping`.
    case pong(id: UInt64)
    /// Only acknowledges.
    case acknowledge
    /// A message was refused. `sequence` is that of the message, if it had one; `message` is a sentence for people.
    case error(SignalingErrorCode, message: String, sequence: UInt64?)

    /// Whether the server still had all messages that the client missed.
    public enum Replay: String, Hashable, Sendable, Codable {
        /// All messages that were missed follow.
        case complete
        /// Messages were lost: both sides start again at number 1.
        case lost
    }

    /// Why somebody is no longer in the room.
    public enum LeaveReason: String, Hashable, Sendable, Codable {
        /// The peer has left.
        case left
        /// The peer did not come back in time.
        case timeout
        /// The server has ended the session.
        case expelled
    }

    /// What a client learns when its session begins or goes on.
    public struct Welcome: Hashable, Sendable {
        /// The client's own public id.
        public var id: String
        /// The room's name.
        public var room: String
        /// Who else is in the room now.
        public var peers: [SignalingPeer]
        /// The ICE servers to use.
        public var iceServers: ICEServerList
        /// How often the client sends a `ping`.
        public var heartbeatSeconds: Int
        /// The server's limits.
        public var limits: AdvertisedLimits

        /// Makes a welcome.
        public init(
            id: String,
            room: String,
            peers: [SignalingPeer],
            iceServers: ICEServerList,
            heartbeatSeconds: Int,
            limits: AdvertisedLimits
        ) {
            self.id = id
            self.room = room
            self.peers = peers
            self.iceServers = iceServers
            self.heartbeatSeconds = heartbeatSeconds
            self.limits = limits
        }
    }

    /// The `type` fields of all server messages, in the order of the cases.
    public static let typeNames = [
        "joined", "resumed", "peerJoined", "peerLeft", "description", "candidate", "iceServers", "pong", "ack", "error",
    ]

    /// The message's `type` field.
    public var typeName: String {
        switch self {
        case .joined: "joined"
        case .resumed: "resumed"
        case .peerJoined: "peerJoined"
        case .peerLeft: "peerLeft"
        case .description: "description"
        case .candidate: "candidate"
        case .iceServers: "iceServers"
        case .pong: "pong"
        case .acknowledge: "ack"
        case .error: "error"
        }
    }

    /// Whether the message is numbered and kept until it is acknowledged.
    public var isSequenced: Bool {
        switch self {
        case .peerJoined, .peerLeft, .description, .candidate: true
        case .joined, .resumed, .iceServers, .pong, .acknowledge, .error: false
        }
    }
}
