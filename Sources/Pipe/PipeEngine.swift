import Bytes
import Crypto
public import Diagnostics
public import NetTypes

/// Why a datagram of a pipe was dropped.
public enum PipeDrop: String, DropReason {
    /// It is no datagram of a pipe.
    case malformed
    /// It was made with another key, or changed on the way.
    case forged
    /// Its number was seen.
    case repeated
    /// It promises more bytes than may wait, or contradicts what came before.
    case beyondLimit
}

/// How much a pipe keeps and how it begins.
public struct PipeLimits: Hashable, Sendable {
    /// Bytes that may wait to be read or to come in order.
    public var receiveBytes = 4 << 20
    /// Bytes that may wait to be sent or to be acknowledged.
    public var sendBytes = 4 << 20
    /// Stream bytes in one datagram: with all that is around them, a TURN server's header too, below 1280 bytes.
    public var segmentBytes = 1120

    /// Makes the defaults.
    public init() {}
}

/// A reliable, ordered, encrypted stream of bytes in each direction over datagrams: one end of it.
///
/// After each call, drain `pollTransmit`, then sleep until `nextTimeout` and call `handleTimeout`. Datagrams may be lost,
/// doubled, late and out of order; what is `readable` is what went into `write` of the other end, or nothing.
///
/// An end has succeeded when it has consumed the other's stream and has heard that the other has consumed its own: no
/// timer takes the place of that word. It is over when the other knows as much, or has said nothing for three seconds.
public struct PipeEngine: Sendable {
    let keys: PipeKeys
    let limits: PipeLimits
    var flight: PipeFlight
    var sink: PipeSink
    private var drops = DropCounters<PipeDrop>()
    private var sendNumber: UInt64 = 0
    /// Whether the other end has said that it has consumed our stream, and that it has heard us say so of its own.
    private var hasPeerWritten = false
    private var hasPeerHeard = false
    /// Acknowledgements to send though nothing has come, and when the next is due.
    private var farewells = 0
    private var farewellAt: Instant?
    private var endsAt: Instant?
    private var endsLatestAt = Instant.distantFuture
    /// When the next word of giving up is due, and until when it is said.
    private var abortAt = Instant.distantFuture
    private var abortEndsAt: Instant?
    /// Whether such a word of the other end is to be answered.
    private var mustAnswerAbort = false
    private var isPathLost = false
    private var hasHeard = false
    private let startedAt: Instant

    /// How long an end that has succeeded goes on telling the other so, from the last datagram that came.
    static let farewellTime = TimeSpan.seconds(3)
    /// How long it does so at most, where the other never hears.
    static let longestFarewellTime = TimeSpan.seconds(30)
    private static let farewellPause = TimeSpan.milliseconds(200)
    /// How long an end that gives up says so, unless it is answered.
    static let abortTime = TimeSpan.seconds(1)
    private static let abortPause = TimeSpan.milliseconds(100)
    /// How long datagrams may all be forged before the other end is taken to have another key.
    static let keyTime = TimeSpan.seconds(10)

    /// Makes one end.
    public init(_ keys: PipeKeys, limits: PipeLimits = PipeLimits(), at now: Instant) {
        self.keys = keys
        self.limits = limits
        flight = PipeFlight(segmentBytes: limits.segmentBytes, at: now)
        sink = PipeSink(limitBytes: limits.receiveBytes)
        startedAt = now
        // A first word at once, though nothing is written: it shows the other end whether the keys are the same.
        sink.acknowledgeAtOnce(at: now)
    }

    // MARK: The owner

    /// How many bytes `write` takes now.
    public var writableBytes: Int { flight.isEnded ? 0 : max(0, limits.sendBytes - flight.keptBytes) }

    /// Sends bytes, at most `writableBytes`.
    public mutating func write(_ bytes: [UInt8]) {
        precondition(bytes.count <= writableBytes, "more bytes than there is room for")
        flight.append(bytes)
    }

