import NetTypes
import STUN

/// A candidate of our own.
struct LocalEntry {
    var address: SocketAddress
    var baseAddress: SocketAddress
    var serverIP: IPAddress?
    var base: BaseID
    var priority: UInt32
    /// Equal for equal type, base, server and transport; 1 and up.
    var foundation: UInt16
    var component: UInt16
    var localPreference: UInt16
    var network: UInt16
    var cost: UInt16
    var type: CandidateType
    var transport: CandidateTransport
    var tcpType: TCPCandidateType?
    var isConcealed = false
    var isRemoved = false
}

/// A candidate of the peer.
struct RemoteEntry {
    var address: SocketAddress
    /// The foundation's text as a number.
    var foundation: UInt64
    var priority: UInt32
    var component: UInt16
    var cost: UInt16
    var type: CandidateType
    var transport: CandidateTransport
    var tcpType: TCPCandidateType?
    var generation: UInt8
    /// Whether the peer has signalled it.
    var isSignalled: Bool
    /// Whether the peer has signalled a name in place of the address, which must not be shown then (ice 152).
    var isConcealed: Bool
    var isRemoved = false
}

/// The states of RFC 8445 §6.1.2.6, and two for pairs that are no longer on the checklist.
enum PairState: UInt8 {
    case frozen
    case waiting
    case inProgress
    case succeeded
    case failed
    /// Its request is not sent again, but an answer counts (§8.1.2, ice 72).
    case cancelled
    /// The place in the table is free.
    case removed

    /// Whether it may still become valid by checks of the checklist.
    var isUnfinished: Bool { self == .frozen || self == .waiting || self == .inProgress }
}

/// What is known of a pair beyond its state.
struct PairFlags: OptionSet {
    let rawValue: UInt16
    /// On the valid list.
    static let valid = PairFlags(rawValue: 1)
    /// Nominated.
    static let nominated = PairFlags(rawValue: 1 << 1)
    /// Our check that nominates it is under way, or waits in the queue.
    static let nominating = PairFlags(rawValue: 1 << 2)
    /// The peer has nominated it; done when our check has succeeded (ice 67).
    static let nominateOnSuccess = PairFlags(rawValue: 1 << 3)
    /// In the triggered-check queue.
    static let triggered = PairFlags(rawValue: 1 << 4)
    /// An authenticated request of the peer came over it: its data is accepted.
    static let heardRequest = PairFlags(rawValue: 1 << 5)
    /// Kept beside the selected one.
    static let backup = PairFlags(rawValue: 1 << 6)
    /// A check of its foundation was sent.
    static let foundationStarted = PairFlags(rawValue: 1 << 7)
    /// It does not answer at present.
    static let suspect = PairFlags(rawValue: 1 << 8)
    /// Consent has ended; only a restart brings it back (ice 133).
    static let consentEnded = PairFlags(rawValue: 1 << 9)
    /// A connection for it was asked for or is there.
    static let connecting = PairFlags(rawValue: 1 << 10)
    /// Its base is a connection of its own.
    static let hasConnection = PairFlags(rawValue: 1 << 11)
    /// Its running request was made under a role or tiebreaker that is over.
    static let stale = PairFlags(rawValue: 1 << 12)
    /// It is asked how it is although nobody keeps it up, because the path in use does not answer.
    static let probed = PairFlags(rawValue: 1 << 13)
    /// Data goes over it although nothing has proven it yet (ice 175).
    static let presumed = PairFlags(rawValue: 1 << 14)
    /// It was presumed to work once, and is not again: only a success brings it back.
    static let wasPresumed = PairFlags(rawValue: 1 << 15)
}

