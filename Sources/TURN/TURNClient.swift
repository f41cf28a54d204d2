import Bytes
public import Diagnostics
public import NetTypes
public import STUN

/// A TURN client as an engine: one allocation over one 5-tuple (RFC 8656).
///
///     idle ──start──► allocating ──success──► allocated ──close──► deleting ──► ended
///                         │                       │ 437, expiry                   ▲
///                         └──────── error ────────┴───────────────────────────────┘
///
/// It answers challenges, refreshes the allocation, permissions and channels, and frames data. The driver hands in whole
/// messages (a datagram, or one message cut out of a stream by `StreamFraming`) and, after each call, drains
/// `pollTransmit` and `pollEvent`, then waits until `nextTimeout`. Data of peers is not copied: `receive` tells where it
/// stands in the caller's bytes. What to do after the end, `TURNRetryPlanner` tells.
public struct TURNClient: ~Copyable {
    enum Phase {
        case idle
        case allocating
        case allocated
        case deleting(TURNClientEnd)
        case ended
    }

    /// What a request is for.
    enum Purpose: Sendable {
        case allocate
        case refresh
        case move
        case delete
        case permit([IPAddress])
        case bind(SocketAddress, ChannelNumber)
        case connect(SocketAddress)
    }

    struct Exchange: Sendable {
        let purpose: Purpose
        let attempt: LongTermAttempt
    }

    enum Timer: Sendable {
        case refresh(Instant)
        case permission(IPAddress, Instant)
        case channel(SocketAddress, Instant)
        case rest(ChannelNumber, Instant)
    }

    /// What the client was told to do.
    public internal(set) var configuration: TURNClientConfiguration
    var phase = Phase.idle
    var session: LongTermSession
    var transactions: ClientTransactions<Exchange>
    /// Purposes for which there was no room among the transactions, or no allocation yet.
    var waiting: [Purpose] = []
    var timers = DeadlineQueue<Timer>()
    var peers: PeerBook
    var expires = Instant.zero
    var refreshAt = Instant.distantFuture
    /// The earliest of the timers for it, `.distantFuture` for none.
    var refreshTimer = Instant.distantFuture
    /// Whether a Refresh that the owner has asked for is on its way.
    var isRefreshing = false
    var asksDontFragment: Bool
    var asksMobility: Bool
    /// What the server wants to see from a new address; `nil` if the allocation cannot move.
    var ticket: [UInt8]?
    /// Whether a Refresh with the ticket is on its way, and everything else waits for it.
    var isMoving = false
    /// Peers for which a connection is asked: until when no other request for them may be sent.
    var connects: [SocketAddress: Instant] = [:]
    /// `close` was called while the Allocate request was on its way.
    var closesWhenAllocated = false
    var entropy: Entropy
    var weakEntropy: Entropy
    private var outbox: RingBuffer<[UInt8]>
    private var events: RingBuffer<TURNClientEvent>
    private var drops = DropCounters<TURNClientDrop>()

    /// What the server has granted, while the allocation lasts.
    public internal(set) var allocation: TURNAllocation?

    /// How many bytes a message out of `pollTransmit` has at most.
    public static let maximumMessageByteCount = 4096

    /// Makes a client that does nothing before `start`; `entropy` must be `.system` except in tests.
    ///
    /// - Throws: `CredentialError` if user name or password cannot be used.
    public init(_ configuration: TURNClientConfiguration, entropy: Entropy = .system) throws(CredentialError) {
        self.configuration = configuration
        var entropy = entropy
        switch configuration.credentials {
        case .password(let password, let username):
            session = try LongTermSession(
                username: username,
                password: password,
                challenge: configuration.challenge
            )
        case .grant(let grant): session = LongTermSession(grant: grant, challenge: configuration.challenge)
        }
        transactions = ClientTransactions(
            policy: configuration.retransmission,
            isReliable: configuration.transport.isStream,
            limit: configuration.limits.transactions,
            estimator: configuration.estimator
        )
        peers = PeerBook(configuration.limits, seed: entropy.next())
        asksDontFragment = configuration.dontFragment && configuration.relayed == .udp
        asksMobility = configuration.mobility
        weakEntropy = .seeded(entropy.next())
        self.entropy = entropy
        outbox = RingBuffer(limit: 512)
        events = RingBuffer(limit: configuration.limits.events)
    }

    // MARK: The owner's calls

    /// Begins to allocate; an `.allocated` or `.ended` event follows.
    public mutating func start(at now: Instant) {
        guard case .idle = phase else { return }
        guard configuration.relayed == .udp || configuration.transport.isStream else {
            return end(.failed(.streamNeeded))
        }
        phase = .allocating
        submit(.allocate, at: now)
    }

    /// Deletes the allocation; an `.ended` event follows, also if the server does not answer.
    public mutating func close(at now: Instant) {
        switch phase {
        case .idle: end(.closed)
        case .allocating: closesWhenAllocated = true
        case .allocated: delete(.closed, at: now)
        case .deleting, .ended: break
        }
    }

