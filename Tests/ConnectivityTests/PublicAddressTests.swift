import CallSimulation
import Connectivity
import ICE
import NetTypes
import STUN
import Simulation
import Testing

/// Addresses that need no concealing, because all the world sees them (ice 148).
@Suite struct PublicAddressTests {
    /// One side that gathers alone, with its addresses concealed.
    private func gathered(
        _ gateway: GatewayConfiguration? = nil,
        stun: [String] = ["stun:stun.example"],
        known: PublicAddresses? = nil,
        _ change: (Call) -> Void = { _ in }
    ) throws -> Call {
        let call = try Call(
            .init(first: gateway, stun: stun) {
                $0.hostAddresses = .concealed
                $0.publicAddresses = known
            }
        )
        change(call)
        call.hosts[0].run(call.first)
        call.network.run(for: .seconds(2))
        return call
    }

    private func asksForName(_ call: Call) -> Bool {
        call.first.effects.contains { if case .publishName = $0 { true } else { false } }
    }

    @Test func `an address that servers see as it is has no name in the next session (ice 148)`() throws {
        let once = try gathered()
        let address = try #require(once.hosts[0].address())
        #expect(asksForName(once))
        #expect(once.first.publicAddresses == [address])
        let known = once.first.session?.publicAddresses
        // No server answers this time: what is known is enough.
        let again = try gathered(known: known) { $0.stun.conduct = .silent }
        #expect(!asksForName(again))
        #expect(again.first.candidates.map(\.address) == [.ip(address)])
        #expect(again.first.candidates.map(\.type) == [.host])
        #expect(again.first.publicAddresses == [address])
    }

    @Test func `it is forgotten where other servers are asked (ice 148)`() throws {
        let known = try gathered().first.session?.publicAddresses
        let call = try gathered(stun: ["stun:turn.example:9"], known: known)
        #expect(asksForName(call))
        #expect(call.first.publicAddresses.isEmpty)
    }

    @Test func `behind a NAT there is nothing to learn (ice 148)`() throws {
        let call = try gathered(GatewayConfiguration(nat: .portRestricted))
        #expect(call.first.publicAddresses.isEmpty)
    }

    @Test func `a private address stays concealed, though a server beside us sees it (ice 148)`() throws {
        let call = try gathered(GatewayConfiguration(nat: .portRestricted), stun: ["stun:inner.example"]) { call in
            guard let segment = call.hosts[0].interfaces.first?.segment else { return }
            let server = call.network.addHost("inner", on: segment, families: [.ipv4])
            server.run(STUNServerProgram())
            call.network.names["inner.example"] = .init([server.address()].compactMap(\.self))
        }
        #expect(call.first.publicAddresses.isEmpty)
        #expect(call.first.session?.mappingObservations.count == 1)
    }

    @Test func `a server that sees another address ends it (ice 148)`() throws {
        let known = try gathered().first.session?.publicAddresses
        let other = SocketAddress(IPAddress(ipv4: 0x0808_0808), port: 9)
        let call = try gathered(known: known) { $0.stun.conduct = .lying(other) }
        #expect(call.first.publicAddresses.isEmpty)
    }
}
