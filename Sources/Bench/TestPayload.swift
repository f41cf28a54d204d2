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
        /// Whether it is on its way from the peer: numbers of both directions begin with 0.
        var isToClient = false

        /// The flow and the direction in one word.
        fileprivate var name: UInt32 { isToClient ? flow | 1 << 31 : flow & ~(1 << 31) }
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
        let check = check(header, of: mark)
        output.append(bigEndian: header.name)
        output.append(bigEndian: header.number)
        output.append(bigEndian: header.sentAt.nanoseconds)
        output.append(bigEndian: mark)
        output.append(bigEndian: check)
        output.append(contentsOf: body(of: check))
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
        let name = bytes.bigEndianUInt32(at: 0)
        let header = Header(
            flow: name & ~(1 << 31),
            number: bytes.bigEndianUInt32(at: 4),
            sentAt: Instant(nanoseconds: bytes.bigEndianUInt64(at: 8)),
            isToClient: name >> 31 == 1
        )
        let (run, found) = (bytes.bigEndianUInt32(at: 16), bytes.bigEndianUInt32(at: 20))
        // Also another run's payload must be as it was sent: else a changed mark would go by as nothing to do with this run.
        guard found == check(header, of: run) else { return .corrupt }
        guard run == mark else { return .foreign }
        guard bytes.count == byteCount else { return .corrupt }
        let expected = body(of: found)
        return bytes.extracting(droppingFirst: Self.headerByteCount).elementsEqual(expected) ? .whole(header) : .corrupt
    }

    private func check(_ header: Header, of run: UInt32) -> UInt32 {
        let names = UInt64(header.name) &<< 32 | UInt64(header.number)
        return UInt32(truncatingIfNeeded: names.flatHash(seed: header.sentAt.nanoseconds ^ UInt64(run)))
    }

    /// One of 256 bodies: another packet's is nearly always another one, whatever its flow and number.
    @_lifetime(borrow self)
    private func body(of check: UInt32) -> Span<UInt8> {
        let start = Int(check & 255)
        let span = pattern.span.extracting(start..<start + byteCount - Self.headerByteCount)
        return unsafe _overrideLifetime(span, borrowing: self)
    }
}
