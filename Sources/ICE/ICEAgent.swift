import Bytes
public import NetTypes
import STUN

/// Finds out over which pair of addresses two peers can talk, and keeps knowing it (RFC 8445).
///
/// One agent serves one data stream with its components. Bytes and time come in, bytes and events go out; how datagrams
/// travel from a base is the driver's affair. After each input, drain `pollTransmit` and `pollEvent`, then sleep until
/// `nextTimeout`. No packet costs work that grows with the number of pairs, and none costs an allocation.
public struct ICEAgent: ~Copyable {
    /// What the agent was told at its beginning.
    public let configuration: ICEConfiguration
    /// Who nominates.
    public internal(set) var role: ICERole
    /// The state.
    public internal(set) var state = ICEConnectionState.new
    /// What came in, went out and was dropped.
    public internal(set) var statistics = ICEStatistics()

    let tag: AgentTag
    var entropy: AgentEntropy
    var tiebreaker: UInt64

    /// The generations that are alive: the current one last, in front of it the one whose path still carries.
    var generations: [Generation]
    var remoteOptions: ICEOptions = []
    var remoteIsLite = false
    /// How far apart ordinary checks are.
    var pacing: TimeSpan
    var isLocalGatheringDone = false
    var hasRemoteEnd = false
    var earlyCandidates: [Candidate] = []
    /// The fragment of the generation whose end of candidates has come before its description.
    var earlyEnd: String?

    var locals: [LocalEntry] = []
    var remotes: [RemoteEntry] = []
    /// The connections that stand for a local TCP candidate, by its place.
    var connections: [(base: BaseID, local: Int)] = []
    var lastFoundation: UInt16 = 0
    var lastPrflxFoundation: UInt64 = 0

    var pairs: [Pair] = []
    var places = PlaceIndex()
    var deadlines = DeadlineHeap()
    /// How many pairs there are, and how many of them may still become valid.
    var pairCount = 0
    var unfinishedCount = 0
    var inProgressCount = 0
    var lastSerial: UInt16 = 0
    let hashSeed: UInt64

    var components: [ComponentState]
    var transactions = TransactionTable()
    var triggered = RingBuffer<UInt32>(limit: 1024)
    var errands = RingBuffer<Errand>(limit: 1024)
    var responses = RingBuffer<PendingResponse>(limit: 64)
    var events = RingBuffer<ICEEvent>(limit: 4096)

    /// Whether a pair may be waiting for an ordinary check.
    var hasWaiting = false
    /// Whether a check of this generation was sent, after which new pairs follow RFC 8838 §12.
    var hasStarted = false
    /// When the next ordinary check may be sent.
    var checkSlot = Instant.zero
    /// When the next triggered check may be sent.
    var urgentSlot = Instant.zero
    var burstCount = 0
    /// When nothing more is waited for with failing (RFC 8863); `distantFuture` while the timer does not run.
    var patienceEnds = Instant.distantFuture
    /// When silent pairs are checked anew; `distantFuture` if there are none or that is not wanted.
    var recheckAt = Instant.distantFuture
    /// When nomination is to be thought over again.
    var reviewAt = Instant.distantFuture
    /// When it is looked at whether data of the peer still come; `distantFuture` while none are expected.
    var quietAt = Instant.distantFuture
    /// When what was not selected is freed.
    var freeAt = Instant.distantFuture
    /// Microseconds that the path to the peer took last; 0 if nothing is known.
    var roundTrip: UInt32 = 0
    /// Microseconds that a server's answer took: what is known before the peer has answered anything; 0 if nothing is.
    var serverRoundTrip: UInt32 = 0
    var hasChangedTiebreaker = false
    /// How many pairs of this generation were presumed to work.
    var presumptionCount: UInt8 = 0
    var wasConnected = false
    /// Whether there was a path of the current generation.
    var isEstablished = false
    var hasAdvisedRestart = false
    /// Unauthenticated requests that were answered in this second.
    var refusals: (second: UInt64, count: UInt8) = (0, 0)
    var evidence = EvidenceLog()
    var journal: Journal?
    let recordedCredentials: ICECredentials?

