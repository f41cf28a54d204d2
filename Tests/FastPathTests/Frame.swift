import NetTypes

/// An Ethernet frame with a UDP datagram, right in every field unless a test makes it wrong.
struct Frame {
    var source: SocketAddress
    var destination: SocketAddress
    var payload: [UInt8]
    var hops: UInt8 = 64
    var trafficClass: UInt8 = 0
    var id: UInt16 = 0x1234

    static func address(_ text: String) -> SocketAddress {
        SocketAddress(text) ?? SocketAddress(.unspecified(.ipv4), port: 0)
    }

    private static func bytes(_ value: UInt16) -> [UInt8] { [UInt8(value >> 8), UInt8(value & 255)] }

    private static func bytes(_ ip: IPAddress) -> [UInt8] {
        let (high, low) = (ip.high, ip.low)
        let all =
            (0..<8).map { UInt8(truncatingIfNeeded: high >> (56 - 8 * $0)) }
            + (0..<8).map { UInt8(truncatingIfNeeded: low >> (56 - 8 * $0)) }
        return ip.family == .ipv4 ? Array(all.suffix(4)) : all
    }

    /// RFC 1071, over one straight pass.
    static func checksum(_ bytes: [UInt8]) -> UInt16 {
        var sum = 0
        for (index, byte) in bytes.enumerated() { sum += Int(byte) << (index % 2 == 0 ? 8 : 0) }
        while sum > 0xFFFF { sum = sum & 0xFFFF + sum >> 16 }
        return ~UInt16(sum)
    }

    /// The sum over the pseudo header alone, not inverted, as it stands in a packet that a device has yet to finish.
    var unfinishedChecksum: UInt16 { ~Self.checksum(pseudoHeader) }

    private var pseudoHeader: [UInt8] {
        Self.bytes(source.ip) + Self.bytes(destination.ip) + [0, 17] + Self.bytes(UInt16(payload.count + 8))
    }

    private var udp: [UInt8] {
        let head = Self.bytes(source.port) + Self.bytes(destination.port) + Self.bytes(UInt16(payload.count + 8))
        let sum = Self.checksum(pseudoHeader + head + [0, 0] + payload)
        return head + Self.bytes(sum == 0 ? 0xFFFF : sum) + payload
    }

    private var ip: [UInt8] {
        guard source.family == .ipv4 else {
            return [0x60 | trafficClass >> 4, trafficClass << 4, 0, 0] + Self.bytes(UInt16(payload.count + 8))
                + [17, hops] + Self.bytes(source.ip) + Self.bytes(destination.ip)
        }
        var head =
            [0x45, trafficClass] + Self.bytes(UInt16(payload.count + 28)) + Self.bytes(id) + [0, 0, hops, 17, 0, 0]
        head += Self.bytes(source.ip) + Self.bytes(destination.ip)
        head.replaceSubrange(10..<12, with: Self.bytes(Self.checksum(head)))
        return head
    }

    var bytes: [UInt8] {
        [UInt8](repeating: 0, count: 12) + (source.family == .ipv4 ? [8, 0] : [0x86, 0xDD]) + ip + udp
    }

    /// Where the UDP header begins.
    var transport: Int { source.family == .ipv4 ? 34 : 54 }
}
