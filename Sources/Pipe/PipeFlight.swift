import NetTypes

/// The sending half of a pipe: what waits, what is on its way, what was lost, and how fast to send.
///
/// Loss is found as in QUIC (RFC 9002 §6): three later numbers were acknowledged, or nothing was for too long. The window
/// follows CUBIC's cousin of RFC 9002 §7 with a gentler decrease of 0.7 (RFC 9438 §4.6).
struct PipeFlight: Sendable {
    private struct Segment {
        let offset: UInt64
        let bytes: [UInt8]
        let isEnd: Bool
    }

    private struct Sent {
        let segment: Segment
        let at: Instant
    }

    private let segmentBytes: Int
    private var pending: [UInt8] = []
    private var pendingStart = 0
    private var nextOffset: UInt64 = 0
    private var limit: UInt64 = 0
    private var lost: [Segment] = []
    private var inFlight: [UInt64: Sent] = [:]
    /// Numbers in flight, in their order; those that were acknowledged are passed over.
    private var order: [UInt64] = []
    private var orderStart = 0
    private var flightBytes = 0
    private var unackedBytes = 0
    private(set) var isEnded = false
    private(set) var isEndSent = false
    private var isEndDelivered = false

    private var window: Int
    private var threshold = Int.max
    private var recoveryUntil: UInt64 = 0
    private var lastNumber: UInt64 = 0
    private var smoothed: TimeSpan?
    private var variation = TimeSpan.zero
    private var timeouts = 0
    private var timeoutAt: Instant?
    /// Bytes that may leave now, so that no burst is longer than a router's queue.
    private var allowance: Int
    private var allowanceAt: Instant
    private var isBlocked = false

    private(set) var deliveredBytes: UInt64 = 0
    private(set) var resentCount: UInt64 = 0

    private static let maximumWindow = 8 << 20
    private static let tick = TimeSpan.milliseconds(1)

    init(segmentBytes: Int, at now: Instant) {
        self.segmentBytes = segmentBytes
        window = segmentBytes * 32
        allowance = segmentBytes * 32
        allowanceAt = now
        // The other end's first acknowledgement tells more.
        limit = 64 << 10
    }

    var keptBytes: Int { pending.count - pendingStart + unackedBytes }
    var isDelivered: Bool { isEndDelivered && inFlight.isEmpty && lost.isEmpty }
    var roundTrip: TimeSpan? { smoothed }

    mutating func append(_ bytes: [UInt8]) {
        if pendingStart > 1 << 20 || pendingStart == pending.count {
            pending.removeFirst(pendingStart)
            pendingStart = 0
        }
        pending += bytes
    }

    mutating func end() { isEnded = true }

    // MARK: Sending

    /// The next packet to send under `number`; `nil` if nothing may leave now.
    mutating func next(number: UInt64, at now: Instant) -> PipePacket? {
        refill(at: now)
        isBlocked = false
        guard allowance > 0 else {
            // Before the first round trip is measured, acknowledgements alone bring more.
            isBlocked = smoothed != nil && (!lost.isEmpty || pendingStart < pending.count)
            return nil
        }
        guard let segment = candidate() else { return nil }
        allowance -= segment.bytes.count + 40
        flightBytes += segment.bytes.count
        inFlight[number] = Sent(segment: segment, at: now)
        order.append(number)
        lastNumber = number
        if timeoutAt == nil { timeoutAt = now + timeout }
        return .data(offset: segment.offset, isEnd: segment.isEnd, bytes: segment.bytes)
    }

    /// What was lost, then what is new, as far as both windows permit.
    private mutating func candidate() -> Segment? {
        guard flightBytes + segmentBytes <= window || inFlight.isEmpty else { return nil }
        if let segment = lost.popLast() {
            resentCount += 1
            return segment
        }
        let waiting = pending.count - pendingStart
        guard waiting > 0 || isEnded && !isEndSent else { return nil }
        let room = limit > nextOffset ? Int(clamping: limit - nextOffset) : 0
        let count = min(segmentBytes, waiting)
        guard count <= room else { return nil }
        let isEnd = isEnded && count == waiting
        let segment = Segment(
            offset: nextOffset,
            bytes: Array(pending[pendingStart..<pendingStart + count]),
            isEnd: isEnd
        )
        pendingStart += count
        nextOffset += UInt64(count)
        unackedBytes += count
        if isEnd { isEndSent = true }
        return segment
    }

    private mutating func refill(at now: Instant) {
        guard let smoothed, now > allowanceAt else { return }
        let span = now - allowanceAt
        guard span >= Self.tick || allowance > 0 else { return }
        // A quarter faster than the window per round trip, so that pacing does not become the limit (RFC 9002 §7.7).
        let rate = Double(window) * 1.25 / Double(max(1, smoothed.nanoseconds))
        let burst = max(Double(segmentBytes * 32), rate * 4_000_000)
        allowance = Int(min(burst, Double(allowance) + rate * Double(span.nanoseconds)))
        allowanceAt = now
    }

