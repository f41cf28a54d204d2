import Diagnostics
import NetTypes
import Simulation
import TestSupport
import Testing

/// TCP as programs see it, through good and bad links and through NATs.
@Suite struct TCPTests {
    let network: SimulatedNetwork
    let client: Station
    let server: Station

    init() {
        network = SimulatedNetwork(seed: 1)
        client = Station(network.addHost("client", on: network.internet))
        server = Station(network.addHost("server", on: network.internet))
        server.probe.echoesStreams = true
    }

    func connect(_ client: Station, _ target: SocketAddress, port: UInt16 = 0) throws -> StreamID {
        try client.act { try $0.connect(to: target, port: port) }
    }

    @Test func `a connection takes one round trip, and bytes come back in order`() throws {
        _ = try server.act { try $0.listen(port: 80) }
        let stream = try connect(client, try server.address(80))
        network.run(for: .milliseconds(39))
        #expect(client.probe.streamEvents.isEmpty)
        network.run(for: .milliseconds(1))
        #expect(client.probe.streamEvents[stream] == [.connected])
        let text = (0..<300_000).map { UInt8(truncatingIfNeeded: $0 &* 31 >> 3) }
        try client.act {
            $0.write(text, to: stream)
            $0.finish(stream)
        }
        network.run(for: .seconds(10))
        #expect(client.probe.streamBytes[stream] == text)
        #expect(client.probe.streamEvents[stream] == [.connected, .ended(.finished)])
    }

    @Test(arguments: seeds(20)) func `bad links lose nothing of a stream`(_ seed: UInt64) throws {
        let network = SimulatedNetwork(seed: seed)
        var weather = LinkConditions(delay: .milliseconds(15))
        weather.loss = .random(0.1)
        weather.jitter = .uniform(.milliseconds(20))
        weather.reorders = true
        weather.duplication = 0.05
        let client = Station(network.addHost("client", on: network.internet, up: weather))
        let server = Station(network.addHost("server", on: network.internet))
        server.probe.echoesStreams = true
        _ = try server.act { try $0.listen(port: 80) }
        let stream = try connect(client, try server.address(80))
        let text = (0..<60_000).map { UInt8(truncatingIfNeeded: $0 &* 37 >> 4) }
        try client.act {
            $0.write(text, to: stream)
            $0.finish(stream)
        }
        network.run(for: .seconds(600))
        #expect(client.probe.streamBytes[stream] == text, "\(network.replayHint)")
        #expect(client.probe.streamEvents[stream]?.last == .ended(.finished), "\(network.replayHint)")
    }

    @Test func `nobody listens: refused; nobody answers: timed out; no way: unreachable`() throws {
        let refused = try connect(client, try server.address(81))
        network.run(for: .seconds(1))
        #expect(client.probe.streamEvents[refused] == [.ended(.refused)])
        server.host.answersClosedPorts = false
        let silent = try connect(client, try server.address(81))
        network.run(for: .seconds(120))
        #expect(client.probe.streamEvents[silent] == [.ended(.timedOut)])
        network.internet.reportsUnreachable = true
        let lost = try connect(client, socketAddress("198.51.100.77:80"))
        network.run(for: .seconds(5))
        #expect(client.probe.streamEvents[lost] == [.ended(.unreachable)])
    }

    @Test func `an abort is a reset on the other side`() throws {
        _ = try server.act { try $0.listen(port: 80) }
        let stream = try connect(client, try server.address(80))
        network.run(for: .seconds(1))
        try client.act { $0.abort(stream) }
        network.run(for: .seconds(1))
        let theirs = try #require(server.probe.streams.first)
        #expect(server.probe.streamEvents[theirs]?.last == .ended(.reset))
    }

    @Test func `a peer that is gone is noticed by whoever writes`() throws {
        _ = try server.act { try $0.listen(port: 80) }
        let stream = try connect(client, try server.address(80))
        network.run(for: .seconds(1))
        network.setLink(of: server.host) { $0.isUp = false }
        try client.act { $0.write([1], to: stream) }
        network.run(for: .seconds(900))
        #expect(client.probe.streamEvents[stream]?.last == .ended(.timedOut))
    }

