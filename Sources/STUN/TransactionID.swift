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
