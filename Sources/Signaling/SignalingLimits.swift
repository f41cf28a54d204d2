import SignalingMessages

/// What one server bears at most; each limit that a client meets has an error or close code of its own.
public struct SignalingLimits: Hashable, Sendable {
    /// The longest message in bytes of UTF-8.
    public var messageBytes = 65536
    /// How many messages a second one connection may send for long.
    public var messagesPerSecond = 50
    /// How many messages one connection may send at once.
    public var messageBurst = 500
    /// How many peers a room takes, those who are away for a moment included.
    public var peersPerRoom = 6
    /// How many rooms there may be.
    public var rooms = 10000
    /// How many connections there may be.
    public var connections = 20000
    /// How many sessions the clients of one address (or IPv6 /64) may have, those who are away included.
    public var sessionsPerSource = 1024
    /// How many characters a name may have, as people count them.
    public var nameCharacters = 64
    /// How many bytes of UTF-8 a name may have, since one character may consist of many.
    public var nameBytes = 256
    /// How many unacknowledged messages are kept for each session.
    public var replayMessages = 512
    /// How many bytes of unacknowledged messages are kept for each session.
    public var replayBytes = 1 &<< 20
    /// How many bytes of unacknowledged messages are kept for all sessions together.
    public var totalReplayBytes = 256 &<< 20
    /// For how many seconds a session outlives its connection.
    public var resumeSeconds = 120
    /// How often a client must send something, in seconds; after two and a half times that it counts as gone.
    public var heartbeatSeconds = 15
    /// For how many seconds a new connection may be silent.
    public var firstMessageSeconds = 10
    /// After how many messages at the latest the server acknowledges.
    public var acknowledgeEvery = 16
    /// After how many milliseconds at the latest the server acknowledges.
    public var acknowledgeMilliseconds = 1000

    /// Makes the default limits.
    public init() {}

    /// What clients are told.
    var advertised: AdvertisedLimits {
        AdvertisedLimits(
            messageBytes: messageBytes,
            messagesPerSecond: messagesPerSecond,
            messageBurst: messageBurst,
            peersPerRoom: peersPerRoom,
            nameCharacters: nameCharacters,
            replayMessages: replayMessages,
            resumeSeconds: resumeSeconds
        )
    }
}
