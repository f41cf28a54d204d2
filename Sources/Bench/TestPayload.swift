import Bytes
import NetTypes

/// What relayed packets carry: who they are for, when they left, and bytes that give any change away.
struct TestPayload: Sendable {
    /// The bytes before the pattern: flow and number (4 each), time (8), a mark of the run and a check of these (4 each).
    static let headerByteCount = 24

    /// What a packet says of itself.
    struct Header {
        var flow: UInt32
        var number: UInt32
        var sentAt: Instant
    }

    let byteCount: Int
    private let mark: UInt32
    private let pattern: [UInt8]

    init(byteCount: Int, seed: UInt64) {
        var entropy = Entropy.seeded(seed)
        self.byteCount = byteCount
        mark = UInt32(truncatingIfNeeded: entropy.next())
        pattern = entropy.bytes(byteCount + 256)
    }

    /// Writes one packet's payload.
    func write(_ header: Header, into output: inout OutputSpan<UInt8>) {
        output.append(bigEndian: header.flow)
        output.append(bigEndian: header.number)
        output.append(bigEndian: header.sentAt.nanoseconds)
        output.append(bigEndian: mark)
        output.append(bigEndian: check(header))
        output.append(contentsOf: body(of: header.number))
    }

    /// What has been received.
    enum Reading {
        /// To the last byte what was written with this header.
        case whole(Header)
        /// Anything else.
        case corrupt
        /// Of another run, which had the same address and port before: late, but neither ours nor corrupt.
        case foreign
    }

    /// Reads a payload.
    func read(_ bytes: Span<UInt8>) -> Reading {
        guard bytes.count >= Self.headerByteCount else { return .corrupt }
        guard bytes.bigEndianUInt32(at: 16) == mark else { return .foreign }
        guard bytes.count == byteCount else { return .corrupt }
        let header = Header(
            flow: bytes.bigEndianUInt32(at: 0),
            number: bytes.bigEndianUInt32(at: 4),
            sentAt: Instant(nanoseconds: bytes.bigEndianUInt64(at: 8))
        )
        let expected = body(of: header.number)
        guard bytes.bigEndianUInt32(at: 20) == check(header) else { return .corrupt }
        return bytes.extracting(droppingFirst: Self.headerByteCount).elementsEqual(expected) ? .whole(header) : .corrupt
    }

    private func check(_ header: Header) -> UInt32 {
        let names = UInt64(header.flow) &<< 32 | UInt64(header.number)
        return UInt32(truncatingIfNeeded: names.flatHash(seed: header.sentAt.nanoseconds ^ UInt64(mark)))
    }

    /// Each of 256 successive packets has another body.
    @_lifetime(borrow self)
    private func body(of number: UInt32) -> Span<UInt8> {
        let start = Int(number & 255)
        let span = pattern.span.extracting(start..<start + byteCount - Self.headerByteCount)
        return unsafe _overrideLifetime(span, borrowing: self)
    }
}
