public import Diagnostics
public import NetTypes

/// Finds out what kind of NAT is on the way: a client of RFC 5780 as an engine.
///
///     connectivity ──┬── mapping II ── mapping III
///                    ├── filtering II and III                on a socket of their own
///                    ├── hairpin: two sockets send to each other's mapped addresses
///                    ├── fragments                           if asked for
///                    └── lifetimes: bind, be silent, ask     if asked for; a pair of sockets for each
///
/// The driver opens `socketCount` UDP sockets that have sent nothing before, hands in what each of them receives, and
/// sends what `pollTransmit` says from the socket it names. It is over when `nextTimeout` is `nil`.
public struct NATDiscovery: ~Copyable {
    /// What to find out.
    public struct Options: Hashable, Sendable {
        /// Whether to ask if two clients behind the NAT reach each other.
        public var hairpin = true
        /// Whether to ask for datagrams in fragments.
        public var fragments = false
        /// After which silences to look whether a flow is still remembered; at most `lifetimeLimit`.
        public var silences: [TimeSpan] = []
        /// How long and how often a request is repeated.
        ///
        /// A missing answer is a result here: so long takes a test of filtering.
        public var policy: RetransmissionPolicy = {
            var policy = RetransmissionPolicy()
            policy.requestCount = 4
            policy.lastWaitFactor = 2
            return policy
        }()

        /// Makes the defaults.
        public init() {}
    }

    /// Why bytes were dropped.
    public enum Drop: String, DropReason {
        /// They are no STUN message, or a malformed one.
        case notSTUN
        /// No request of that identifier waits: late, repeated or forged.
        case unknownTransaction
        /// A request or an indication that is not our own.
        case unexpectedClass
        /// An ordinary answer that does not come from where it was asked for.
        case wrongSource
    }

    /// How many silences can be tried.
    public static let lifetimeLimit = 16
    /// How many bytes a message has at most: the room that `pollTransmit` needs.
    public static let maximumMessageByteCount = 1600
    /// How many zeros a padded request has: more than an Ethernet takes with its headers.
    static let paddingByteCount = 1500

    /// What a request is for.
    enum Purpose: Hashable, Sendable {
        case mapping(Int)
        case filtering(ChangeRequest)
        case secondAddress
        case hairpin
        case fragments
        case bind(Int)
        case check(Int)
    }

    struct Probe: Sendable {
        let id: TransactionID
        let purpose: Purpose
        let socket: Int
        let target: SocketAddress
        let bytes: [UInt8]
        var timer: RetransmissionTimer
    }

    /// The server's first address.
    public let server: SocketAddress
    let options: Options
    let locals: [SocketAddress]
    /// What was found so far.
    public internal(set) var report = NATReport()
    var probes: [Probe] = []
    /// The server's other address, once it has told.
    public internal(set) var other: SocketAddress?
    var secondMapped: SocketAddress?
    var secondAnswered: Set<ChangeRequest> = []
    var firstMapped: [Int: SocketAddress] = [:]
    var silentUntil: [Int: Instant] = [:]
    private var entropy: Entropy
    private var outbox: [(socket: Int, target: SocketAddress, bytes: [UInt8])] = []
    private var drops = DropCounters<Drop>()

    /// How many sockets are needed.
    public static func socketCount(_ options: Options) -> Int {
        4 + 2 * min(options.silences.count, lifetimeLimit)
    }

    /// Makes a discovery; `locals` are the sockets' addresses as packets to the server leave from them.
    ///
    /// There must be `socketCount` of them. `entropy` must be `.system` except in tests.
    public init(
        server: SocketAddress,
        locals: [SocketAddress],
        options: Options = Options(),
        entropy: Entropy = .system
    ) {
        precondition(locals.count >= Self.socketCount(options), "a discovery needs its sockets")
        self.server = server.unmapped
        self.locals = locals
        self.options = options
        self.entropy = entropy
        report.local = locals[0]
    }

    /// Sends the first request.
    public mutating func start(at now: Instant) { send(.mapping(1), from: 0, to: server, at: now) }

    /// Takes a datagram that one of the sockets has received.
    public mutating func receive(
        _ datagram: Span<UInt8>,
        from source: SocketAddress,
        on socket: Int,
        at now: Instant
    ) -> Disposition<Drop> {
        guard let message = try? STUNMessageView(datagram) else { return ignore(.notSTUN) }
        guard let index = probes.firstIndex(where: { $0.id == message.transactionID }) else {
            return ignore(.unknownTransaction)
        }
        let probe = probes[index]
        switch message.messageClass {
        case .request:
            // Our own request has come back: the NAT has turned it around.
            guard probe.purpose == .hairpin, message.method == .binding, socket != probe.socket else {
                return ignore(.unexpectedClass)
            }
            finishHairpin(true)
        case .indication: return ignore(.unexpectedClass)
        case .success, .error:
            guard message.method == .binding else { return ignore(.unknownTransaction) }
            guard isExpected(source.unmapped, for: probe) else { return ignore(.wrongSource) }
            probes.remove(at: index)
            finish(probe, message, from: source.unmapped, on: socket, at: now)
        }
        return .accepted
    }

    /// Sends again, takes silence for an answer, ends pauses.
    public mutating func handleTimeout(at now: Instant) {
        var over: [Probe] = []
        for index in probes.indices {
            switch probes[index].timer.fire(at: now) {
            case .wait: continue
            case .retransmit: outbox.append((probes[index].socket, probes[index].target, probes[index].bytes))
            case .timedOut: over.append(probes[index])
            }
        }
        for probe in over {
            probes.removeAll { $0.id == probe.id }
            finishSilently(probe, at: now)
        }
        for index in silentUntil.keys.sorted() where silentUntil[index].map({ $0 <= now }) == true {
            silentUntil[index] = nil
            check(index, at: now)
        }
    }

    /// When `handleTimeout` must be called; `nil` when all is found out.
    public var nextTimeout: Instant? {
        (probes.map(\.timer.deadline) + Array(silentUntil.values)).min()
    }

    /// Writes the next datagram to send; from which socket, and to where.
    public mutating func pollTransmit(into datagram: inout OutputSpan<UInt8>) -> (socket: Int, target: SocketAddress)? {
        guard let next = outbox.first, next.bytes.count <= datagram.freeCapacity else { return nil }
        outbox.removeFirst()
        for byte in next.bytes { datagram.append(byte) }
        return (next.socket, next.target)
    }

    /// What was dropped, by reason.
    public var dropCounts: DropCounters<Drop> { drops }

    /// How many tests of lifetimes are still silent; for who waits before a screen.
    public var silentCount: Int { silentUntil.count }

    mutating func send(
        _ purpose: Purpose,
        from socket: Int,
        to target: SocketAddress,
        _ attributes: [STUNMessage.Attribute] = [],
        at now: Instant
    ) {
        let id = TransactionID.random(using: &entropy)
        let message = STUNMessage(STUNMessageType(.binding, .request), id, attributes: attributes)
        guard let bytes = try? message.encoded() else { return }
        let timer = RetransmissionTimer(options.policy, timeout: .zero, isReliable: false, at: now)
        let probe = Probe(id: id, purpose: purpose, socket: socket, target: target, bytes: bytes, timer: timer)
        probes.append(probe)
        outbox.append((socket, target, bytes))
    }

    private mutating func ignore(_ reason: Drop) -> Disposition<Drop> {
        drops.count(reason)
        return .ignored(reason)
    }
}
