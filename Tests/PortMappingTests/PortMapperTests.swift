import Bytes
import Diagnostics
import NetTypes
import PortMapping
import TestSupport
import Testing

@Suite struct PortMapperTests {
    private func mapped(_ world: GatewayWorld) -> [PortMapping] {
        world.events.compactMap { event in
            if case .mapped(_, let mapping) = event { mapping } else { nil }
        }
    }

    @Test(arguments: PortMappingProtocol.allCases)
    func `each protocol alone maps, and the gateway's table agrees (ice 176, 179, 180, 181)`(
        _ name: PortMappingProtocol
    ) throws {
        let world = GatewayWorld([name])
        let id = try #require(world.map())
        world.run(for: .seconds(2))
        let mapping = try #require(mapped(world).first)
        #expect(mapping.via == name)
        #expect(mapping.external == SocketAddress(GatewayWorld.outside, port: 4000))
        #expect(!mapping.isBehindAnotherNAT)
        #expect(world.table.map(\.inside) == [SocketAddress(GatewayWorld.client, port: 4000)])
        world.mapper.unmap(id, at: world.now)
        world.run(for: .seconds(1))
        #expect(world.table.isEmpty)
    }

    @Test func `PCP is faster than the rest and the only one that maps`() throws {
        let world = GatewayWorld()
        _ = world.map()
        world.run(for: .seconds(10))
        #expect(mapped(world).map(\.via) == [.pcp])
        #expect(world.table.count == 1)
        let first = try #require(world.sent.first)
        #expect(first.to == SocketAddress("192.168.0.1:5351"))
        // Version 2, MAP, our own address in the form of IPv6 (ice 176).
        #expect(Array(first.bytes[..<2]) == [2, 1])
        #expect(Array(first.bytes[8..<24]) == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 192, 168, 0, 23])
        #expect(first.bytes[36] == 17)
        #expect(!world.sent.contains { $0.to.port == 5351 && $0.bytes[0] == 0 })
    }

    @Test func `an older box says so and is asked by NAT-PMP at once (ice 179)`() throws {
        let world = GatewayWorld([.natPMP])
        _ = world.map()
        world.run(for: .milliseconds(100))
        #expect(mapped(world).map(\.via) == [.natPMP])
        let silent = GatewayWorld([.natPMP])
        silent.gateway.behaviour.refusesPCP = false
        _ = silent.map()
        silent.run(for: .milliseconds(400))
        #expect(mapped(silent).map(\.via) == [.natPMP])
    }

