import CallSimulation
import Connectivity
import Diagnostics
import ICE
import NetTypes
import PortMapping
import STUN
import Simulation
import TestSupport
import Testing

/// Ways that two hosts find besides the ordinary ones, and what must not disturb them.
@Suite struct PathTests {
    @Test func `whatever people have, their calls connect`() {
        let matrix = CallMatrix(Access.everyday)
        for row in matrix.rows {
            for (kind, result) in zip(matrix.kinds, row.results) {
                #expect(result.isConnected, "\(row.name) to \(kind.name)")
            }
        }
    }

    // ice 180: what the gateway gives is a candidate.
    @Test(arguments: [Set(PortMappingProtocol.allCases), [.pcp], [.natPMP], [.upnp]])
    func `a port mapping makes symmetric NATs direct`(_ protocols: Set<PortMappingProtocol>) throws {
        var run = CallRun(.nat(.symmetric), .nat(.symmetric))
        run.configure = { $0.usesPortMapping = true }
        let world = run.makeWorld(seed: 1)
        let segment = try #require(world.left.interfaces.first).segment
        let router = try #require(world.network.addGatewayHost("router", on: segment))
        var behaviour = PortMappingGateway.Behaviour()
        behaviour.protocols = protocols
        let services = router.run(PortMappingProgram(of: try #require(segment.gateway), behaviour: behaviour))
        world.start()
        world.network.run(for: run.limit) { world.isSettled }
        #expect(!services.mappings(at: world.network.now).isEmpty)
        #expect(world.result.isDirect)
    }

    // ice 149: names stand in all candidates.
    @Test(arguments: [false, true]) func `hosts of one LAN meet there, with their addresses concealed`(_ isolated: Bool)
    {
        let network = SimulatedNetwork(seed: 2)
        let lan = network.addLAN("lan", behind: GatewayConfiguration(nat: .linux))
        lan.isolatesHosts = isolated
        let hosts = ["a", "b"].map { network.addHost($0, on: lan, families: [.ipv4]) }
        let peers = [("b", true), ("a", false)].map { name, isOfferer in
            SimulatedPeer(
                SimulatedPeer.Options(peer: name, isOfferer: isOfferer) { $0.hostAddresses = .concealed }
            )
        }
        hosts[1].run(peers[1])
        hosts[0].run(peers[0])
        network.run(for: .seconds(20)) { peers.allSatisfy { $0.path != nil } }
        let areConnected = peers.allSatisfy { $0.path != nil }
        #expect(areConnected == !isolated)
        for peer in peers {
            for case .candidate(let candidate) in peer.timeline.map(\.event) {
                #expect(candidate.hasMulticastName)
            }
        }
    }

    @Test func `homes behind one carrier meet by its hairpin`() {
        let network = SimulatedNetwork(seed: 3)
        let carrier = network.addCarrier("carrier")
        let server = network.addHost("turn", on: network.internet)
        network.names[CallRun.serverName] = .init([server.address()].compactMap(\.self))
        server.run(TURNServerProgram())
        let hosts = ["a", "b"].map { name in
            let home = network.addLAN("home-" + name, behind: GatewayConfiguration(nat: .portRestricted), of: carrier)
            return network.addHost(name, on: home, families: [.ipv4])
        }
        let peers = [("b", true), ("a", false)].map { name, isOfferer in
            SimulatedPeer(
                SimulatedPeer.Options(peer: name, isOfferer: isOfferer) {
                    $0.stunServers = [STUNURI(URIHost(CallRun.serverName))]
                }
            )
        }
        hosts[1].run(peers[1])
        hosts[0].run(peers[0])
        network.run(for: .seconds(20)) { peers.allSatisfy { $0.path != nil } }
        #expect(peers.allSatisfy { $0.isDirect })
    }

    /// Sends damaged copies of everything that it has ever seen to wherever it may arrive.
    final class Attacker: SimulatedProgram {
        private let targets: () -> [SocketAddress]
        private var mutator: ByteMutator
        private var socket: SocketID?
        private var due: Instant?
        var count = 0

        init(seed: UInt64, targets: @escaping () -> [SocketAddress]) {
            self.targets = targets
            let binding: [UInt8] = [0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42] + (0..<12).map { UInt8($0) }
            let data: [UInt8] = [0x40, 0, 0, 4, 1, 2, 3, 4]
            mutator = ByteMutator(corpus: [binding, data, [UInt8](repeating: 0x80, count: 40)], seed: seed)
        }

        var nextTimeout: Instant? { due }

        func handle(_ event: HostEvent, _ host: HostContext) {
            if socket == nil { socket = try? host.openUDP() }
            due = host.now + .milliseconds(2)
            guard let socket else { return }
            for target in targets() {
                count += 1
                try? host.send(mutator.next(), to: target, from: socket)
            }
        }
    }

    @Test(arguments: seeds(3)) func `hostile packets change nothing`(_ seed: UInt64) {
        let world = CallRun(.nat(.fullCone), .nat(.fullCone)).makeWorld(seed: seed)
        let host = world.network.addHost("attacker", on: world.network.internet)
        let server = world.serverHost?.address().map { SocketAddress($0, port: 3478) }
        let attacker = host.run(
            Attacker(seed: seed) { [unowned world] in
                [world.offerer.path, world.answerer.path].compactMap { $0?.destination } + [server].compactMap(\.self)
            }
        )
        world.start()
        world.network.run(for: .seconds(20))
        #expect(attacker.count > 10_000)
        #expect(world.result.isDirect)
        #expect(world.network.failures.isEmpty)
    }
}
