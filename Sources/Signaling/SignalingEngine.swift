import Bytes
public import NetTypes
import SignalingMessages

/// The signaling server without its sockets: texts and time in, texts, closes and events out.
///
/// The rule for drivers: one mutation, then drain `pollTransmit` and `pollEvent` until `nil`, then sleep until
/// `nextTimeout`. The driver bounds what waits to be written on a connection; if a client does not read, it closes the
/// WebSocket and says so with `connectionClosed`, and the session goes on without it.
///
/// ```
/// connection   opened ──join, resume──▶ in a session ──closed, silent──▶ gone
///                 └──10 s, not joined──▶ closed
/// session      joined ──connection lost──▶ away ──resume──▶ joined
///                 └──leave──▶ over           └──resumeSeconds──▶ over
/// ```
public struct SignalingEngine: ~Copyable {
    /// What the server bears at most.
    public let limits: SignalingLimits
    /// Where ICE servers and their credentials come from; may be replaced when the secret changes.
    public var iceServers: ICEServersMinter

    var connections: [UInt64: Connection] = [:]
    var sessions: [UInt64: Session] = [:]
    var keys: [SessionDigest: UInt64] = [:]
    /// How many sessions the clients of one source have.
    var sessionsBySource: [IPAddress: Int] = [:]
    /// The sessions of each room in the order of their joining; a room without any does not exist.
    var rooms: [String: [UInt64]] = [:]
    var timers = DeadlineQueue<TimerToken>()
    var transmits = RingBuffer<SignalingTransmit>(limit: .max)
    var events = RingBuffer<SignalingEvent>(limit: .max)
    var counters = SignalingStatistics()
    var entropy: Entropy
    var isStopping = false
    var lastKey: UInt64 = 0
    var awaySessions = 0
    var replayBytes = 0
    private var clock: (unixSeconds: UInt64, at: Instant)

    /// Makes a server with no rooms.
    ///
    /// `unixSeconds` is the time of day at `now`, from which the expiry of TURN credentials is counted.
    public init(
        limits: SignalingLimits = SignalingLimits(),
        iceServers: ICEServersMinter,
        entropy: Entropy = .system,
        unixSeconds: UInt64,
        at now: Instant
    ) {
        self.limits = limits
        self.iceServers = iceServers
        self.entropy = entropy
        clock = (unixSeconds, now)
    }

    /// Sets the time of day, which may jump; to be called now and then.
    public mutating func setWallClock(unixSeconds: UInt64, at now: Instant) { clock = (unixSeconds, now) }

    /// The time of day in seconds since 1970.
    func unixSeconds(at now: Instant) -> UInt64 { clock.unixSeconds &+ (now - clock.at).seconds }

    /// Takes notice of a WebSocket with an id that was never used before.
    ///
    /// `host` is the `Host` header of its request, which clients are told to find ICE servers under. If there are too
    /// many connections, this one is closed at once. `source` is the client's address or prefix, which may have
    /// `SignalingLimits.sessionsPerSource`; `nil` where it says nothing about the client, as behind a proxy.
    public mutating func connectionOpened(_ id: UInt64, host: String?, source: IPAddress? = nil, at now: Instant) {
        guard !isStopping else { return emitClose(id, .goingAway, "The server is stopping.") }
        guard connections.count < limits.connections else {
            return emitClose(id, .tooManyConnections, "The server has as many connections as it allows.")
        }
        let deadline = now + .seconds(UInt64(limits.firstMessageSeconds))
        let bucket = TokenBucket(
            ratePerSecond: Double(limits.messagesPerSecond),
            burst: Double(limits.messageBurst),
            at: now
        )
        connections[id] = Connection(host: host, source: source, bucket: bucket, deadline: deadline)
        schedule(.connection(id), at: deadline)
    }

    /// Takes notice that a WebSocket is gone; harmless for one that the engine has closed itself.
    public mutating func connectionClosed(_ id: UInt64, at now: Instant) {
        guard let connection = connections.removeValue(forKey: id) else { return }
        if let key = connection.session { sendAway(key, at: now) }
    }

