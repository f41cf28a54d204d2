import Bytes
import NetTypes

/// What relayed packets carry: who they are for, when they left, and bytes that give any change away.
struct TestPayload: Sendable {
    /// The bytes before the pattern: flow and number (4 each), time and a mark of the run (8 each).
    static let headerByteCount = 24

    /// What a packet says of itself.
    struct Header {
        var flow: UInt32
        var number: UInt32
        var sentAt: Instant
    }

    let byteCount: Int
    private let mark: UInt64
    private let pattern: [UInt8]

    init(byteCount: Int, seed: UInt64) {
        var entropy = Entropy.seeded(seed)
        self.byteCount = byteCount
        mark = entropy.next()
        pattern = entropy.bytes(byteCount + 256)
    }

    /// Writes one packet's payload.
    func write(_ header: Header, into output: inout OutputSpan<UInt8>) {
        output.append(bigEndian: header.flow)
        output.append(bigEndian: header.number)
        output.append(bigEndian: header.sentAt.nanoseconds)
        output.append(bigEndian: mark)
        output.append(contentsOf: body(of: header.number))
    }

    /// Reads a payload; `nil` if it is not, to the last byte, what was written with this header.
    func read(_ bytes: Span<UInt8>) -> Header? {
        guard bytes.count == byteCount, bytes.bigEndianUInt64(at: 16) == mark else { return nil }
        let header = Header(
            flow: bytes.bigEndianUInt32(at: 0),
            number: bytes.bigEndianUInt32(at: 4),
            sentAt: Instant(nanoseconds: bytes.bigEndianUInt64(at: 8))
        )
        let expected = body(of: header.number)
        return bytes.extracting(droppingFirst: Self.headerByteCount).elementsEqual(expected) ? header : nil
    }

    /// Each of 256 successive packets has another body.
    @_lifetime(borrow self)
    private func body(of number: UInt32) -> Span<UInt8> {
        let start = Int(number & 255)
        let span = pattern.span.extracting(start..<start + byteCount - Self.headerByteCount)
        return unsafe _overrideLifetime(span, borrowing: self)
    }
}
