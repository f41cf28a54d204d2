import EventLoop
import FastPath
import NetTypes
import Testing

/// The program on single packets, as the kernel runs it; it takes CAP_BPF and CAP_NET_ADMIN, and fails without.
@Suite struct ProgramTests {
    /// The loopback interface, which every namespace has.
    static let interface: UInt32 = 1

    /// The addresses of one channel, of either family.
    struct Channel: Sendable, CustomTestStringConvertible {
        let client, server, relay, peer: SocketAddress
        let number: UInt16 = 0x4ABC
        var testDescription: String { "IPv\(client.family.rawValue)" }

        static let all = [
            Channel(
                client: Frame.address("198.51.100.1:4000"),
                server: Frame.address("192.0.2.1:3478"),
                relay: Frame.address("192.0.2.1:50000"),
                peer: Frame.address("203.0.113.9:6000")
            ),
            Channel(
                client: Frame.address("[2001:db8:1::1]:4000"),
                server: Frame.address("[2001:db8:2::1]:3478"),
                relay: Frame.address("[2001:db8:2::2]:50000"),
                peer: Frame.address("[2001:db8:3::ffff]:6000")
            ),
        ]

        var toPeer: RelayedFlow {
            .toPeer(from: client, at: server, channel: number, relay: relay, peer: peer)
        }

        var toClient: RelayedFlow {
            .toClient(client, from: server, channel: number, relay: relay, peer: peer)
        }

        /// ChannelData of the client.
        func framed(_ data: [UInt8]) -> Frame {
            let head = [0x4A, 0xBC, UInt8(data.count >> 8), UInt8(data.count & 255)]
            return Frame(source: client, destination: server, payload: head + data)
        }

        /// A datagram of the peer.
        func plain(_ data: [UInt8]) -> Frame { Frame(source: peer, destination: relay, payload: data) }
    }

    let table: OpenFlows
    var path: FastPath { table.path }

    init() throws { table = try OpenFlows() }

    private func open(_ channel: Channel, until end: Instant = .distantFuture) throws {
        try table.open(channel.toPeer, until: end)
        try table.open(channel.toClient, until: end)
    }

    private func process(_ frame: [UInt8]) throws -> [UInt8]? { try path.process(frame, from: Self.interface) }

