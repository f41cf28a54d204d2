import Bytes
import NetTypes
import Simulation
import TestSupport
import Testing

/// Packets as bytes, captures, determinism and speed.
@Suite struct WireTests {
    /// A run with something of everything: NATs, loss, jitter, both versions, TCP, errors.
    static func busyRun(_ seed: UInt64, captures: Bool = true) throws -> SimulatedNetwork {
        let network = SimulatedNetwork(seed: seed)
        if captures { network.recorder.capturedSegments = [] }
        var weather = LinkConditions(delay: .milliseconds(15))
        weather.loss = .bursts(toBad: 0.05, toGood: 0.4)
        weather.jitter = .longTail(.milliseconds(3))
        weather.reorders = true
        weather.duplication = 0.02
        weather.corruption = 0.02
        let server = Station(network.addHost("server", on: network.internet), echoes: true)
        server.probe.echoesStreams = true
        _ = try server.open(9)
        _ = try server.act { try $0.listen(port: 80) }
        for (index, behavior) in NATBehavior.allKinds.enumerated() {
            let lan = network.addLAN("lan\(index)", behind: GatewayConfiguration(nat: behavior), up: weather)
            let host = Station(network.addHost("host\(index)", on: lan, addresses: .laptop))
            let socket = try host.open()
            let target = try server.address(80, index % 2 == 0 ? .ipv4 : .ipv6)
            let stream = try host.act { try $0.connect(to: target) }
            try host.act { $0.write([UInt8](repeating: UInt8(index), count: 3000), to: stream) }
            for number in 0..<20 {
                let family = AddressFamily.allCases[number % 2]
                try host.send([UInt8(number)], to: try server.address(number % 5 == 0 ? 10 : 9, family), from: socket)
                network.run(for: .milliseconds(30))
            }
            try host.act { $0.finish(stream) }
        }
        network.run(for: .seconds(20))
        return network
    }

    @Test(arguments: seeds(4)) func `the same seed gives the same bytes, another seed gives others`(
        _ seed: UInt64
    ) throws {
        let first = try Self.busyRun(seed)
        let second = try Self.busyRun(seed)
        #expect(first.recorder.capture.bytes == second.recorder.capture.bytes, "\(first.replayHint)")
        #expect(first.eventCount == second.eventCount)
        #expect(try Self.busyRun(seed &+ 1).recorder.capture.bytes != first.recorder.capture.bytes)
    }

    @Test func `a capture can be read back, with right lengths and checksums`() throws {
        let network = try Self.busyRun(1)
        let bytes = network.recorder.capture.bytes
        let packets = try CaptureReader.packets(bytes)
        #expect(packets.count == network.recorder.capture.packetCount)
        #expect(packets.count > 300)
        var kinds: Set<String> = []
        for packet in packets {
            let kind = try CaptureReader.check(packet.bytes)
            kinds.insert(kind)
        }
        #expect(kinds == ["4/17", "6/17", "4/6", "6/6", "4/1", "6/58"])
        #expect(zip(packets, packets.dropFirst()).allSatisfy { $0.nanoseconds <= $1.nanoseconds })
    }
}

/// A reader of captures that shares nothing with the writer.
enum CaptureReader {
    struct Broken: Error {
        let what: String
    }

    static func packets(_ bytes: [UInt8]) throws -> [(nanoseconds: UInt64, bytes: [UInt8])] {
        func word(_ offset: Int) -> UInt64 {
            bytes[offset..<offset + 4].reduce(0) { $0 << 8 | UInt64($1) }
        }
        guard bytes.count >= 24, word(0) == 0xA1B2_3C4D, word(4) == 0x0002_0004, word(20) == 101 else {
            throw Broken(what: "file header")
        }
        var packets: [(UInt64, [UInt8])] = []
        var offset = 24
        while offset < bytes.count {
            let length = Int(word(offset + 8))
            guard word(offset + 12) == length, offset + 16 + length <= bytes.count else { throw Broken(what: "record") }
            let time = word(offset) * 1_000_000_000 + word(offset + 4)
            packets.append((time, Array(bytes[offset + 16..<offset + 16 + length])))
            offset += 16 + length
        }
        return packets
    }

    /// Checks lengths and checksums; returns version and protocol.
    static func check(_ packet: [UInt8]) throws -> String {
        func half(_ offset: Int) -> Int { Int(packet[offset]) << 8 | Int(packet[offset + 1]) }
        func sum(_ parts: [[UInt8]]) -> Int {
            var total = 0
            for part in parts {
                for index in stride(from: 0, to: part.count, by: 2) {
                    total += Int(part[index]) << 8 | (index + 1 < part.count ? Int(part[index + 1]) : 0)
                }
            }
            while total > 0xFFFF { total = total >> 16 + total & 0xFFFF }
            return total
        }
        let version = packet[0] >> 4
        let header = version == 4 ? 20 : 40
        let number = version == 4 ? packet[9] : packet[6]
        let length = version == 4 ? half(2) : half(4) + 40
        guard length == packet.count else { throw Broken(what: "length \(length) of \(packet.count)") }
        if version == 4, sum([Array(packet[..<20])]) != 0xFFFF { throw Broken(what: "header checksum") }
        let transport = Array(packet[header...])
        if number == 17, half(header + 4) != transport.count { throw Broken(what: "UDP length") }
        let addresses = version == 4 ? Array(packet[12..<20]) : Array(packet[8..<40])
        let pseudo =
            number == 1 ? [] : addresses + [UInt8(transport.count >> 8), UInt8(transport.count & 255), 0, number]
        guard sum([pseudo, transport]) == 0xFFFF else { throw Broken(what: "checksum of protocol \(number)") }
        return "\(version)/\(number)"
    }
}
