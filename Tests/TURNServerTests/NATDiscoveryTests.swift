import Bytes
import Diagnostics
import NetTypes
import STUN
import TURNServer
import TestSupport
import Testing

/// A client of RFC 5780 behind a simulated NAT, our server's engine before it, one virtual clock.
private final class NATWorld {
    static let primary = address("192.0.2.1:3478")
    let server: TestServer
    var nat: SimulatedNAT?
    var discovery: NATDiscovery
    var lossPerMille: UInt64 = 0
    var blocksUDP = false
    var blocksFragments = false
    private let locals: [SocketAddress]
    private var entropy: Entropy
    private var wire: [(at: Instant, run: (NATWorld) -> Void)] = []

    init(_ nat: SimulatedNAT?, seed: UInt64 = 1, pair: Bool = true, _ options: NATDiscovery.Options = .init()) throws {
        server = try TestServer {
            guard pair else { return }
            let (first, second) = (RelayAddress(local: ip("192.0.2.1")), RelayAddress(local: ip("192.0.2.2")))
            $0.discovery = [DiscoveryAddresses(first, second, firstPort: 3478, secondPort: 3479)]
        }
        self.nat = nat
        entropy = .seeded(seed)
        let host = nat == nil ? ip("198.51.100.9") : ip("10.0.0.2")
        locals = (0..<NATDiscovery.socketCount(options)).map { SocketAddress(host, port: 40_000 + UInt16($0) * 11) }
        discovery = NATDiscovery(server: Self.primary, locals: locals, options: options, entropy: .seeded(seed))
    }

    func run() -> NATReport {
        discovery.start(at: server.now)
        drain()
        var steps = 0
        while let next = (wire.map(\.at) + (discovery.nextTimeout.map { [$0] } ?? [])).min(), steps < 10_000 {
            steps += 1
            server.now = max(server.now, next)
            while let index = wire.firstIndex(where: { $0.at <= server.now }) { wire.remove(at: index).run(self) }
            discovery.handleTimeout(at: server.now)
            drain()
        }
        return discovery.report
    }

    private func later(_ run: @escaping (NATWorld) -> Void) {
        guard entropy.next() % 1000 >= lossPerMille else { return }
        wire.append((server.now + .milliseconds(10 + entropy.next() % 20), run))
    }

    private func drain() {
        while true {
            var way: (socket: Int, target: SocketAddress)?
            let bytes = buildBytes(capacity: NATDiscovery.maximumMessageByteCount) { output in
                way = discovery.pollTransmit(into: &output)
            }
            guard let way else { return }
            if blocksUDP || (blocksFragments && bytes.count > 1472) { continue }
            let inside = locals[way.socket]
            let source = nat?.outgoing(inside, to: way.target, at: server.now) ?? inside
            if way.target.ip == source.ip {
                if nat?.hairpins == true { later { $0.arrive(bytes, at: way.target, from: source) } }
            } else {
                later { $0.atServer(bytes, at: way.target, from: source) }
            }
        }
    }

    private func atServer(_ bytes: [UInt8], at local: SocketAddress, from source: SocketAddress) {
        // Together they would make a server send big packets to whoever is named (RFC 5780 §7.6).
        let types = (try? STUNMessage(decoding: bytes.span))?.attributes.map(\.type) ?? []
        #expect(!types.contains(.padding) || !types.contains(.responsePort))
        server.receive(bytes, from: ClientTuple(transport: .udp, remote: source, local: local))
        while let answer = server.responses.popLast() {
            later { $0.arrive(answer.bytes, at: answer.client.remote, from: answer.client.local) }
        }
    }

    private func arrive(_ bytes: [UInt8], at target: SocketAddress, from source: SocketAddress) {
        let inside = nat == nil ? target : nat?.incoming(target.port, from: source, at: server.now)
        guard let inside, let socket = locals.firstIndex(of: inside) else { return }
        _ = discovery.receive(bytes.span, from: source, on: socket, at: server.now)
    }
}

@Suite("A client that finds out what NAT is on the way (RFC 5780)")
struct NATDiscoveryTests {
    private static let cells = NATMapping.allCases.flatMap { mapping in
        NATFiltering.allCases.flatMap { filtering in [false, true].map { (mapping, filtering, $0) } }
    }

    private func nat(_ mapping: NATMapping, _ filtering: NATFiltering, hairpins: Bool = false) -> SimulatedNAT {
        var nat = SimulatedNAT(external: ip("203.0.113.50"))
        (nat.mapping, nat.filtering, nat.hairpins) = (mapping, filtering, hairpins)
        return nat
    }

    @Test(arguments: cells)
    func `turn 183, ice 156, 157: every kind of mapping and filtering is called by its name`(
        mapping: NATMapping,
        filtering: NATFiltering,
        hairpins: Bool
    ) throws {
        let report = try NATWorld(nat(mapping, filtering, hairpins: hairpins)).run()
        #expect(report.hasUDP && report.isTranslated == true)
        #expect(report.mapping == .found(mapping))
        #expect(report.filtering == .found(filtering))
        // A mapping of its own for each peer is no address to be called at, unless all may call.
        let expected = hairpins && (mapping == .endpointIndependent || filtering == .endpointIndependent)
        #expect(report.hairpin == .found(expected))
        #expect(report.verdict.count >= 2 && report.lifetime == .untested && report.fragments == .untested)
    }

