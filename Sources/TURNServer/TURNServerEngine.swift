import Bytes
public import NetTypes
import STUN

/// One shard of a STUN and TURN server: messages, datagrams and time in; responses, events and framed payloads out.
///
/// One thread owns one engine. It sees no socket: a driver hands it whole messages (a datagram, or one message cut out of
/// a stream), sends what `receive` and `receiveFromPeer` return at once, and after each call drains `pollTransmit` and
/// `pollEvent`. Binding needs no credentials; everything that makes state needs long-term ones (RFC 8489 §9.2).
public struct TURNServerEngine: ~Copyable {
    var configuration: TURNServerConfiguration
    let shared: TURNServerShared
    var credentials: TURNServerCredentials
    var gate: PeerAddressGate
    var nonces: NonceFactory
    /// What the peers' addresses must be translated for: a relay address that peers know under another one.
    let presentsRelays: Bool
    let known: AttributeSet
    let decoyKey: IntegrityKey

    var allocations: SlotPool<Allocation>
    /// What waits for the driver's answers; apart from the allocations, which stay small and live long.
    var pending: FlatTable<UInt64, PendingAllocate>
    var clients: FlatTable<ClientTuple, SlotHandle>
    /// New 5-tuples of clients that move, until they are used for data.
    var movers: FlatTable<ClientTuple, SlotHandle>
    var mobile: [SlotHandle: Mobility] = [:]
    /// Whether the message in hand has come by another shard.
    var isForwarded = false
    var peers: PeerTables
    /// One deadline or more for each allocation: later ones are found when an earlier one fires.
    var timers = DeadlineQueue<SlotHandle>()
    /// Whether users, or all together, may relay only so many bytes.
    let limitsBandwidth: Bool
    var totalBytes: LeasedBytes?
    var userBytes: SlotPool<UserBytes>
    var userBytesByName: [String: SlotHandle] = [:]
    /// Of users whose allocations have ended, until the driver has been told: it may hold bytes of them.
    var endedBudgets: [SlotHandle: ByteBudget] = [:]
    var connections: PeerConnections
    var connects: PrefixLimiter
    /// The shard's number among those of the server, from 0.
    public let shard: Int
    var deletes: RecentDeletes
    var reservationExpiry: Instant?
    var outbox = Outbox(capacity: 256 * 1024)
    var events: [TURNServerEvent] = []
    private var firstEvent = 0
    var counters = Counters()
    var unauthenticated: PrefixLimiter
    var bindings: PrefixLimiter
    var discoveries: PrefixLimiter
    var weakEntropy: Entropy
    var unixSeconds: UInt64

    /// Whether Allocate requests are granted; while `false` they get 508 and what exists lives on (draining).
    public var acceptsAllocations = true

    /// Makes a shard.
    ///
    /// All shards of a server get the same configuration and the same `shared`. `unixSeconds` is the time of day, which
    /// nonces and temporary credentials depend on, and nothing else. `entropy` must be `.system` except in tests.
    ///
    /// - Throws: `TURNServerConfigurationError` if the configuration is not usable.
    public init(
        _ configuration: TURNServerConfiguration,
        shared: TURNServerShared,
        unixSeconds: UInt64,
        entropy: Entropy = .system
    ) throws(TURNServerConfigurationError) {
        try configuration.validate()
        var entropy = entropy
        do { nonces = try configuration.credentials.nonceFactory() } catch { throw .badNonceSecret }
        self.configuration = configuration
        self.shared = shared
        self.unixSeconds = unixSeconds
        credentials = configuration.credentials
        gate = configuration.gate
        presentsRelays = configuration.relayAddresses.contains { $0.local != $0.external }
        var known = AttributeSet.turn
        if !configuration.supportsDontFragment { known.remove(.dontFragment) }
        if configuration.relaysTCP { known.insert(.connectionID) }
        self.known = known
        shard = shared.addShard()
        decoyKey = IntegrityKey(entropy.bytes(32).span)
        let limits = configuration.limits
        allocations = SlotPool(limit: 1 << 24)
        limitsBandwidth = limits.bytesPerSecondPerUser != nil || limits.bytesPerSecond != nil
        totalBytes = shared.totalBytes.map { LeasedBytes($0) }
        userBytes = SlotPool(limit: 1 << 24)
        pending = FlatTable(seed: 0)
        clients = FlatTable(seed: entropy.next())
        movers = FlatTable(seed: entropy.next())
        peers = PeerTables(seed: entropy.next())
        deletes = RecentDeletes(limit: 1024, seed: entropy.next())
        unauthenticated = PrefixLimiter(
            limits.unauthenticatedAnswers,
            places: limits.limitedPrefixes,
            seed: entropy.next()
        )
        bindings = PrefixLimiter(limits.bindingAnswers, places: limits.limitedPrefixes, seed: entropy.next())
        weakEntropy = .seeded(entropy.next())
        connections = PeerConnections(limit: limits.connections)
        let places = configuration.relaysTCP ? limits.limitedPrefixes : 1
        connects = PrefixLimiter(limits.failedConnects, places: places, seed: entropy.next())
        discoveries = PrefixLimiter(
            limits.discoveryAnswers,
            places: configuration.discovery.isEmpty ? 1 : limits.limitedPrefixes,
            seed: entropy.next()
        )
    }

