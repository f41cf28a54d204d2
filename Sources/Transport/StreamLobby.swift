public import Bytes
public import Crypto
public import Diagnostics
public import EventLoop
public import NetTypes
import ProxyProtocol

/// Streams between their acceptance and the first byte of what they carry: proxies' headers, TLS handshakes, silence.
///
/// All that strangers can have without saying a word is in here, so this is where it is bounded: how many, how many of
/// one prefix, how fast, how long. A stream leaves it whole, as the loop's that serves it, be it another thread's: the
/// first byte is known and not yet read (`firstByte`). A TLS session exists from the first byte of TCP on, not earlier.
///
/// The owner accepts, calls `admit`, and gives it the events of its kind of token and the time.
public struct StreamLobby: ~Copyable {
    struct Entry: ~Copyable {
        /// Until its client is known and its first byte has come; then `connection` has it.
        var socket: TCPSocket?
        var connection: StreamConnection?
        let descriptor: Int32
        let tls: TLSContext?
        var header: ProxyHeaderReader?
        var entrance: HalfOpenLedger.Entrance
        let accepted: Instant
        var watchesWriting = false
    }

    enum Step {
        case wait(Interest?)
        case drop(StreamLobbyDrop)
        case ready
    }

    private let limits: StreamLobbyLimits
    private let outputLimit: Int
    private let answerWithoutTLS: [UInt8]
    private let kind: UInt8
    private var entries: SlotPool<Entry>
    private var ledger: HalfOpenLedger
    /// The entries as they came, those that have gone among them: also the order of their deadlines.
    private var order: [SlotHandle] = []
    private var oldest = 0
    /// What has been dropped, by reason.
    public private(set) var drops = DropCounters<StreamLobbyDrop>()

    /// Makes an empty lobby, whose streams have poller tokens of `kind` and may later queue `outputLimit` bytes.
    ///
    /// A client that does not speak TLS where it must is sent `answerWithoutTLS` before its stream is closed.
    public init(
        _ limits: StreamLobbyLimits,
        kind: UInt8,
        outputLimit: Int,
        answerWithoutTLS: [UInt8] = [],
        at now: Instant
    ) {
        self.limits = limits
        self.answerWithoutTLS = answerWithoutTLS
        self.kind = kind
        self.outputLimit = outputLimit
        entries = SlotPool(limit: min(max(1, limits.streams), 1 << 23))
        var entropy = Entropy.system
        ledger = HalfOpenLedger(limits, seed: entropy.next(), at: now)
    }

    /// How many streams are half-open.
    public var count: Int { entries.count }

    /// How many places the order of the deadlines has, those of streams that have gone among them.
    var notedStreams: Int { order.count }

    /// When the stream that has waited longest is given up.
    public var nextTimeout: Instant? {
        guard oldest < order.count else { return nil }
        return entries.read(order[oldest]) { $0.accepted + limits.time }
    }

    /// Takes an accepted connection; with a context it must begin with a TLS handshake.
    public mutating func admit(
        _ socket: consuming TCPSocket,
        tls: TLSContext?,
        at now: Instant,
        _ poller: borrowing Poller
    ) {
        let ip = socket.remoteAddress.unmapped.ip
        let isProxy = limits.isProxy(ip)
        // Whom a proxy speaks for is not known yet, and its own address says nothing.
        let entrance = isProxy ? .exempt : ledger.enter(ip)
        guard entrance != .refused else { return drops.count(.tooManyHalfOpenOfPrefix) }
        if entries.count == entries.limit { drop(order[oldest], .displacedHalfOpen) }
        let descriptor = socket.descriptor
        let entry = Entry(
            socket: socket,
            connection: nil,
            descriptor: descriptor,
            tls: tls,
            header: isProxy ? ProxyHeaderReader() : nil,
            entrance: entrance,
            accepted: now
        )
        guard let handle = entries.insert(entry) else { return ledger.leave(entrance) }
        order.append(handle)
        guard (try? poller.add(descriptor, token: PollToken(kind, handle).bits, interest: .read)) != nil else {
            return drop(handle, .noDescriptor)
        }
    }

    /// Goes on with a stream of which the poller has said something; returns it when it has something to say.
    public mutating func serve(_ handle: SlotHandle, at now: Instant, _ poller: borrowing Poller) -> StreamConnection? {
        switch Self.step(&entries, handle, &ledger, outputLimit, answerWithoutTLS, at: now) {
        case .wait(let interest?):
            let descriptor = entries.read(handle) { $0.descriptor }
            if let descriptor {
                try? poller.modify(descriptor, token: PollToken(kind, handle).bits, interest: interest)
            }
            return nil
        case .wait(nil), nil: return nil
        case .drop(let reason)?:
            drop(handle, reason)
            return nil
        case .ready?:
            guard var entry = remove(handle), let connection = entry.connection.take() else { return nil }
            try? poller.remove(connection.descriptor)
            return connection
        }
    }

    /// Closes the streams whose time is over.
    public mutating func handleTimeout(at now: Instant) {
        while let due = nextTimeout, due <= now {
            let handle = order[oldest]
            drop(handle, entries.read(handle) { Self.lateness(of: $0) } ?? .silentStream)
        }
    }

    /// Closes all streams.
    public mutating func removeAll() {
        while oldest < order.count { _ = remove(order[oldest]) }
    }

    private static func lateness(of entry: borrowing Entry) -> StreamLobbyDrop {
        if entry.header != nil { return .noProxyHeader }
        let isShaking = entry.connection.isShakingHands
        return isShaking ? .handshakeTimeout : .silentStream
    }

    private mutating func drop(_ handle: SlotHandle, _ reason: StreamLobbyDrop) {
        guard remove(handle) != nil else { return }
        drops.count(reason)
    }

    private mutating func remove(_ handle: SlotHandle) -> Entry? {
        guard let entry = entries.remove(handle) else { return nil }
        ledger.leave(entry.entrance)
        while oldest < order.count, !entries.contains(order[oldest]) { oldest += 1 }
        if oldest == order.count {
            order.removeAll(keepingCapacity: true)
            oldest = 0
        } else if order.count - oldest > 2 * entries.count + 64 || oldest > 4096 {
            // One that stays silent must not keep the places of all that have come and gone behind it.
            order = order[oldest...].filter { entries.contains($0) }
            oldest = 0
        }
        return entry
    }

    // The parts one by one: an entry and the ledger are changed at the same time.
    private static func step(
        _ entries: inout SlotPool<Entry>,
        _ handle: SlotHandle,
        _ ledger: inout HalfOpenLedger,
        _ outputLimit: Int,
        _ answerWithoutTLS: [UInt8],
        at now: Instant
    ) -> Step? {
        entries.update(handle) { entry -> Step in
            if entry.header != nil, let step = entry.readHeader(&ledger) { return step }
            if entry.socket != nil, let step = entry.begin(&ledger, outputLimit, at: now) { return step }
            return entry.listen(answerWithoutTLS)
        }
    }
}
