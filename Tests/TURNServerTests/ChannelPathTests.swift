import Bytes
import NetTypes
import STUN
import TURN
import TURNServer
import Testing

/// What a driver may relay without the engine.
@Suite struct ChannelPathTests {
    static let peer = "203.0.113.5:1000"

    let server: TestServer
    let client: TestClient
    let relay: SocketAddress

    init() throws {
        server = try TestServer {
            $0.tellsChannelPaths = true
            $0.allowsMobility = true
        }
        client = try TestClient(server)
        relay = try client.relay()
    }

    /// The allocations of a server's sockets: their names without the bit that tells the family.
    private func handles(_ server: TestServer) -> Set<SlotHandle> {
        Set(server.sockets.values.map { SlotHandle(bits: $0.id.bits & ~(1 << 31)) })
    }

    private func paths(_ server: TestServer? = nil) -> [ChannelPath] {
        let server = server ?? self.server
        return handles(server).flatMap { server.engine.channelPaths(of: $0, at: server.now) }
    }

    private func changes(_ body: () throws -> Void) rethrows -> Int {
        server.events.removeAll()
        try body()
        return server.events.count { if case .channelPathsChanged = $0 { true } else { false } }
    }

    @Test func `a bound channel is told with its addresses and its times`() throws {
        let told = try changes { try client.bind(0x4000, Self.peer) }
        #expect(told == 1)
        let path = try #require(paths().first)
        #expect(path.client == client.tuple && path.channel == 0x4000 && path.peer == address(Self.peer))
        #expect(path.relay == relay)
        #expect(path.toPeerUntil == server.now + .seconds(600))
        #expect(path.toClientUntil == server.now + .seconds(300), "as long as the permission")
    }

    @Test func `permissions, refreshes and rebindings are told, and prolong`() throws {
        try client.bind(0x4000, Self.peer)
        server.advance(.seconds(200))
        #expect(try changes { _ = try client.permit("203.0.113.5:0") } == 1)
        #expect(paths().first?.toClientUntil == server.now + .seconds(300))
        #expect(try changes { _ = try client.refresh(900) } == 1)
        #expect(paths().first?.toPeerUntil == server.now + .seconds(400), "the channel is as old as it was")
        #expect(try changes { try client.bind(0x4000, Self.peer) } == 1)
        #expect(paths().first?.toPeerUntil == server.now + .seconds(600))
        _ = try client.refresh(600)
        server.advance(.seconds(301))
        let late = try #require(paths().first)
        #expect(late.toClientUntil <= server.now, "no permission, nothing to the client")
        server.advance(.seconds(299))
        #expect(paths().isEmpty)
    }

    @Test func `the end is told before the socket closes`() throws {
        try client.bind(0x4000, Self.peer)
        server.events.removeAll()
        _ = try client.refresh(0)
        let change = try #require(
            server.events.firstIndex { if case .channelPathsChanged = $0 { true } else { false } }
        )
        let end = try #require(server.events.firstIndex { if case .closeRelay = $0 { true } else { false } })
        #expect(change < end)
        #expect(paths().isEmpty)
    }

    @Test func `a reload that denies the peer is told, and leaves it to the engine`() throws {
        try client.bind(0x4000, Self.peer)
        var configuration = try TestServer.configuration()
        configuration.gate = PeerAddressGate(allow: [], relayAddresses: [TestServer.relay4], serverAddresses: [])
        let told = try changes {
            try server.engine.reload(configuration)
            server.drain()
        }
        #expect(told == 1)
        #expect(paths().isEmpty)
        guard case .relay = client.sendChannelData([1], on: 0x4000) else {
            Issue.record("the engine relays until the channel expires")
            return
        }
    }

    @Test func `who has a limit on bandwidth is not told`() throws {
        for change in [
            { $0.limits.bytesPerSecondPerAllocation = 1000 }, { $0.limits.bytesPerSecondPerUser = 1000 },
            { $0.limits.bytesPerSecond = 1000 },
        ] as [(inout TURNServerConfiguration) -> Void] {
            let limited = try TestServer {
                $0.tellsChannelPaths = true
                change(&$0)
            }
            let client = try TestClient(limited)
            _ = try client.relay()
            #expect(try client.bind(0x4000, Self.peer).isSuccess)
            #expect(paths(limited).isEmpty)
        }
    }

    @Test(arguments: [TransportProtocol.tcp, .tls]) func `clients of streams are not told`(
        transport: TransportProtocol
    ) throws {
        let other = try TestClient(server, "198.51.100.9:1", transport: transport)
        _ = try other.relay()
        #expect(try other.bind(0x4000, Self.peer).isSuccess)
        #expect(paths().isEmpty)
    }

    @Test func `relayed addresses of this server are the engine's`() throws {
        let other = try TestClient(server, "198.51.100.9:1", username: "bob")
        let theirs = try other.relay()
        #expect(try client.bind(0x4000, theirs.description).isSuccess)
        #expect(paths().isEmpty)
    }

    @Test func `what was relayed elsewhere is counted`() throws {
        let handle = try #require(handles(server).first)
        var traffic = RelayedTraffic()
        traffic.packetsToPeers = 3
        traffic.bytesToPeers = 300
        traffic.packetsToClient = 2
        traffic.bytesToClient = 20
        server.engine.countRelayed(traffic, of: handle)
        let statistics = server.engine.statistics
        #expect(statistics.traffic == traffic)
        server.events.removeAll()
        _ = try client.refresh(0)
        let ended = server.events.compactMap { event -> RelayedTraffic? in
            if case .allocationEnded(let summary, _) = event { summary.traffic } else { nil }
        }
        #expect(ended == [traffic])
    }
}