/// A candidate pair: one per base and remote address, since reflexive candidates check as their base (ice 32).
struct Pair {
    var remoteAddress: SocketAddress
    var priority: UInt64
    /// The priority of the pair with the mapped address that a check has shown (ice 53).
    var validPriority: UInt64 = 0
    /// When the running request is sent again, is sent anew or has failed.
    var retransmitAt = Instant.distantFuture
    var firstSent = Instant.zero
    var lastSent = Instant.zero
    var validSince = Instant.zero
    /// When consent ends, or for a pair that is not proven yet what was presumed of it.
    var consentExpiry = Instant.distantFuture
    /// When a consent check, a keepalive or a probe is due.
    var nextConsent = Instant.distantFuture
    /// When the next consent check may be sent; probes come between.
    var consentDueAt = Instant.zero
    /// The random part of the transaction that is sent again; 0 if none runs.
    var transaction: UInt64 = 0
    var base: BaseID
    var nomination: UInt32 = 0
    /// Microseconds, smoothed; 0 if not known.
    var roundTrip: UInt32 = 0
    var lastRoundTrip: UInt32 = 0
    var totalRoundTrip: UInt64 = 0
    var requestsSent: UInt32 = 0
    var requestsReceived: UInt32 = 0
    var responsesReceived: UInt32 = 0
    var responsesSent: UInt32 = 0
    var consentRequestsSent: UInt32 = 0
    var local: UInt16
    /// The candidate with the mapped address that a check has shown.
    var validLocal: UInt16
    var remote: UInt16
    var component: UInt16
    /// Distinguishes users of one place in the table.
    var serial: UInt16
    var flags: PairFlags = []
    var state = PairState.frozen
    var generation: UInt8
    /// The first wait for an answer to the running request.
    var timeoutMilliseconds: UInt32 = 0
    /// How often the running request was sent, or the last one of a silent pair; 0 if something else has failed the pair.
    var attempts: UInt8 = 0
    /// How many new checks were sent ahead of the retransmission timer.
    var freshChecks: UInt8 = 0
    /// How many checks in a row found no answer in time.
    var unanswered: UInt8 = 0
    /// How many samples in a row were better than the selected pair's.
    var betterSamples: UInt8 = 0
    var isStream: Bool

    /// Names the pair in queues: a place and who is in it.
    func token(_ index: Int) -> UInt32 { UInt32(serial) &<< 16 | UInt32(truncatingIfNeeded: index) }
}

/// A hash table of places in another table, two bytes each; the owner compares keys.
struct PlaceIndex {
    private(set) var slots: [UInt16]
    private(set) var used = 0
    static let empty = UInt16.max

    init() { slots = Array(repeating: Self.empty, count: 16) }

    var mask: Int { slots.count &- 1 }

    /// Whether another entry would make chains long.
    var isCrowded: Bool { (used &+ 1) &* 2 > slots.count }

    mutating func insert(_ place: Int, hash: UInt64) {
        var index = Int(truncatingIfNeeded: hash) & mask
        while slots[index] != Self.empty { index = (index &+ 1) & mask }
        slots[index] = UInt16(place)
        used += 1
    }

    /// Makes it empty, with room for `count` entries.
    mutating func reset(for count: Int) {
        var size = 16
        while size < count &* 4 { size *= 2 }
        slots = Array(repeating: Self.empty, count: size)
        used = 0
    }
}

/// Both sides' credentials of one generation.
struct Generation {
    let number: UInt8
    let local: ICECredentials
    let localKey: IntegrityKey
    /// Our fragment's bytes, with which the user names of requests to us begin.
    let localFragment: [UInt8]
    private(set) var remote: ICECredentials?
    private(set) var remoteKey: IntegrityKey?
    /// The user name of our requests: the peer's fragment, a colon, ours (ice 44).
    private(set) var username: [UInt8] = []

    init(number: UInt8, local: ICECredentials) {
        self.number = number
        self.local = local
        localFragment = Array(local.usernameFragment.utf8)
        // Passwords are ice-chars, which OpaqueString leaves as they are.
        localKey = IntegrityKey(Array(local.password.utf8).span)
    }

    mutating func setRemote(_ credentials: ICECredentials) {
        remote = credentials
        remoteKey = IntegrityKey(Array(credentials.password.utf8).span)
        username = Array("\(credentials.usernameFragment):\(local.usernameFragment)".utf8)
    }
}

/// An answer that is owed.
struct PendingResponse {
    let id: TransactionID
    let base: BaseID
    let destination: SocketAddress
    /// 0 for success.
    let code: UInt16
    /// Which credentials protect it; `nil` for answers to requests without them.
    let generation: UInt8?
    /// The kind of its integrity, which is the request's.
    let integrity: IntegrityAlgorithm
    let unknownAttributes: UInt16
}

/// What is to be sent for a pair apart from new checks.
struct Errand {
    enum Kind: UInt8 {
        case retransmit
        case fresh
        case consent
        case probe
        case keepalive
    }

    let pair: UInt32
    let kind: Kind
}

/// What there is for one component.
struct ComponentState {
    var nominated: Int?
    var path: ICEPath?
    /// The pair of `path`.
    var carrier: UInt32 = 0
    var nominationValue: UInt32 = 0
    var firstValid: Instant?
    var wasSelected = false
    /// When data of the peer came last.
    var lastHeard = Instant.zero
    /// Whether data came since it was last asked why none come.
    var isListening = false
    /// Before that time silence is not asked about again.
    var silenceProbeAllowedAt = Instant.zero
}
