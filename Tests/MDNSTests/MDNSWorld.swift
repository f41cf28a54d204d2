import Bytes
import MDNS
import NetTypes

/// Hosts on one link: what one sends to the group, all others hear; virtual time.
struct MDNSWorld {
    final class Host {
        let address: SocketAddress
        let link = MDNSLink(interface: 2, family: .ipv4)
        var engine: MDNSEngine
        var events: [MDNSEvent] = []

        init(_ last: UInt32, seed: UInt64, limits: MDNSLimits = MDNSLimits()) {
            address = SocketAddress(IPAddress(ipv4: 0x0A00_0000 | last), port: MDNSLink.port)
            engine = MDNSEngine(limits: limits, entropy: .seeded(seed), at: .zero)
            engine.addLink(link, prefixes: [MDNSWorld.subnet].compactMap(\.self), at: .zero)
        }

        var ip: ConcealedAddress { ConcealedAddress(address.ip) }
    }

    struct Packet {
        let from: Int
        let transmit: MDNSTransmit
        let bytes: [UInt8]
        let at: Instant

        var isMulticast: Bool { transmit.destination == transmit.link.group }
        var isResponse: Bool { bytes[2] & 0x80 != 0 }
    }

    static let subnet = IPPrefix(IPAddress(ipv4: 0x0A00_0000), length: 24)
    var hosts: [Host]
    var now = Instant.zero
    var log: [Packet] = []
    /// Packets that the network loses, by their place in the log.
    var loses: (Int) -> Bool = { _ in false }

    init(_ count: Int, seed: UInt64 = 1, limits: MDNSLimits = MDNSLimits()) {
        hosts = (1...count).map { Host(UInt32($0), seed: seed &+ UInt64($0), limits: limits) }
    }

    /// Carries packets until nothing is sent any more at this moment.
    mutating func settle() {
        var moved = true
        while moved {
            moved = false
            for index in hosts.indices {
                while let packet = take(index) {
                    moved = true
                    log.append(packet)
                    if !loses(log.count - 1) { deliver(packet) }
                }
                while let event = hosts[index].engine.pollEvent() { hosts[index].events.append(event) }
            }
        }
    }

    private func take(_ index: Int) -> Packet? {
        var transmit: MDNSTransmit?
        let bytes = buildBytes(capacity: MDNSEngine.maximumDatagramByteCount) { output in
            transmit = hosts[index].engine.pollTransmit(at: now, into: &output)
        }
        return transmit.map { Packet(from: index, transmit: $0, bytes: bytes, at: now) }
    }

    private func deliver(_ packet: Packet) {
        for (index, host) in hosts.enumerated() where index != packet.from {
            guard packet.isMulticast || host.address == packet.transmit.destination else { continue }
            _ = host.engine.receive(
                packet.bytes.span,
                from: hosts[packet.from].address,
                over: host.link,
                wasMulticast: packet.isMulticast,
                at: now
            )
        }
    }

    /// Lets time pass, event by event.
    mutating func run(until end: Instant) {
        settle()
        while let next = hosts.compactMap({ $0.engine.nextTimeout }).min(), next <= end {
            now = max(now, next)
            for host in hosts { host.engine.handleTimeout(at: now) }
            settle()
        }
        now = max(now, end)
    }

    mutating func run(seconds: UInt64) { run(until: now + .seconds(seconds)) }
}

/// A DNS message made by hand.
enum RawDNS {
    static func name(_ label: String) -> [UInt8] {
        [UInt8(label.utf8.count)] + Array(label.utf8) + [5] + Array("local".utf8) + [0]
    }

    static func word(_ value: UInt16) -> [UInt8] { [UInt8(value >> 8), UInt8(value & 255)] }

    static func message(id: UInt16 = 0, flags: UInt16, questions: [[UInt8]] = [], answers: [[UInt8]] = []) -> [UInt8] {
        let counts = [id, flags, UInt16(questions.count), UInt16(answers.count), 0, 0].flatMap(word)
        return counts + questions.flatMap { $0 } + answers.flatMap { $0 }
    }

    static func question(_ label: String, type: UInt16 = 1, unicast: Bool = false) -> [UInt8] {
        name(label) + word(type) + word(unicast ? 0x8001 : 1)
    }

    static func address(_ label: String, _ ip: IPAddress, ttl: UInt16 = 120) -> [UInt8] {
        let bytes = buildBytes(capacity: 16) { ip.write(into: &$0) }
        return name(label) + word(ip.family == .ipv4 ? 1 : 28) + word(0x8001) + [0, 0] + word(ttl)
            + word(UInt16(bytes.count)) + bytes
    }
}
