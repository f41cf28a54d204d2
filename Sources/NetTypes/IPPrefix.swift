/// A range of addresses in CIDR notation.
public struct IPPrefix: Hashable, Sendable {
    /// The first address of the range.
    public let base: IPAddress
    /// How many leading bits are fixed: 0 to 32, or 0 to 128.
    public let length: Int

    /// Makes the range of all addresses that share the first `length` bits of `base`; `nil` if the length is too great.
    public init?(_ base: IPAddress, length: Int) {
        guard (0...base.byteCount * 8).contains(length) else { return nil }
        let (high, low) = Self.mask(length, base.family)
        self.base =
            base.family == .ipv4
            ? IPAddress(ipv4: UInt32(truncatingIfNeeded: base.low & low))
            : IPAddress(ipv6: base.high & high, base.low & low)
        self.length = length
    }

    /// Whether the address lies in the range; an address of the other family never does.
    public func contains(_ address: IPAddress) -> Bool {
        guard address.family == base.family else { return false }
        let (high, low) = Self.mask(length, base.family)
        return address.high & high == base.high && address.low & low == base.low
    }

    private static func mask(_ length: Int, _ family: AddressFamily) -> (UInt64, UInt64) {
        func leading(_ bits: Int) -> UInt64 { bits <= 0 ? 0 : bits >= 64 ? .max : ~(UInt64.max >> UInt64(bits)) }
        return family == .ipv4
            ? (0, length == 0 ? 0 : UInt64(UInt32.max << UInt32(32 - length))) : (leading(length), leading(length - 64))
    }
}

extension IPPrefix: CustomStringConvertible, LosslessStringConvertible {
    /// Reads `address/length`, or an address alone for a range of one.
    public init?(_ text: String) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard let first = parts.first, parts.count <= 2, let base = IPAddress(text: first) else { return nil }
        var length = base.byteCount * 8
        if parts.count == 2 {
            guard let given = Int(parts[1]), parts[1].utf8.allSatisfy({ (48...57).contains($0) }) else { return nil }
            length = given
        }
        self.init(base, length: length)
    }

    /// `address/length`.
    public var description: String { "\(base)/\(length)" }
}

extension IPAddress {
    /// What limits on what strangers may have count as one client: the /24 of IPv4, the /56 of IPv6.
    package var clientPrefix: UInt64 {
        // No global unicast prefix has the highest bit set, so IPv4 cannot collide with IPv6.
        family == .ipv4 ? low >> 8 | 1 << 63 : high >> 8
    }
}
