import Bytes
public import Diagnostics
public import ICE
import MDNS
public import NetTypes
public import STUN
import TURN

/// One ICE transport, whole: the agent, the gathering of its candidates, and the relays, as one engine.
///
/// It knows no socket: it asks its driver for them, for connections, names and mappings, by effects, and takes the
/// answers as inputs; so all of it runs in a simulation too. After each call drain `pollEffect`, `pollTransmit`, `pollData`
/// and `pollEvent`, then sleep until `nextTimeout` and call `handleTimeout`. Every step of gathering has a deadline: a dead
/// server, resolver or gateway holds up nothing but itself.
public struct ICESession: ~Copyable {
    /// What the session was told.
    public let configuration: ICESessionConfiguration
    /// How many bytes a message out of `send` has at most, for the longest payload: room that always suffices.
    public static let maximumMessageByteCount = 65_535 + 64
    /// How many bytes a message out of `pollTransmit` has at most.
    public static let maximumTransmitByteCount = 4096 + 64
    /// Bases of the session's own begin here; the driver's are below.
    public static let firstOwnBase: UInt32 = 0x8000_0000

    var agent: ICEAgent
    var entropy: Entropy
    var hosts: [Host] = []
    var bases: [BaseEntry] = []
    var routes: [ServerRoute] = []
    var offers: [Offer] = []
    var queries: SlotPool<Query>
    var relays: SlotPool<Relay>
    var streams: SlotPool<PeerStream>
    /// Accepted connections that brought no authenticated check yet, the oldest first, and until when they may.
    var unproven: [(stream: SlotHandle, until: Instant)] = []
    var plans: [RelayPlan] = []
    var effects: [EffectID: PendingEffect] = [:]
    var serverAddresses: [ServerName: [IPAddress]] = [:]
    var challenges: [LongTermChallenge?]
    var planners: [TURNRetryPlanner]
    var knownPublic: PublicAddresses
    /// Addresses of ours that a server has seen as others.
    var translated: Set<IPAddress> = []
    var nat64: NAT64Prefix?
    var timers = DeadlineQueue<SessionTimer>()
    /// Queries and relays whose first message waits for the pacer.
    var starts: [Origin] = []
    var startAt = Instant.distantFuture
    /// The handles of all queries and relays, in the order in which they came.
    var queryHandles: [SlotHandle] = []
    var relayHandles: [SlotHandle] = []
    /// Those that may have something to send or to tell.
    var dirtyRelays: [SlotHandle] = []
    var dirtyQueries: [SlotHandle] = []
    /// When the first of the queries and relays is to be woken.
    var clientTimeout = Instant.distantFuture
    /// Addresses behind names of the peer: no relay of ours is told of them (ice 153).
    var concealedPeers: Set<IPAddress> = []
    var openers: [(base: BaseID, to: SocketAddress)] = []
    var probingState = ProbingState()

    /// Whether the peer has said that it has no more candidates of this generation.
    var hasRemoteEnd = false
    /// The generation that this end belongs to; `nil`: the present one.
    var remoteEndFragment: String?
    var isGathering = false
    var hasGathered = false
    var isGoodEnough = false
    var hasGraceBegun = false
    var generation = 0
    var isClosing = false
    var hasToldClosed = false
    /// Components with a selected pair, whose path keeps itself alive.
    var selected: Set<UInt16> = []
    /// Whether the timer that keeps bindings alive runs.
    var isKeepingAlive = false
    var lastEffect: UInt32 = 0
    var lastOwnBase = ICESession.firstOwnBase
    var networks: [UInt32] = []
    var scratch: [UInt8] = []

    private var effectQueue: [SessionEffect] = []
    private var events: [SessionEvent] = []
    var inbox: RingBuffer<(component: UInt16, bytes: [UInt8])>
    private var drops = DropCounters<SessionDrop>()