    /// Ends the stream to the other end: what was written still arrives.
    public mutating func finish() { flight.end() }

    /// What has come of the other end's stream and was not consumed.
    public var readable: ArraySlice<UInt8> { sink.readable }

    /// Forgets the first bytes of `readable`: their owner has written or used them.
    public mutating func consume(_ count: Int) { sink.consume(count) }

    /// Ends before the time and says so until the other end answers, or a second is over.
    ///
    /// The other end must not take a stream for complete, nor wait until the path is lost. Go on as before until `isOver`.
    public mutating func abort(at now: Instant) {
        guard abortEndsAt == nil, !isAborted else { return }
        abortAt = now
        abortEndsAt = now + Self.abortTime
    }

    /// Notes that datagrams come and go no more; whether both streams can be completed without them.
    public mutating func handlePathLoss(at now: Instant) -> Bool {
        isPathLost = true
        settle(at: now)
        return hasPeerWritten && sink.isComplete
    }

    /// Whether the other end has ended its stream and all of it was consumed.
    public var hasReadAll: Bool { sink.isConsumed }

    /// Whether the other end has acknowledged everything, the end included: it is there, but perhaps not yet consumed.
    public var hasDelivered: Bool { flight.isDelivered }

    /// Whether both streams are complete, and consumed by those they are for.
    public var hasSucceeded: Bool { sink.isConsumed && hasPeerWritten }

    /// Whether the other end has ended before its time.
    public private(set) var isAborted = false

    /// Whether this end has succeeded and the other knows, or was told often enough: the datagrams may end.
    public private(set) var isOver = false

    /// Whether the other end seems to have another key: in ten seconds datagrams have come, and all were forged.
    public func hasForeignPeer(at now: Instant) -> Bool {
        !hasHeard && drops[.forged] > 0 && now >= startedAt + Self.keyTime
    }

    /// Stream bytes that the other end has acknowledged.
    public var deliveredBytes: UInt64 { flight.deliveredBytes }
    /// Stream bytes that have come in order.
    public var receivedBytes: UInt64 { sink.next }
    /// Datagrams with stream bytes that were sent again.
    public var resentCount: UInt64 { flight.resentCount }
    /// The smoothed round-trip time, once there is one.
    public var roundTrip: TimeSpan? { flight.roundTrip }
    /// What was dropped.
    public var dropCounts: DropCounters<PipeDrop> { drops }

    // MARK: The driver

    /// Takes a datagram of the other end.
    public mutating func receive(_ datagram: [UInt8], at now: Instant) -> Disposition<PipeDrop> {
        guard datagram.count >= PipePacket.headerBytes + AESGCM.tagByteCount, datagram[0] == PipePacket.version else {
            return drop(.malformed)
        }
        let header = Array(datagram[..<PipePacket.headerBytes])
        let number = header[1...].reduce(UInt64(0)) { $0 &<< 8 | UInt64($1) }
        let sealed = Array(datagram[PipePacket.headerBytes...])
        guard number < 1 << 62,
            let content = keys.receiving.open(sealed, nonce: Self.nonce(number), authenticating: header)
        else { return drop(.forged) }
        hasHeard = true
        guard let packet = PipePacket(content) else { return drop(.malformed) }
        switch packet {
        case .data(let offset, let isEnd, let bytes):
            // A number that brings what cannot be kept is not acknowledged: it comes again under another.
            guard sink.hasRoom(for: offset, bytes.count, isEnd: isEnd) else { return drop(.beyondLimit) }
            guard sink.insert(number, at: now) else {
                sink.acknowledgeAtOnce(at: now)
                return drop(.repeated)
            }
            sink.insert(bytes, at: offset, isEnd: isEnd)
        case .ack(let limit, let news, let ranges):
            flight.acknowledge(ranges, limit: limit, at: now)
            take(news)
        case .abort: takeAbort()
        }
        // Who speaks may not have heard our last word.
        if endsAt != nil { endsAt = min(now + Self.farewellTime, endsLatestAt) }
        settle(at: now)
        return .accepted
    }

