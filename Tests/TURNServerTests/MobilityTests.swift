import Bytes
import NetTypes
import STUN
import TURN
import TURNServer
import Testing

/// RFC 8016: allocations that follow their clients.
@Suite struct MobilityTests {
    static let peer = "203.0.113.5:1000"
    static let empty = STUNMessage.Attribute(.mobilityTicket, [])

    let server: TestServer
    let home: TestClient

    init() throws {
        server = try TestServer { $0.allowsMobility = true }
        home = try TestClient(server, "198.51.100.1:4000")
    }

    private func client(
        _ remote: String,
        _ transport: TransportProtocol = .udp,
        username: String = "alice",
        password: String? = nil
    ) throws -> TestClient {
        try TestClient(server, remote, transport: transport, username: username, password: password)
    }

    /// Allocates at home with a ticket, a permission and a channel.
    private func settle() throws -> (relay: SocketAddress, ticket: [UInt8]) {
        let response = try home.allocate([Self.empty])
        try home.bind(0x4000, Self.peer)
        return (try #require(response.relayed.first), try #require(response[.mobilityTicket]))
    }

    private func resume(_ client: TestClient, _ ticket: [UInt8], _ seconds: UInt32? = nil) throws -> Response {
        try client.refresh(seconds, [.init(.mobilityTicket, ticket)])
    }

    /// Who gets what a peer sends.
    private func receiver(_ relay: SocketAddress) -> ClientTuple? {
        guard case .delivered(let client, _) = server.receiveFromPeer([1], at: relay, from: address(Self.peer)) else {
            return nil
        }
        return client
    }

    // MARK: Allocate

    @Test func `turn 190: a ticket in Allocate is not for clients to bring`() throws {
        #expect(try home.allocate([.init(.mobilityTicket, [1])]).code == 400)
        let statistics = server.engine.statistics
        #expect(statistics.allocations == 0 && server.shared.allocationCount == 0)
    }

    @Test func `turn 191: who asks gets a ticket, and no other`() throws {
        let ticket = try #require(try home.allocate([Self.empty])[.mobilityTicket])
        #expect(ticket.count == 44)
        let other = try client("198.51.100.2:1")
        #expect(try other.allocate()[.mobilityTicket] == nil)
        let third = try client("198.51.100.3:1")
        let another = try #require(try third.allocate([Self.empty])[.mobilityTicket])
        #expect(zip(ticket, another).count { $0 == $1 } < 12, "tickets of two allocations look alike")
    }

    @Test func `turn 94: the same Allocate again gets the same ticket`() throws {
        try home.challenge()
        let message = try home.message(.allocate, [.requestedTransport(17), Self.empty], home.newTransaction())
        let first = try #require(try home.exchange(message))
        let second = try #require(try home.exchange(message))
        #expect(first[.mobilityTicket] != nil && first[.mobilityTicket] == second[.mobilityTicket])
    }

    @Test func `turn 191: where it is forbidden the answer is 405, to Allocate and to Refresh`() throws {
        let server = try TestServer()
        let client = try TestClient(server)
        #expect(try client.allocate([Self.empty]).code == 405)
        #expect(try client.allocate().isSuccess)
        #expect(try client.refresh(nil, [.init(.mobilityTicket, [UInt8](repeating: 0, count: 44))]).code == 405)
        let tcp = try TestServer {
            $0.relaysTCP = true
            $0.allowsMobility = true
        }
        let stream = try TestClient(tcp, transport: .tcp)
        #expect(try stream.request(.allocate, [.requestedTransport(6), Self.empty]).code == 405)
    }

    // MARK: Moving

    @Test(arguments: [TransportProtocol.udp, .tcp, .tls])
    func `turn 192, 195: the allocation follows to another 5-tuple, over any transport`(
        transport: TransportProtocol
    ) throws {
        let (relay, ticket) = try settle()
        let away = try client("198.51.100.9:700", transport)
        let response = try resume(away, ticket)
        #expect(response.isSuccess && response.lifetime == 600)
        let next = try #require(response[.mobilityTicket])
        #expect(next != ticket)
        guard case .relay(let transmit) = away.sendChannelData([7], on: 0x4000) else {
            Issue.record("channels must go along")
            return
        }
        #expect(transmit.destination == address(Self.peer))
        #expect(receiver(relay) == away.tuple)
        #expect(home.sendChannelData([7], on: 0x4000) == .ignored(.noAllocation))
        #expect(try home.refresh().code == 437)
        #expect(server.shared.allocationCount == 1 && server.shared.takenPortCount == 1)
        #expect(server.engine.statistics.allocationsMoved == 1)
    }

    @Test(arguments: ["[2001:0:4136:e378:8000:63bf:3fff:fdd2]:700", "[2002:c633:6401::1]:700"])
    func `turn 154: nobody moves into a tunnel from which nobody may allocate`(tunnel: String) throws {
        let (relay, ticket) = try settle()
        let away = try client(tunnel)
        #expect(try resume(away, ticket).code == 403)
        #expect(away.sendChannelData([7], on: 0x4000) == .ignored(.noAllocation))
        #expect(receiver(relay) == home.tuple)
        #expect(try resume(client("198.51.100.9:700"), ticket).isSuccess, "the ticket is as good as before")
    }

    @Test func `turn 194: the old 5-tuple works both ways until the new one has sent data`() throws {
        let (relay, ticket) = try settle()
        let away = try client("198.51.100.9:700")
        #expect(try resume(away, ticket).isSuccess)
        #expect(receiver(relay) == home.tuple)
        guard case .relay = home.sendChannelData([1], on: 0x4000) else {
            Issue.record("the old 5-tuple must go on")
            return
        }
        // Requests are no data: they may come from both.
        #expect(try away.permit("203.0.113.6:1").isSuccess)
        #expect(try home.permit("203.0.113.7:1").isSuccess)
        #expect(try away.refresh().isSuccess)
        #expect(receiver(relay) == home.tuple)
        guard case .relay = try away.send([2], to: Self.peer) else {
            Issue.record("the new 5-tuple must be taken")
            return
        }
        #expect(receiver(relay) == away.tuple)
    }

    @Test func `turn 193: each ticket is good for one move, and a retransmission gets the same answer`() throws {
        let (_, ticket) = try settle()
        let away = try client("198.51.100.9:700")
        let first = try resume(away, ticket)
        let again = try resume(away, ticket)
        #expect(again.isSuccess && again[.mobilityTicket] == first[.mobilityTicket])
        _ = away.sendChannelData([1], on: 0x4000)
        server.advance(.seconds(30))
        #expect(try resume(away, ticket).isSuccess, "it must be recognised for 30 seconds")
        server.advance(.seconds(11))
        #expect(try resume(away, ticket).code == 400)
        let third = try client("198.51.100.10:700")
        #expect(try resume(third, ticket).code == 400)
        let next = try #require(first[.mobilityTicket])
        #expect(try resume(third, next).isSuccess)
        #expect(try resume(away, next).code == 400)
    }

    @Test func `turn 192: without a change of address the ticket is refused`() throws {
        let (_, ticket) = try settle()
        #expect(try resume(home, ticket).code == 400)
        #expect(try home.refresh().isSuccess)
        let away = try client("198.51.100.9:700")
        let next = try #require(try resume(away, ticket)[.mobilityTicket])
        #expect(try resume(away, next).code == 400)
        #expect(try resume(home, next).code == 400)
    }

    @Test func `a client that moves twice before it sends is followed, and the place between is forgotten`() throws {
        let (relay, ticket) = try settle()
        let between = try client("198.51.100.9:700")
        let next = try #require(try resume(between, ticket)[.mobilityTicket])
        let away = try client("198.51.100.10:700")
        #expect(try resume(away, next).isSuccess)
        #expect(between.sendChannelData([1], on: 0x4000) == .ignored(.noAllocation))
        #expect(receiver(relay) == home.tuple)
        _ = away.sendChannelData([1], on: 0x4000)
        #expect(receiver(relay) == away.tuple)
    }

    @Test func `an allocation can be deleted from the new address`() throws {
        let (_, ticket) = try settle()
        let away = try client("198.51.100.9:700")
        let response = try resume(away, ticket, 0)
        #expect(response.isSuccess && response.lifetime == 0 && response[.mobilityTicket] == nil)
        expectNothingLeft()
        #expect(try resume(away, ticket).code == 437)
    }

    // MARK: Attacks

    @Test func `turn 192: a stolen ticket is nothing without the owner's credentials`() throws {
        let (relay, ticket) = try settle()
        let thief = try client("198.51.100.66:6", username: "bob")
        #expect(try resume(thief, ticket).code == 441)
        let stranger = try client("198.51.100.67:6", password: "a guess")
        #expect(try resume(stranger, ticket).code == 401)
        let nobody = try client("198.51.100.68:6")
        let bare = try STUNMessage(
            STUNMessageType(.refresh, .request),
            nobody.newTransaction(),
            attributes: [.init(.mobilityTicket, ticket)]
        ).encoded()
        #expect(try nobody.exchange(bare)?.code == 401)
        #expect(receiver(relay) == home.tuple && server.engine.statistics.allocationsMoved == 0)
        #expect(try thief.send([1], to: Self.peer) == .ignored(.noAllocation))
        // The owner is not harmed: the ticket is still good.
        #expect(try resume(try client("198.51.100.9:700"), ticket).isSuccess)
    }

    @Test func `a request that was overheard does not work from another address`() throws {
        let (_, ticket) = try settle()
        let away = try client("198.51.100.9:700")
        try away.challenge()
        let overheard = try away.message(.refresh, [.init(.mobilityTicket, ticket)])
        let thief = try client("198.51.100.66:6", username: "bob")
        #expect(try thief.exchange(overheard)?.code == 438)
        #expect(try away.exchange(overheard)?.isSuccess == true)
    }

    @Test func `turn 192: every changed, cut or foreign ticket is 400`() throws {
        let (_, ticket) = try settle()
        let away = try client("198.51.100.9:700")
        for index in ticket.indices {
            var changed = ticket
            changed[index] ^= 0x10
            #expect(try resume(away, changed).code == 400)
        }
        #expect(try resume(away, []).code == 400)
        #expect(try resume(away, Array(ticket.dropLast())).code == 400)
        #expect(try resume(away, ticket + [0]).code == 400)
        let other = try TestServer(seed: 5) { $0.allowsMobility = true }
        let foreign = try #require(try TestClient(other).allocate([Self.empty])[.mobilityTicket])
        #expect(try resume(away, foreign).code == 400)
    }

    @Test func `turn 192: the ticket of an allocation that is gone is 437`() throws {
        let (_, ticket) = try settle()
        server.advance(.seconds(601))
        // Its place has a new tenant.
        #expect(try home.allocate([Self.empty]).isSuccess)
        #expect(try resume(try client("198.51.100.9:700"), ticket).code == 437)
    }

    @Test func `a client cannot move onto an allocation that is there`() throws {
        let (relay, ticket) = try settle()
        let other = try client("198.51.100.9:700")
        let mine = try other.relay()
        #expect(try resume(other, ticket).code == 437)
        #expect(try other.refresh().isSuccess && server.shared.allocationCount == 2)
        #expect(relay != mine && receiver(relay) == home.tuple)
        let away = try client("198.51.100.10:700")
        #expect(try resume(away, ticket).isSuccess)
        #expect(try away.allocate().code == 437, "the 5-tuple is taken")
    }

    @Test func `turn 107, 195: moves take nothing from the quota, and give nothing to it`() throws {
        let server = try TestServer {
            $0.allowsMobility = true
            $0.limits.allocationsPerUser = 1
        }
        var ticket = try #require(try TestClient(server, "198.51.100.1:1").allocate([Self.empty])[.mobilityTicket])
        for port in 2...40 {
            let client = try TestClient(server, "198.51.100.1:\(port)")
            let response = try client.refresh(nil, [.init(.mobilityTicket, ticket)])
            ticket = try #require(response[.mobilityTicket])
            #expect(server.shared.allocationCount(of: "alice") == 1)
            if port % 2 == 0 { _ = try client.send([1], to: Self.peer) }
            #expect(try TestClient(server, "198.51.100.2:\(port)").allocate().code == 486)
        }
        let last = try TestClient(server, "198.51.100.3:1")
        #expect(try last.refresh(0, [.init(.mobilityTicket, ticket)]).isSuccess)
        #expect(server.shared.allocationCount == 0 && server.shared.takenPortCount == 0)
        #expect(try last.allocate().isSuccess)
    }

    // MARK: Streams

    @Test func `turn 195: the allocation of a broken connection waits for its client, but not for ever`() throws {
        let stream = try client("198.51.100.20:1", .tcp)
        let ticket = try #require(try stream.allocate([Self.empty])[.mobilityTicket])
        try stream.permit(Self.peer)
        let relay = try #require(server.sockets.values.first?.local)
        server.close(stream.tuple)
        #expect(server.shared.allocationCount == 1)
        let away = try client("198.51.100.9:700", .tls)
        #expect(try resume(away, ticket).isSuccess)
        #expect(receiver(relay) == away.tuple, "there is no old connection to wait for")
        server.close(away.tuple)
        server.advance(.seconds(601))
        expectNothingLeft()
    }

    @Test func `the end of the old connection makes the new one the one`() throws {
        let stream = try client("198.51.100.20:1", .tcp)
        let ticket = try #require(try stream.allocate([Self.empty])[.mobilityTicket])
        try stream.permit(Self.peer)
        let relay = try #require(server.sockets.values.first?.local)
        let away = try client("198.51.100.9:700", .tls)
        #expect(try resume(away, ticket).isSuccess)
        server.close(stream.tuple)
        #expect(receiver(relay) == away.tuple)
    }

    @Test func `a connection that was to be the new one may end first`() throws {
        let (relay, ticket) = try settle()
        let away = try client("198.51.100.9:700", .tls)
        let next = try #require(try resume(away, ticket)[.mobilityTicket])
        server.close(away.tuple)
        #expect(receiver(relay) == home.tuple)
        #expect(try resume(try client("198.51.100.10:1"), next).isSuccess)
    }

    @Test func `streams are kept as long as their allocation may need them`() throws {
        var kept: [ClientTuple: Int] = [:]
        let stream = try client("198.51.100.20:1", .tcp)
        let ticket = try #require(try stream.allocate([Self.empty])[.mobilityTicket])
        let away = try client("198.51.100.9:700", .tls)
        let next = try #require(try resume(away, ticket)[.mobilityTicket])
        let last = try client("198.51.100.10:700", .tls)
        _ = try resume(last, next)
        _ = try last.send([1], to: Self.peer)
        _ = try last.refresh(0)
        for event in server.events {
            switch event {
            case .allocationCreated(let summary): kept[summary.client, default: 0] += 1
            case .clientJoined(let client): kept[client, default: 0] += 1
            case .clientLeft(let client): kept[client, default: 0] -= 1
            case .allocationEnded(let summary, _): kept[summary.client, default: 0] -= 1
            default: break
            }
        }
        #expect(kept == [stream.tuple: 0, away.tuple: 0, last.tuple: 0])
    }

    // MARK: Shards

    @Test func `a datagram client that arrives at another shard is forwarded there and back again`() throws {
        let (relay, ticket) = try settle()
        let other = try TestServer(try Self.configuration(), shared: server.shared, seed: 9)
        let away = try TestClient(other, "198.51.100.9:700")
        try away.challenge()
        let refresh = try away.message(.refresh, [.init(.mobilityTicket, ticket)])
        #expect(other.receive(refresh, from: away.tuple) == .handOver(shard: 0))
        #expect(server.forward(refresh, from: away.tuple) == .accepted)
        let response = try #require(try server.takeResponse(to: away.tuple))
        #expect(response.isSuccess && server.shared.forwardedClientCount == 1)
        // From now on everything goes there, and nothing to and fro.
        let data: [UInt8] = [0x40, 0, 0, 1, 9]
        #expect(other.receive(data, from: away.tuple) == .handOver(shard: 0))
        guard case .relay = server.forward(data, from: away.tuple) else {
            Issue.record("forwarded data must be relayed")
            return
        }
        #expect(receiver(relay) == away.tuple)
        let delete = try away.message(.refresh, [.lifetime(0)])
        #expect(other.receive(delete, from: away.tuple) == .handOver(shard: 0))
        #expect(server.forward(delete, from: away.tuple) == .accepted)
        #expect(server.shared.forwardedClientCount == 0)
        expectNothingLeft()
        #expect(other.receive(data, from: away.tuple) == .ignored(.noAllocation))
        #expect(server.forward(data, from: away.tuple) == .ignored(.noAllocation))
        // And it may allocate where it is.
        #expect(try away.allocate().isSuccess)
    }

    @Test func `a stream that arrives at another shard is handed over with its first message`() throws {
        let (_, ticket) = try settle()
        let other = try TestServer(try Self.configuration(), shared: server.shared, seed: 9)
        let away = try TestClient(other, "198.51.100.9:700", transport: .tcp)
        try away.challenge()
        let refresh = try away.message(.refresh, [.init(.mobilityTicket, ticket)])
        #expect(other.receive(refresh, from: away.tuple) == .handOver(shard: 0))
        #expect(server.receive(refresh, from: away.tuple) == .accepted)
        #expect(try server.takeResponse(to: away.tuple)?.isSuccess == true)
        #expect(server.shared.forwardedClientCount == 0)
    }

    private static func configuration() throws -> TURNServerConfiguration {
        var configuration = try TestServer.configuration()
        configuration.allowsMobility = true
        return configuration
    }

    private func expectNothingLeft() {
        let statistics = server.engine.statistics
        let timeout = server.engine.nextTimeout
        #expect(statistics.allocations == 0 && statistics.permissions == 0 && statistics.channels == 0)
        #expect(server.shared.allocationCount == 0 && server.shared.takenPortCount == 0)
        #expect(server.sockets.isEmpty && timeout == nil && server.shared.forwardedClientCount == 0)
    }
}
