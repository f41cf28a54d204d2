import Bytes
public import NetTypes

/// Whole frames of media that wait for a stream, bounded in bytes and in time: the oldest go first.
///
/// What stands here has not begun on the wire, and TLS has not seen it, so it can be dropped without a trace. Memory
/// exists while frames wait, as in `OutputQueue`.
public struct FrameQueue: ~Copyable, Sendable {
    /// Each frame is preceded by when it came (nanoseconds, 8 bytes) and how long it is (4 bytes).
    private static let headBytes = 12

    private var frames = OutputQueue()
    /// How many bytes the frames have, without their heads.
    public private(set) var byteCount = 0

    /// Makes an empty queue.
    public init() {}

    /// Whether nothing waits.
    public var isEmpty: Bool { frames.count == 0 }

    /// Queues a copy of a frame, and drops the oldest ones until there are at most `byteLimit` bytes with it.
    ///
    /// Returns how many were dropped; the frame itself counts if it is longer than the limit.
    public mutating func append(_ frame: Span<UInt8>, at now: Instant, byteLimit: Int) -> Int {
        guard frame.count <= byteLimit else { return 1 }
        var dropped = 0
        while byteCount + frame.count > byteLimit {
            removeFirst()
            dropped += 1
        }
        var head = InlineArray<12, UInt8>(repeating: 0)
        var fields = head.mutableSpan
        fields.store(bigEndian: UInt32(truncatingIfNeeded: now.nanoseconds >> 32), at: 0)
        fields.store(bigEndian: UInt32(truncatingIfNeeded: now.nanoseconds), at: 4)
        fields.store(bigEndian: UInt32(frame.count), at: 8)
        frames.append(head.span)
        frames.append(frame)
        byteCount += frame.count
        return dropped
    }

    /// Drops the frames that came before `limit`; returns how many.
    public mutating func dropFrames(olderThan limit: Instant) -> Int {
        var dropped = 0
        while !isEmpty, firstTime < limit {
            removeFirst()
            dropped += 1
        }
        return dropped
    }

    /// Moves frames, oldest first and each of them whole, to a connection as long as no more than `limit` bytes wait there.
    ///
    /// A frame longer than the limit goes when nothing waits. Returns whether any was moved.
    public mutating func move(to connection: inout StreamConnection, limit: Int) -> Bool {
        var hasMoved = false
        while !isEmpty {
            let (count, waiting) = (firstCount, connection.queuedBytes)
            guard waiting == 0 || waiting + count <= limit else { break }
            let range = Self.headBytes..<Self.headBytes + count
            guard connection.enqueue(frames.bytes.extracting(range)) == .queued else { break }
            removeFirst()
            hasMoved = true
        }
        return hasMoved
    }

    private var firstTime: Instant { Instant(nanoseconds: frames.bytes.bigEndianUInt64(at: 0)) }
    private var firstCount: Int { Int(frames.bytes.bigEndianUInt32(at: 8)) }

    private mutating func removeFirst() {
        let count = firstCount
        frames.removeFirst(Self.headBytes + count)
        byteCount -= count
    }
}
