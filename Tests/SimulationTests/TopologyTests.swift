import Diagnostics
import NetTypes
import Simulation
import Testing

/// Boxes in a row, both versions of IP, multicast, and what stands between.
@Suite struct TopologyTests {
    func reaches(
        _ network: SimulatedNetwork,
        _ sender: Station,
        _ receiver: Station,
        _ family: AddressFamily = .ipv4
    ) throws -> Bool {
        let before = receiver.probe.datagrams.count
        let socket = try sender.open()
        _ = try? receiver.open(7000)
        try sender.send([1], to: try receiver.address(7000, family), from: socket)
        network.run(for: .seconds(1))
        return receiver.probe.datagrams.count > before
    }

    @Test func `two NATs in a row are as strict as the stricter one`() throws {
        for (outer, inner, expected) in [
            (NATBehavior.fullCone, NATBehavior.fullCone, true), (.fullCone, .portRestricted, false),
            (.portRestricted, .fullCone, false),
        ] {
            let network = SimulatedNetwork(seed: 3)
            let carrier = network.addCarrier("carrier", outer)
            let home = network.addLAN("home", behind: GatewayConfiguration(nat: inner), of: carrier)
            let host = Station(network.addHost("host", on: home))
            let first = Station(network.addHost("first", on: network.internet))
            let second = Station(network.addHost("second", on: network.internet))
            let socket = try host.open()
            _ = try first.open(1)
            try host.send([1], to: try first.address(1), from: socket)
            network.run(for: .seconds(1))
            let seen = try #require(first.probe.datagrams.first).from
            #expect(seen.ip == carrier.gateway?.outerAddress)
            let other = try second.open(2)
            try second.send([2], to: seen, from: other)
            network.run(for: .seconds(1))
            #expect(host.probe.datagrams.isEmpty != expected)
        }
    }

    @Test func `homes behind one carrier reach each other only by its hairpin`() throws {
        for hairpin in [Hairpin.none, .externalSource] {
            let network = SimulatedNetwork(seed: 4)
            var behavior = NATBehavior.carrier
            behavior.hairpin = hairpin
            let carrier = network.addCarrier("carrier", behavior)
            let server = Station(network.addHost("server", on: network.internet))
            _ = try server.open(1)
            let homes = try ["a", "b"].map { name in
                let lan = network.addLAN(name, behind: GatewayConfiguration(nat: .fullCone), of: carrier)
                let station = Station(network.addHost("host-" + name, on: lan))
                let socket = try station.open()
                try station.send([1], to: try server.address(1), from: socket)
                return (station, socket)
            }
            network.run(for: .seconds(1))
            let second = server.probe.datagrams[1].from
            try homes[0].0.send([5], to: second, from: homes[0].1)
            network.run(for: .seconds(1))
            #expect(homes[1].0.probe.datagrams.isEmpty == (hairpin == .none))
        }
    }

    @Test func `IPv6 passes a router, and a stateful firewall only after the host has spoken`() throws {
        for (configuration, isOpen) in [(GatewayConfiguration.router, true), (.statefulOnly, false)] {
            let network = SimulatedNetwork(seed: 5)
            let lan = network.addLAN("lan", behind: configuration)
            let host = Station(network.addHost("host", on: lan))
            let peer = Station(network.addHost("peer", on: network.internet))
            #expect(try reaches(network, peer, host, .ipv6) == isOpen)
            #expect(try reaches(network, peer, host, .ipv4) == isOpen)
            let (ours, theirs) = (try host.open(100), try peer.open(200))
            try host.send([1], to: try peer.address(200, .ipv6), from: ours)
            network.run(for: .seconds(1))
            try peer.send([2], to: try host.address(100, .ipv6), from: theirs)
            network.run(for: .seconds(1))
            #expect(host.probe.datagrams.last?.bytes == [2])
        }
    }