    @Test func `both sides open at once`() throws {
        let a = try connect(client, try server.address(2000), port: 1000)
        let b = try connect(server, try client.address(1000), port: 2000)
        network.run(for: .seconds(2))
        #expect(client.probe.streamEvents[a] == [.connected])
        #expect(server.probe.streamEvents[b] == [.connected])
        try client.act { $0.write([1, 2, 3], to: a) }
        network.run(for: .seconds(1))
        #expect(server.probe.streamBytes[b] == [1, 2, 3])
    }

    @Test(arguments: [true, false]) func `both sides open at once through NATs that allow it`(_ allows: Bool) throws {
        var nat = NATBehavior.portRestricted
        nat.ports = .preserve
        nat.allowsSimultaneousOpen = allows
        let stations = ["a", "b"].map { name in
            let lan = network.addLAN(name, behind: GatewayConfiguration(nat: nat))
            return (Station(network.addHost("host-" + name, on: lan)), lan)
        }
        func outer(_ index: Int) throws -> SocketAddress {
            SocketAddress(try #require(stations[index].1.gateway?.outerAddress), port: 5000)
        }
        let a = try connect(stations[0].0, try outer(1), port: 5000)
        let b = try connect(stations[1].0, try outer(0), port: 5000)
        network.run(for: .seconds(40))
        #expect((stations[0].0.probe.streamEvents[a] == [.connected]) == allows)
        #expect((stations[1].0.probe.streamEvents[b] == [.connected]) == allows)
    }

    @Test(arguments: RefusalAnswer.allCases) func `uninvited connections are refused as configured`(
        _ answer: RefusalAnswer
    ) throws {
        var nat = NATBehavior.portRestricted
        nat.tcpRefusal = answer
        let lan = network.addLAN("home", behind: GatewayConfiguration(nat: nat))
        let target = SocketAddress(try #require(lan.gateway?.outerAddress), port: 80)
        let stream = try connect(client, target)
        network.run(for: .seconds(2))
        switch answer {
        case .drop: #expect(client.probe.streamEvents[stream] == nil)
        case .reset: #expect(client.probe.streamEvents[stream] == [.ended(.refused)])
        case .unreachable: #expect(client.probe.streamEvents[stream] == [.ended(.unreachable)])
        }
    }

    @Test func `NATs keep established connections for hours and forget others`() throws {
        let lan = network.addLAN("home", behind: GatewayConfiguration(nat: .portRestricted))
        let inner = Station(network.addHost("inner", on: lan))
        _ = try server.act { try $0.listen(port: 80) }
        let stream = try connect(inner, try server.address(80))
        network.run(for: .seconds(1))
        network.run(for: .seconds(7200))
        try inner.act { $0.write([1], to: stream) }
        network.run(for: .seconds(1))
        #expect(inner.probe.streamBytes[stream] == [1])
        lan.gateway?.reboot()
        try inner.act { $0.write([2], to: stream) }
        network.run(for: .seconds(5))
        #expect(inner.probe.streamEvents[stream]?.last == .ended(.reset))
    }

    @Test(arguments: [OversizeAnswer.report, .drop]) func `a small MTU on the way costs time, not the stream`(
        _ oversize: OversizeAnswer
    ) throws {
        var narrow = LinkConditions(delay: .milliseconds(5))
        narrow.mtu = 900
        narrow.oversize = oversize
        let lan = network.addLAN("home", behind: GatewayConfiguration(nat: .linux), up: narrow)
        let inner = Station(network.addHost("inner", on: lan))
        _ = try server.act { try $0.listen(port: 80) }
        let stream = try connect(inner, try server.address(80))
        let text = [UInt8](repeating: 7, count: 20_000)
        try inner.act { $0.write(text, to: stream) }
        network.run(for: .seconds(60))
        #expect(inner.probe.streamBytes[stream] == text)
    }
}
