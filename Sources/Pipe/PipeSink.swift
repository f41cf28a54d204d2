import NetTypes

/// The receiving half of a pipe: puts the stream together and knows what to acknowledge.
struct PipeSink: Sendable {
    private let limitBytes: Int
    private var numbers = NumberRanges()
    /// Segments that wait for earlier ones; the other end cuts its stream once and for all.
    private var segments: [UInt64: [UInt8]] = [:]
    /// Bytes in order that the owner has not consumed, from `waitingStart` on.
    private var waiting: [UInt8] = []
    private var waitingStart = 0
    /// Bytes of `segments`.
    private(set) var segmentBytes = 0
    /// Where the last of all segments ends.
    private var farthest: UInt64 = 0
    private var endOffset: UInt64?
    private var unacknowledged = 0
    private var toldLimit: UInt64 = 0
    /// When the news of room is told again, as long as nothing comes: it may have been lost, and the other end stand still.
    private var repetition: TimeSpan?
    private(set) var acknowledgeAt: Instant?
    /// The offset of the next byte in order.
    private(set) var next: UInt64 = 0

    init(limitBytes: Int) {
        self.limitBytes = limitBytes
        toldLimit = UInt64(limitBytes)
    }

    /// Whether all bytes and the end have come.
    var isComplete: Bool { endOffset == next }

    /// Whether the owner has consumed all of it too.
    var isConsumed: Bool { isComplete && waitingStart == waiting.count }

    /// What waits to be consumed.
    var readable: ArraySlice<UInt8> { waiting[waitingStart...] }

    private var waitingBytes: Int { waiting.count - waitingStart }

    /// Up to which offset bytes are taken.
    private var limit: UInt64 { next + UInt64(max(0, limitBytes - waitingBytes)) }

    func hasRoom(for offset: UInt64, _ count: Int, isEnd: Bool) -> Bool {
        let (end, overflow) = offset.addingReportingOverflow(UInt64(count))
        guard !overflow else { return false }
        if let endOffset, end > endOffset || isEnd && end != endOffset { return false }
        if end <= next { return true }
        // Segments that overlap could fill memory below the limit of offsets.
        return end <= max(limit, toldLimit) && (offset == next || segmentBytes + count <= limitBytes)
    }

    /// Notes a number; `false` if it was seen.
    mutating func insert(_ number: UInt64, at now: Instant) -> Bool {
        let isInOrder = numbers.highest.map { number == $0 + 1 } ?? (number == 0)
        guard numbers.insert(number) else { return false }
        unacknowledged += 1
        repetition = nil
        // A gap is told at once, so that the other end learns of the loss early.
        let isUrgent = !isInOrder || unacknowledged >= 8
        acknowledgeAt = isUrgent ? now : min(acknowledgeAt ?? .distantFuture, now + .milliseconds(10))
        return true
    }

    mutating func insert(_ bytes: [UInt8], at offset: UInt64, isEnd: Bool) {
        if isEnd { endOffset = offset + UInt64(bytes.count) }
        guard offset >= next, !bytes.isEmpty, segments[offset] == nil else { return }
        segments[offset] = bytes
        segmentBytes += bytes.count
        farthest = max(farthest, offset + UInt64(bytes.count))
        while let bytes = segments.removeValue(forKey: next) {
            next += UInt64(bytes.count)
            segmentBytes -= bytes.count
            waiting += bytes
        }
        // More than fits overlaps: what lies below will never be asked for.
        guard UInt64(segmentBytes) > farthest - next else { return }
        for (offset, bytes) in segments where offset < next {
            segments[offset] = nil
            segmentBytes -= bytes.count
        }
    }

    mutating func consume(_ count: Int) {
        precondition(count >= 0 && count <= waitingBytes, "more bytes than there are")
        waitingStart += count
        if waitingStart == waiting.count {
            waiting.removeAll(keepingCapacity: true)
            waitingStart = 0
        } else if waitingStart > 1 << 20 {
            waiting.removeFirst(waitingStart)
            waitingStart = 0
        }
        // The other end may stand still for lack of room: tell it when half of it is free again.
        if limit >= toldLimit + UInt64(limitBytes / 2) {
            acknowledgeAt = .zero
            repetition = .milliseconds(200)
        }
    }

    mutating func acknowledgeAtOnce(at now: Instant) { acknowledgeAt = now }

    func takesAcknowledgement(at now: Instant) -> Bool { acknowledgeAt.map { $0 <= now } ?? false }

    mutating func acknowledgement(_ news: PipePacket.News, at now: Instant) -> PipePacket {
        acknowledgeAt = nil
        if let span = repetition, !isComplete {
            acknowledgeAt = now + span
            repetition = TimeSpan(nanoseconds: min(span.nanoseconds * 2, TimeSpan.seconds(5).nanoseconds))
        }
        unacknowledged = 0
        toldLimit = max(toldLimit, limit)
        return .ack(limit: toldLimit, news: news, ranges: numbers.ranges)
    }
}
