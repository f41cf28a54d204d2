import Bytes
public import NetTypes
public import Transport

/// A UDP datagram that an ICMP error quotes, and what the error says about it.
public struct QuotedDatagram: Sendable, Equatable {
    /// Where the datagram was sent from.
    public let source: SocketAddress
    /// What became of it.
    public let error: ICMPError

    private static let udp: UInt8 = 17
    private static let fragment: UInt8 = 44

    /// Reads a message as a raw socket gets it: of IPv4 with the IP header, of IPv6 without (RFC 3542 §3.1).
    ///
    /// `nil` if it quotes no UDP datagram's beginning. The checksum is `hasRightChecksum`'s business.
    public init?(icmp message: Span<UInt8>, _ family: AddressFamily) {
        guard let range = Self.icmp(in: message, family) else { return nil }
        switch family {
        case .ipv4: self.init(ipv4: message.extracting(range))
        case .ipv6: self.init(ipv6: message.extracting(range))
        }
    }

    /// Where ICMP begins and ends in what a raw socket gets.
    private static func icmp(in message: Span<UInt8>, _ family: AddressFamily) -> Range<Int>? {
        guard family == .ipv4 else { return 0..<message.count }
        guard message.count >= 20 else { return nil }
        let header = Int(message[0] & 15) * 4
        let end = min(message.count, Int(message.bigEndianUInt16(at: 2)))
        return header >= 20 && end >= header ? header..<end : nil
    }

    private init?(ipv4 icmp: Span<UInt8>) {
        guard icmp.count >= 8 + 20 else { return nil }
        let quoted = icmp.extracting(8..<icmp.count)
        let length = Int(quoted[0] & 15) * 4
        guard quoted[0] >> 4 == 4, length >= 20, quoted.count >= length + 4, quoted[9] == Self.udp,
            quoted.bigEndianUInt16(at: 6) & 0x1FFF == 0
        else { return nil }
        self.init(
            from: IPAddress(ipv4: quoted.bigEndianUInt32(at: 12)),
            to: IPAddress(ipv4: quoted.bigEndianUInt32(at: 16)),
            ports: quoted.extracting(length..<quoted.count),
            icmp,
            mtu: UInt32(icmp.bigEndianUInt16(at: 6))
        )
    }

    private init?(ipv6 icmp: Span<UInt8>) {
        guard icmp.count >= 8 + 40 + 4 else { return nil }
        let quoted = icmp.extracting(8..<icmp.count)
        var (next, length) = (quoted[6], 40)
        if next == Self.fragment {
            // The one extension that this host puts between; only the first fragment has ports.
            guard quoted.count >= 48 + 4, quoted.bigEndianUInt16(at: 42) & 0xFFF8 == 0 else { return nil }
            (next, length) = (quoted[40], 48)
        }
        guard quoted[0] >> 4 == 6, next == Self.udp else { return nil }
        self.init(
            from: IPAddress(ipv6: quoted.bigEndianUInt64(at: 8), quoted.bigEndianUInt64(at: 16)),
            to: IPAddress(ipv6: quoted.bigEndianUInt64(at: 24), quoted.bigEndianUInt64(at: 32)),
            ports: quoted.extracting(length..<quoted.count),
            icmp,
            mtu: icmp.bigEndianUInt32(at: 4)
        )
    }

    private init(from: IPAddress, to: IPAddress, ports: Span<UInt8>, _ icmp: Span<UInt8>, mtu: UInt32) {
        source = SocketAddress(from, port: ports.bigEndianUInt16(at: 0))
        error = ICMPError(
            destination: SocketAddress(to, port: ports.bigEndianUInt16(at: 2)),
            isICMP: true,
            type: icmp[0],
            code: icmp[1],
            mtu: mtu
        )
    }

    /// Whether a message's checksum is right (RFC 792); that of IPv6 covers the addresses of its packet (RFC 4443 §2.3).
    ///
    /// Raw sockets get messages before the kernel has looked.
    public static func hasRightChecksum(
        icmp message: Span<UInt8>,
        _ family: AddressFamily,
        from source: IPAddress,
        to destination: IPAddress
    ) -> Bool {
        guard let range = icmp(in: message, family) else { return false }
        let icmp = message.extracting(range)
        var sum: UInt64 = 0
        if family == .ipv6 {
            for word in [source.high, source.low, destination.high, destination.low] {
                sum += word >> 32 + word & 0xFFFF_FFFF
            }
            sum += UInt64(icmp.count) + 58
        }
        var index = 0
        while index + 1 < icmp.count {
            sum += UInt64(icmp.bigEndianUInt16(at: index))
            index += 2
        }
        if index < icmp.count { sum += UInt64(icmp[index]) << 8 }
        while sum > 0xFFFF { sum = sum & 0xFFFF + sum >> 16 }
        return sum == 0xFFFF
    }
}
