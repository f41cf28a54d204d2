import Bytes
import Crypto
public import SignalingMessages

/// The SHA-256 digest of a session's secret: what the server knows of it once the client has been told.
public struct SessionDigest: Hashable, Sendable {
    /// The 32 bytes.
    public let bytes: [UInt8]

    /// Takes a stored digest; `nil` if it has not 32 bytes.
    public init?(bytes: [UInt8]) {
        guard bytes.count == 32 else { return nil }
        self.bytes = bytes
    }

    /// Works out the digest of a secret.
    init(secret: String) { bytes = MessageDigest.sha256(Array(secret.utf8)) }
}

/// A session as it outlives the server.
public struct StoredSession: Hashable, Sendable {
    /// The digest of the session's secret.
    public var digest: SessionDigest
    /// The room's name.
    public var room: String
    /// The peer's public id.
    public var peerID: String
    /// The peer's name.
    public var name: String
    /// When the peer was last known to be connected, in seconds since 1970.
    public var lastSeenUnixSeconds: UInt64

    /// Makes a stored session.
    public init(digest: SessionDigest, room: String, peerID: String, name: String, lastSeenUnixSeconds: UInt64) {
        self.digest = digest
        self.room = room
        self.peerID = peerID
        self.name = name
        self.lastSeenUnixSeconds = lastSeenUnixSeconds
    }
}

/// What the engine wants done on a connection.
public enum SignalingTransmit: Hashable, Sendable {
    /// Send a text message.
    case text(String, to: UInt64)
    /// Close the WebSocket after what was sent before; the engine has forgotten the connection.
    case close(UInt64, SignalingCloseCode, reason: String)
}

/// What the engine tells its owner, for the store and for the log.
public enum SignalingEvent: Hashable, Sendable {
    /// The session is new, or its time has changed: store it.
    case sessionStored(StoredSession)
    /// The session is over: remove it from the store.
    case sessionRemoved(SessionDigest)
    /// A peer has entered a room.
    case joined(connection: UInt64, peerID: String)
    /// A peer has come back.
    case resumed(connection: UInt64, peerID: String, replay: ServerMessage.Replay)
    /// A peer's session is over.
    case left(peerID: String, reason: ServerMessage.LeaveReason)
    /// A message was refused.
    case refused(connection: UInt64, SignalingErrorCode)
}
