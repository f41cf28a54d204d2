/// The version of the signaling protocol that this module speaks.
public let signalingVersion = 1

/// The WebSocket subprotocol that names the signaling protocol (RFC 6455 §1.9).
public let signalingSubprotocol = "floe.v1"

/// Why the server refuses a message; codes that this version does not know survive decoding.
public struct SignalingErrorCode: RawRepresentable, Hashable, Sendable, Codable {
    /// The code's name on the wire.
    public let rawValue: String

    /// Makes the code of that name.
    public init(rawValue: String) { self.rawValue = rawValue }

    /// Not JSON, a field missing or of the wrong kind, an unknown type.
    public static let badMessage = SignalingErrorCode(rawValue: "badMessage")
    /// Something else came before `join` or `resume`.
    public static let notJoined = SignalingErrorCode(rawValue: "notJoined")
    /// The client speaks another version.
    public static let unsupportedVersion = SignalingErrorCode(rawValue: "unsupportedVersion")
    /// The room's name is not within the rules.
    public static let badRoom = SignalingErrorCode(rawValue: "badRoom")
    /// The peer's name is not within the rules.
    public static let badName = SignalingErrorCode(rawValue: "badName")
    /// A second `join` or `resume` on one connection.
    public static let alreadyJoined = SignalingErrorCode(rawValue: "alreadyJoined")
    /// The session's secret is unknown or the session has expired.
    public static let sessionUnknown = SignalingErrorCode(rawValue: "sessionUnknown")
    /// The room has as many peers as it may have.
    public static let roomFull = SignalingErrorCode(rawValue: "roomFull")
    /// The server has as many rooms as it may have.
    public static let tooManyRooms = SignalingErrorCode(rawValue: "tooManyRooms")
    /// The addressee is not a peer of this room.
    public static let unknownPeer = SignalingErrorCode(rawValue: "unknownPeer")
    /// A sequence number is beyond the next one.
    public static let sequenceGap = SignalingErrorCode(rawValue: "sequenceGap")
    /// The message is longer than allowed.
    public static let tooLarge = SignalingErrorCode(rawValue: "tooLarge")
    /// Messages come faster than allowed.
    public static let rateLimited = SignalingErrorCode(rawValue: "rateLimited")

    /// All codes of this version, in the order of the protocol's table.
    public static let all: [SignalingErrorCode] = [
        badMessage, notJoined, unsupportedVersion, badRoom, badName, alreadyJoined, sessionUnknown, roomFull,
        tooManyRooms,
        unknownPeer, sequenceGap, tooLarge, rateLimited,
    ]
}

/// With which code a signaling WebSocket is closed (RFC 6455 §7.4).
public struct SignalingCloseCode: RawRepresentable, Hashable, Sendable {
    /// The code in the close frame.
    public let rawValue: UInt16

    /// Makes the close code of that number.
    public init(rawValue: UInt16) { self.rawValue = rawValue }

    /// The peer has left.
    public static let left = SignalingCloseCode(rawValue: 1000)
    /// The server is stopping: resume later.
    public static let goingAway = SignalingCloseCode(rawValue: 1001)
    /// A message was longer than allowed: the session is over.
    public static let tooLarge = SignalingCloseCode(rawValue: 1009)
    /// A message was not understood: the session is over.
    public static let badMessage = SignalingCloseCode(rawValue: 4400)
    /// Something else came before `join` or `resume`.
    public static let notJoined = SignalingCloseCode(rawValue: 4401)
    /// The client speaks another version.
    public static let unsupportedVersion = SignalingCloseCode(rawValue: 4402)
    /// A sequence number was beyond the next one: the session is over.
    public static let sequenceGap = SignalingCloseCode(rawValue: 4406)
    /// Nothing was heard in time: resume.
    public static let timeout = SignalingCloseCode(rawValue: 4408)
    /// The session was resumed on another connection.
    public static let replaced = SignalingCloseCode(rawValue: 4409)
    /// Messages came too fast: resume after a second.
    public static let rateLimited = SignalingCloseCode(rawValue: 4429)
    /// The server has as many connections as it may have.
    public static let tooManyConnections = SignalingCloseCode(rawValue: 4503)

    /// All codes of this version, in the order of their numbers.
    public static let all: [SignalingCloseCode] = [
        left, goingAway, tooLarge, badMessage, notJoined, unsupportedVersion, sequenceGap, timeout, replaced,
        rateLimited,
        tooManyConnections,
    ]

    /// Whether a session that was used on the connection is over with it, so that the client must join anew.
    public var endsSession: Bool {
        switch self {
        case .left, .tooLarge, .badMessage, .notJoined, .unsupportedVersion, .sequenceGap: true
        default: false
        }
    }
}
