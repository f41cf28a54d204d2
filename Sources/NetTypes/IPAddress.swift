public import Bytes

/// The version of the Internet protocol.
public enum AddressFamily: UInt8, Sendable, Hashable, CaseIterable {
    /// IPv4.
    case ipv4 = 4
    /// IPv6.
    case ipv6 = 6

    /// Both, IPv4 first; one array for all, where the compiler would make one for each use.
    public static let allCases: [AddressFamily] = [.ipv4, .ipv6]
}

/// An IPv4 or IPv6 address without port: three integers, no allocation.
public struct IPAddress: Hashable, Sendable {
    /// Which protocol the address belongs to.
    public let family: AddressFamily
    /// The first 64 bits of an IPv6 address; 0 for IPv4.
    public let high: UInt64
    /// The last 64 bits of an IPv6 address; an IPv4 address stands in the lowest 32.
    public let low: UInt64

    /// Makes an IPv4 address from its 32 bits in host order (`0x7F000001` is 127.0.0.1).
    @inlinable
    public init(ipv4 bits: UInt32) {
        family = .ipv4
        high = 0
        low = UInt64(bits)
    }

    /// Makes an IPv6 address from its two halves in host order.
    @inlinable
    public init(ipv6 high: UInt64, _ low: UInt64) {
        family = .ipv6
        self.high = high
        self.low = low
    }

    /// Makes an address from 4 or 16 bytes in network order; `nil` for another length.
    public init?(bytes: Span<UInt8>) {
        switch bytes.count {
        case 4: self.init(ipv4: bytes.bigEndianUInt32(at: 0))
        case 16: self.init(ipv6: bytes.bigEndianUInt64(at: 0), bytes.bigEndianUInt64(at: 8))
        default: return nil
        }
    }

    /// The 32 bits of an IPv4 address in host order; of an IPv6 address, its last 32.
    @inlinable public var ipv4Bits: UInt32 { UInt32(truncatingIfNeeded: low) }

    /// How many bytes the address has on the wire: 4 or 16.
    @inlinable public var byteCount: Int { family == .ipv4 ? 4 : 16 }

    /// Appends the address in network order; the free capacity must be `byteCount`.
    @inlinable
    public func write(into output: inout OutputSpan<UInt8>) {
        if family == .ipv6 {
            output.append(bigEndian: high)
            output.append(bigEndian: low)
        } else {
            output.append(bigEndian: ipv4Bits)
        }
    }

    /// 0.0.0.0 or ::.
    public static func unspecified(_ family: AddressFamily) -> IPAddress {
        family == .ipv4 ? IPAddress(ipv4: 0) : IPAddress(ipv6: 0, 0)
    }

    /// 127.0.0.1 or ::1.
    public static func loopback(_ family: AddressFamily) -> IPAddress {
        family == .ipv4 ? IPAddress(ipv4: 0x7F00_0001) : IPAddress(ipv6: 0, 1)
    }

    /// Whether this is 0.0.0.0 or ::.
    public var isUnspecified: Bool { high == 0 && low == 0 }

    /// Whether this is in 127.0.0.0/8 or is ::1.
    public var isLoopback: Bool { family == .ipv4 ? low &>> 24 == 127 : high == 0 && low == 1 }

    /// Whether this is in 169.254.0.0/16 or fe80::/10.
    public var isLinkLocal: Bool { family == .ipv4 ? low &>> 16 == 0xA9FE : high &>> 54 == 0x3FA }

    /// The IPv4 address that an IPv6 address stands for, if it is IPv4-mapped (`::ffff:a.b.c.d`); else itself.
    ///
    /// A dual-stack socket shows IPv4 peers in that form (RFC 4291 §2.5.5.2).
    @inlinable public var unmapped: IPAddress {
        family == .ipv6 && high == 0 && low &>> 32 == 0xFFFF ? IPAddress(ipv4: ipv4Bits) : self
    }
}

extension IPAddress: FlatKey {
    /// Mixes all bits of the address with the seed.
    @inlinable
    public func flatHash(seed: UInt64) -> UInt64 {
        low.flatHash(seed: high.flatHash(seed: seed ^ UInt64(family.rawValue)))
    }
}
