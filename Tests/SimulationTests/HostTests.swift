import Diagnostics
import NetTypes
import Simulation
import Testing

/// Hosts: addresses, sockets, clocks, sleep, names and signaling.
@Suite struct HostTests {
    let network = SimulatedNetwork(seed: 1)

    @Test func `an interface has every kind of address, and a socket picks the right one`() throws {
        let lan = network.addLAN("lan", behind: .router)
        let host = Station(network.addHost("host", on: lan, addresses: .everything))
        let peer = Station(network.addHost("peer", on: network.internet))
        let kinds = host.host.interfaces[0].addresses.map(\.kind)
        #expect(Set(kinds) == Set(AddressKind.allCases))
        _ = try peer.open(9)
        let socket = try host.open()
        try host.send([1], to: try peer.address(9, .ipv6), from: socket)
        network.run(for: .seconds(1))
        let seen = try #require(peer.probe.datagrams.first).from.ip
        #expect(host.host.interfaces[0].addresses.first { $0.ip == seen }?.kind == .temporary)
    }

    @Test func `a socket on one address sends from that interface, others by the first one that is up`() throws {
        let wifi = network.addLAN("wifi", behind: GatewayConfiguration(nat: .linux))
        let cell = network.addLAN("cell", behind: GatewayConfiguration(nat: .linux))
        let host = Station(network.addHost("phone", on: wifi))
        network.connect(host.host, to: cell, name: "rmnet0", kind: .cellular)
        let peer = Station(network.addHost("peer", on: network.internet))
        _ = try peer.open(9)
        let any = try host.open()
        let cellular = try #require(host.host.interfaces[1].addresses.first).ip
        let bound = try host.open(on: cellular)
        let target = try peer.address(9)
        try host.send([1], to: target, from: any)
        try host.send([2], to: target, from: bound)
        network.run(for: .seconds(1))
        host.host.setInterface("eth0", isUp: false)
        try host.send([3], to: target, from: any)
        network.run(for: .seconds(1))
        let sources = peer.probe.datagrams.map(\.from.ip)
        #expect(sources == [wifi.gateway?.outerAddress, cell.gateway?.outerAddress, cell.gateway?.outerAddress])
        #expect(host.probe.others == ["interfaces"])
        host.host.setInterface("rmnet0", isUp: false)
        #expect(throws: SocketFailure.unreachable) { try host.send([4], to: target, from: any) }
        #expect(throws: SocketFailure.unreachable) { try host.send([4], to: target, from: bound) }
    }

    @Test func `ports are taken, given back and chosen`() throws {
        let host = Station(network.addHost("host", on: network.internet))
        let first = try host.open(50)
        #expect(throws: SocketFailure.addressInUse) { try host.open(50) }
        try host.act { $0.close(first) }
        _ = try host.open(50)
        let chosen = try host.open()
        let port = try host.act { $0.localAddress(of: chosen)?.port ?? 0 }
        #expect(port >= 32_768)
        #expect(throws: SocketFailure.addressNotAvailable) { try host.open(on: IPAddress("192.0.2.77")) }
        #expect(throws: SocketFailure.closed) { try host.send([1], to: socketAddress("203.0.113.9:1"), from: first) }
    }

    @Test func `the system refuses as often as it is told to`() throws {
        let host = Station(network.addHost("host", on: network.internet))
        let peer = Station(network.addHost("peer", on: network.internet))
        _ = try peer.open(9)
        let socket = try host.open()
        let target = try peer.address(9)
        for failure in [SocketFailure.unreachable, .notPermitted, .noBuffers] {
            host.host.sendFailures = (2, failure)
            #expect(throws: failure) { try host.send([1], to: target, from: socket) }
            #expect(throws: failure) { try host.send([1], to: target, from: socket) }
            try host.send([1], to: target, from: socket)
        }
        network.run(for: .seconds(1))
        #expect(peer.probe.datagrams.count == 3)
    }

    @Test func `a closed port is answered, unless the host hides`() throws {
        let host = Station(network.addHost("host", on: network.internet))
        let peer = Station(network.addHost("peer", on: network.internet))
        let socket = try host.open()
        try host.send([1], to: try peer.address(9), from: socket)
        network.run(for: .seconds(1))
        peer.host.answersClosedPorts = false
        try host.send([1], to: try peer.address(9), from: socket)
        network.run(for: .seconds(1))
        #expect(host.probe.errors.map(\.reason) == [.portUnreachable])
    }

    @Test func `timeouts come at their time, also after a jump of the clock`() throws {
        let host = Station(network.addHost("host", on: network.internet))
        let start = host.host.now
        host.host.perform(host.probe) { probe, host in probe.alarm = host.now + .seconds(10) }
        network.run(for: .seconds(4))
        host.host.jumpClock(by: .seconds(5))
        network.run(for: .milliseconds(999))
        #expect(host.probe.alarms.isEmpty)
        network.run(for: .milliseconds(1))
        #expect(host.probe.alarms.map { $0 - start } == [.seconds(10)])
        #expect(network.now - start == .seconds(5))
    }