    /// Takes up the sessions that were stored by an earlier process.
    ///
    /// Their peers are away, with all of `resumeSeconds` to come back in. To be called before the first connection is
    /// opened. A session that breaks a rule or a limit is not taken up, and an event says that it is to be removed.
    public mutating func restore(_ stored: [StoredSession], at now: Instant) {
        for session in stored {
            let members = rooms[session.room] ?? []
            let fits = members.isEmpty ? rooms.count < limits.rooms : members.count < limits.peersPerRoom
            guard fits, keys[session.digest] == nil, SignalingNames.isRoom(session.room),
                SignalingNames.isPeerName(session.name, limits: limits), session.peerID.utf8.count == 16,
                !members.contains(where: { sessions[$0]?.id == session.peerID })
            else {
                if keys[session.digest] == nil { emit(.sessionRemoved(session.digest)) }
                continue
            }
            let peer = SignalingPeer(id: session.peerID, name: session.name)
            let key = insert(
                Session(peer: peer, room: session.room, digest: session.digest, replay: .init(isComplete: false))
            )
            markAway(key, at: now)
        }
    }

    /// Closes all connections with 1001; sessions stay, so that clients can resume with the next process.
    public mutating func shutdown(at now: Instant) {
        isStopping = true
        for id in connections.keys.sorted() { close(id, .goingAway, "The server is stopping.", at: now) }
    }

    /// Takes the next thing to be done on a connection; new ones come from every call that takes a time.
    public mutating func pollTransmit() -> SignalingTransmit? { transmits.popFirst() }

    /// Takes the oldest event; new ones come from every call that takes a time.
    public mutating func pollEvent() -> SignalingEvent? { events.popFirst() }

    /// When `handleTimeout` must be called, or `nil` if nothing waits for time to pass.
    public var nextTimeout: Instant? { timers.earliest }

    /// What was counted, and how much the engine holds.
    public var statistics: SignalingStatistics {
        var statistics = counters
        statistics.connections = connections.count
        statistics.sessions = sessions.count
        statistics.awaySessions = awaySessions
        statistics.rooms = rooms.count
        statistics.replayBytes = replayBytes
        return statistics
    }
}

extension SignalingEngine {
    /// A WebSocket.
    struct Connection {
        let host: String?
        let source: IPAddress?
        var bucket: TokenBucket
        /// When it counts as dead.
        var deadline: Instant
        /// The session that it carries, once it has joined.
        var session: UInt64?
        /// The earliest entry in the timer queue.
        var scheduled = Instant.distantFuture

        init(host: String?, source: IPAddress?, bucket: TokenBucket, deadline: Instant) {
            self.host = host
            self.source = source
            self.bucket = bucket
            self.deadline = deadline
        }
    }

    /// A peer in a room.
    struct Session {
        let peer: SignalingPeer
        let room: String
        let digest: SessionDigest
        /// The connection that carries it; `nil` while the peer is away.
        var connection: UInt64?
        /// Where that came from, or the last one did.
        var source: IPAddress?
        /// What its client may send; that of its first connection, and its own from then on.
        var bucket: TokenBucket?
        /// When to send fresh ICE servers, or, of an absent peer, when to give it up.
        var deadline = Instant.distantFuture
        /// The greatest sequence number that was received.
        var received: UInt64 = 0
        /// What the client was told of that.
        var acknowledged: UInt64 = 0
        /// When the client must be told, if it must.
        var acknowledgementDue: Instant?
        var replay: ReplayQueue
        /// Whether the client was told that messages were lost and has not spoken since.
        ///
        /// It may not have heard it. Its old numbers then mean nothing, even those that look possible.
        var isLossUnheard = false
        /// The earliest entry in the timer queue.
        var scheduled = Instant.distantFuture

        init(peer: SignalingPeer, room: String, digest: SessionDigest, replay: ReplayQueue = ReplayQueue()) {
            self.peer = peer
            self.room = room
            self.digest = digest
            self.replay = replay
        }

        var id: String { peer.id }
    }
}
