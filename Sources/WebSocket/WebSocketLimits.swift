public import NetTypes

/// How much a peer may make this side keep, and how long closing may take.
public struct WebSocketLimits: Sendable {
    /// Longest message that is taken, in bytes, all its fragments together.
    public var messageBytes = 65536
    /// Most bytes of messages that wait to be transmitted, each counted with 16 bytes for its frame.
    public var queuedBytes = 262_144
    /// Most pings and pongs that wait to be transmitted; a pong above that takes the place of the last one, as
    /// RFC 6455 §5.5.3 allows.
    public var queuedControlFrames = 16
    /// Most events that wait to be polled.
    public var pendingEvents = 16384
    /// For the closing handshake, and for sending what is queued before it.
    public var closeTime = TimeSpan.seconds(5)

    /// Makes the defaults.
    public init() {}
}
