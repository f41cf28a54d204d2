import Bytes
import Diagnostics
import Glibc
import NetTypes
import Testing

@testable import Transport

/// "Port unreachable" about a datagram that was never sent, as anybody can make it up.
struct ForgedError {
    /// From the ICMP header on, with a checksum for a packet from the datagram's source to itself.
    private(set) var bytes: [UInt8]
    private let source: IPAddress

    init(about source: SocketAddress, to destination: SocketAddress) {
        self.source = source.ip
        let isIPv4 = source.family == .ipv4
        let (from, to) = (Self.bytes(of: source.ip), Self.bytes(of: destination.ip))
        let ports = [source.port, destination.port].flatMap { [UInt8($0 >> 8), UInt8($0 & 0xFF)] }
        let header: [UInt8] =
            isIPv4 ? [0x45, 0, 0, 28, 0, 0, 0x40, 0, 64, 17, 0, 0] : [0x60, 0, 0, 0, 0, 8, 17, 64]
        bytes = [isIPv4 ? 3 : 1, isIPv4 ? 3 : 4, 0, 0, 0, 0, 0, 0] + header + from + to + ports + [0, 8, 0, 0]
        let pseudo = isIPv4 ? [] : from + from + [0, 0, 0, UInt8(bytes.count), 0, 0, 0, 58]
        let all = pseudo + bytes
        var sum: UInt32 = 0
        for index in stride(from: 0, to: all.count, by: 2) { sum += UInt32(all[index]) << 8 + UInt32(all[index + 1]) }
        sum = ~((sum & 0xFFFF) + sum >> 16)
        (bytes[2], bytes[3]) = (UInt8(sum >> 8 & 255), UInt8(sum & 255))
    }

    private static func bytes(of ip: IPAddress) -> [UInt8] {
        let words = ip.family == .ipv4 ? [] : [ip.high]
        let all = (words + [ip.low]).flatMap { word in (0..<8).map { UInt8(truncatingIfNeeded: word >> (56 - 8 * $0)) }
        }
        return ip.family == .ipv4 ? all.suffix(4) : all
    }

    /// Makes the checksum wrong.
    mutating func spoil() { bytes[2] ^= 1 }

    /// Sends it to the datagram's source, so often; the loopback delivers at once.
    func send(_ count: Int = 1) throws {
        let isIPv4 = source.family == .ipv4
        let kind = Int32(SOCK_RAW.rawValue)
        let raw = socket(isIPv4 ? AF_INET : AF_INET6, kind, Int32(isIPv4 ? IPPROTO_ICMP : IPPROTO_ICMPV6))
        try #require(raw >= 0)
        defer { close(raw) }
        if !isIPv4 {
            // SOL_RAW, IPV6_CHECKSUM: the kernel leaves the checksum as it is.
            var none: Int32 = -1
            try #require(unsafe setsockopt(raw, 255, 7, &none, UInt32(MemoryLayout<Int32>.size)) == 0)
        }
        let address = SocketAddress(source, port: 0)
        let name = UDPSocketHandle(descriptor: raw, family: source.family, localAddress: address)
        var sends = DatagramSendBatch(capacity: 1)
        for _ in 0..<count {
            let isQueued = sends.enqueue(copying: bytes.span, on: DatagramRoute(name, to: address))
            try #require(isQueued)
            sends.flush()
        }
        let errors = sends.errors.all.map(\.count).reduce(0, +)
        try #require(errors == 0)
    }
}
