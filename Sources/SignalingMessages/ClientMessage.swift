/// What a client says to the server.
public enum ClientMessage: Hashable, Sendable {
    /// Enters a room; a connection's first message.
    case join(room: String, name: String)
    /// Takes up a session again; a connection's first message, with the frame's `acknowledged`.
    case resume(session: String)
    /// Sends a session description to one peer; sequenced.
    case description(to: String, SessionDescription)
    /// Sends a candidate to one peer, or `nil` for end-of-candidates; sequenced.
    case candidate(to: String, TrickledCandidate?)
    /// Asks for fresh ICE servers.
    case refresh
    /// Asks for a `pong` with the same number, 0 to 2^53 - 1.
    case ping(id: UInt64)
    /// Only acknowledges.
    case acknowledge
    /// Ends the session.
    case leave

    /// The `type` fields of all client messages, in the order of the cases.
    public static let typeNames = ["join", "resume", "description", "candidate", "refresh", "ping", "ack", "leave"]

    /// The message's `type` field.
    public var typeName: String {
        switch self {
        case .join: "join"
        case .resume: "resume"
        case .description: "description"
        case .candidate: "candidate"
        case .refresh: "refresh"
        case .ping: "ping"
        case .acknowledge: "ack"
        case .leave: "leave"
        }
    }

    /// Whether the message is numbered and kept until it is acknowledged.
    public var isSequenced: Bool {
        switch self {
        case .description, .candidate: true
        case .join, .resume, .refresh, .ping, .acknowledge, .leave: false
        }
    }
}

/// A client's message with its place in the sequence and what it acknowledges.
public struct ClientFrame: Hashable, Sendable {
    /// The message.
    public var message: ClientMessage
    /// The number of a sequenced message, from 1; `nil` for others.
    public var sequence: UInt64?
    /// The greatest number that the client has received without a gap, if it says so.
    public var acknowledged: UInt64?

    /// Makes a frame.
    ///
    /// A sequenced message needs its number, `resume` and `acknowledge` what they acknowledge.
    public init(_ message: ClientMessage, sequence: UInt64? = nil, acknowledged: UInt64? = nil) {
        self.message = message
        self.sequence = sequence
        self.acknowledged = acknowledged
    }

    /// Reads the JSON text of a frame, in which unknown fields are ignored.
    ///
    /// - Throws: `SignalingDecodeError` with the field that is wrong.
    public init(decoding text: String) throws(SignalingDecodeError) { self = try SignalingJSON.decode(Self.self, text) }

    /// The JSON text of the frame.
    public var text: String { SignalingJSON.encode(self) }

    /// The `seq` of a text that could not be decoded otherwise, if it has one, to be named in an error.
    public static func sequence(in text: String) -> UInt64? {
        struct Numbered: Decodable { let seq: UInt64 }
        let number = try? SignalingJSON.decode(Numbered.self, text).seq
        return number.flatMap { $0 <= SignalingJSON.greatestInteger ? $0 : nil }
    }
}

extension ClientFrame: Codable {
    /// Reads a frame.
    public init(from decoder: any Decoder) throws {
        let fields = try decoder.container(keyedBy: Field.self)
        switch try fields.decode(String.self, forKey: .type) {
        case "join":
            try fields.checkVersion()
            message = .join(room: try fields.decode(.room), name: try fields.decode(.name))
        case "resume":
            try fields.checkVersion()
            message = .resume(session: try fields.decode(.session))
        case "description": message = .description(to: try fields.decode(.to), try fields.decode(.description))
        case "candidate": message = .candidate(to: try fields.decode(.to), try fields.candidate())
        case "refresh": message = .refresh
        case "ping": message = .ping(id: try fields.integer(.id))
        case "ack": message = .acknowledge
        case "leave": message = .leave
        default: throw SignalingDecodeError.unknownType
        }
        sequence = message.isSequenced ? try fields.integer(.seq, atLeast: 1) : nil
        acknowledged =
            switch message {
            case .resume, .acknowledge: try fields.integer(.ack)
            default: try fields.integerIfPresent(.ack)
            }
    }

    /// Writes a frame.
    public func encode(to encoder: any Encoder) throws {
        var fields = encoder.container(keyedBy: Field.self)
        try fields.encode(message.typeName, forKey: .type)
        try fields.encodeIfPresent(sequence, forKey: .seq)
        try fields.encodeIfPresent(acknowledged, forKey: .ack)
        switch message {
        case .join(let room, let name):
            try fields.encode(signalingVersion, forKey: .version)
            try fields.encode(room, forKey: .room)
            try fields.encode(name, forKey: .name)
        case .resume(let session):
            try fields.encode(signalingVersion, forKey: .version)
            try fields.encode(session, forKey: .session)
        case .description(let to, let description):
            try fields.encode(to, forKey: .to)
            try fields.encode(description, forKey: .description)
        case .candidate(let to, let candidate):
            try fields.encode(to, forKey: .to)
            try fields.encode(candidate, forKey: .candidate)
        case .ping(let id): try fields.encode(id, forKey: .id)
        case .refresh, .acknowledge, .leave: break
        }
    }
}