    @Test func `a silent gateway costs few datagrams and fails at the deadline`() {
        let world = GatewayWorld([])
        _ = world.map()
        world.run(for: .seconds(3600))
        #expect(world.events == [.failed(MappingID(rawValue: 1), [.pcp: .silent, .natPMP: .silent, .upnp: .silent])])
        #expect(world.sent.count < 20)
        #expect(
            world.sent.allSatisfy { $0.at - (.zero + .seconds(1000)) <= .seconds(10) },
            "what was asked for is taken back, twice"
        )
        let timeout = world.mapper.nextTimeout
        #expect(timeout == nil)
    }

    @Test func `NAT-PMP asks after 250 ms and then doubles, one request at a time (ice 179)`() {
        let world = GatewayWorld([]) { configuration in
            configuration.protocols = [.natPMP]
            configuration.deadline = .seconds(1000)
        }
        _ = world.map()
        _ = world.map(4001)
        world.run(for: .seconds(1000))
        let times = world.sent.map { ($0.at - (.zero + .seconds(1000))).milliseconds }
        #expect(times == [0, 250, 750, 1750, 3750, 7750, 15750, 31750, 63750])
    }

    @Test func `PCP asks again after three seconds and a tenth more or less (ice 177)`() {
        let world = GatewayWorld([]) { configuration in
            configuration.protocols = [.pcp]
            configuration.deadline = .seconds(30)
        }
        _ = world.map()
        world.run(for: .seconds(60))
        let times = world.sent.map { ($0.at - (.zero + .seconds(1000))).milliseconds }
        #expect(times.count == 6, "two of them take back what nobody answered")
        for (index, base) in [0, 3000, 9000, 21000].enumerated() {
            #expect(abs(Int(times[index]) - base) <= base / 9)
        }
    }

    @Test(arguments: PortMappingProtocol.allCases)
    func `mappings are renewed from half of their time on and live for days (ice 178)`(_ name: PortMappingProtocol) {
        let world = GatewayWorld([name])
        world.gateway.behaviour.longestLifetime = name == .upnp ? 86_400 : 600
        _ = world.map()
        world.run(for: .seconds(1))
        let before = world.sent.count
        for _ in 0..<24 {
            world.run(for: .seconds(3600))
            #expect(world.table.count == 1)
        }
        #expect(world.events.count == 1, "told once")
        if name != .upnp { #expect((144...420).contains(world.sent.count - before)) }
    }

    @Test(arguments: [PortMappingProtocol.pcp, .natPMP])
    func `a gateway that has lost its memory gets all mappings again, with the same ports (ice 178, 179)`(
        _ name: PortMappingProtocol
    ) {
        let world = GatewayWorld([name])
        _ = world.map()
        _ = world.map(4001, .tcp)
        world.run(for: .seconds(100))
        let before = Set(world.table.map(\.externalPort))
        for bytes in world.gateway.reboot(at: world.now) { #expect(world.deliver(bytes) == .accepted) }
        world.run(for: .seconds(1))
        #expect(Set(world.table.map(\.externalPort)) == before)
        #expect(world.table.count == 2)
        #expect(mapped(world).count == 2)
    }

    @Test func `a new external address is told as a change of the mapping`() {
        let world = GatewayWorld([.natPMP])
        _ = world.map()
        world.run(for: .seconds(100))
        let other = IPAddress(ipv4: 0xCB00_7177)
        for bytes in world.gateway.reboot(external: other, at: world.now) { _ = world.deliver(bytes) }
        world.run(for: .seconds(1))
        #expect(mapped(world).map(\.external.ip) == [GatewayWorld.outside, other])
    }

    @Test func `an epoch that goes back in any response makes all mappings anew (ice 178)`() {
        let world = GatewayWorld([.pcp])
        _ = world.map()
        _ = world.map(4001)
        world.run(for: .seconds(100))
        // The announcement is lost; the renewal of one mapping shows what happened.
        _ = world.gateway.reboot(at: world.now)
        #expect(world.table.isEmpty)
        world.run(for: .seconds(4700))
        #expect(world.table.count == 2)
    }

    @Test func `responses of other nonces, ports or sources change nothing (ice 177)`() throws {
        let world = GatewayWorld([])
        _ = world.map()
        world.settle()
        let request = try #require(world.sent.first).bytes
        var response = request
        response[1] = 0x81
        response[2] = 0
        response[3] = 0
        response[11] = 1
        response[42] = 0x10
        for index in 44..<60 {
            response[index] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 203, 0, 113, 9][index - 44]
        }
        for (index, expected) in [(30, PortMapperDrop.noSuchRequest), (41, .noSuchRequest), (36, .noSuchRequest)] {
            var forged = response
            forged[index] ^= 1
            #expect(world.deliver(forged) == .ignored(expected))
        }
        #expect(world.deliver(response, from: "192.168.0.66:5351") == .ignored(.wrongSource))
        #expect(world.deliver(Array(response.dropLast())) == .ignored(.malformed))
        world.settle()
        #expect(world.events.isEmpty)
        #expect(world.deliver(response) == .accepted)
        world.settle()
        #expect(mapped(world).count == 1)
    }

    @Test func `ADDRESS_MISMATCH is told as a hidden NAT (ice 176)`() {
        let world = GatewayWorld([.pcp])
        world.gateway.behaviour.pcpResult = 12
        _ = world.map()
        world.run(for: .seconds(10))
        #expect(
            world.events == [
                .failed(MappingID(rawValue: 1), [.pcp: .hiddenNAT, .natPMP: .notSupported, .upnp: .silent])
            ]
        )
    }

    @Test(arguments: ["10.1.2.3", "100.64.9.9", "192.168.7.7", "172.31.0.1"])
    func `an external address that is private is kept and marked (ice 182)`(_ text: String) throws {
        let world = GatewayWorld()
        world.gateway.external = try #require(IPAddress(text))
        _ = world.map()
        world.run(for: .seconds(2))
        #expect(mapped(world).map(\.isBehindAnotherNAT) == [true])
    }

    @Test(
        arguments: PortMappingProtocol.allCases,
        ["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "169.254.1.1", "192.168.0.23"]
    )
    func `an external address that cannot be is no mapping`(_ name: PortMappingProtocol, _ text: String) throws {
        let world = GatewayWorld([name])
        world.gateway.external = try #require(IPAddress(text))
        _ = world.map()
        world.run(for: .seconds(10))
        if name == .natPMP, text == "192.168.0.23" { return }
        #expect(mapped(world).isEmpty)
        #expect(world.table.isEmpty, "what is of no use is given back")
    }

    @Test func `a port that is taken leads to the next, leases without end are taken, version 2 chooses (ice 181)`()
        throws
    {
        let world = GatewayWorld([.upnp])
        let other = SocketAddress(IPAddress(ipv4: 0xC0A8_0050), port: 4000)
        let request = """
            POST /ctl HTTP/1.1\r\nSOAPAction: "x#AddPortMapping"\r\n\r\n<a><NewExternalPort>4000</NewExternalPort>\
            <NewProtocol>UDP</NewProtocol><NewInternalPort>4000</NewInternalPort><NewLeaseDuration>0</NewLeaseDuration>\
            <NewInternalClient>192.168.0.80</NewInternalClient></a>
            """
        _ = world.gateway.answerHTTP(Array(request.utf8), from: other, at: world.now)
        world.gateway.behaviour.onlyPermanentLeases = true
        _ = world.map()
        world.run(for: .seconds(2))
        #expect(mapped(world).map(\.external.port) == [4001])
        #expect(mapped(world).map(\.lifetimeSeconds) == [0])
        let second = GatewayWorld([.upnp])
        second.gateway.behaviour.isVersion2 = true
        _ = second.gateway.answerHTTP(Array(request.utf8), from: other, at: second.now)
        _ = second.map()
        second.run(for: .seconds(2))
        #expect(mapped(second).map(\.external.port) == [4001])
    }

    @Test func `a description that leads to another host, or is too long, is refused (ice 181)`() {
        for change: (inout PortMappingGateway.Behaviour) -> Void in [
            { $0.controlURL = "http://203.0.113.66/ctl" }, { $0.controlURL = "/a b" },
            { $0.descriptionPadding = 70_000 },
        ] {
            let world = GatewayWorld([.upnp]) { $0.protocols = [.upnp] }
            change(&world.gateway.behaviour)
            _ = world.map()
            world.run(for: .seconds(10))
            #expect(mapped(world).isEmpty)
            #expect(world.events.count == 1)
        }
        let world = GatewayWorld([.upnp])
        _ = world.map()
        world.settle()
        let far = "HTTP/1.1 200 OK\r\nLOCATION: http://203.0.113.66:80/x\r\n\r\n"
        #expect(world.deliver(Array(far.utf8), from: "192.168.0.1:1900") == .ignored(.wrongSource))
        let stranger = "HTTP/1.1 200 OK\r\nLOCATION: http://192.168.0.9:80/x\r\n\r\n"
        #expect(world.deliver(Array(stranger.utf8), from: "192.168.0.9:1900") == .ignored(.wrongSource))
    }

    @Test func `a web server that does not take connections fails at once, not at the deadline`() {
        let world = GatewayWorld([.upnp]) { $0.protocols = [.upnp] }
        world.takesConnections = false
        _ = world.map()
        world.run(for: .milliseconds(100))
        #expect(world.events == [.failed(MappingID(rawValue: 1), [.upnp: .connectionLost])])
    }

    @Test(arguments: seeds(300)) func `whatever is lost, one mapping is made, or none is left behind`(_ seed: UInt64) {
        var entropy = Entropy.seeded(seed)
        let protocols = Set(PortMappingProtocol.allCases.filter { _ in Bool.random(using: &entropy) })
        let world = GatewayWorld(protocols, seed: seed)
        let lost = (0..<60).map { _ in Int.random(in: 0..<3, using: &entropy) == 0 }
        world.loses = { $0 < lost.count && lost[$0] }
        _ = world.map()
        world.run(for: .seconds(20))
        #expect(world.events.count == 1)
        #expect(world.table.count <= 1 || !mapped(world).isEmpty)
        world.mapper.close(at: world.now)
        world.loses = { _ in false }
        world.run(for: .seconds(3))
        #expect(world.events.last == .closed)
        if !mapped(world).isEmpty { #expect(world.table.isEmpty) }
    }

    @Test func `closing deletes all mappings and ends soon, also if the gateway is gone`() {
        let world = GatewayWorld()
        for port: UInt16 in 4000..<4010 { _ = world.map(port) }
        world.run(for: .seconds(2))
        #expect(world.table.count == 10)
        world.mapper.close(at: world.now)
        world.run(for: .seconds(3))
        #expect(world.table.isEmpty)
        #expect(world.events.last == .closed)
        let gone = GatewayWorld()
        _ = gone.map()
        gone.run(for: .seconds(2))
        gone.loses = { _ in true }
        gone.mapper.close(at: gone.now)
        gone.run(for: .seconds(3))
        #expect(gone.events.last == .closed)
    }

    @Test func `no made-up answer traps, and state stays bounded`() {
        let world = GatewayWorld()
        for port: UInt16 in 4000..<4003 { _ = world.map(port) }
        world.settle()
        var corpus: [[UInt8]] = []
        for packet in world.sent where packet.to.port == 5351 {
            if let answer = world.gateway.answer(
                packet.bytes.span,
                from: SocketAddress(GatewayWorld.client, port: 9),
                at: world.now
            ) {
                corpus.append(answer)
            }
        }
        corpus.append(Array("HTTP/1.1 200 OK\r\nLOCATION: http://192.168.0.1:5000/root.xml\r\n\r\n".utf8))
        var mutator = ByteMutator(corpus: corpus, seed: 11)
        world.rewrite = { _ in mutator.next() }
        for _ in 0..<5000 {
            _ = world.deliver(mutator.next())
            _ = world.deliver(mutator.next(), from: "192.168.0.1:1900")
            world.run(for: .milliseconds(50))
        }
        #expect(world.sent.count < 20_000)
    }
}
