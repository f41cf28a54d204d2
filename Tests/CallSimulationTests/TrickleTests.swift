import CallSimulation
import Connectivity
import ICE
import NetTypes
import STUN
import Simulation
import Testing

/// What travels when, in the three ways of RFC 8838 §16.
@Suite struct TrickleTests {
    /// Listens to what is signalled to it, and says nothing.
    private final class Ear: SimulatedProgram {
        var messages: [PeerMessage] = []

        func handle(_ event: HostEvent, _ host: HostContext) {
            if case .signal(let bytes, _) = event { messages.append(PeerMessage(bytes)) }
        }
    }

    private func offers(_ exchange: CandidateExchange) -> [PeerMessage] {
        let network = SimulatedNetwork(seed: 4)
        let server = network.addHost("stun", on: network.internet)
        server.run(STUNServerProgram())
        network.names["stun"] = .init([server.address()].compactMap(\.self))
        let lan = network.addLAN("lan", behind: GatewayConfiguration(nat: .linux))
        let ear = Ear()
        network.addHost("b", on: network.internet).run(ear)
        var options = SimulatedPeer.Options(peer: "b", isOfferer: true) {
            $0.stunServers = [STUNURI(URIHost("stun"))]
        }
        options.exchange = exchange
        network.addHost("a", on: lan, families: [.ipv4]).run(SimulatedPeer(options))
        network.run(for: .seconds(10))
        return ear.messages
    }

    @Test func `the offer of half trickle is whole: description, candidates and their end together (ice 105)`() throws {
        let offers = offers(.half)
        #expect(offers.count == 1)
        let offer = try #require(offers.first)
        let description = try #require(offer.description)
        #expect(description.options.contains(.trickle))
        #expect(offer.endOf == description.credentials.usernameFragment)
        #expect(Set(offer.candidates.map(\.type)) == [.host, .serverReflexive])
    }

    @Test func `full trickle sends the description at once, each candidate after it, and the end last (ice 95, 105)`()
        throws
    {
        let offers = offers(.trickle)
        #expect(offers.count == 4)
        #expect(offers.first?.description != nil && offers.first?.candidates.isEmpty == true)
        #expect(offers.dropFirst().allSatisfy { $0.description == nil })
        #expect(offers.dropLast().allSatisfy { $0.endOf == nil })
        #expect(offers.last?.endOf == offers.first?.description?.credentials.usernameFragment)
    }
}
