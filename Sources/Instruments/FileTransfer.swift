import Bytes
import NetTypes

/// Carries bytes over datagrams that may be lost: numbered pieces, each acknowledged, a few at a time on their way.
///
/// Values only: the owner sends `nextPiece`, hands in what comes, and looks at the time. A small window and no thought of
/// congestion: made for looking at a relay, not for long ways with little room.
struct FileSender {
    static let pieceByteCount = 1024
    static let window = 32
    static let headerByteCount = 4

    let bytes: [UInt8]
    private var acknowledged: [Bool]
    private var sentAt: [Instant?]
    private var first = 0
    /// How long to wait for an acknowledgement.
    var timeout = TimeSpan.milliseconds(300)
    /// How many pieces were sent again.
    private(set) var repeated = 0

    init(_ bytes: [UInt8]) {
        self.bytes = bytes
        let count = max(1, (bytes.count + Self.pieceByteCount - 1) / Self.pieceByteCount)
        acknowledged = Array(repeating: false, count: count)
        sentAt = Array(repeating: nil, count: count)
    }

    var pieceCount: Int { acknowledged.count }
    var isDone: Bool { first == pieceCount }

    /// The next piece to send at `now`, `nil` if all in the window are on their way.
    mutating func nextPiece(at now: Instant) -> [UInt8]? {
        for index in first..<min(pieceCount, first + Self.window) where !acknowledged[index] {
            if let sent = sentAt[index] {
                guard now >= sent + timeout else { continue }
                repeated += 1
            }
            sentAt[index] = now
            let start = index * Self.pieceByteCount
            let piece = bytes[start..<min(bytes.count, start + Self.pieceByteCount)]
            return buildBytes(capacity: Self.headerByteCount) { $0.append(bigEndian: UInt32(index)) } + piece
        }
        return nil
    }

    /// When `nextPiece` has something again, if nothing comes.
    var nextTimeout: Instant? {
        let window = first..<min(pieceCount, first + Self.window)
        return window.lazy.filter { !acknowledged[$0] }.compactMap { sentAt[$0].map { $0 + timeout } }.min()
    }

    /// Takes the acknowledgement of a piece; anything else changes nothing.
    mutating func receive(_ bytes: [UInt8]) {
        guard bytes.count == Self.headerByteCount else { return }
        let index = Int(bytes.span.bigEndianUInt32(at: 0))
        guard index < pieceCount else { return }
        acknowledged[index] = true
        while first < pieceCount, acknowledged[first] { first += 1 }
    }
}

/// The other end of a `FileSender`.
struct FileReceiver {
    private(set) var bytes: [UInt8]
    private var missing: Set<Int>
    private let pieceCount: Int

    /// Expects so many bytes.
    init(byteCount: Int) {
        bytes = Array(repeating: 0, count: byteCount)
        pieceCount = max(1, (byteCount + FileSender.pieceByteCount - 1) / FileSender.pieceByteCount)
        missing = Set(0..<pieceCount)
    }

    var isComplete: Bool { missing.isEmpty }
    var arrivedByteCount: Int { min(bytes.count, (pieceCount - missing.count) * FileSender.pieceByteCount) }

    /// Takes a piece and returns its acknowledgement; `nil` for what is none.
    mutating func receive(_ piece: [UInt8]) -> [UInt8]? {
        guard piece.count >= FileSender.headerByteCount else { return nil }
        let index = Int(piece.span.bigEndianUInt32(at: 0))
        guard index < pieceCount else { return nil }
        let start = index * FileSender.pieceByteCount
        let end = min(bytes.count, start + FileSender.pieceByteCount)
        guard piece.count - FileSender.headerByteCount == end - start else { return nil }
        if missing.remove(index) != nil { bytes.replaceSubrange(start..<end, with: piece.dropFirst(4)) }
        return Array(piece.prefix(FileSender.headerByteCount))
    }
}
