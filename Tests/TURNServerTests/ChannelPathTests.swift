import Bytes
import NetTypes
import STUN
import TURN
import Testing

@testable import TURNServer

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

    private func changes(of server: TestServer? = nil, _ body: () throws -> Void) rethrows -> Int {
        let server = server ?? self.server
        server.events.removeAll()
        try body()
        return server.events.count { if case .channelPathsChanged = $0 { true } else { false } }
    }

    /// Those that leave true what was told before.
    private func extensions(of server: TestServer? = nil, _ body: () throws -> Void) rethrows -> Int {
        let server = server ?? self.server
        let told = try changes(of: server, body)
        #expect(told == 0, "nothing of what was told is wrong now")
        return server.events.count { if case .channelPathsExtended = $0 { true } else { false } }
    }

    @Test func `a bound channel is told with its addresses and its times`() throws {
        let told = try extensions { try client.bind(0x4000, Self.peer) }
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
        #expect(try extensions { _ = try client.permit("203.0.113.5:0") } == 1)
        #expect(paths().first?.toClientUntil == server.now + .seconds(300))
        #expect(try extensions { _ = try client.refresh(900) } == 1)
        #expect(paths().first?.toPeerUntil == server.now + .seconds(400), "the channel is as old as it was")
        #expect(try extensions { try client.bind(0x4000, Self.peer) } == 1)
        #expect(paths().first?.toPeerUntil == server.now + .seconds(600))
        let shortened = try changes { _ = try client.refresh(600) }
        #expect(shortened == 1, "what was told for longer is not true any more")
        server.advance(.seconds(301))
        let late = try #require(paths().first)
        #expect(late.toClientUntil <= server.now, "no permission, nothing to the client")
        server.advance(.seconds(299))
        #expect(paths().isEmpty)
    }

    @Test func `channels that have expired are told, although the request that finds them fails`() throws {
        let server = try TestServer {
            $0.tellsChannelPaths = true
            $0.limits.newPeers = RateLimit(perSecond: 1, burst: 1)
        }
        let client = try TestClient(server)
        _ = try client.relay()
        #expect(try client.bind(0x4000, Self.peer).isSuccess)
        #expect(try client.refresh(3600).isSuccess)
        server.advance(.seconds(601))
        #expect(try client.permit("203.0.113.6:0").isSuccess)
        let told = try extensions(of: server) {
            let response = try client.bind(0x4001, "203.0.113.7:1")
            #expect(response.code == 508)
        }
        #expect(told == 1)
        #expect(paths(server).isEmpty)
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

    @Test func `a reload that denies the peer is told, and ends the channel`() throws {
        try client.bind(0x4000, Self.peer)
        var configuration = try TestServer.configuration()
        configuration.gate = PeerAddressGate(allow: [], relayAddresses: [TestServer.relay4], serverAddresses: [])
        let told = try changes {
            try server.engine.reload(configuration)
            server.drain()
        }
        #expect(told == 1)
        #expect(paths().isEmpty)
        guard case .ignored = client.sendChannelData([1], on: 0x4000) else {
            Issue.record("a denied peer is sent to")
            return
        }
    }

    @Test func `after a move the old 5-tuple is not there any more`() throws {
        let moving = try TestClient(server, "198.51.100.77:1", username: "bob")
        let ticket = try #require(try moving.allocate([.init(.mobilityTicket, [])])[.mobilityTicket])
        #expect(try moving.bind(0x4001, Self.peer).isSuccess)
        #expect(paths(server).map(\.client) == [moving.tuple])
        let moved = try TestClient(server, "198.51.100.78:2", username: "bob")
        #expect(try moved.refresh(nil, [.init(.mobilityTicket, ticket)]).isSuccess)
        #expect(paths(server).map(\.client) == [moving.tuple], "until the new one is heard")
        let told = changes { _ = moved.sendChannelData([1], on: 0x4001) }
        #expect(told == 1)
        #expect(paths(server).map(\.client) == [moved.tuple])
    }

    private static let limits: [@Sendable (inout TURNServerConfiguration) -> Void] = [
        { $0.limits.bytesPerSecondPerAllocation = 80_000 }, { $0.limits.bytesPerSecondPerUser = 80_000 },
        { $0.limits.bytesPerSecond = 80_000 },
    ]

    private func limited(
        _ change: (inout TURNServerConfiguration) -> Void
    ) throws -> (server: TestServer, client: TestClient, handle: SlotHandle) {
        let server = try TestServer {
            $0.tellsChannelPaths = true
            change(&$0)
        }
        let client = try TestClient(server)
        _ = try client.relay()
        #expect(try client.bind(0x4000, Self.peer).isSuccess)
        return (server, client, try #require(handles(server).first))
    }

    /// Takes all that can be taken ahead.
    private func drain(_ server: TestServer, _ handle: SlotHandle) -> Int {
        var sum = 0
        while true {
            let bytes = server.engine.takeAhead(1 << 20, of: handle, at: server.now)
            guard bytes > 0 else { return sum }
            sum += bytes
        }
    }

    /// Sends until the engine relays no more.
    private func relayAll(_ client: TestClient) -> Int {
        var sum = 0
        while case .relay = client.sendChannelData([UInt8](repeating: 1, count: 500), on: 0x4000) { sum += 500 }
        return sum
    }

    @Test(arguments: 0..<3) func `bytes that were taken ahead are not relayed by the engine again`(limit: Int) throws {
        let (server, client, handle) = try limited(Self.limits[limit])
        let isLimited = server.engine.limitsBandwidth(of: handle)
        #expect(isLimited)
        #expect(paths(server).count == 1)
        let ahead = drain(server, handle)
        #expect((77_000...80_000).contains(ahead), "all but a packet of a second's bytes")
        #expect((79_500...80_000).contains(ahead + relayAll(client)))
        server.advance(.milliseconds(500))
        #expect((37_000...40_500).contains(drain(server, handle)), "what half a second has earned")
    }

    @Test(arguments: 0..<3) func `bytes that were given back can be relayed, once`(limit: Int) throws {
        let (server, client, handle) = try limited(Self.limits[limit])
        server.engine.giveBack(drain(server, handle), of: handle)
        server.engine.giveBack(0, of: handle)
        #expect((79_500...80_000).contains(relayAll(client)))
    }

    @Test(arguments: 0..<3) func `bytes that are given back when the allocation ends are there for the next one`(
        limit: Int
    ) throws {
        let (server, client, handle) = try limited(Self.limits[limit])
        server.takenAhead[handle] = drain(server, handle)
        #expect(try client.refresh(0).isSuccess)
        #expect(server.takenAhead.isEmpty, "the driver was told, and has given them back")
        let next = try TestClient(server, "198.51.100.1:9")
        _ = try next.relay()
        #expect(try next.bind(0x4000, Self.peer).isSuccess)
        #expect((79_500...80_000).contains(relayAll(next)))
        let kept = server.engine.endedBudgets.count
        #expect(kept == 0)
    }

    @Test func `what one limit denies costs the others nothing`() throws {
        let (server, client, handle) = try limited {
            $0.limits.bytesPerSecondPerAllocation = 160_000
            $0.limits.bytesPerSecondPerUser = 160_000
            $0.limits.bytesPerSecond = 80_000
        }
        #expect((77_000...80_000).contains(drain(server, handle)))
        server.advance(.seconds(1))
        #expect((79_500...80_000).contains(relayAll(client)))
    }

    @Test func `one allocation takes but a share ahead of what is for all`() throws {
        let (server, _, handle) = try limited { $0.limits.bytesPerSecond = 800_000 }
        let taken = [1 << 20, 2000, 1000].map { server.engine.takeAhead($0, of: handle, at: server.now) }
        #expect(taken == [100_000, 2000, 0], "the last was less than a packet")
    }

    @Test func `without limits nothing is to be taken`() throws {
        let (server, _, handle) = try limited { _ in }
        let isLimited = server.engine.limitsBandwidth(of: handle)
        #expect(!isLimited)
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
