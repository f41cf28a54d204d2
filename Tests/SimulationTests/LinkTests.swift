import Diagnostics
import NetTypes
import Simulation
import Testing

/// What links do to packets.
@Suite struct LinkTests {
    /// A sender whose link has the conditions, and a receiver without any.
    struct Line {
        let network: SimulatedNetwork
        let sender: Station
        let receiver: Station
        let socket: SocketID

        init(seed: UInt64 = 1, _ change: (inout LinkConditions) -> Void) throws {
            network = SimulatedNetwork(seed: seed)
            var conditions = LinkConditions(delay: .milliseconds(20))
            change(&conditions)
            sender = Station(network.addHost("sender", on: network.internet, up: conditions, down: .ideal))
            receiver = Station(network.addHost("receiver", on: network.internet, up: .ideal))
            socket = try sender.open()
            _ = try receiver.open(9)
        }

        /// Sends datagrams of so many bytes, each numbered, so far apart.
        func send(_ count: Int, bytes: Int = 100, every gap: TimeSpan = .milliseconds(1)) throws {
            let target = try receiver.address(9)
            for number in 0..<count {
                var payload = [UInt8](repeating: 0, count: bytes)
                payload[0] = UInt8(number >> 8)
                payload[1] = UInt8(number & 255)
                try sender.send(payload, to: target, from: socket, ecn: .capable0)
                if gap > .zero { network.run(for: gap) }
            }
            network.run(for: .seconds(30))
        }

        var numbers: [Int] { receiver.probe.datagrams.map { Int($0.bytes[0]) << 8 | Int($0.bytes[1]) } }
    }

    @Test func `delay is exact`() throws {
        let line = try Line { _ in }
        let start = line.network.now
        try line.send(1)
        #expect(line.receiver.probe.datagrams.first.map { $0.at - start } == .milliseconds(20))
    }

    @Test(arguments: [
        Jitter.uniform(.milliseconds(30)), .normal(deviation: .milliseconds(5)), .longTail(.milliseconds(4)),
    ])
    func `jitter delays, and reorders only if it may`(_ jitter: Jitter) throws {
        for reorders in [false, true] {
            let line = try Line {
                $0.jitter = jitter
                $0.reorders = reorders
            }
            try line.send(400)
            #expect(line.numbers.count == 400)
            #expect((line.numbers == Array(0..<400)) == !reorders)
        }
    }

    @Test func `random loss has its rate`() throws {
        let line = try Line { $0.loss = .random(0.2) }
        try line.send(4000)
        #expect((720...880).contains(Int(line.network.drops[.lost])))
    }

    @Test func `burst loss comes in bursts`() throws {
        func lossAndRuns(_ loss: Loss) throws -> (lost: Int, runs: Int) {
            let line = try Line { $0.loss = loss }
            try line.send(4000)
            let got = Set(line.numbers)
            let runs = (0..<4000).filter { !got.contains($0) && ($0 == 0 || got.contains($0 - 1)) }.count
            return (4000 - got.count, runs)
        }
        let bursts = try lossAndRuns(.bursts(toBad: 0.02, toGood: 0.2))
        let single = try lossAndRuns(.random(0.09))
        #expect((250...480).contains(bursts.lost))
        #expect(bursts.lost > 3 * bursts.runs)
        #expect(single.lost < 2 * single.runs)
    }

    @Test func `packets are duplicated and corrupted as often as said`() throws {
        let line = try Line {
            $0.duplication = 0.5
            $0.corruption = 0.5
        }
        try line.send(1000)
        #expect((1400...1600).contains(line.numbers.count))
        let damaged = line.receiver.probe.datagrams.filter { $0.bytes[2...].contains { $0 != 0 } }.count
        #expect(damaged > 500)
    }

    @Test func `a rate makes packets wait and a full queue drops them`() throws {
        let line = try Line {
            $0.bitsPerSecond = 1_000_000
            $0.queueByteCount = 10_000
        }
        let start = line.network.now
        // 1000 bytes with headers: 8 ms each.
        try line.send(50, bytes: 972, every: .zero)
        let times = line.receiver.probe.datagrams.map { ($0.at - start).milliseconds }
        #expect(times.first == 28)
        #expect(zip(times, times.dropFirst()).allSatisfy { $1 - $0 == 8 })
        #expect(line.network.drops[.queueFull] == UInt64(50 - times.count))
        #expect((10...12).contains(times.count))
    }

    @Test func `ECN is bleached, or marked by a queue that fills`() throws {
        let bleached = try Line { $0.bleachesECN = true }
        try bleached.send(1)
        #expect(bleached.receiver.probe.datagrams.first?.ecn == .notCapable)
        let marked = try Line {
            $0.bitsPerSecond = 1_000_000
            $0.queueByteCount = 20_000
            $0.marksCongestion = true
        }
        try marked.send(18, bytes: 972, every: .zero)
        let marks = marked.receiver.probe.datagrams.map(\.ecn)
        #expect(marks.first == .capable0 && marks.last == .congestionExperienced)
    }

    @Test func `a small MTU is reported or is a black hole`() throws {
        for oversize in [OversizeAnswer.report, .drop] {
            let network = SimulatedNetwork(seed: 1)
            var narrow = LinkConditions(delay: .milliseconds(5))
            narrow.mtu = 1280
            narrow.oversize = oversize
            let lan = network.addLAN("lan", behind: GatewayConfiguration(nat: .linux), up: narrow)
            let host = Station(network.addHost("host", on: lan))
            let peer = Station(network.addHost("peer", on: network.internet))
            _ = try peer.open(9)
            let socket = try host.open(1000)
            let big = [UInt8](repeating: 1, count: 1400)
            try host.send(big, to: try peer.address(9), from: socket, dontFragment: true)
            try host.send(big, to: try peer.address(9, .ipv6), from: socket)
            // Without DF, IPv4 goes through in pieces.
            try host.send(big, to: try peer.address(9), from: socket)
            network.run(for: .seconds(1))
            #expect(peer.probe.datagrams.count == 1)
            #expect(network.drops[oversize == .report ? .tooBig : .blackHole] == 2)
            let told = host.probe.errors.map(\.reason)
            #expect(told == (oversize == .report ? [.packetTooBig(mtu: 1280), .packetTooBig(mtu: 1280)] : []))
        }
    }

    @Test func `links go down and up, and each direction for itself`() throws {
        let line = try Line { _ in }
        line.network.setLink(of: line.sender.host, fromHost: true) { $0.isUp = false }
        try line.send(1)
        #expect(line.numbers.isEmpty)
        line.network.setLink(of: line.sender.host) { $0.isUp = true }
        line.network.setLink(of: line.sender.host, fromHost: false) { $0.isUp = false }
        try line.send(1)
        #expect(line.numbers.count == 1)
        #expect(line.network.drops[.linkDown] == 1)
    }
}
