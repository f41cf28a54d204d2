import NetTypes
import STUN
import TURN
import TURNServer
import Testing

@Suite struct OwnRelayTests {
    /// Two clients of one server call each other through two relays.
    @Test func `turn 159: own relay to own relay is allowed though its range is denied`() throws {
        let server = try TestServer()
        let (first, second) = (try TestClient(server), try TestClient(server, "198.51.100.1:2", username: "bob"))
        let (relay1, relay2) = (try first.relay(), try second.relay())
        #expect(try first.permit(relay2.description).isSuccess)
        #expect(try first.bind(0x4000, relay2.description).isSuccess)
        #expect(try second.permit(relay1.description).isSuccess)
        guard case .relay(let transmit) = first.sendChannelData([1], on: 0x4000) else {
            Issue.record("not relayed")
            return
        }
        #expect(transmit.destination == relay2)
        #expect(server.receiveFromPeer([1], at: relay2, from: relay1).bytes != nil)
        guard case .relay = try second.send([2], to: relay1.description) else {
            Issue.record("not relayed")
            return
        }
    }

    @Test func `a port of our own that is no relay is closed on every path`() throws {
        let server = try TestServer()
        let (first, second) = (try TestClient(server), try TestClient(server, "198.51.100.1:2", username: "bob"))
        let (relay1, relay2) = (try first.relay(), try second.relay())
        let services = "192.0.2.1:3478"
        #expect(try first.permit(services).isSuccess)
        #expect(try first.bind(0x4000, services).code == 403)
        #expect(try first.send([1], to: services) == .ignored(.deadRelay))
        #expect(server.receiveFromPeer([1], at: relay1, from: address(services)) == .dropped(.deadRelay))
        // A relay that has gone is closed at once, also for a channel that is still bound.
        #expect(try first.bind(0x4001, relay2.description).isSuccess)
        #expect(try second.refresh(0).isSuccess)
        #expect(first.sendChannelData([1], on: 0x4001) == .ignored(.deadRelay))
        #expect(server.receiveFromPeer([1], at: relay1, from: relay2) == .dropped(.deadRelay))
    }

    @Test func `behind a 1:1 NAT the client sees external addresses, sockets local ones`() throws {
        let relay = RelayAddress(local: ip("10.0.0.5"), external: ip("192.0.2.77"))
        let server = try TestServer(try TestServer.configuration(relays: [relay]))
        let (first, second) = (try TestClient(server), try TestClient(server, "198.51.100.1:2", username: "bob"))
        let (relay1, relay2) = (try first.relay(), try second.relay())
        #expect(relay1.ip == relay.external && relay2.ip == relay.external)
        let local1 = SocketAddress(relay.local, port: relay1.port)
        let local2 = SocketAddress(relay.local, port: relay2.port)
        #expect(Set(server.sockets.values.map(\.local)) == [local1, local2])
        try first.bind(0x4000, relay2.description)
        try second.permit(relay1.description)
        guard case .relay(let transmit) = first.sendChannelData([1], on: 0x4000),
            case .relay(let sent) = try second.send([1], to: relay1.description)
        else {
            Issue.record("not relayed")
            return
        }
        #expect(transmit.destination == local2 && sent.destination == local1)
        let bytes = try #require(server.receiveFromPeer([1], at: local2, from: local1).bytes)
        let peer = try STUNMessageView(bytes.span).xorPeerAddress()
        #expect(peer == relay1)
        // Through the NAT the same datagram would come from the external address.
        #expect(server.receiveFromPeer([1], at: local2, from: relay1).bytes != nil)
        #expect(server.receiveFromPeer([1], at: local1, from: local2).bytes?.first == 0x40)
        // The local form names the same peer: its channel is the one that is there.
        #expect(try first.bind(0x4001, local2.description).code == 400)
        #expect(try first.bind(0x4000, local2.description).isSuccess)
        #expect(try first.permit("10.0.0.6:0").code == 403)
    }

    @Test func `liveness is seen by all shards`() throws {
        let configuration = try TestServer.configuration()
        let shared = TURNServerShared(configuration, entropy: .seeded(5))
        let shards = try (1...2).map { try TestServer(configuration, shared: shared, seed: $0) }
        let (first, second) = (try TestClient(shards[0]), try TestClient(shards[1], "198.51.100.1:2"))
        _ = try first.relay()
        let relay2 = try second.relay()
        #expect(try first.bind(0x4000, relay2.description).isSuccess)
        guard case .relay = first.sendChannelData([1], on: 0x4000) else {
            Issue.record("not relayed")
            return
        }
        #expect(try second.refresh(0).isSuccess)
        #expect(first.sendChannelData([1], on: 0x4000) == .ignored(.deadRelay))
    }
}

@Suite struct ShardTests {
    @Test func `turn 107: shards share the quota, the ports and the reservations`() throws {
        var configuration = try TestServer.configuration()
        configuration.limits.allocationsPerUser = 3
        configuration.relayPorts = 50000...50003
        let shared = TURNServerShared(configuration, entropy: .seeded(5))
        let shards = try (1...2).map { try TestServer(configuration, shared: shared, seed: $0) }
        let response = try TestClient(shards[0]).allocate([.evenPort(0x80)])
        let token = try #require(response.token)
        let second = try TestClient(shards[1], "198.51.100.1:2").relay([.token(token)])
        #expect(second.port == (response.relayed.first?.port ?? 0) + 1)
        _ = try TestClient(shards[1], "198.51.100.1:3").relay()
        #expect(try TestClient(shards[0], "198.51.100.1:4").allocate().code == 486)
        _ = try TestClient(shards[0], "198.51.100.1:5", username: "bob").relay()
        #expect(try TestClient(shards[1], "198.51.100.1:6", username: "bob").allocate().code == 508)
        #expect(shared.takenPortCount == 4)
        for shard in shards { shard.advance(.seconds(600)) }
        #expect(shared.takenPortCount == 0 && shared.allocationCount == 0 && shared.livePortCount == 0)
    }
}

@Suite struct StreamTests {
    @Test(arguments: [TransportProtocol.tcp, .tls])
    func `turn 164: an allocation ends with its connection`(transport: TransportProtocol) throws {
        let server = try TestServer()
        let client = try TestClient(server, transport: transport)
        _ = try client.relay()
        server.close(client.tuple)
        #expect(server.sockets.isEmpty)
        #expect(server.shared.allocationCount == 0)
        #expect(server.events.contains { if case .allocationEnded(_, .connectionClosed) = $0 { true } else { false } })
        server.close(client.tuple)
    }

    @Test func `a connection that closes while its socket is opened leaves nothing behind`() throws {
        let server = try TestServer()
        server.opensAtOnce = false
        let client = try TestClient(server, transport: .tcp)
        try client.challenge()
        #expect(try client.exchange(client.message(.allocate, [.requestedTransport(17), .evenPort(0x80)])) == nil)
        server.close(client.tuple)
        server.openWaiting()
        #expect(server.sockets.isEmpty)
        #expect(server.responses.isEmpty)
        #expect(
            server.shared.takenPortCount == 0 && server.shared.allocationCount == 0 && server.shared.livePortCount == 0
        )
    }

    @Test func `turn 97: the same addresses over UDP and over a stream are two clients`() throws {
        let server = try TestServer()
        let first = try TestClient(server).relay()
        let second = try TestClient(server, transport: .tcp).relay()
        #expect(first != second)
    }
}
