/// A server's message with its place in the sequence and what it acknowledges.
public struct ServerFrame: Hashable, Sendable {
    /// The message.
    public var message: ServerMessage
    /// The number of a sequenced message, from 1; `nil` for others.
    public var sequence: UInt64?
    /// The greatest number that the server has received without a gap, if it says so.
    public var acknowledged: UInt64?

    /// Makes a frame.
    ///
    /// A sequenced message needs its number, `resumed` and `acknowledge` what they acknowledge.
    public init(_ message: ServerMessage, sequence: UInt64? = nil, acknowledged: UInt64? = nil) {
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
}

extension ServerFrame: Codable {
    /// Reads a frame.
    public init(from decoder: any Decoder) throws {
        let fields = try decoder.container(keyedBy: Field.self)
        switch try fields.decode(String.self, forKey: .type) {
        case "joined": message = .joined(session: try fields.decode(.session), try fields.welcome())
        case "resumed": message = .resumed(replay: try fields.decode(.replay), try fields.welcome())
        case "peerJoined": message = .peerJoined(try fields.decode(.peer))
        case "peerLeft": message = .peerLeft(id: try fields.decode(.id), reason: try fields.decode(.reason))
        case "description": message = .description(from: try fields.decode(.from), try fields.decode(.description))
        case "candidate": message = .candidate(from: try fields.decode(.from), try fields.candidate())
        case "iceServers": message = .iceServers(try fields.iceServerList())
        case "pong": message = .pong(id: try fields.integer(.id))
        case "ack": message = .acknowledge
        case "error":
            message = .error(
                try fields.decode(.code),
                message: try fields.decode(.message),
                sequence: try fields.integerIfPresent(.seq)
            )
        default: throw SignalingDecodeError.unknownType
        }
        sequence = message.isSequenced ? try fields.integer(.seq, atLeast: 1) : nil
        acknowledged =
            switch message {
            case .resumed, .acknowledge: try fields.integer(.ack)
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
        case .joined(let session, let welcome):
            try fields.encode(session, forKey: .session)
            try fields.encode(welcome)
        case .resumed(let replay, let welcome):
            try fields.encode(replay, forKey: .replay)
            try fields.encode(welcome)
        case .peerJoined(let peer): try fields.encode(peer, forKey: .peer)
        case .peerLeft(let id, let reason):
            try fields.encode(id, forKey: .id)
            try fields.encode(reason, forKey: .reason)
        case .description(let from, let description):
            try fields.encode(from, forKey: .from)
            try fields.encode(description, forKey: .description)
        case .candidate(let from, let candidate):
            try fields.encode(from, forKey: .from)
            try fields.encode(candidate, forKey: .candidate)
        case .iceServers(let list): try fields.encode(list)
        case .pong(let id): try fields.encode(id, forKey: .id)
        case .acknowledge: break
        case .error(let code, let text, let sequence):
            try fields.encode(code, forKey: .code)
            try fields.encode(text, forKey: .message)
            try fields.encodeIfPresent(sequence, forKey: .seq)
        }
    }
}

extension KeyedDecodingContainer<Field> {
    fileprivate func iceServerList() throws -> ICEServerList {
        ICEServerList(iceServers: try decode(.iceServers), ttlSeconds: try decode(.ttlSeconds))
    }

    fileprivate func welcome() throws -> ServerMessage.Welcome {
        try checkVersion()
        return ServerMessage.Welcome(
            id: try decode(.id),
            room: try decode(.room),
            peers: try decode(.peers),
            iceServers: try iceServerList(),
            heartbeatSeconds: try decode(.heartbeatSeconds),
            limits: try decode(.limits)
        )
    }
}

extension KeyedEncodingContainer<Field> {
    fileprivate mutating func encode(_ list: ICEServerList) throws {
        try encode(list.iceServers, forKey: .iceServers)
        try encode(list.ttlSeconds, forKey: .ttlSeconds)
    }

    fileprivate mutating func encode(_ welcome: ServerMessage.Welcome) throws {
        try encode(signalingVersion, forKey: .version)
        try encode(welcome.id, forKey: .id)
        try encode(welcome.room, forKey: .room)
        try encode(welcome.peers, forKey: .peers)
        try encode(welcome.iceServers)
        try encode(welcome.heartbeatSeconds, forKey: .heartbeatSeconds)
        try encode(welcome.limits, forKey: .limits)
    }
}