    /// Tells the time of day, in seconds since 1970; to be called about once a second.
    ///
    /// Allocations do not depend on it.
    public mutating func setWallClock(unixSeconds: UInt64) { self.unixSeconds = unixSeconds }

    /// Takes one message from a client: a whole datagram, or one message of a stream with its padding.
    ///
    /// `.relay` is to be sent at once. Responses and events may wait after any call.
    public mutating func receive(
        _ message: Span<UInt8>,
        from client: ClientTuple,
        at now: Instant
    ) -> ClientDisposition {
        if let due = timers.earliest, due <= now { handleTimeout(at: now) }
        guard message.count >= 4 else { return ignore(.notTURN) }
        switch message[0] {
        case 64...79: return receiveChannelData(message, from: client, at: now)
        case 80...127 where configuration.acceptsLegacyChannels:
            return receiveChannelData(message, from: client, at: now)
        case 0...3: return receiveSTUN(message, from: client, at: now)
        default: return ignore(.notTURN)
        }
    }

    /// Takes the oldest response that waits and appends it to `output`; `nil` if there is none.
    ///
    /// The free capacity must be at least `maximumResponseByteCount`: a response for which there is no room is lost.
    public mutating func pollTransmit(
        into output: inout OutputSpan<UInt8>
    ) -> (client: ClientTuple, byteCount: Int)? {
        outbox.popFirst(into: &output)
    }

    /// How many bytes a response has at most.
    public static var maximumResponseByteCount: Int { responseRoom + maximumPadding }

    /// Takes the oldest event that was not taken yet.
    public mutating func pollEvent() -> TURNServerEvent? {
        guard firstEvent < events.count else { return nil }
        defer {
            firstEvent += 1
            if firstEvent == events.count {
                events.removeAll(keepingCapacity: true)
                firstEvent = 0
                // The end of an allocation is told after all that makes the driver give bytes back.
                if !endedBudgets.isEmpty { endedBudgets.removeAll(keepingCapacity: true) }
            }
        }
        return events[firstEvent]
    }

    /// Adds an event that a driver may miss; beyond a thousand events that nobody takes, it is lost.
    ///
    /// The beginning and the end of an allocation are never lost: drivers count by them.
    mutating func log(_ event: TURNServerEvent) {
        if events.count - firstEvent < 1024 { events.append(event) }
    }

    /// When `handleTimeout` must be called, or `nil` if nothing waits for time to pass.
    public var nextTimeout: Instant? {
        var next = timers.earliest ?? .distantFuture
        if let expiry = reservationExpiry { next = min(next, expiry) }
        if let deadline = connections.earliestDeadline { next = min(next, deadline) }
        return next == .distantFuture ? nil : next
    }

    /// Ends what has expired; to be called when `nextTimeout` has passed, harmless otherwise.
    public mutating func handleTimeout(at now: Instant) {
        while let handle = timers.pop(at: now) {
            guard let deadline = allocations.read(handle, { $0.deadline }) ?? nil else { continue }
            if deadline <= now { expireRelays(of: handle, at: now) } else { timers.push(handle, at: deadline) }
        }
        while let handle = connections.popExpired(at: now) { giveUpConnection(handle, at: now) }
        if let expiry = reservationExpiry, expiry <= now {
            reservationExpiry = shared.expireReservations(at: now)
        }
    }

    /// Ends the allocation of a stream that is gone (RFC 8656 §6: the 5-tuple is no more).
    ///
    /// A mobile one lives until it expires, or its client comes back with the ticket.
    public mutating func connectionClosed(_ client: ClientTuple, at now: Instant) {
        guard let handle = clients[client] else { return moverClosed(client) }
        if !detach(client, handle, at: now) { end(handle, .connectionClosed, at: now) }
    }

    /// Ends all allocations of a user on this shard, as the operator wishes; returns how many there were.
    ///
    /// O(number of allocations).
    public mutating func revoke(user: String, at now: Instant) -> Int {
        var count = 0
        for handle in allocations.handles where allocations.read(handle, { $0.account.user }) == user {
            end(handle, .revoked, at: now)
            count += 1
        }
        return count
    }

    /// Ends all allocations, as at the end of draining.
    public mutating func revokeAll(at now: Instant) {
        for handle in allocations.handles { end(handle, .revoked, at: now) }
    }

    /// What the shard has done so far.
    public var statistics: TURNServerStatistics {
        TURNServerStatistics(
            allocations: allocations.count,
            permissions: peers.permissionCount,
            channels: peers.channelCount,
            peerConnections: connections.count,
            allocationsCreated: counters.allocationsCreated,
            allocationsMoved: counters.moves,
            traffic: counters.traffic,
            requests: counters.requestCounts,
            errors: counters.errorCounts,
            successes: counters.successes,
            drops: counters.dropCounts
        )
    }
}
