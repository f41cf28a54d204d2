/// One entry of the `iceServers` that a browser's `RTCPeerConnection` takes.
public struct ICEServer: Hashable, Sendable, Codable {
    /// The server's URLs (RFC 7064, RFC 7065).
    public var urls: [String]
    /// The TURN user name; `nil` for STUN.
    public var username: String?
    /// The TURN password; `nil` for STUN.
    public var credential: String?

    /// Makes an entry.
    public init(urls: [String], username: String? = nil, credential: String? = nil) {
        self.urls = urls
        self.username = username
        self.credential = credential
    }
}

/// ICE servers with the time that their credentials last.
public struct ICEServerList: Hashable, Sendable {
    /// The servers, best known first.
    public var iceServers: [ICEServer]
    /// For how many seconds from now the credentials may be used.
    public var ttlSeconds: UInt32

    /// Makes a list.
    public init(iceServers: [ICEServer], ttlSeconds: UInt32) {
        self.iceServers = iceServers
        self.ttlSeconds = ttlSeconds
    }
}

/// Somebody in a room.
public struct SignalingPeer: Hashable, Sendable, Codable {
    /// The peer's public id, by which it is addressed.
    public var id: String
    /// The name that the peer chose; not unique.
    public var name: String
    /// Whether it has lost its connection and has yet to resume, if ever; only a welcome tells.
    public var isAway: Bool

    /// Makes a peer.
    public init(id: String, name: String, isAway: Bool = false) {
        self.id = id
        self.name = name
        self.isAway = isAway
    }

    /// Reads a peer; without a word of it, it is there.
    public init(from decoder: any Decoder) throws {
        let fields = try decoder.container(keyedBy: Field.self)
        id = try fields.decode(String.self, forKey: .id)
        name = try fields.decode(String.self, forKey: .name)
        isAway = try fields.decodeIfPresent(Bool.self, forKey: .away) ?? false
    }

    /// Writes a peer.
    public func encode(to encoder: any Encoder) throws {
        var fields = encoder.container(keyedBy: Field.self)
        try fields.encode(id, forKey: .id)
        try fields.encode(name, forKey: .name)
        if isAway { try fields.encode(true, forKey: .away) }
    }
}

/// The limits that the server tells its clients.
public struct AdvertisedLimits: Hashable, Sendable, Codable {
    /// The longest message in bytes.
    public var messageBytes: Int
    /// How many messages a second a client may send for long.
    public var messagesPerSecond: Int
    /// How many messages a client may send at once.
    public var messageBurst: Int
    /// How many peers a room takes.
    public var peersPerRoom: Int
    /// How many characters a name may have.
    public var nameCharacters: Int
    /// How many unacknowledged messages the server keeps for each session.
    public var replayMessages: Int
    /// For how many seconds a session outlives its connection.
    public var resumeSeconds: Int

    /// Makes a set of limits.
    public init(
        messageBytes: Int,
        messagesPerSecond: Int,
        messageBurst: Int,
        peersPerRoom: Int,
        nameCharacters: Int,
        replayMessages: Int,
        resumeSeconds: Int
    ) {
        self.messageBytes = messageBytes
        self.messagesPerSecond = messagesPerSecond
        self.messageBurst = messageBurst
        self.peersPerRoom = peersPerRoom
        self.nameCharacters = nameCharacters
        self.replayMessages = replayMessages
        self.resumeSeconds = resumeSeconds
    }
}