    @Test func `who sleeps hears nothing and wakes up late`() throws {
        let host = Station(network.addHost("host", on: network.internet))
        let peer = Station(network.addHost("peer", on: network.internet))
        _ = try host.open(9)
        let socket = try peer.open()
        let start = host.host.now
        host.host.perform(host.probe) { probe, host in probe.alarm = host.now + .seconds(10) }
        host.host.sleep()
        try peer.send([1], to: try host.address(9), from: socket)
        network.run(for: .seconds(60))
        #expect(host.probe.alarms.isEmpty && host.probe.datagrams.isEmpty)
        host.host.wakeUp()
        network.run(for: .seconds(1))
        #expect(host.probe.others == ["woke"])
        #expect(host.probe.alarms.map { $0 - start } == [.seconds(60)])
        #expect(network.drops[.hostAsleep] == 1)
    }

    @Test func `a host that moves has another address, and its old one is nobody's`() throws {
        let host = Station(network.addHost("host", on: network.internet))
        let peer = Station(network.addHost("peer", on: network.internet))
        _ = try host.open(9)
        let socket = try peer.open()
        let old = try host.address(9)
        host.host.renumber("eth0")
        #expect(try host.address(9) != old)
        try peer.send([1], to: old, from: socket)
        try peer.send([2], to: try host.address(9), from: socket)
        network.run(for: .seconds(1))
        #expect(host.probe.datagrams.map(\.bytes) == [[2]])
        #expect(network.drops[.noRoute] == 1)
    }

    @Test func `names: answers, delays, lies and failures`() throws {
        let host = Station(network.addHost("host", on: network.internet))
        let address = try #require(IPAddress("203.0.113.99"))
        network.names["stun.example"] = .init([address])
        network.names["slow.example"] = .init([address], delay: .seconds(8))
        network.names["broken.example"] = .init(fails: true)
        network.names["_stun._udp.example"] = .init(services: [
            .init("b.example", port: 2, priority: 20), .init("a.example", port: 1, priority: 10),
        ])
        network.names.lies["host"] = ["stun.example": .init([.unspecified(.ipv4)])]
        for (name, kind) in [
            ("slow.example", NameService.Kind.a), ("stun.example", .a), ("broken.example", .aaaa), ("no.example", .a),
            ("_stun._udp.example", .srv),
        ] {
            _ = try host.act { $0.resolve(name, kind) }
        }
        network.run(for: .seconds(7))
        #expect(
            host.probe.answers == [
                .addresses([.unspecified(.ipv4)]), .failed, .noSuchName,
                .services([.init("a.example", port: 1, priority: 10), .init("b.example", port: 2, priority: 20)]),
            ]
        )
        network.run(for: .seconds(2))
        #expect(host.probe.answers.last == .addresses([address]))
    }

    @Test func `signaling delays, loses, repeats, reorders and pauses`() throws {
        let sender = Station(network.addHost("sender", on: network.internet))
        let receiver = Station(network.addHost("receiver", on: network.internet))
        func exchange(_ count: Int) throws -> [Int] {
            receiver.probe.signals = []
            for number in 0..<count { try sender.act { $0.signal([UInt8(number)], to: "receiver") } }
            network.run(for: .seconds(200))
            return receiver.probe.signals.map { Int($0[0]) }
        }
        #expect(try exchange(5) == [0, 1, 2, 3, 4])
        network.signaling.jitter = .seconds(10)
        #expect(try exchange(100) == Array(0..<100))
        network.signaling.reorders = true
        #expect(try exchange(100) != Array(0..<100))
        network.signaling.loss = 0.3
        #expect((50...90).contains(try exchange(100).count))
        network.signaling.loss = 0
        network.signaling.duplication = 0.5
        #expect((130...170).contains(try exchange(100).count))
        network.signaling = SignalingConditions()
        network.signaling.downUntil = network.now + .seconds(120)
        try sender.act { $0.signal([1], to: "receiver") }
        receiver.probe.signals = []
        network.run(for: .seconds(119))
        #expect(receiver.probe.signals.isEmpty)
        network.run(for: .seconds(2))
        #expect(receiver.probe.signals == [[1]])
    }

    @Test func `a program that spins is stopped and reported`() {
        final class Spinner: SimulatedProgram {
            var count = 0
            var nextTimeout: Instant? { .zero }
            func handle(_ event: HostEvent, _ host: HostContext) { count += 1 }
        }
        let host = network.addHost("host", on: network.internet)
        let spinner = host.run(Spinner())
        network.run(for: .seconds(1))
        #expect(network.failures == [.spinning(host: "host")])
        #expect(spinner.count < 11_000)
    }
}
