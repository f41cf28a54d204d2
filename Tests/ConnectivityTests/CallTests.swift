import Bytes
import CallSimulation
import Connectivity
import ICE
import NetTypes
import STUN
import Simulation
import TURN
import TURNServer
import TestSupport
import Testing

@Suite struct CallTests {
    @Test func `two hosts without NAT, both families`() throws {
        let call = try Call(.init(first: nil, second: nil, families: [.ipv4, .ipv6]))
        #expect(call.connects())
        #expect(call.types(call.first).contains(.host))
    }

    @Test func `two port-restricted NATs, by the addresses that a STUN server has seen (ice 8, 9, 10)`() throws {
        let call = try Call()
        #expect(call.connects())
        let path = try #require(call.first.path)
        #expect(!path.isRelayed)
    }

    @Test(arguments: ["turn:turn.example", "turn:turn.example?transport=tcp", "turns:turn.example"])
    func `two symmetric NATs, over a relay reached in every way (ice 43, 143)`(_ uri: String) throws {
        let symmetric = GatewayConfiguration(nat: .symmetric)
        let call = try Call(.init(first: symmetric, second: symmetric, turn: [uri]))
        #expect(call.connects())
        let path = try #require(call.first.path)
        let other = try #require(call.second.path)
        #expect(path.isRelayed || other.isRelayed)
        #expect(call.types(call.first).contains(.relayed))
        // The way over channels is taken after the selection.
        call.network.run(for: .seconds(5))
        #expect(call.talks())
    }

    @Test func `relay policy: nothing of the host is signalled or used (ice 8)`() throws {
        let call = try Call(.init(turn: ["turn:turn.example"]) { $0.policy = .relay })
        #expect(call.connects())
        for program in [call.first, call.second] {
            #expect(call.types(program) == [.relayed])
            #expect(program.candidates.allSatisfy { $0.related?.ip.isUnspecified == true && $0.related?.port == 9 })
            #expect(program.path?.isRelayed == true)
        }
    }

    @Test func `no UDP at all: the relay is reached by TLS, and UDP that gives nothing delays it little`()
        throws
    {
        var gateway = GatewayConfiguration(nat: .portRestricted)
        gateway.firewall = .only(ports: [443], requiresTLS: true)
        let uris = ["turn:turn.example", "turns:turn.example:443?transport=tcp"]
        let call = try Call(.init(first: gateway, turn: uris))
        #expect(call.connects())
        #expect(call.first.path?.isRelayed == true)
    }

    @Test func `TCP between hosts where UDP does not pass (ice 118, 122, 123, 124, 125)`() throws {
        var gateway = GatewayConfiguration(nat: .portRestricted)
        gateway.firewall = .udpBlocked()
        let call = try Call(.init(first: gateway, second: nil, stun: []) { $0.usesTCP = true })
        #expect(call.connects(within: .seconds(20)))
        let kinds = Set(call.first.candidates.compactMap(\.tcpType))
        #expect(kinds == [.active, .passive, .simultaneousOpen])
        #expect(call.first.candidates.filter { $0.tcpType == .active }.allSatisfy { $0.port == 9 })
    }

