import NetTypes
import STUN
import TURN
import Testing

@testable import TURNServer

@Suite struct RefreshTests {
    @Test func `turn 98: an allocation ends 600 s after its last refresh, and data does not count`() throws {
        let server = try TestServer()
        let client = try TestClient(server)
        let relay = try client.relay()
        server.advance(.seconds(590))
        #expect(try client.refresh().lifetime == 600)
        try client.bind(0x4000, "203.0.113.1:7")
        server.advance(.seconds(590))
        try client.permit("203.0.113.1:7")
        _ = client.sendChannelData([1], on: 0x4000)
        _ = server.receiveFromPeer([1], at: relay, from: address("203.0.113.1:7"))
        #expect(server.sockets.count == 1)
        server.advance(.seconds(10))
        #expect(server.sockets.isEmpty)
        let statistics = server.engine.statistics
        #expect(statistics.allocations == 0 && statistics.permissions == 0 && statistics.channels == 0)
        #expect(server.shared.allocationCount == 0 && server.shared.takenPortCount == 0)
        #expect(try client.refresh().code == 437)
        guard
            case .allocationEnded(let summary, .expired) = server.events.last(where: {
                if case .allocationEnded = $0 { true } else { false }
            })
        else {
            Issue.record("no event")
            return
        }
        #expect(summary.age == .seconds(1190))
        #expect(summary.relayed == [relay])
        #expect(summary.traffic.packetsToPeers == 1 && summary.traffic.bytesToPeers == 1)
        #expect(summary.traffic.packetsToClient == 1)
    }

