import Bytes
public import NetTypes

/// The 96 random bits that tie a response to its request (RFC 8489 §5).
public struct TransactionID: Hashable, Sendable {
    /// The first 64 bits.
    public let high: UInt64
    /// The last 32 bits.
    public let low: UInt32

    /// Makes an identifier from its bits.
    @inlinable
    public init(high: UInt64, low: UInt32) {
        self.high = high
        self.low = low
    }

    /// The identifier of the Binding request that these bytes begin with, as an ICMP error quotes it; nil if they do not, or
    /// are fewer than the 20 of a header.
    public init?(bindingRequest bytes: Span<UInt8>) {
        guard bytes.count >= 20, bytes.bigEndianUInt16(at: 0) == 1,
            bytes.bigEndianUInt32(at: 4) == STUNFormat.magicCookie
        else {
            return nil
        }
        self.init(high: bytes.bigEndianUInt64(at: 8), low: bytes.bigEndianUInt32(at: 16))
    }

    /// Draws a new identifier; `Entropy.system` for everything that goes to a network (turn 4).
    public static func random(using entropy: inout Entropy) -> TransactionID {
        TransactionID(high: entropy.next(), low: UInt32(truncatingIfNeeded: entropy.next()))
    }
}

extension TransactionID: CustomStringConvertible {
    /// The 96 bits as 24 hexadecimal digits.
    public var description: String {
        let bytes = buildBytes(capacity: 12) { output in
            output.append(bigEndian: high)
            output.append(bigEndian: low)
        }
        return Hex.encode(bytes)
    }
}