    /// Makes an agent with the credentials that it will signal; without them, new ones are drawn.
    public init(
        _ configuration: ICEConfiguration,
        credentials: ICECredentials? = nil,
        tag: AgentTag = .none,
        entropy: Entropy = .system,
        at now: Instant
    ) {
        self.init(configuration, credentials: credentials, tag: tag, words: AgentEntropy(entropy), at: now)
    }

    init(
        _ configuration: ICEConfiguration,
        credentials: ICECredentials?,
        tag: AgentTag,
        words: AgentEntropy,
        at now: Instant
    ) {
        var words = words
        if configuration.isRecorded {
            words.tape = []
            journal = Journal()
        }
        recordedCredentials = configuration.isRecorded ? credentials : nil
        let configuration = configuration.bounded
        self.configuration = configuration
        self.tag = tag
        role = configuration.role
        tiebreaker = words.next()
        hashSeed = words.next()
        pacing = max(configuration.pacing, .milliseconds(5))
        let local = credentials ?? Self.drawCredentials(&words)
        generations = [Generation(number: 0, local: local)]
        components = Array(repeating: ComponentState(), count: min(max(configuration.componentCount, 1), 256))
        entropy = words
    }

    static func drawCredentials(_ words: inout AgentEntropy) -> ICECredentials {
        ICECredentials(drawing: { words.next() })
    }

    /// What is to be signalled of this agent, apart from its candidates.
    public var localDescription: ICEDescription {
        ICEDescription(
            credentials: current.local,
            options: configuration.options,
            isLite: configuration.isLite,
            pacing: configuration.pacing == .milliseconds(50) ? nil : configuration.pacing
        )
    }

    /// When `handleTimeout` must be called and `pollTransmit` drained, or `nil` if nothing waits for time to pass.
    public var nextTimeout: Instant? {
        var earliest = min(min(patienceEnds, reviewAt), min(freeAt, quietAt))
        earliest = min(earliest, recheckAt)
        if let deadline = deadlines.earliest { earliest = min(earliest, deadline) }
        if hasWaiting, canCheck { earliest = min(earliest, checkSlot) }
        if !triggered.isEmpty || !errands.isEmpty, canCheck { earliest = min(earliest, urgentSlot) }
        return earliest == .distantFuture ? nil : earliest
    }

    /// Where data of a component goes now; `nil`: it must not be sent (ice 81, 82).
    public func path(component: UInt16 = 1) -> ICEPath? {
        let index = Int(component) &- 1
        return components.indices.contains(index) ? components[index].path : nil
    }

    /// Takes the oldest event that was not taken yet.
    public mutating func pollEvent() -> ICEEvent? {
        let event = events.popFirst()
        if journal != nil, let event { journal?.output(event) }
        return event
    }

    /// Whether the peer takes candidates one by one; `nil` before its description has come (ice 91, 171).
    public var remoteCanTrickle: Bool? { current.remote == nil ? nil : remoteOptions.contains(.trickle) }

    /// The generation that is announced now.
    var current: Generation { generations[generations.count - 1] }

    /// Whether checks may be sent: the peer's credentials are known and this agent is not lite (ice 39).
    var canCheck: Bool {
        generations[generations.count - 1].remoteKey != nil && !configuration.isLite && state != .closed
    }

    /// Whether the controlling agent may nominate again: both have said so.
    var allowsRenomination: Bool {
        configuration.options.contains(.renomination) && remoteOptions.contains(.renomination)
    }

    func generationIndex(_ number: UInt8) -> Int? { generations.lastIndex { $0.number == number } }

    mutating func emit(_ event: ICEEvent) { _ = events.append(event) }

    /// The pair that a token names, unless it is gone.
    func pairIndex(_ token: UInt32) -> Int? {
        let index = Int(token & 0xFFFF)
        guard index < pairs.count, pairs[index].state != .removed, pairs[index].token(index) == token else {
            return nil
        }
        return index
    }
}