    @Test func `a packet that comes after the end but before the timeout is too late`() throws {
        let server = try TestServer()
        let client = try TestClient(server)
        let relay = try client.relay()
        try client.bind(0x4000, "203.0.113.1:7")
        let socket = try #require(server.sockets.values.first)
        #expect(socket.local == relay)
        server.now = server.now + .seconds(600)
        #expect(server.receiveFromPeer([1], relay: socket.id, from: address("203.0.113.1:7")) != .noSocket)
        #expect(client.sendChannelData([1], on: 0x4000) == .ignored(.noAllocation))
        #expect(
            server.receiveFromPeer([1], relay: socket.id, from: address("203.0.113.1:7")) == .dropped(.unknownRelay)
        )
    }

    @Test func `a shorter lifetime takes effect before the longer one would have ended`() throws {
        let server = try TestServer()
        let client = try TestClient(server)
        _ = try client.allocate([.lifetime(3600)])
        #expect(try client.refresh(600).lifetime == 600)
        server.advance(.seconds(600))
        #expect(server.sockets.isEmpty)
    }

    @Test func `turn 116: lifetime 0 deletes, and the delete comes again without harm`() throws {
        let server = try TestServer()
        let client = try TestClient(server)
        _ = try client.relay()
        let bytes = try client.message(.refresh, [.lifetime(0)])
        #expect(try #require(try client.exchange(bytes)).lifetime == 0)
        #expect(server.sockets.isEmpty)
        server.advance(.milliseconds(500))
        let again = try #require(try client.exchange(bytes))
        #expect(again.isSuccess && again.lifetime == 0, "turn 94")
        #expect(try client.refresh(0).code == 437)
        server.advance(.seconds(40))
        #expect(try #require(try client.exchange(bytes)).code == 437)
    }

    @Test func `turn 117: another family than the allocation's gets 443`() throws {
        let client = try TestClient(try TestServer())
        _ = try client.relay()
        #expect(try client.refresh(600, [.family(2)]).code == 443)
        #expect(try client.refresh(600, [.family(7)]).code == 443)
        #expect(try client.refresh(600, [.family(1)]).isSuccess)
        #expect(try client.refresh(600, [.init(.requestedAddressFamily, [1])]).code == 400)
        #expect(try client.request(.refresh, [.init(.lifetime, [0])]).code == 400)
    }

    @Test(arguments: [STUNMethod.refresh, .createPermission, .channelBind])
    func `turn 89: a request without allocation gets 437`(method: STUNMethod) throws {
        let client = try TestClient(try TestServer())
        let response = try client.request(method, [.peer("203.0.113.1:1"), .channel(0x4000)])
        #expect(response.code == 437)
        #expect(try response.isProtected(.sha1(client.credentials.md5Key)))
    }

    @Test(arguments: [STUNMethod.refresh, .createPermission, .channelBind])
    func `turn 90: another user on the 5-tuple gets 441`(method: STUNMethod) throws {
        let server = try TestServer()
        _ = try TestClient(server).relay()
        let thief = try TestClient(server, username: "bob")
        let response = try thief.request(method, [.lifetime(0), .peer("203.0.113.1:1"), .channel(0x4000)])
        #expect(response.code == 441)
        #expect(server.sockets.count == 1)
    }

    @Test func `turn 89: data without allocation is ignored`() throws {
        let client = try TestClient(try TestServer())
        #expect(try client.send([1], to: "203.0.113.1:1") == .ignored(.noAllocation))
        #expect(client.sendChannelData([1], on: 0x4000) == .ignored(.noAllocation))
        #expect(client.server.responses.isEmpty)
    }

    @Test func `turn 92: the nonce ends after an hour, and 438 renews it`() throws {
        let server = try TestServer()
        let client = try TestClient(server)
        _ = try client.allocate([.lifetime(3600)])
        server.engine.setWallClock(unixSeconds: TestServer.wallClock + 3600)
        #expect(try #require(try client.exchange(client.message(.refresh, []))).code == 438)
        #expect(try client.refresh().isSuccess)
    }

    @Test func `turn 215: a jump of the time of day ends no allocation`() throws {
        let server = try TestServer()
        let client = try TestClient(server)
        let relay = try client.relay()
        try client.bind(0x4000, "203.0.113.1:7")
        for jump in [TestServer.wallClock + 1_000_000, 5] {
            server.engine.setWallClock(unixSeconds: jump)
            server.advance(.seconds(1))
            #expect(server.receiveFromPeer([1], at: relay, from: address("203.0.113.1:7")).bytes != nil)
        }
        #expect(try client.refresh().isSuccess)
    }

    @Test func `turn 94: a repeated delete of one half of a dual allocation succeeds again`() throws {
        let server = try TestServer()
        let client = try TestClient(server)
        try client.allocate([.additional(2)])
        let bytes = try client.message(.refresh, [.lifetime(0), .family(2)])
        for _ in 0..<2 {
            let response = try #require(try client.exchange(bytes))
            #expect(response.isSuccess && response.lifetime == 0)
        }
        #expect(server.sockets.count == 1)
    }

    /// The driver counts by them: a stream whose allocation has ended without a word would be kept for ever.
    @Test func `no end of an allocation goes untold, however many end at once`() throws {
        let server = try TestServer { $0.limits.allocationsPerUser = 2000 }
        for port in 1...700 { try TestClient(server, "198.51.100.1:\(port)").allocate() }
        server.events = []
        server.advance(.seconds(600))
        #expect(server.events.count { if case .allocationEnded = $0 { true } else { false } } == 700)
        #expect(server.sockets.isEmpty)
    }

    @Test func `deadlines stay in proportion to allocations, however often one is refreshed or made anew`() throws {
        let server = try TestServer()
        let client = try TestClient(server)
        try TestClient(server, "198.51.100.1:2", username: "bob").allocate([.lifetime(3600)])
        for round in 0..<300 {
            try client.allocate([.lifetime(3600)])
            _ = try client.refresh(600)
            _ = try client.refresh(3600)
            if round % 3 == 0 { server.advance(.seconds(1)) }
            #expect(try client.refresh(0).isSuccess)
        }
        let (timers, allocations) = (server.engine.timers.count, server.engine.statistics.allocations)
        #expect(allocations == 1 && timers <= 2 + TURNServerEngine.staleTimers)
        server.advance(.seconds(3600))
        #expect(server.sockets.isEmpty)
    }

    @Test func `a lifetime that was shortened and then lengthened is the long one`() throws {
        let server = try TestServer()
        let client = try TestClient(server)
        try client.allocate([.lifetime(3600)])
        _ = try client.refresh(600)
        _ = try client.refresh(3600)
        server.advance(.seconds(3599))
        #expect(server.sockets.count == 1)
        let timeout = server.engine.nextTimeout
        #expect(timeout == server.now + .seconds(1))
        server.advance(.seconds(1))
        #expect(server.sockets.isEmpty)
    }
}