    @Test(arguments: seeds(150))
    func `turn 183, ice 158: loss and reordering do not change what is found`(seed: UInt64) throws {
        let (mapping, filtering, _) = Self.cells[Int(seed % UInt64(Self.cells.count))]
        var options = NATDiscovery.Options()
        // Silence is a result: with more sends it is one less often by mistake.
        options.policy.requestCount = 8
        options.policy.lastWaitFactor = 16
        let world = try NATWorld(nat(mapping, filtering), seed: seed, options)
        world.lossPerMille = 250
        let report = world.run()
        #expect(report.mapping == .found(mapping), "seed \(seed)")
        #expect(report.filtering == .found(filtering), "seed \(seed)")
    }

    @Test func `without a NAT there is only a firewall, if any`() throws {
        let report = try NATWorld(nil).run()
        #expect(report.isTranslated == false && report.keepsPort == true)
        #expect(report.mapping == .found(.endpointIndependent) && report.filtering == .found(.endpointIndependent))
        #expect(report.hairpin == .untested)
        #expect(report.verdict.first == "There is no NAT: this host has the address that the server sees.")
    }

    @Test func `a server with one address is said to lack another (ice 155)`() throws {
        let report = try NATWorld(nat(.addressDependent, .addressDependent), pair: false).run()
        #expect(report.hasUDP && report.mapped != nil)
        guard case .serverLacks(let what) = report.mapping, case .serverLacks = report.filtering else {
            Issue.record("\(report)")
            return
        }
        #expect(what.contains("OTHER-ADDRESS"))
        #expect(report.verdict.contains { $0.contains("OTHER-ADDRESS") })
    }

    @Test func `without UDP nothing is known, and that is said (ice 155)`() throws {
        let world = try NATWorld(nat(.endpointIndependent, .endpointIndependent))
        world.blocksUDP = true
        let report = world.run()
        #expect(!report.hasUDP && report.mapped == nil && report.mapping == .untested)
        #expect(report.verdict[0].hasPrefix("No answer came over UDP"))
    }

    @Test(arguments: [false, true])
    func `fragments come through or do not (ice 159, 160)`(blocks: Bool) throws {
        var options = NATDiscovery.Options()
        options.fragments = true
        let world = try NATWorld(nat(.endpointIndependent, .addressDependent), options)
        world.blocksFragments = blocks
        #expect(world.run().fragments == .found(!blocks))
    }

    @Test(arguments: [(20, nil, 30), (45, 30, 60), (200, 120, 240), (900, 300, nil)] as [(UInt64, UInt64?, UInt64?)])
    func `turn 183, ice 159: how long silent flows are remembered`(
        lifetime: UInt64,
        alive: UInt64?,
        gone: UInt64?
    ) throws {
        var options = NATDiscovery.Options()
        options.silences = [30, 60, 120, 240, 300].map { .seconds($0) }
        var nat = nat(.endpointIndependent, .addressAndPortDependent)
        nat.lifetime = .seconds(lifetime)
        let world = try NATWorld(nat, options)
        let started = world.server.now
        let found = try #require(world.run().lifetime.value)
        #expect(found.alive == alive.map { .seconds($0) })
        #expect(found.gone == gone.map { .seconds($0) })
        #expect(world.server.now - started < .seconds((gone ?? 300) + 10), "longer silences are not waited for")
    }

    @Test func `a server that does not know an attribute is said to lack it`() throws {
        var options = NATDiscovery.Options()
        options.fragments = true
        options.silences = [.seconds(1)]
        let report = try NATWorld(nat(.endpointIndependent, .addressDependent), pair: false, options).run()
        guard case .serverLacks(let padding) = report.fragments, case .serverLacks(let port) = report.lifetime else {
            Issue.record("\(report)")
            return
        }
        #expect(padding.hasPrefix("PADDING") && port.hasPrefix("RESPONSE-PORT"))
    }

    @Test func `what is forged, late or malformed changes nothing`() throws {
        let locals = (0..<4).map { SocketAddress(ip("10.0.0.2"), port: 40_000 + UInt16($0)) }
        var discovery = NATDiscovery(server: NATWorld.primary, locals: locals, entropy: .seeded(3))
        discovery.start(at: .zero)
        let request = buildBytes(capacity: 1600) { _ = discovery.pollTransmit(into: &$0) }
        let view = try STUNMessageView(request.span)
        let forged = STUNMessage(STUNMessageType(.binding, .success), TransactionID(high: 1, low: 2))
        let echoed = STUNMessage(STUNMessageType(.binding, .success), view.transactionID)
        let cases: [([UInt8], String, NATDiscovery.Drop)] = [
            ([1, 2, 3], "192.0.2.1:3478", .notSTUN), (try forged.encoded(), "192.0.2.1:3478", .unknownTransaction),
            (try echoed.encoded(), "192.0.2.7:3478", .wrongSource), (request, "192.0.2.1:3478", .unexpectedClass),
        ]
        for (bytes, source, reason) in cases {
            let disposition = discovery.receive(bytes.span, from: address(source), on: 0, at: .zero)
            #expect(disposition == .ignored(reason))
            let count = discovery.dropCounts[reason]
            #expect(count == 1)
        }
        let report = discovery.report
        #expect(!report.hasUDP)
    }
}
