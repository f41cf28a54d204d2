import Bytes
import Crypto

/// What a MOBILITY-TICKET says to the server alone (RFC 8016 §3.1.2): which allocation it is for, and which of its tickets
/// it is.
struct MobilityTicket: Equatable {
    let shard: Int
    let allocation: SlotHandle
    let sequence: UInt32
}

/// Seals tickets and opens them again, with a key that exists only as long as the server runs.
///
/// A ticket is a random nonce and AES-256-GCM of 16 bytes: nobody else can make one, change one or read one, and all have
/// the same length.
struct TicketSealer: Sendable {
    static let byteCount = AESGCM.nonceByteCount + contentByteCount + AESGCM.tagByteCount
    private static let contentByteCount = 16
    private static let purpose = Array("floe mobility ticket 1".utf8)

    private let cipher: AESGCM?

    /// `key` has 32 bytes.
    init(key: [UInt8]) { cipher = AESGCM(key: key) }

    /// Writes a ticket; `nil` if OpenSSL has no memory.
    ///
    /// `nonce` must never come twice.
    func seal(_ ticket: MobilityTicket, nonce: [UInt8]) -> [UInt8]? {
        let content = buildBytes(capacity: Self.contentByteCount) { output in
            output.append(bigEndian: UInt32(truncatingIfNeeded: ticket.shard))
            output.append(bigEndian: ticket.allocation.bits)
            output.append(bigEndian: ticket.sequence)
        }
        return cipher?.seal(content, nonce: nonce, authenticating: Self.purpose).map { nonce + $0 }
    }

    /// Reads a ticket; `nil` if this server has not written it.
    func open(_ bytes: Span<UInt8>) -> MobilityTicket? {
        guard bytes.count == Self.byteCount else { return nil }
        let nonce = bytes.extracting(..<AESGCM.nonceByteCount).toArray()
        let sealed = bytes.extracting(AESGCM.nonceByteCount...).toArray()
        guard let content = cipher?.open(sealed, nonce: nonce, authenticating: Self.purpose),
            content.count == Self.contentByteCount
        else { return nil }
        let span = content.span
        return MobilityTicket(
            shard: Int(span.bigEndianUInt32(at: 0)),
            allocation: SlotHandle(bits: span.bigEndianUInt64(at: 4)),
            sequence: span.bigEndianUInt32(at: 12)
        )
    }
}