    /// Makes a session that does nothing before `updateInterfaces` and `gather`; `entropy` is `.system` except in tests.
    ///
    /// - Throws: `CredentialError` if a TURN server's user name or password cannot be used.
    public init(
        _ configuration: ICESessionConfiguration,
        credentials: ICECredentials? = nil,
        tag: AgentTag = .none,
        entropy: Entropy = .system,
        at now: Instant
    ) throws(CredentialError) {
        for server in configuration.turnServers {
            _ = try LongTermSession(username: server.username, password: server.password)
        }
        self.configuration = configuration
        var entropy = entropy
        agent = ICEAgent(
            Self.limits(for: configuration),
            credentials: credentials,
            tag: tag,
            entropy: entropy.forked(),
            at: now
        )
        self.entropy = entropy
        queries = SlotPool(limit: configuration.limits.addresses * configuration.limits.stunServersPerAddress)
        relays = SlotPool(limit: configuration.limits.relays)
        // The agent takes no more connections than it has pairs.
        streams = SlotPool(limit: min(configuration.limits.streams, agent.configuration.pairLimit))
        challenges = configuration.turnServers.map(\.challenge)
        knownPublic = PublicAddresses(servers: configuration.stunServers)
        if let known = configuration.publicAddresses, known.servers == knownPublic.servers { knownPublic = known }
        planners = configuration.turnServers.map { _ in TURNRetryPlanner() }
        inbox = RingBuffer(limit: configuration.limits.waitingFrames)
    }

    // MARK: What is known

    /// What is to be signalled of this side, apart from its candidates.
    public var localDescription: ICEDescription { agent.localDescription }
    /// The agent's state.
    public var state: ICEConnectionState { agent.state }
    /// How far gathering is.
    public var gatheringState: ICEGatheringState { isGathering ? .gathering : hasGathered ? .complete : .new }
    /// Whether the peer takes candidates one by one (`canTrickleIceCandidates`); `nil` before its description has come.
    public var canTrickle: Bool? { agent.remoteCanTrickle }
    /// Who nominates.
    public var role: ICERole { agent.role }
    /// Where data of a component goes now.
    public func path(component: UInt16 = 1) -> ICEPath? { agent.path(component: component) }
    /// Why there is no connection, or what is known of the one there is.
    public var verdict: Verdict { agent.verdict }
    /// What came in, went out and was dropped by the agent.
    public var statistics: ICEStatistics { agent.statistics }
    /// All pairs, for statistics; allocates.
    public var pairs: [ICEPairSnapshot] { agent.pairSnapshots }
    /// As what servers have seen our sockets: equal ports for different servers mean a mapping that peers can use.
    public var mappingObservations: [MappingObservation] { agent.mappingObservations }
    /// All that the agent was told and has done, for `ICEAgent.replay`; `nil` unless `ICEConfiguration.isRecorded`.
    public func recording() -> [UInt8]? { agent.recording() }
    /// The candidates that were signalled and are still good.
    public var localCandidates: [Candidate] { offers.map(\.signalled) }
    /// What was dropped, by reason.
    public var dropCounts: DropCounters<SessionDrop> { drops }
    /// What was learned of our addresses, for the next session.
    public var publicAddresses: PublicAddresses { knownPublic }
    /// What was learned of the TURN servers, in the order of the configuration, for the next session.
    public var turnChallenges: [LongTermChallenge?] { challenges }

    // MARK: The peer

    /// Takes what the peer says of itself; other credentials than before mean that it has restarted.
    public mutating func setRemoteDescription(
        _ description: ICEDescription,
        at now: Instant
    ) -> RemoteDescriptionDisposition {
        let disposition = agent.setRemoteDescription(description, at: now)
        if disposition == .restarted {
            // An end may come before the description that it belongs to.
            hasRemoteEnd = hasRemoteEnd && remoteEndFragment == description.credentials.usernameFragment
            offerAgain(at: now)
        }
        advance(at: now)
        return disposition
    }

    /// Takes a candidate of the peer; a multicast DNS name is resolved first.
    public mutating func addRemoteCandidate(_ candidate: Candidate, at now: Instant) {
        noteForProbing(candidate, at: now)
        // Resolved at once, also while the peer's description is still on its way.
        if case .name(let text) = candidate.address, candidate.hasMulticastName {
            resolvePeer(candidate, text, at: now)
        } else if agent.addRemoteCandidate(candidate, at: now) == .added {
            openTowards(candidate)
        }
        advance(at: now)
    }