    private func data(_ count: Int) -> [UInt8] { (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 151 &+ count) } }

    /// The frame that user space would have made, with the identification of the other, which may be anything.
    private func expected(_ frame: Frame, like other: [UInt8]) -> [UInt8] {
        var frame = frame
        frame.hops -= 1
        if frame.source.family == .ipv4, other.count > 20 { frame.id = UInt16(other[18]) << 8 | UInt16(other[19]) }
        return frame.bytes
    }

    // MARK: What is relayed

    @Test(arguments: Channel.all, [0, 1, 2, 3, 4, 20, 31, 32, 33, 160, 1000, 1001, 1202])
    func `both ways every byte and checksum is right`(channel: Channel, count: Int) throws {
        try open(channel)
        let bytes = data(count)
        let out = try #require(try process(channel.framed(bytes).bytes))
        #expect(out == expected(Frame(source: channel.relay, destination: channel.peer, payload: bytes), like: out))
        let back = try #require(try process(channel.plain(bytes).bytes))
        let answer = Frame(source: channel.server, destination: channel.client, payload: channel.framed(bytes).payload)
        #expect(back == expected(answer, like: back))
        let counted = FlowTraffic(packets: 1, bytes: UInt64(count))
        #expect(try table.traffic(of: channel.toPeer) == counted)
        #expect(try table.traffic(of: channel.toClient) == counted)
        try table.close(channel.toClient)
        #expect(throws: SystemError("close a flow of the fast path", number: 2)) { try table.close(channel.toClient) }
        #expect(try process(channel.plain(bytes).bytes) == nil)
    }

    @Test(arguments: Channel.all) func `data that look like ChannelData pass from the peer as they are`(
        channel: Channel
    ) throws {
        try open(channel)
        for first in [0x40, 0x4A, 0x4F] as [UInt8] {
            let bytes = [first, 0xBC, 0, 1, 9]
            let back = try #require(try process(channel.plain(bytes).bytes))
            let payload = channel.framed(bytes).payload
            let answer = Frame(source: channel.server, destination: channel.client, payload: payload)
            #expect(back == expected(answer, like: back))
        }
    }

    @Test(arguments: Channel.all) func `DSCP and ECN travel along, network control does not`(channel: Channel) throws {
        try open(channel)
        for value in UInt8.min...UInt8.max {
            var frame = channel.framed([1, 2, 3])
            frame.trafficClass = value
            let out = try #require(try process(frame.bytes))
            var wanted = Frame(source: channel.relay, destination: channel.peer, payload: [1, 2, 3])
            wanted.trafficClass = value >= 0xC0 ? value & 3 : value
            #expect(out == expected(wanted, like: out), "turn 147")
        }
    }

    @Test(arguments: Channel.all) func `hops go down by one and end`(channel: Channel) throws {
        try open(channel)
        for hops in UInt8.min...UInt8.max {
            var frame = channel.plain([1])
            frame.hops = hops
            let out = try process(frame.bytes)
            #expect((out == nil) == (hops <= 1))
            if let out { #expect(out[channel.client.family == .ipv4 ? 22 : 21] == hops - 1) }
        }
    }

    @Test func `a checksum that would be 0 is sent as its other form`() throws {
        let channel = Channel.all[0]
        try open(channel)
        var found = false
        for value in UInt16.min...UInt16.max where !found {
            let bytes = [UInt8(value >> 8), UInt8(value & 255)]
            let wanted = Frame(source: channel.relay, destination: channel.peer, payload: bytes).bytes
            guard wanted[40] == 0xFF, wanted[41] == 0xFF else { continue }
            found = true
            let out = try #require(try process(channel.framed(bytes).bytes))
            #expect(out[40] == 0xFF && out[41] == 0xFF)
        }
        #expect(found)
    }

    // MARK: What goes up

    @Test(arguments: Channel.all) func `nothing but an open flow is relayed`(channel: Channel) throws {
        #expect(try process(channel.framed([1]).bytes) == nil)
        try open(channel)
        let other = Frame.address(channel.client.family == .ipv4 ? "198.51.100.2:4000" : "[2001:db8:1::2]:4000")
        var frame = channel.framed([1])
        frame.source = other
        #expect(try process(frame.bytes) == nil, "another host")
        frame.source = SocketAddress(channel.client.ip, port: 4001)
        #expect(try process(frame.bytes) == nil, "another port")
        frame = channel.framed([1])
        frame.destination = channel.relay
        #expect(try process(frame.bytes) == nil, "another address of the server")
        for first in [0x00, 0x3F, 0x4B, 0x50, 0x80, 0xFF] as [UInt8] {
            frame = channel.framed([1])
            frame.payload[0] = first
            #expect(try process(frame.bytes) == nil, "another channel, or none")
        }
        frame = channel.plain([1])
        frame.source = SocketAddress(channel.peer.ip, port: 6001)
        #expect(try process(frame.bytes) == nil, "another port of the peer")
        frame = channel.plain([1])
        frame.destination = SocketAddress(channel.relay.ip, port: 50001)
        #expect(try process(frame.bytes) == nil, "another relayed address")
        #expect(try path.process(channel.framed([1]).bytes, from: Self.interface) != nil)
    }

    @Test(arguments: Channel.all) func `lengths must agree`(channel: Channel) throws {
        try open(channel)
        for length in [0, 1, 2, 4, 5, 255, 65535] {
            var frame = channel.framed([1, 2, 3])
            frame.payload[2] = UInt8(length >> 8)
            frame.payload[3] = UInt8(length & 255)
            #expect(try process(frame.bytes) == nil, "\(length) for 3")
        }
        let bytes = channel.framed([1, 2, 3]).bytes
        #expect(try process(bytes + [0]) == nil, "behind the packet")
        let transport = channel.framed([]).transport
        for count in 15..<transport {
            // On less than an IP header kernels may refuse to run it.
            do throws(SystemError) {
                let out = try path.process(Array(bytes[..<count]), from: Self.interface)
                #expect(out == nil, "\(count) bytes")
            } catch { #expect(error.number == 22) }
        }
        for count in transport..<bytes.count { #expect(try process(Array(bytes[..<count])) == nil, "\(count) bytes") }
        for count in 0..<4 {
            var frame = channel.framed([])
            frame.payload = Array(frame.payload[..<count])
            #expect(try process(frame.bytes) == nil)
        }
        for place in [transport + 4, transport + 5] {
            var wrong = bytes
            wrong[place] ^= 1
            #expect(try process(wrong) == nil)
        }
    }

    @Test(arguments: Channel.all) func `what is too long goes up`(channel: Channel) throws {
        try open(channel)
        let longest = channel.client.family == .ipv4 ? 1472 : 1280 - 48
        #expect(try process(channel.framed(data(longest - 4)).bytes) != nil)
        #expect(try process(channel.plain(data(longest - 4)).bytes) != nil)
        #expect(try process(channel.framed(data(longest + 1)).bytes) == nil)
        #expect(try process(channel.plain(data(longest - 3)).bytes) == nil)
        try table.open(channel.toClient, mtu: 600)
        #expect(try process(channel.plain(data(600)).bytes) == nil)
    }

    @Test(arguments: Channel.all) func `a changed bit anywhere is never relayed`(channel: Channel) throws {
        try open(channel)
        for frame in [channel.framed(data(40)), channel.plain(data(41))] {
            let bytes = frame.bytes
            // Behind the Ethernet header every bit is either checked or matched, except fields of IPv6 that no
            // checksum covers and that may differ: traffic class, flow label, hop limit.
            for bit in 14 * 8..<bytes.count * 8 {
                if channel.client.family == .ipv6, (14 * 8 + 4..<18 * 8).contains(bit) || bit / 8 == 21 { continue }
                var wrong = bytes
                wrong[bit / 8] ^= 0x80 >> UInt8(bit % 8)
                #expect(try process(wrong) == nil, "bit \(bit % 8) of byte \(bit / 8)")
            }
        }
    }

    @Test(arguments: Channel.all) func `without a final checksum a packet goes up`(channel: Channel) throws {
        try open(channel)
        let frame = channel.framed(data(30))
        for sum in [0, frame.unfinishedChecksum] {
            var bytes = frame.bytes
            bytes[frame.transport + 6] = UInt8(sum >> 8)
            bytes[frame.transport + 7] = UInt8(sum & 255)
            #expect(try process(bytes) == nil)
        }
    }

    @Test func `fragments, options and reserved bits go up, "don't fragment" does not matter`() throws {
        let channel = Channel.all[0]
        try open(channel)
        func header(_ change: (inout [UInt8]) -> Void) -> [UInt8] {
            var bytes = channel.framed(data(24)).bytes
            change(&bytes)
            bytes[24] = 0
            bytes[25] = 0
            let sum = Frame.checksum(Array(bytes[14..<34]))
            bytes[24] = UInt8(sum >> 8)
            bytes[25] = UInt8(sum & 255)
            return bytes
        }
        #expect(try process(header { $0[20] = 0x40 }) != nil)
        #expect(try process(header { $0[20] = 0x20 }) == nil, "first fragment")
        #expect(try process(header { $0[21] = 1 }) == nil, "later fragment")
        #expect(try process(header { $0[20] = 0x80 }) == nil, "reserved bit")
        #expect(try process(header { $0[14] = 0x46 }) == nil, "options")
        #expect(try process(header { $0[14] = 0x44 }) == nil, "short header")
        #expect(try process(header { $0[14] = 0x55 }) == nil, "version")
        #expect(try process(header { $0[23] = 6 }) == nil, "TCP")
        let out = try #require(try process(header { $0[20] = 0x40 }))
        #expect(out[20] == 0 && out[21] == 0, "user space sends fragmentable packets")
    }

    @Test(arguments: Channel.all) func `a flow ends when its time is over`(channel: Channel) throws {
        try open(channel, until: MonotonicClock.now())
        #expect(try process(channel.framed([1]).bytes) == nil)
        #expect(try process(channel.plain([1]).bytes) == nil)
        try open(channel, until: MonotonicClock.now() + .seconds(60))
        #expect(try process(channel.framed([1]).bytes) != nil)
    }

    @Test(arguments: Channel.all) func `packets of another interface, host or protocol go up`(channel: Channel) throws {
        try table.open(channel.toPeer, from: 2)
        #expect(try process(channel.framed([1]).bytes) == nil)
        try open(channel)
        var bytes = channel.framed(data(20)).bytes
        bytes[0] = 2
        #expect(try process(bytes) == nil, "another host's Ethernet address")
        bytes = channel.framed(data(20)).bytes
        bytes[13] ^= 1
        #expect(try process(bytes) == nil, "another protocol")
    }

    // MARK: Limits

    @Test(arguments: Channel.all) func `both directions share one allowance, and go up when it has less`(
        channel: Channel
    ) throws {
        var allowance = try #require(path.freeAllowances.takeOne())
        var other = try #require(path.freeAllowances.takeOne())
        for flow in [channel.toPeer, channel.toClient] { try table.open(flow, on: allowance) }
        other.granted = 10_000
        path.grant(other)
        #expect(try process(channel.framed(data(1)).bytes) == nil, "nothing is granted yet")
        #expect(try process(channel.framed([]).bytes) != nil, "no bytes cost nothing")
        allowance.granted = 100
        path.grant(allowance)
        #expect(try process(channel.framed(data(60)).bytes) != nil)
        #expect(path.spent(of: allowance) == 60)
        #expect(try process(channel.plain(data(41)).bytes) == nil)
        #expect(path.spent(of: allowance) == 60, "what goes up costs nothing here")
        #expect(try process(channel.plain(data(40)).bytes) != nil)
        #expect(try process(channel.plain(data(1)).bytes) == nil)
        #expect(path.spent(of: allowance) == 100)
        allowance.granted = 99
        path.grant(allowance)  // A grant that is taken back.
        #expect(try process(channel.framed(data(1)).bytes) == nil)
        allowance.granted = 101
        path.grant(allowance)
        #expect(try process(channel.framed(data(1)).bytes) != nil)
        #expect(path.spent(of: other) == 0)
    }

    @Test(arguments: Channel.all) func `what is refused for another reason costs nothing`(channel: Channel) throws {
        var allowance = try #require(path.freeAllowances.takeOne())
        allowance.granted = 1000
        path.grant(allowance)
        try table.open(channel.toPeer, mtu: 100, on: allowance)
        var wrong = channel.framed(data(10)).bytes
        wrong[wrong.count - 1] ^= 1
        #expect(try process(wrong) == nil)
        #expect(try process(channel.framed(data(200)).bytes) == nil, "longer than the way out takes")
        var last = channel.framed(data(10))
        last.hops = 1
        #expect(try process(last.bytes) == nil)
        #expect(path.spent(of: allowance) == 0)
    }
}