    /// Tells that the connection was lost, or that ICMP says that the server's port is closed; ends the client.
    public mutating func transportFailed(at now: Instant) { end(.failed(.transaction(.transportFailed))) }

    /// Refreshes the allocation now, so that NATs on the way to the server keep their binding (RFC 8445 §5.1.1.4).
    ///
    /// Without effect before there is an allocation, and while the last such Refresh is on its way; it is refreshed in time
    /// for the server without this too.
    public mutating func refresh(at now: Instant) {
        guard case .allocated = phase, !isRefreshing else { return }
        isRefreshing = true
        submit(.refresh, at: now)
    }

    /// Refreshes the allocation with another access token, to be called before the present one ends (RFC 7635 §9).
    ///
    /// Without effect on a client with a password.
    public mutating func renew(_ grant: AccessGrant, at now: Instant) {
        session.renew(grant)
        if case .allocated = phase { submit(.refresh, at: now) }
    }

    /// The name of the server that an access token must be for, once it has said that it takes any (RFC 7635 §6.1).
    public var thirdPartyServerName: String? { session.thirdPartyServerName }

    /// What to hand to the next client of the same user and server: realm and nonce, once they were confirmed.
    public var challenge: LongTermChallenge? { session.challenge }

    /// What is known of the round-trip time to the server, for the next client.
    public var estimator: RoundTripEstimator { transactions.estimator }

    // MARK: The driver's calls

    /// Takes a whole message that came from `source`.
    public mutating func receive(
        _ message: Span<UInt8>,
        from source: SocketAddress,
        at now: Instant
    ) -> TURNClientDisposition {
        let (server, source) = (configuration.server.unmapped, source.unmapped)
        guard source.ip == server.ip, source.port == server.port else { return ignore(.wrongSource) }
        guard message.count > 0 else { return ignore(.notTURN) }
        switch PacketKind(firstByte: message[0]) {
        case .turnChannel: return receiveChannelData(message, at: now)
        case .stun: return receiveSTUN(message, at: now)
        case .zrtp, .dtls, .rtp, .unknown: return ignore(.notTURN)
        }
    }

    /// Sends again, refreshes, and ends what has expired; to be called when `nextTimeout` has passed.
    public mutating func handleTimeout(at now: Instant) {
        while let due = transactions.pollDue(at: now) {
            switch due {
            case .retransmit(let bytes): transmit(bytes)
            case .failed(let transaction, let failure):
                if failure == .timedOut, configuration.transport.isStream, case .allocated = phase {
                    // A stream loses nothing: it is dead, and with it the 5-tuple of the allocation (turn 17).
                    return end(.failed(.connectionDead))
                }
                fail(transaction.context.purpose, .transaction(failure), at: now)
            }
        }
        handleTimers(at: now)
        pump(at: now)
    }

    /// When `handleTimeout` must be called, or `nil` if nothing waits for time to pass.
    public var nextTimeout: Instant? {
        switch (transactions.nextTimeout, timers.earliest) {
        case (let first?, let second?): min(first, second)
        case (let first?, nil): first
        case (nil, let second): second
        }
    }

    /// Writes the next message for the server; `nil` if there is none.
    ///
    /// The free capacity must be at least `maximumMessageByteCount`: a message for which there is no room is lost.
    public mutating func pollTransmit(at now: Instant, into output: inout OutputSpan<UInt8>) -> Transmit? {
        while let bytes = outbox.popFirst() {
            guard bytes.count <= output.freeCapacity else {
                drops.count(.notTaken)
                continue
            }
            output.append(contentsOf: bytes.span)
            return Transmit(to: configuration.server, byteCount: bytes.count)
        }
        return nil
    }

    /// Takes the oldest event that was not taken yet.
    public mutating func pollEvent() -> TURNClientEvent? { events.popFirst() }

    /// What was dropped, by reason.
    public var dropCounts: DropCounters<TURNClientDrop> { drops }

    // MARK: For the other files

    mutating func transmit(_ bytes: [UInt8]) { if !outbox.append(bytes) { drops.count(.notTaken) } }

    mutating func tell(_ event: TURNClientEvent) { if !events.append(event) { drops.count(.notTaken) } }

    mutating func ignore(_ reason: TURNClientDrop) -> TURNClientDisposition {
        drops.count(reason)
        return .ignored(reason)
    }

    mutating func refuse(_ reason: TURNClientDrop) -> TURNSendResult {
        drops.count(reason)
        return .refused(reason)
    }

    /// Ends the life of the client.
    mutating func end(_ reason: TURNClientEnd) {
        if case .ended = phase { return }
        phase = .ended
        allocation = nil
        ticket = nil
        _ = transactions.removeAll()
        waiting = []
        timers = DeadlineQueue()
        peers = PeerBook(configuration.limits, seed: 0)
        while outbox.popFirst() != nil {}
        tell(.ended(reason))
    }
}
