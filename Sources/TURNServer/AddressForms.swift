import NetTypes

/// The forms in which an IPv6 address carries an IPv4 address.
enum AddressForms {
    /// Whether this is Teredo (2001::/32) or 6to4 (2002::/16), which RFC 8656 §21.4 forbids outright.
    static func isForbiddenTunnel(_ address: IPAddress) -> Bool {
        address.family == .ipv6 && (address.high &>> 32 == 0x2001_0000 || address.high &>> 48 == 0x2002)
    }

    /// Whether the address is of a form that stands for an IPv4 address.
    static func carriesIPv4(_ address: IPAddress) -> Bool {
        guard address.family == .ipv6 else { return false }
        let (high, low) = (address.high, address.low)
        // IPv4-compatible, IPv4-mapped and IPv4-translated (::ffff:0:a.b.c.d, RFC 2765).
        let isInLowBits = high == 0 && [0, 0xFFFF, 0xFFFF_0000].contains(low &>> 32)
        return isInLowBits || isNAT64(address) || isForbiddenTunnel(address) || isISATAP(address)
    }

    /// The IPv4 addresses that the address may stand for; empty for IPv4 and for ordinary IPv6 addresses.
    static func embeddedIPv4(in address: IPAddress) -> [IPAddress] {
        guard carriesIPv4(address) else { return [] }
        let (high, low) = (address.high, address.low)
        if high &>> 48 == 0x2002 { return [ipv4(high &>> 16)] }
        // Teredo: the server's address, then the client's with all bits inverted (RFC 4380 §4).
        if high &>> 32 == 0x2001_0000 { return [ipv4(high), ipv4(~low)] }
        guard high &>> 16 == 0x0064_FF9B_0001 else { return [ipv4(low)] }
        // Only the translator knows how long its local prefix is (RFC 6052 §2.2), so every place counts. What reads as
        // 0.0.0.0/8 goes nowhere, and is but the zeros before or behind an address in another place.
        let octets48 = (high & 0xFFFF) &<< 16 | low &>> 40 & 0xFFFF
        let octets56 = (high & 0xFF) &<< 24 | low &>> 32 & 0xFF_FFFF
        let places = [octets48, octets56, low &>> 24, low].map(ipv4).filter { $0.low &>> 24 != 0 }
        return places.isEmpty ? [ipv4(low)] : places
    }

    // 64:ff9b::/96 (RFC 6052) and 64:ff9b:1::/48 (RFC 8215).
    private static func isNAT64(_ address: IPAddress) -> Bool {
        address.high &>> 16 == 0x0064_FF9B_0001 || address.high == 0x0064_FF9B_0000_0000 && address.low &>> 32 == 0
    }

    // Interface identifier 0000:5efe or 0200:5efe, then the IPv4 address (RFC 5214 §6.1).
    private static func isISATAP(_ address: IPAddress) -> Bool {
        address.low &>> 32 & ~0x0200_0000 == 0x0000_5EFE
    }

    private static func ipv4(_ bits: UInt64) -> IPAddress { IPAddress(ipv4: UInt32(truncatingIfNeeded: bits)) }
}