    var nextTimeout: Instant? {
        let paced = isBlocked ? allowanceAt + Self.tick : .distantFuture
        let next = min(paced, timeoutAt ?? .distantFuture)
        return next == .distantFuture ? nil : next
    }

    // MARK: Acknowledgements

    mutating func acknowledge(_ ranges: [ClosedRange<UInt64>], limit: UInt64, at now: Instant) {
        self.limit = max(self.limit, limit)
        var newest: (number: UInt64, at: Instant)?
        var acknowledged = 0
        for index in orderStart..<order.count {
            let number = order[index]
            guard number <= ranges.first?.upperBound ?? 0 else { break }
            guard ranges.contains(where: { $0.contains(number) }), let sent = inFlight.removeValue(forKey: number)
            else { continue }
            let count = sent.segment.bytes.count
            acknowledged += count
            flightBytes -= count
            unackedBytes -= count
            deliveredBytes += UInt64(count)
            if sent.segment.isEnd { isEndDelivered = true }
            newest = (number, sent.at)
        }
        guard let newest else { return }
        timeouts = 0
        if newest.number == ranges.first?.upperBound { measure(now - newest.at) }
        grow(acknowledged, newest.number)
        findLosses(below: newest.number)
        compact()
        timeoutAt = inFlight.isEmpty ? nil : now + timeout
    }

    /// Takes the other end's word that it has the whole stream, though acknowledgements of it were lost.
    mutating func acknowledgeAll() {
        guard isEndSent, !isDelivered else { return }
        deliveredBytes = nextOffset
        inFlight = [:]
        order = []
        orderStart = 0
        lost = []
        flightBytes = 0
        unackedBytes = 0
        isEndDelivered = true
        timeoutAt = nil
    }

    private mutating func measure(_ sample: TimeSpan) {
        guard let old = smoothed else {
            smoothed = sample
            variation = TimeSpan(nanoseconds: sample.nanoseconds / 2)
            return
        }
        let distance = max(old.nanoseconds, sample.nanoseconds) - min(old.nanoseconds, sample.nanoseconds)
        variation = TimeSpan(nanoseconds: (variation.nanoseconds * 3 + distance) / 4)
        smoothed = TimeSpan(nanoseconds: (old.nanoseconds * 7 + sample.nanoseconds) / 8)
    }

    private mutating func grow(_ bytes: Int, _ number: UInt64) {
        guard number >= recoveryUntil else { return }
        if window < threshold {
            window = min(Self.maximumWindow, window + bytes)
        } else {
            window = min(Self.maximumWindow, window + max(1, bytes * segmentBytes * 2 / window))
        }
    }

    /// What three later numbers have overtaken is lost (RFC 9002 §6.1.1).
    private mutating func findLosses(below newest: UInt64) {
        var hasLost = false
        for index in orderStart..<order.count {
            let number = order[index]
            guard number + 3 <= newest else { break }
            hasLost = lose(number) || hasLost
        }
        guard hasLost, newest >= recoveryUntil else { return }
        // One loss event per round trip: what was sent before it is not held against the new window.
        recoveryUntil = lastNumber + 1
        window = max(segmentBytes * 4, window * 7 / 10)
        threshold = window
    }

    private mutating func lose(_ number: UInt64) -> Bool {
        guard let sent = inFlight.removeValue(forKey: number) else { return false }
        flightBytes -= sent.segment.bytes.count
        lost.append(sent.segment)
        return true
    }

    /// Forgets numbers at the front that are not in flight any more.
    private mutating func compact() {
        while orderStart < order.count, inFlight[order[orderStart]] == nil { orderStart += 1 }
        guard orderStart > 1024 || orderStart == order.count else { return }
        order.removeFirst(orderStart)
        orderStart = 0
    }

    // MARK: Time

    /// The probe timeout (RFC 9002 §6.2.1), longer each time that nothing comes.
    private var timeout: TimeSpan {
        let base = smoothed.map { $0.nanoseconds + 4 * variation.nanoseconds + 25_000_000 } ?? 1_000_000_000
        let longer = max(base, 50_000_000) << UInt64(min(timeouts, 6))
        return TimeSpan(nanoseconds: min(longer, 5_000_000_000))
    }

    mutating func handleTimeout(at now: Instant) {
        guard let at = timeoutAt, at <= now else { return }
        timeouts += 1
        // First two probes; when they find no answer either, all is taken for lost and the window begins anew.
        let count = timeouts < 2 ? 2 : order.count
        for index in orderStart..<min(order.count, orderStart + count) { _ = lose(order[index]) }
        if timeouts == 2 {
            threshold = max(segmentBytes * 4, window / 2)
            window = segmentBytes * 4
            recoveryUntil = lastNumber + 1
        }
        allowance = max(allowance, segmentBytes * 2)
        compact()
        timeoutAt = inFlight.isEmpty && lost.isEmpty ? nil : now + timeout
    }
}
