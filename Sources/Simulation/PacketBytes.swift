import Bytes
import NetTypes

/// Packets as they stand on the wire, with right lengths and checksums.
extension Packet {
    /// The bytes from the IP header on.
    ///
    /// The identification of IPv4 is 0, as RFC 6864 §4.1 allows for packets that are not cut.
    public var wireBytes: [UInt8] {
        var transport = transportBytes
        let number = ipProtocol == .icmp && destination.family == .ipv6 ? 58 : ipProtocol.rawValue
        let offset: Int? =
            switch body {
            case .udp: 6
            case .tcp: 16
            case .icmp: 2
            }
        if let offset {
            var sum = InternetChecksum()
            if ipProtocol != .icmp || destination.family == .ipv6 {
                sum.add(source.ip)
                sum.add(destination.ip)
                sum.add(UInt32(transport.count))
                sum.add(UInt32(number))
            }
            sum.add(transport)
            // A UDP checksum of zero would mean that there is none (RFC 768).
            let value = ipProtocol == .udp && sum.value == 0 ? 0xFFFF : sum.value
            transport[offset] = UInt8(value >> 8)
            transport[offset + 1] = UInt8(value & 0xFF)
        }
        return ipHeader(number, transport.count) + transport
    }

    func ipHeader(_ number: UInt8, _ length: Int) -> [UInt8] {
        buildBytes(capacity: 40) { output in
            if destination.family == .ipv6 {
                output.append(bigEndian: 0x6000_0000 | UInt32(ecn.rawValue) << 20)
                output.append(bigEndian: UInt16(truncatingIfNeeded: length))
                output.append(number)
                output.append(timeToLive)
                source.ip.write(into: &output)
                destination.ip.write(into: &output)
                return
            }
            var sum = InternetChecksum()
            sum.add(UInt32(0x4500 | UInt16(ecn.rawValue)) << 16 | UInt32(20 + length) & 0xFFFF)
            sum.add(dontFragment ? 0x4000 : 0)
            sum.add(UInt32(timeToLive) << 24 | UInt32(number) << 16)
            sum.add(source.ip)
            sum.add(destination.ip)
            output.append(bigEndian: 0x4500 | UInt16(ecn.rawValue))
            output.append(bigEndian: UInt16(truncatingIfNeeded: 20 + length))
            output.append(bigEndian: UInt32(dontFragment ? 0x4000 : 0))
            output.append(timeToLive)
            output.append(number)
            output.append(bigEndian: sum.value)
            source.ip.write(into: &output)
            destination.ip.write(into: &output)
        }
    }

    private var transportBytes: [UInt8] {
        buildBytes(capacity: byteCount) { output in
            switch body {
            case .udp:
                output.append(bigEndian: source.port)
                output.append(bigEndian: destination.port)
                output.append(bigEndian: UInt16(truncatingIfNeeded: 8 + payload.count))
                output.append(bigEndian: UInt16(0))
                output.append(contentsOf: payload.span)
            case .tcp(let header):
                output.append(bigEndian: source.port)
                output.append(bigEndian: destination.port)
                output.append(bigEndian: header.sequence)
                output.append(bigEndian: header.acknowledgement)
                output.append(bigEndian: 0x5000 | UInt16(header.flags.rawValue))
                output.append(bigEndian: header.window)
                output.append(bigEndian: UInt32(0))
                output.append(contentsOf: payload.span)
            case .icmp(let message): message.write(family: destination.family, into: &output)
            }
        }
    }
}

extension ICMPMessage {
    fileprivate func write(family: AddressFamily, into output: inout OutputSpan<UInt8>) {
        let (type, code) = reason.numbers(family)
        output.append(type)
        output.append(code)
        output.append(bigEndian: UInt16(0))
        if case .packetTooBig(let mtu) = reason {
            output.append(bigEndian: UInt32(truncatingIfNeeded: mtu))
        } else {
            output.append(bigEndian: UInt32(0))
        }
        let quoted = Packet(.udp, from: quotedSource, to: quotedDestination, payload: quotedPayload)
        guard quotedProtocol == .tcp else { return output.append(contentsOf: quoted.wireBytes.span) }
        // Of a quoted TCP segment only the ports are known; the length of its header tells that the rest is cut off.
        output.append(contentsOf: quoted.ipHeader(6, 20).span)
        output.append(bigEndian: quotedSource.port)
        output.append(bigEndian: quotedDestination.port)
        output.append(bigEndian: UInt32(0))
    }
}

extension ICMPReason {
    /// Type and code of ICMP (RFC 792, RFC 1812 §5.2.7.1) or ICMPv6 (RFC 4443).
    func numbers(_ family: AddressFamily) -> (type: UInt8, code: UInt8) {
        switch (self, family) {
        case (.hostUnreachable, .ipv4): (3, 1)
        case (.portUnreachable, .ipv4): (3, 3)
        case (.prohibited, .ipv4): (3, 13)
        case (.packetTooBig, .ipv4): (3, 4)
        case (.timeExceeded, .ipv4): (11, 0)
        case (.hostUnreachable, .ipv6): (1, 3)
        case (.portUnreachable, .ipv6): (1, 4)
        case (.prohibited, .ipv6): (1, 1)
        case (.packetTooBig, .ipv6): (2, 0)
        case (.timeExceeded, .ipv6): (3, 0)
        }
    }
}

/// The checksum of RFC 1071.
struct InternetChecksum {
    private var sum: UInt64 = 0

    mutating func add(_ word: UInt32) { sum &+= UInt64(word >> 16) &+ UInt64(word & 0xFFFF) }

    mutating func add(_ address: IPAddress) {
        add(UInt32(truncatingIfNeeded: address.high >> 32))
        add(UInt32(truncatingIfNeeded: address.high))
        add(UInt32(truncatingIfNeeded: address.low >> 32))
        add(UInt32(truncatingIfNeeded: address.low))
    }

    mutating func add(_ bytes: [UInt8]) {
        var index = 0
        while index + 1 < bytes.count {
            sum &+= UInt64(bytes[index]) << 8 | UInt64(bytes[index + 1])
            index += 2
        }
        if index < bytes.count { sum &+= UInt64(bytes[index]) << 8 }
    }

    var value: UInt16 {
        var folded = sum
        while folded > 0xFFFF { folded = folded >> 16 &+ folded & 0xFFFF }
        return ~UInt16(truncatingIfNeeded: folded)
    }
}
