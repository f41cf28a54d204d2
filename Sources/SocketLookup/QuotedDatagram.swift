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
    /// `nil` if it quotes no UDP datagram's beginning, or, for IPv4, its checksum is wrong; that of IPv6 is the kernel's task.
    public init?(icmp message: Span<UInt8>, _ family: AddressFamily) {
        switch family {
        case .ipv4: self.init(ipv4: message)
        case .ipv6: self.init(ipv6: message)
        }
    }

    private init?(ipv4 packet: Span<UInt8>) {
        guard packet.count >= 20 else { return nil }
        let header = Int(packet[0] & 15) * 4
        let end = min(packet.count, Int(packet.bigEndianUInt16(at: 2)))
        guard header >= 20, end >= header + 8 + 20 else { return nil }
        let icmp = packet.extracting(header..<end)
        guard Self.hasRightChecksum(icmp) else { return nil }
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

    /// Raw sockets get messages before the kernel has looked at their checksum (RFC 792).
    private static func hasRightChecksum(_ icmp: Span<UInt8>) -> Bool {
        var sum: UInt32 = 0
        var index = 0
        while index + 1 < icmp.count {
            sum &+= UInt32(icmp.bigEndianUInt16(at: index))
            index += 2
        }
        if index < icmp.count { sum &+= UInt32(icmp[index]) << 8 }
        sum = (sum & 0xFFFF) + sum >> 16
        sum = (sum & 0xFFFF) + sum >> 16
        return sum == 0xFFFF
    }
}