    /// Forgets a candidate that the peer has taken back.
    public mutating func removeRemoteCandidate(_ candidate: Candidate, at now: Instant) {
        agent.removeRemoteCandidate(candidate, at: now)
        advance(at: now)
    }

    /// Notes that the peer will signal no more candidates of the generation with this fragment; `nil`: of the present one.
    ///
    /// The agent is told when the names among those that came before are resolved.
    public mutating func endOfRemoteCandidates(usernameFragment: String? = nil, at now: Instant) {
        hasRemoteEnd = true
        remoteEndFragment = usernameFragment
        tellRemoteEnd(at: now)
        advance(at: now)
    }

    /// Notes that the peer has closed the connection above with proof of being the peer (RFC 7675 §5.2).
    public mutating func revokeConsent(component: UInt16 = 1, at now: Instant) {
        agent.revokeConsent(component: component, at: now)
        advance(at: now)
    }

    /// Begins a new generation: signal what is returned, then the candidates that follow; the old path carries on.
    public mutating func restart(at now: Instant) -> ICEDescription {
        hasRemoteEnd = false
        let description = agent.restart(at: now)
        offerAgain(at: now)
        advance(at: now)
        return description
    }

    // MARK: The driver

    /// Does what is due at `now`; to be called when `nextTimeout` has passed, harmless otherwise.
    public mutating func handleTimeout(at now: Instant) {
        while let timer = timers.pop(at: now) { fire(timer, at: now) }
        if clientTimeout <= now { handleClientTimeouts(at: now) }
        while let oldest = unproven.first, oldest.until <= now { drop(unproven: oldest.stream, .silentStream, at: now) }
        agent.handleTimeout(at: now)
        advance(at: now)
    }

    /// When `handleTimeout` must be called and `pollTransmit` drained, or `nil` if nothing waits for time to pass.
    public var nextTimeout: Instant? {
        var next = min(agent.nextTimeout ?? .distantFuture, timers.earliest ?? .distantFuture)
        if !starts.isEmpty { next = min(next, startAt) }
        next = min(next, clientTimeout)
        if let oldest = unproven.first { next = min(next, oldest.until) }
        return next == .distantFuture ? nil : next
    }

    /// Takes the next thing that the driver is to do.
    public mutating func pollEffect() -> SessionEffect? { effectQueue.isEmpty ? nil : effectQueue.removeFirst() }

    /// Takes the oldest event that was not taken yet.
    public mutating func pollEvent() -> SessionEvent? { events.isEmpty ? nil : events.removeFirst() }

    // MARK: For the other files

    mutating func tell(_ event: SessionEvent) { events.append(event) }

    mutating func count(_ reason: SessionDrop) { drops.count(reason) }

    mutating func ignore(_ reason: SessionDrop) -> SessionDisposition {
        drops.count(reason)
        return .ignored(reason)
    }

    /// Asks the driver for something that needs no answer.
    mutating func want(_ effect: SessionEffect) { effectQueue.append(effect) }

    /// Asks the driver for something and waits for the answer until the deadline.
    mutating func want(
        _ purpose: Purpose,
        within span: TimeSpan,
        holdsGathering: Bool,
        at now: Instant,
        _ make: (EffectID) -> SessionEffect
    ) {
        lastEffect &+= 1
        let id = EffectID(rawValue: lastEffect)
        effects[id] = PendingEffect(purpose: purpose, holdsGathering: holdsGathering)
        timers.push(.effect(id), at: now + span)
        effectQueue.append(make(id))
    }

    mutating func ownBase() -> BaseID {
        defer { lastOwnBase &+= 1 }
        return BaseID(rawValue: lastOwnBase)
    }

    func kind(of base: BaseID) -> BaseKind? { bases.first { $0.id == base }?.kind }

    mutating func mark(relay handle: SlotHandle) {
        if !dirtyRelays.contains(handle) { dirtyRelays.append(handle) }
    }

    mutating func mark(query handle: SlotHandle) {
        if !dirtyQueries.contains(handle) { dirtyQueries.append(handle) }
    }
}