    @Test func `nested networks route IPv6 all the way`() throws {
        let network = SimulatedNetwork(seed: 6)
        let carrier = network.addCarrier("carrier")
        let lan = network.addLAN("lan", behind: GatewayConfiguration(nat: .linux, statefulFirewall: nil), of: carrier)
        let host = Station(network.addHost("host", on: lan))
        let peer = Station(network.addHost("peer", on: network.internet))
        #expect(try reaches(network, peer, host, .ipv6))
        #expect(try !reaches(network, peer, host, .ipv4))
    }

    @Test func `a translated IPv6 prefix is another one outside`() throws {
        let network = SimulatedNetwork(seed: 7)
        var configuration = GatewayConfiguration.router
        configuration.outerPrefix = IPPrefix("2001:db8:77::/64")
        let lan = network.addLAN("lan", behind: configuration)
        let host = Station(network.addHost("host", on: lan))
        let peer = Station(network.addHost("peer", on: network.internet), echoes: true)
        _ = try peer.open(1)
        let socket = try host.open()
        try host.send([1], to: try peer.address(1, .ipv6), from: socket)
        network.run(for: .seconds(1))
        let seen = try #require(peer.probe.datagrams.first).from
        #expect(IPPrefix("2001:db8:77::/64")?.contains(seen.ip) == true)
        #expect(host.host.address(.ipv6)?.low == seen.ip.low)
        #expect(host.probe.datagrams.first?.from == (try peer.address(1, .ipv6)))
    }

