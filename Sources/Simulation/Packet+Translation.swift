public import NetTypes

/// What gateways do to packets beyond endpoints.
extension Packet {
    /// Replaces an IPv4 address wherever it stands in the payload in network order.
    mutating func replace(_ old: IPAddress, with new: IPAddress) {
        guard old.family == .ipv4, new.family == .ipv4, payload.count >= 4 else { return }
        let wanted = old.octets
        let replacement = new.octets
        for index in 0...(payload.count - 4) where Array(payload[index..<index + 4]) == wanted {
            payload.replaceSubrange(index..<index + 4, with: replacement)
        }
    }

    func replacingSource(of inner: IPPrefix, with outer: IPPrefix) -> Packet {
        var packet = self
        packet.source = SocketAddress(source.ip.moved(from: inner, to: outer), port: source.port)
        return packet
    }

    func replacingDestination(of outer: IPPrefix, with inner: IPPrefix) -> Packet {
        var packet = self
        packet.destination = SocketAddress(destination.ip.moved(from: outer, to: inner), port: destination.port)
        return packet
    }
}

extension IPAddress {
    /// The four bytes of an IPv4 address.
    var octets: [UInt8] { (0..<4).map { UInt8(truncatingIfNeeded: ipv4Bits >> UInt32(24 - 8 * $0)) } }

    /// The IPv6 address that stands for an IPv4 one behind a prefix of 96 bits (RFC 6052 §2.2).
    public func embedded(in prefix: IPPrefix) -> IPAddress {
        IPAddress(ipv6: prefix.base.high, prefix.base.low & ~0xFFFF_FFFF | UInt64(ipv4Bits))
    }

    /// The same interface identifier behind another prefix of at most 64 bits.
    func moved(from old: IPPrefix, to new: IPPrefix) -> IPAddress {
        guard old.contains(self), (1...64).contains(old.length) else { return self }
        let mask = UInt64.max << UInt64(64 - old.length)
        return IPAddress(ipv6: new.base.high & mask | high & ~mask, low)
    }
}