    @Test func `concealed host candidates: names stand in all of them, nothing shows the address (ice 147, 149)`()
        throws
    {
        let call = try Call(.init(first: .init(nat: .portRestricted), second: nil) { $0.hostAddresses = .concealed })
        #expect(call.connects())
        // The second has a public address: what a server has seen of it is signalled beside the name.
        #expect(call.types(call.second) == [.host, .serverReflexive])
        #expect(call.second.candidates.allSatisfy { $0.type == .host || $0.related?.port == 9 })
        let address = try #require(call.hosts[0].address())
        for candidate in call.first.candidates {
            #expect(!candidate.text.contains("\(address)"))
            if candidate.type == .host { #expect(candidate.text.contains(".local ")) }
            if candidate.type == .serverReflexive {
                #expect(candidate.related == SocketAddress(.unspecified(.ipv4), port: 9))
            }
        }
    }

    @Test func `the peer's end of candidates waits until its names are resolved (ice 104, 150)`() throws {
        let call = try Call(.init(first: nil, second: nil, stun: []) { $0.hostAddresses = .concealed })
        for program in [call.first, call.second] {
            program.ignores = { if case .resolveName = $0 { true } else { false } }
        }
        call.start()
        call.network.run(for: .seconds(1))
        for (program, other) in [(call.first, call.second), (call.second, call.first)] {
            program.act { $0.endOfRemoteCandidates(at: $1) }
            let address = try #require(other.concealed)
            for case .resolveName(let id, _) in program.effects {
                program.act { $0.nameResolved(id, address, at: $1) }
            }
        }
        call.network.run(for: .seconds(1))
        #expect(call.first.path != nil && call.second.path != nil)
        #expect(call.talks())
    }

    @Test func `a relay of ours is told of no address that the peer has concealed (ice 153)`() throws {
        let call = try Call(.init(first: nil, second: nil, turn: ["turn:turn.example"], stun: []))
        call.first.ignores = { if case .resolveName = $0 { true } else { false } }
        var concealed = ICESessionConfiguration(ICEConfiguration(role: .controlled))
        concealed.usesPortMapping = false
        concealed.hostAddresses = .concealed
        let second = try SimulatedSession(concealed, seed: 5)
        call.hosts[0].run(call.first)
        call.hosts[1].run(second)
        let description = second.localDescription
        call.network.run(for: .seconds(1))
        call.first.act { _ = $0.setRemoteDescription(description, at: $1) }
        let named = second.candidates.filter { $0.type == .host }
        #expect(!named.isEmpty)
        for candidate in named { call.first.act { $0.addRemoteCandidate(candidate, at: $1) } }
        let address = try #require(second.concealed)
        for case .resolveName(let id, _) in call.first.effects {
            call.first.act { $0.nameResolved(id, address, at: $1) }
        }
        #expect(!call.first.pairs.isEmpty)
        call.network.run(for: .seconds(5))
        #expect(call.turn.statistics?.permissions == 0)
    }

    @Test func `a mapping of the gateway is a candidate and makes a symmetric NAT passable (ice 176, 180)`() throws {
        let symmetric = GatewayConfiguration(nat: .symmetric)
        let call = try Call(.init(first: symmetric, second: symmetric) { $0.usesPortMapping = true })
        let segment = try #require(call.hosts[0].interfaces.first).segment
        let router = try #require(call.network.addGatewayHost("router", on: segment))
        router.run(PortMappingProgram(of: try #require(segment.gateway)))
        #expect(call.connects())
        #expect(call.first.path?.isRelayed == false)
    }

    @Test func `a host with IPv6 alone behind NAT64 reaches a peer with IPv4 alone (ice 14)`() throws {
        var gateway = GatewayConfiguration()
        gateway.nat64 = .init(.portRestricted)
        let call = try Call(.init(first: gateway, second: .init(nat: .portRestricted), firstFamilies: [.ipv6]))
        call.network.names["ipv4only.arpa"] = .init([IPAddress(ipv4: 0xC000_00AA)])
        call.network.names.dns64["alice"] = gateway.nat64?.prefix
        #expect(call.connects())
    }

    @Test(arguments: seeds(60)) func `a connection comes about whatever is lost`(_ seed: UInt64) throws {
        let call = try Call(.init(turn: ["turn:turn.example"], seed: seed))
        for host in call.hosts { call.network.setLink(of: host) { $0.loss = .random(0.2) } }
        #expect(call.connects(within: .seconds(30)), "\(call.network.replayHint)")
    }

    @Test func `equal seeds, equal calls`() throws {
        func run() throws -> [String] {
            let call = try Call(.init(turn: ["turn:turn.example", "turns:turn.example"], seed: 42))
            _ = call.connects()
            return call.first.timeline.map { "\($0.time.nanoseconds) \($0.1)" }
                + call.second.sent.map { "\($0.time) \($0.1)" }
        }
        #expect(try run() == run())
    }
}