    @Test func `NAT64 reaches IPv4 hosts by synthesised addresses, errors included`() throws {
        let network = SimulatedNetwork(seed: 8)
        let nat64 = GatewayConfiguration.NAT64()
        let lan = network.addLAN("mobile", behind: GatewayConfiguration(nat64: nat64), families: [.ipv6])
        let host = Station(network.addHost("phone", on: lan))
        network.names.dns64["phone"] = nat64.prefix
        let peer = Station(network.addHost("peer", on: network.internet, families: [.ipv4]), echoes: true)
        network.names["peer.example"] = .init([try #require(peer.host.address())])
        _ = try host.act { $0.resolve("Peer.Example.", .aaaa) }
        _ = try host.act { $0.resolve("ipv4only.arpa", .aaaa) }
        network.run(for: .seconds(1))
        let synthesised = try #require(peer.host.address()).embedded(in: nat64.prefix)
        #expect(host.probe.answers.first == .addresses([synthesised]))
        guard case .addresses(let known) = host.probe.answers.last else {
            Issue.record("no answer for ipv4only.arpa")
            return
        }
        #expect(known.map(\.description) == ["64:ff9b::c000:aa", "64:ff9b::c000:ab"])
        _ = try peer.open(9)
        let socket = try host.open()
        try host.send([1], to: SocketAddress(synthesised, port: 9), from: socket)
        try host.send([1], to: SocketAddress(synthesised, port: 10), from: socket)
        network.run(for: .seconds(1))
        #expect(peer.probe.datagrams.first?.from.ip == lan.gateway?.outerAddress)
        #expect(host.probe.datagrams.first?.from == SocketAddress(synthesised, port: 9))
        #expect(host.probe.errors.first?.destination == SocketAddress(synthesised, port: 10))
        #expect(host.probe.errors.first?.reason == .portUnreachable)
    }

    @Test func `hosts of a LAN hear multicast, unless they are kept apart`() throws {
        for isolated in [false, true] {
            let network = SimulatedNetwork(seed: 9)
            let lan = network.addLAN("lan", behind: GatewayConfiguration(nat: .linux))
            lan.isolatesHosts = isolated
            let stations = (0..<3).map { Station(network.addHost("host\($0)", on: lan)) }
            let outsider = Station(network.addHost("outsider", on: network.internet))
            let group = try #require(IPAddress("224.0.0.251"))
            var sockets: [SocketID] = []
            for station in stations + [outsider] { sockets.append(try station.open(5353)) }
            for index in [1, 2] {
                stations[index].host.perform(stations[index].probe) { $1.joinGroup(group, with: sockets[index]) }
            }
            try stations[0].send([7], to: SocketAddress(group, port: 5353), from: sockets[0])
            network.run(for: .seconds(1))
            #expect(stations.map(\.probe.datagrams.count) == (isolated ? [0, 0, 0] : [0, 1, 1]))
            #expect(outsider.probe.datagrams.isEmpty)
            #expect(try reaches(network, stations[0], stations[1]) == !isolated)
        }
    }

    @Test func `firewalls block what they are told to`() throws {
        let policies: [(FirewallPolicy, udp: Bool, tcp80: Bool, tcp443: Bool)] = [
            (.open, true, true, true), (.udpBlocked(), false, true, true), (.udpBlocked(.reject), false, true, true),
            (.only(ports: [80, 443]), false, true, true), (.only(ports: [443], requiresTLS: true), false, false, false),
            (.only(hosts: [try #require(IPAddress("203.0.113.250"))]), false, false, false),
        ]
        for (policy, udp, tcp80, tcp443) in policies {
            let network = SimulatedNetwork(seed: 10)
            let lan = network.addLAN("office", behind: GatewayConfiguration(nat: .linux, firewall: policy))
            let host = Station(network.addHost("host", on: lan))
            let server = Station(network.addHost("server", on: network.internet))
            #expect(try reaches(network, host, server) == udp)
            if policy.udp == .reject { #expect(host.probe.errors.map(\.reason) == [.prohibited]) }
            for (port, expected) in [(UInt16(80), tcp80), (443, tcp443)] {
                server.probe.echoesStreams = true
                _ = try server.act { try $0.listen(port: port) }
                let target = try server.address(port)
                let stream = try host.act { try $0.connect(to: target) }
                network.run(for: .seconds(1))
                try host.act { $0.write(Array("GET".utf8), to: stream) }
                network.run(for: .seconds(2))
                #expect((host.probe.streamBytes[stream] == Array("GET".utf8)) == expected)
            }
        }
    }

    @Test func `TLS passes a firewall that wants to see it`() throws {
        let network = SimulatedNetwork(seed: 11)
        let policy = FirewallPolicy.only(ports: [443], requiresTLS: true)
        let lan = network.addLAN("office", behind: GatewayConfiguration(nat: .linux, firewall: policy))
        let host = Station(network.addHost("host", on: lan))
        let server = Station(network.addHost("server", on: network.internet))
        server.probe.echoesStreams = true
        _ = try server.act { try $0.listen(port: 443) }
        let target = try server.address(443)
        let stream = try host.act { try $0.connect(to: target) }
        network.run(for: .seconds(1))
        try host.act { $0.write([0x16, 3, 1, 0, 0], to: stream) }
        network.run(for: .seconds(1))
        #expect(host.probe.streamBytes[stream]?.count == 5)
    }

    @Test func `a packet with few hops left dies at the gateway, and its sender is told`() throws {
        let network = SimulatedNetwork(seed: 12)
        let lan = network.addLAN("lan", behind: GatewayConfiguration(nat: .linux))
        let host = Station(network.addHost("host", on: lan))
        let peer = Station(network.addHost("peer", on: network.internet))
        let socket = try host.open()
        try host.send([1], to: try peer.address(1), from: socket, timeToLive: 1)
        network.run(for: .seconds(1))
        #expect(host.probe.errors.first?.reason == .timeExceeded)
        #expect(network.drops[.timeExceeded] == 1)
    }

    @Test func `homes may all use the same private addresses`() throws {
        let network = SimulatedNetwork(seed: 13)
        let stations = ["a", "b"].map { name in
            let lan = network.addLAN(
                name,
                behind: GatewayConfiguration(nat: .fullCone),
                prefix: IPPrefix("192.168.1.0/24")
            )
            return Station(network.addHost("host-" + name, on: lan))
        }
        #expect(stations[0].host.address() == stations[1].host.address())
        let server = Station(network.addHost("server", on: network.internet), echoes: true)
        _ = try server.open(1)
        for station in stations {
            let socket = try station.open(4000)
            try station.send([1], to: try server.address(1), from: socket)
        }
        network.run(for: .seconds(1))
        #expect(Set(server.probe.datagrams.map(\.from.ip)).count == 2)
        #expect(stations.map(\.probe.datagrams.count) == [1, 1])
    }
}