    /// Does what is due.
    public mutating func handleTimeout(at now: Instant) {
        flight.handleTimeout(at: now)
        if let at = farewellAt, at <= now {
            farewells = max(farewells, 1)
            farewellAt = now + Self.farewellPause
        }
        if let end = abortEndsAt ?? endsAt, end <= now { isOver = true }
        settle(at: now)
    }

    /// When `handleTimeout` must be called.
    public var nextTimeout: Instant? {
        guard !isOver else { return nil }
        if let abortEndsAt { return min(abortAt, abortEndsAt) }
        var next = min(flight.nextTimeout ?? .distantFuture, sink.acknowledgeAt ?? .distantFuture)
        next = min(next, farewellAt ?? .distantFuture, endsAt ?? .distantFuture)
        return next == .distantFuture ? nil : next
    }

    /// Takes the next datagram to send.
    public mutating func pollTransmit(at now: Instant) -> [UInt8]? {
        if mustAnswerAbort {
            mustAnswerAbort = false
            isOver = true
            return seal(.abort)
        }
        if abortEndsAt != nil {
            guard !isOver, abortAt <= now else { return nil }
            abortAt = now + Self.abortPause
            return seal(.abort)
        }
        // What was consumed since the last call may be the last of it.
        settle(at: now)
        guard !isOver else { return nil }
        if farewells > 0 || sink.takesAcknowledgement(at: now) {
            farewells = max(0, farewells - 1)
            var news = PipePacket.News()
            if sink.isConsumed { news.insert(.written) }
            if hasPeerWritten { news.insert(.heard) }
            return seal(sink.acknowledgement(news, at: now))
        }
        guard let segment = flight.next(number: sendNumber, at: now) else { return nil }
        return seal(segment)
    }

    // MARK: Inside

    private mutating func take(_ news: PipePacket.News) {
        if news.contains(.written), flight.isEndSent {
            flight.acknowledgeAll()
            hasPeerWritten = true
            // It repeats that until it is told that it was heard.
            farewells = max(farewells, 1)
        }
        if news.contains(.heard), sink.isConsumed {
            hasPeerHeard = true
            farewellAt = nil
        }
    }

    private mutating func takeAbort() {
        // It answers ours, or has given up at the same time: both know.
        guard abortEndsAt == nil else { return isOver = true }
        isAborted = isAborted || !hasSucceeded
        mustAnswerAbort = true
    }

    private mutating func settle(at now: Instant) {
        guard abortEndsAt == nil else { return }
        if sink.isConsumed, !hasPeerHeard, farewellAt == nil { sayFarewell(at: now) }
        guard hasSucceeded else { return }
        if isPathLost { isOver = true }
        if endsAt == nil {
            endsAt = now + Self.farewellTime
            endsLatestAt = now + Self.longestFarewellTime
            farewells = 2
        }
        if hasPeerHeard, farewells == 0 { isOver = true }
    }

    private mutating func sayFarewell(at now: Instant) {
        farewells = max(farewells, 2)
        farewellAt = now + Self.farewellPause
    }

    private mutating func seal(_ packet: PipePacket) -> [UInt8]? {
        let number = sendNumber
        sendNumber += 1
        let header = buildBytes(capacity: PipePacket.headerBytes) { output in
            output.append(PipePacket.version)
            output.append(bigEndian: number)
        }
        return keys.sending.seal(packet.content, nonce: Self.nonce(number), authenticating: header).map { header + $0 }
    }

    private static func nonce(_ number: UInt64) -> [UInt8] {
        buildBytes(capacity: AESGCM.nonceByteCount) { output in
            output.append(zeros: 4)
            output.append(bigEndian: number)
        }
    }

    private mutating func drop(_ reason: PipeDrop) -> Disposition<PipeDrop> {
        drops.count(reason)
        return .ignored(reason)
    }
}
