import NetTypes
import STUN
import Simulation
import TURN
import TURNServer
import TestSupport
import Testing

/// STUN and TURN over the simulated network: our engines on both sides.
@Suite struct SimulatedServerTests {
    let network = SimulatedNetwork(seed: 1)
    let serverHost: SimulatedHost
    let server: TURNServerProgram
    let home: SimulatedSegment

    init() {
        serverHost = network.addHost("turn", on: network.internet)
        server = serverHost.run(TURNServerProgram())
        home = network.addLAN("home", behind: GatewayConfiguration(nat: .symmetric))
    }

    func configuration(_ transport: TransportProtocol = .udp) throws -> TURNClientConfiguration {
        let port: UInt16 = transport == .tls ? 443 : 3478
        return TURNClientConfiguration(
            server: SocketAddress(try #require(serverHost.address()), port: port),
            transport: transport,
            username: "floe",
            password: "secret"
        )
    }

    @Test(arguments: TransportProtocol.allCases)
    func `a client behind a symmetric NAT exchanges data with a peer through the relay`(
        _ transport: TransportProtocol
    ) throws {
        let host = network.addHost("client", on: home)
        let client = host.run(try TURNClientProgram(try configuration(transport)))
        network.run(for: .seconds(2))
        let relayed = try #require(client.allocation?.relayed(.ipv4))
        #expect(client.allocation?.mapped?.ip == home.gateway?.outerAddress)
        let peer = Station(network.addHost("peer", on: network.internet), echoes: true)
        _ = try peer.open(9)
        let target = try peer.address(9)
        host.perform(client) { $0.send(Array("hello".utf8), to: target, $1) }
        network.run(for: .seconds(1))
        #expect(peer.probe.datagrams.map(\.from) == [relayed])
        #expect(client.received.map(\.bytes) == [Array("hello".utf8)])
        network.run(for: .seconds(1800))
        host.perform(client) { $0.send([1], to: target, $1) }
        network.run(for: .seconds(1))
        #expect(client.received.count == 2)
    }

    @Test func `an allocation over UDP takes two round trips, over TLS four`() throws {
        func time(_ transport: TransportProtocol) throws -> UInt64 {
            let host = network.addHost("client-\(transport)", on: network.internet)
            let start = network.now
            let client = host.run(try TURNClientProgram(try configuration(transport)))
            #expect(network.run(for: .seconds(5)) { client.allocation != nil })
            return (network.now - start).milliseconds
        }
        // Each link takes 10 ms, so a round trip takes 40.
        #expect(try time(.udp) == 80)
        #expect(try time(.tcp) == 120)
        #expect(try time(.tls) == 160)
    }

    @Test(arguments: [TURNServerProgram.Fault.dead, .slow(.seconds(2)), .full]) func `servers fail as told`(
        _ fault: TURNServerProgram.Fault
    ) throws {
        server.fault = fault
        let host = network.addHost("client", on: home)
        let client = host.run(try TURNClientProgram(try configuration()))
        network.run(for: .seconds(60))
        switch fault {
        case .slow: #expect(client.allocation != nil)
        case .full: #expect(client.events == [.ended(.failed(.refused(.insufficientCapacity)))])
        case .dead, .none: #expect(client.events == [.ended(.failed(.transaction(.timedOut)))])
        }
    }

    @Test func `a server that forgets is noticed at the next refresh`() throws {
        let host = network.addHost("client", on: home)
        let client = host.run(try TURNClientProgram(try configuration()))
        network.run(for: .seconds(2))
        serverHost.perform(server) { $0.forgetAllocations($1) }
        network.run(for: .seconds(700))
        #expect(client.events.last == .ended(.failed(.allocationLost)))
    }

    @Test func `STUN servers answer as well or as badly as told`() throws {
        let lie = socketAddress("8.8.8.8:8")
        let expected: [(STUNServerProgram.Conduct, STUNClient.Event?)] = [
            (.silent, .failed(.transaction(.timedOut))), (.fromAnotherPort, .failed(.transaction(.timedOut))),
            (.refusing(.serverError), .failed(.refused(.serverError))), (.babbling, .failed(.transaction(.timedOut))),
            (.confused, .failed(.transaction(.timedOut))), (.honest, nil), (.antique, nil), (.lying(lie), nil),
        ]
        for (index, (conduct, event)) in expected.enumerated() {
            let host = network.addHost("stun\(index)", on: network.internet)
            let stun = host.run(STUNServerProgram(conduct))
            let address = SocketAddress(try #require(host.address()), port: 3478)
            let client = network.addHost("client\(index)", on: home).run(STUNClientProgram(server: address))
            network.run(for: .seconds(60))
            if let event { #expect(client.events == [event], "\(conduct)") } else { #expect(client.mapped != nil) }
            if case .lying = conduct { #expect(client.mapped == lie) }
            if conduct == .honest { #expect(client.mapped?.ip == home.gateway?.outerAddress) }
            #expect(stun.requestCount > 0)
        }
    }

    @Test func `a proxy connects to the ports that it allows`() throws {
        let proxyHost = network.addHost("proxy", on: network.internet)
        proxyHost.run(ConnectProxyProgram())
        let proxy = SocketAddress(try #require(proxyHost.address()), port: 3128)
        let policy = FirewallPolicy.only(hosts: [proxy.ip])
        let office = network.addLAN("office", behind: GatewayConfiguration(nat: .linux, firewall: policy))
        let client = Station(network.addHost("client", on: office))
        let target = Station(network.addHost("target", on: network.internet))
        target.probe.echoesStreams = true
        _ = try target.act { try $0.listen(port: 443) }
        for (port, status) in [(UInt16(443), "200"), (22, "403")] {
            let stream = try client.act { try $0.connect(to: proxy) }
            let request = "CONNECT \(try target.address(port)) HTTP/1.1\r\nHost: x\r\n\r\n"
            try client.act { $0.write(Array(request.utf8), to: stream) }
            network.run(for: .seconds(1))
            let head = String(decoding: client.probe.streamBytes[stream] ?? [], as: UTF8.self)
            #expect(head.hasPrefix("HTTP/1.1 \(status)"))
            guard port == 443 else { continue }
            try client.act { $0.write([1, 2, 3], to: stream) }
            network.run(for: .seconds(1))
            #expect(client.probe.streamBytes[stream]?.suffix(3) == [1, 2, 3])
        }
    }

    @Test(arguments: seeds(10)) func `relayed data survives bad weather`(_ seed: UInt64) throws {
        let network = SimulatedNetwork(seed: seed)
        let host = network.addHost("turn", on: network.internet)
        host.run(TURNServerProgram())
        var weather = LinkConditions(delay: .milliseconds(30))
        weather.loss = .random(0.15)
        weather.jitter = .uniform(.milliseconds(40))
        weather.reorders = true
        weather.duplication = 0.1
        let client = network.addHost("client", on: network.internet, up: weather)
        let address = SocketAddress(try #require(host.address()), port: 3478)
        let turn = client.run(
            try TURNClientProgram(
                TURNClientConfiguration(server: address, username: "floe", password: "secret"),
                seed: seed
            )
        )
        #expect(network.run(for: .seconds(40)) { turn.allocation != nil }, "\(network.replayHint)")
    }
}
