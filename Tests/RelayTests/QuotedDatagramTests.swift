import Bytes
import NetTypes
import STUN
import SocketLookup
import TestSupport
import Testing
import Transport

/// ICMP messages as raw sockets bring them.
struct QuotedDatagramTests {
    private static let udp: [UInt8] = [0x27, 0x10, 0x01, 0xBB, 0, 20, 0, 0]
    private static let ports: (source: UInt16, destination: UInt16) = (10_000, 443)

    /// From 198.51.100.7: type 3, code 4, MTU 1400, about a datagram from 203.0.113.1 to 192.0.2.9.
    private static func ipv4(_ type: UInt8 = 3, _ code: UInt8 = 4, fragment: UInt8 = 0, proto: UInt8 = 17) -> [UInt8] {
        let quoted: [UInt8] =
            [0x45, 0, 0, 40, 0, 0, fragment == 0 ? 0x40 : 0, fragment, 64, proto, 0, 0, 203, 0, 113, 1, 192, 0, 2, 9]
            + udp
        var icmp: [UInt8] = [type, code, 0, 0, 0, 0, 5, 0x78] + quoted
        var sum: UInt32 = 0
        for index in stride(from: 0, to: icmp.count, by: 2) {
            sum += UInt32(icmp[index]) << 8 + UInt32(icmp[index + 1])
        }
        sum = ~((sum & 0xFFFF) + sum >> 16)
        (icmp[2], icmp[3]) = (UInt8(sum >> 8 & 255), UInt8(sum & 255))
        let length = UInt8(20 + icmp.count)
        return [0x45, 0, 0, length, 0, 0, 0, 0, 60, 1, 0, 0, 198, 51, 100, 7, 203, 0, 113, 1] + icmp
    }

    private static func ipv6(fragment: [UInt8] = []) -> [UInt8] {
        let source: [UInt8] = [0x20, 1, 0x0D, 0xB8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]
        let destination: [UInt8] = Array(source.dropLast()) + [9]
        let header: [UInt8] = [0x60, 0, 0, 0, 0, 20, fragment.isEmpty ? 17 : 44, 64] + source + destination
        return [2, 0, 0, 0, 0, 0, 5, 0] + header + fragment + udp
    }

    private static func read(_ message: [UInt8], _ family: AddressFamily) -> QuotedDatagram? {
        QuotedDatagram(icmp: message.span, family)
    }

    @Test func `an IPv4 message tells who sent what to whom, and the MTU`() throws {
        let quoted = try #require(Self.read(Self.ipv4(), .ipv4))
        #expect(quoted.source == SocketAddress("203.0.113.1:10000"))
        let error = ICMPError(
            destination: try #require(SocketAddress("192.0.2.9:443")),
            isICMP: true,
            type: 3,
            code: 4,
            mtu: 1400
        )
        #expect(quoted.error == error)
    }

    @Test(arguments: [[], [17, 0, 0, 1, 0, 0, 0, 9]] as [[UInt8]])
    func `an IPv6 message does too, of a first fragment as well`(fragment: [UInt8]) throws {
        let quoted = try #require(Self.read(Self.ipv6(fragment: fragment), .ipv6))
        #expect(quoted.source == SocketAddress("[2001:db8::1]:10000"))
        #expect(quoted.error.destination == SocketAddress("[2001:db8::9]:443"))
        #expect(quoted.error.type == 2 && quoted.error.code == 0 && quoted.error.mtu == 1280)
    }

    @Test func `what quotes no beginning of a UDP datagram is refused`() {
        let messages: [[UInt8]] = [Self.ipv4(fragment: 8), Self.ipv4(proto: 6)]
        for message in messages { #expect(Self.read(message, .ipv4) == nil) }
        for fragment in [[17, 0, 0, 9, 0, 0, 0, 9], [6, 0, 0, 1, 0, 0, 0, 9]] as [[UInt8]] {
            #expect(Self.read(Self.ipv6(fragment: fragment), .ipv6) == nil)
        }
    }

    @Test(arguments: AddressFamily.allCases)
    func `a checksum is right as it was sent, and wrong with any bit changed`(family: AddressFamily) throws {
        let local = IPAddress.loopback(family)
        let (source, peer) = (SocketAddress(local, port: 10_000), SocketAddress(local, port: 443))
        let header: [UInt8] = [0x45, 0, 0, 56, 0, 0, 0, 0, 60, 1, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1]
        let good = (family == .ipv4 ? header : []) + ForgedError(about: source, to: peer).bytes
        func isRight(_ message: [UInt8], from other: IPAddress? = nil) -> Bool {
            QuotedDatagram.hasRightChecksum(icmp: message.span, family, from: other ?? local, to: local)
        }
        #expect(isRight(good))
        #expect(Self.read(good, family)?.source == source)
        for place in header.count * (family == .ipv4 ? 1 : 0)..<good.count {
            var message = good
            message[place] ^= 0x10
            #expect(!isRight(message))
        }
        // The checksum of IPv6 is that of its addresses too.
        #expect(isRight(good, from: IPAddress("2001:db8::1")) == (family == .ipv4))
        for length in 0..<good.count where family == .ipv6 || length < 20 { #expect(!isRight(Array(good[..<length]))) }
    }

    @Test func `no length traps, and what is cut before the ports is refused`() {
        for (good, family, needed) in [
            (Self.ipv4(), AddressFamily.ipv4, 20 + 8 + 20 + 4), (Self.ipv6(), .ipv6, 8 + 40 + 4),
        ] {
            for length in 0..<good.count {
                let quoted = Self.read(Array(good[..<length]), family)
                if length < needed { #expect(quoted == nil) }
            }
        }
    }

    @Test(arguments: seeds(2000))
    func `broken messages do not trap`(seed: UInt64) {
        var mutator = ByteMutator(
            corpus: [Self.ipv4(), Self.ipv6(), Self.ipv6(fragment: [17, 0, 0, 1, 0, 0, 0, 9])],
            seed: seed
        )
        let message = mutator.next()
        for family in AddressFamily.allCases {
            let local = IPAddress.loopback(family)
            _ = Self.read(message, family)
            _ = QuotedDatagram.hasRightChecksum(icmp: message.span, family, from: local, to: local)
        }
    }
}
