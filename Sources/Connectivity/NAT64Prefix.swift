public import NetTypes

/// Where a network that has only IPv6 puts the addresses of IPv4 (RFC 6052), found by asking for a name (RFC 7050).
public struct NAT64Prefix: Hashable, Sendable {
    /// The name whose IPv4 addresses are known to everyone (RFC 7050 §8.2).
    public static let wellKnownName = "ipv4only.arpa"
    private static let wellKnown: [UInt32] = [0xC000_00AA, 0xC000_00AB]
    private static let lengths = [96, 64, 56, 48, 40, 32]

    /// The prefix's address, with zeros behind it.
    private let base: IPAddress
    /// 32, 40, 48, 56, 64 or 96.
    public let length: Int

    /// Finds the prefix in the answers for `wellKnownName`; `nil` if the network has none (RFC 7050 §3).
    public init?(answers: [IPAddress]) {
        for answer in answers where answer.family == .ipv6 {
            for length in Self.lengths {
                guard let embedded = Self.embedded(answer, length), Self.wellKnown.contains(embedded) else { continue }
                let mask = Self.mask(length)
                base = IPAddress(ipv6: answer.high & mask.high, answer.low & mask.low)
                self.length = length
                return
            }
        }
        return nil
    }

    /// The IPv6 address that stands for an IPv4 address (RFC 6052 §2.2).
    public func synthesized(_ ip: IPAddress) -> IPAddress {
        let bits = UInt64(ip.ipv4Bits)
        guard length < 96 else { return IPAddress(ipv6: base.high, base.low | bits) }
        // Bits 64 to 71 stay zero.
        let inHigh = 64 - length
        let high = inHigh >= 32 ? bits &<< UInt64(inHigh - 32) : bits &>> UInt64(32 - inHigh)
        let rest = 32 - min(32, inHigh)
        let low = rest == 0 ? 0 : (bits & (1 &<< UInt64(rest) - 1)) &<< UInt64(56 - rest)
        return IPAddress(ipv6: base.high | high, base.low | low)
    }

    /// The IPv4 address that an IPv6 address stands for; `nil` if it is not of this prefix.
    public func extracted(_ ip: IPAddress) -> IPAddress? {
        guard ip.family == .ipv6 else { return nil }
        let mask = Self.mask(length)
        guard ip.high & mask.high == base.high, ip.low & mask.low == base.low else { return nil }
        return Self.embedded(ip, length).map { IPAddress(ipv4: $0) }
    }

    private static func mask(_ length: Int) -> (high: UInt64, low: UInt64) {
        length >= 96 ? (.max, 0xFFFF_FFFF_0000_0000) : (length == 64 ? .max : ~(UInt64.max &>> UInt64(length)), 0)
    }

    private static func embedded(_ ip: IPAddress, _ length: Int) -> UInt32? {
        guard length < 96 else { return UInt32(truncatingIfNeeded: ip.low) }
        guard ip.low &>> 56 == 0 else { return nil }
        let inHigh = 64 - length
        guard inHigh < 32 else { return UInt32(truncatingIfNeeded: ip.high &>> UInt64(inHigh - 32)) }
        let rest = 32 - inHigh
        let high = inHigh == 0 ? 0 : (ip.high & (1 &<< UInt64(inHigh) - 1)) &<< UInt64(rest)
        return UInt32(truncatingIfNeeded: high | (ip.low &<< 8) &>> UInt64(64 - rest))
    }
}
