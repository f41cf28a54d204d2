import Bytes
import NetTypes
import STUN
import TURN
import Testing

@testable import TURNServer

/// TCP allocations (RFC 6062).
@Suite struct ConnectionTests {
    let server: TestServer
    let client: TestClient
    let relay: SocketAddress

    init() throws {
        server = try TestServer {
            $0.relaysTCP = true
            $0.limits.connectionsPerAllocation = 3
            $0.limits.failedConnects = RateLimit(perSecond: 0.5, burst: 4)
        }
        client = try TestClient(server, transport: .tcp)
        relay = try #require(try client.request(.allocate, [.requestedTransport(6)]).relayed.first)
    }

    private func connect(_ peer: String) throws -> PeerConnectRequest {
        if client.nonce.isEmpty { try client.challenge() }
        let response = try client.exchange(client.message(.connect, [.peer(peer)]))
        #expect(response == nil, "the answer waits for the outcome")
        let request = server.connecting.popLast()
        return try #require(request)
    }

    /// Connects, and returns the connection with its CONNECTION-ID.
    private func connected(_ peer: String) throws -> (id: PeerConnectionID, number: UInt32) {
        let request = try connect(peer)
        server.engine.peerConnected(request.id, at: server.now)
        server.drain()
        let response = try #require(try server.takeResponse(to: client.tuple))
        #expect(response.isSuccess)
        return (request.id, try number(in: response))
    }

    private func number(in response: Response) throws -> UInt32 {
        let value = try #require(response[.connectionID])
        return value.reduce(0) { $0 << 8 | UInt32($1) }
    }

    private func accept(_ source: String) -> PeerConnectionID? {
        guard let socket = server.sockets.values.first(where: { $0.local == relay }) else { return nil }
        let id = server.engine.peerAccepted(socket.id, from: address(source), at: server.now)
        if let id { server.connections.insert(id) }
        server.drain()
        return id
    }

    /// Another stream of the same user, or of another one.
    private func stream(_ port: Int = 5000, username: String = "alice") throws -> TestClient {
        try TestClient(server, "198.51.100.1:\(port)", transport: .tcp, username: username)
    }

    private func bind(_ number: UInt32, from stream: TestClient) throws -> Response {
        try stream.request(.connectionBind, [.word(.connectionID, number)])
    }

    // MARK: Allocate

    @Test func `turn 161, 162, 163: what a request for a TCP allocation must be`() throws {
        let datagrams = try TestClient(server, "198.51.100.2:1")
        #expect(try datagrams.request(.allocate, [.requestedTransport(6)]).code == 400)
        for (index, extra) in [STUNMessage.Attribute.evenPort(0), .dontFragment, .token(1)].enumerated() {
            #expect(try stream(6000 + index).request(.allocate, [.requestedTransport(6), extra]).code == 400)
        }
        #expect(try stream(6100).request(.allocate, [.requestedTransport(6), .lifetime(700)]).lifetime == 700)
        let without = try TestServer()
        let refused = try TestClient(without, transport: .tcp)
        #expect(try refused.request(.allocate, [.requestedTransport(6)]).code == 442)
        #expect(try refused.exchange(refused.message(.connect, [.peer("203.0.113.1:80")])) == nil)
        #expect(without.engine.statistics.drops(.unsupportedMethod) == 1)
    }

    @Test func `turn 164: the end of the control connection ends everything`() throws {
        let (first, number) = try connected("203.0.113.1:80")
        #expect(try bind(number, from: stream()).isSuccess)
        let second = try connect("203.0.113.2:80")
        #expect(server.connections == [first, second.id] && server.sockets.count == 1)
        server.close(client.tuple)
        #expect(server.connections.isEmpty && server.sockets.isEmpty)
        #expect(server.shared.takenPortCount == 0 && server.shared.livePortCount == 0)
        let left = server.engine.statistics.peerConnections
        #expect(left == 0)
        server.engine.peerConnected(second.id, at: server.now)
        server.drain()
        #expect(server.connections.isEmpty, "an outcome that comes too late changes nothing")
    }

    @Test func `RFC 6062 5_5: connections end when the allocation expires or is deleted`() throws {
        let (_, number) = try connected("203.0.113.1:80")
        #expect(try bind(number, from: stream()).isSuccess)
        #expect(try client.refresh(0).isSuccess)
        #expect(server.connections.isEmpty && server.joined.isEmpty)
    }

    // MARK: Connect

    @Test func `turn 165: what a Connect request must be`() throws {
        #expect(try stream().request(.connect, [.peer("203.0.113.1:80")]).code == 437)
        #expect(try client.request(.connect).code == 400)
        #expect(try client.request(.connect, [.peer("203.0.113.1:0")]).code == 400)
        #expect(try client.request(.connect, [.peer("nonsense")]).code == 400)
        #expect(try client.request(.connect, [.peer("[2001:db8::9]:80")]).code == 443)
        let pending = try connect("203.0.113.1:80")
        #expect(try client.request(.connect, [.peer("203.0.113.1:80")]).code == 446)
        server.engine.peerConnected(pending.id, at: server.now)
        server.drain()
        #expect(try #require(try server.takeResponse(to: client.tuple)).isSuccess)
        #expect(try client.request(.connect, [.peer("203.0.113.1:80")]).code == 446)
        #expect(try connect("203.0.113.1:81").destination == address("203.0.113.1:81"))
    }

    @Test(arguments: ["127.0.0.1:22", "10.0.0.1:80", "198.51.100.99:443", "192.0.2.1:3478"])
    func `turn 157, 174: the gate stands before Connect too`(peer: String) throws {
        #expect(try client.request(.connect, [.peer(peer)]).code == 403)
        #expect(server.connecting.isEmpty)
    }

    @Test func `turn 159: relays of one server reach each other, but none itself`() throws {
        #expect(try client.request(.connect, [.peer(relay.description)]).code == 403)
        let datagrams = try TestClient(server, "198.51.100.2:1", username: "bob").relay()
        #expect(try client.request(.connect, [.peer(datagrams.description)]).code == 403)
        let other = try stream(7000, username: "bob")
        let target = try #require(try other.request(.allocate, [.requestedTransport(6)]).relayed.first)
        #expect(try connect(target.description).destination == target)
    }

    @Test func `turn 166: the connection comes from the relayed address, a failure gets 447`() throws {
        let request = try connect("203.0.113.1:80")
        #expect(request.local == relay && request.destination == address("203.0.113.1:80"))
        server.connections.remove(request.id)
        server.engine.peerConnectFailed(request.id, at: server.now)
        server.drain()
        #expect(try #require(try server.takeResponse(to: client.tuple)).code == 447)
        let slow = try connect("203.0.113.1:80")
        server.advance(.seconds(29))
        #expect(server.connections == [slow.id])
        server.advance(.seconds(1))
        #expect(try #require(try server.takeResponse(to: client.tuple)).code == 447)
        #expect(server.connections.isEmpty)
    }

    @Test func `turn 174: failed connects have a budget, successful ones give theirs back`() throws {
        for port in 1...3 {
            let (id, _) = try connected("203.0.113.1:\(port)")
            server.connections.remove(id)
            server.engine.peerClosed(id, at: server.now)
        }
        for port in 1...4 {
            let request = try connect("203.0.113.1:\(port)")
            server.connections.remove(request.id)
            server.engine.peerConnectFailed(request.id, at: server.now)
            server.drain()
            #expect(try #require(try server.takeResponse(to: client.tuple)).code == 447)
        }
        #expect(try client.request(.connect, [.peer("203.0.113.1:5")]).code == 508)
        server.advance(.seconds(2))
        _ = try connect("203.0.113.1:5")
    }

    @Test func `an allocation has a bounded number of connections`() throws {
        for port in 1...3 { _ = try connected("203.0.113.1:\(port)") }
        #expect(try client.request(.connect, [.peer("203.0.113.1:4")]).code == 508)
        #expect(try client.permit("203.0.113.9:0").isSuccess)
        #expect(accept("203.0.113.9:1") == nil)
        #expect(server.engine.statistics.drops(.tooManyConnections) == 1)
    }

    // MARK: ConnectionAttempt

    @Test func `turn 169: a peer with permission is announced, one without is closed at once`() throws {
        #expect(accept("203.0.113.1:9999") == nil)
        #expect(try server.takeResponse(to: client.tuple) == nil)
        #expect(server.engine.statistics.drops(.noPermission) == 1)
        #expect(try client.permit("203.0.113.1:0").isSuccess)
        _ = try #require(accept("203.0.113.1:9999"))
        let attempt = try #require(try server.takeResponse(to: client.tuple))
        #expect(attempt.message.type == STUNMessageType(.connectionAttempt, .indication))
        let view = try STUNMessageView(attempt.bytes.span)
        #expect(try view.xorPeerAddress() == address("203.0.113.1:9999"))
        #expect(try bind(number(in: attempt), from: stream()).isSuccess)
    }

    // MARK: ConnectionBind

    @Test func `turn 167, 168: a connection that nobody binds is closed after 30 s`() throws {
        let (id, number) = try connected("203.0.113.1:80")
        let (_, other) = try connected("203.0.113.2:80")
        #expect(number != other)
        server.advance(.seconds(29))
        #expect(server.connections.contains(id))
        server.advance(.seconds(1))
        #expect(server.connections.isEmpty)
        #expect(try bind(number, from: stream()).code == 400)
    }

    @Test func `turn 170, 171: who may bind what`() throws {
        let (id, number) = try connected("203.0.113.1:80")
        let datagrams = try TestClient(server, "198.51.100.1:5001")
        #expect(try bind(number, from: datagrams).code == 400)
        #expect(try stream(5002).request(.connectionBind).code == 400)
        #expect(try bind(number ^ 1, from: stream(5003)).code == 400)
        #expect(try bind(number, from: client).code == 400, "a control connection stays one")
        #expect(try bind(number, from: stream(5004, username: "bob")).code == 441)
        let data = try stream()
        #expect(try bind(number, from: data).isSuccess)
        #expect(server.joined == [id: data.tuple])
        #expect(try bind(number, from: stream(5005)).code == 400)
        server.advance(.seconds(400))
        #expect(server.joined == [id: data.tuple], "a joined connection lives as long as its allocation")
    }

    @Test func `turn 173: no datagrams and no channels in a TCP allocation, no Connect in another`() throws {
        #expect(try client.permit("203.0.113.1:0").isSuccess)
        #expect(try client.send([1], to: "203.0.113.1:80") == .ignored(.wrongTransport))
        #expect(try client.bind(0x4000, "203.0.113.1:80").code == 400)
        let other = try stream()
        #expect(try other.allocate().isSuccess)
        #expect(try other.request(.connect, [.peer("203.0.113.1:80")]).code == 400)
    }

    @Test func `a request on another shard is handed to the one that has the connection`() throws {
        let sibling = try TestServer(server.engine.configuration, shared: server.shared, seed: 2)
        let (_, number) = try connected("203.0.113.1:80")
        #expect(PeerConnections.shard(of: number) == 0)
        let data = try TestClient(sibling, "198.51.100.1:5000", transport: .tcp)
        try data.challenge()
        let request = try data.message(.connectionBind, [.word(.connectionID, number)])
        #expect(sibling.receive(request, from: data.tuple) == .handOver(shard: 0))
        #expect(server.receive(request, from: data.tuple) == .accepted)
        #expect(try #require(try server.takeResponse(to: data.tuple)).isSuccess)
        // There is no third shard: this one answers.
        #expect(try data.request(.connectionBind, [.word(.connectionID, 7 << 24)]).code == 400)
    }

    @Test func `bytes of connections count, and the bandwidth makes them wait`() throws {
        let server = try TestServer {
            $0.relaysTCP = true
            $0.limits.bytesPerSecondPerAllocation = 1000
        }
        let client = try TestClient(server, transport: .tcp)
        _ = try client.request(.allocate, [.requestedTransport(6)])
        #expect(try client.exchange(client.message(.connect, [.peer("203.0.113.1:80")])) == nil)
        let id = try #require(server.connecting.first?.id)
        server.engine.peerConnected(id, at: server.now)
        #expect(server.engine.peerRelayed(id, toPeer: 400, toClient: 600, at: server.now) == server.now)
        let next = server.engine.peerRelayed(id, toPeer: 0, toClient: 500, at: server.now)
        #expect(next == server.now + .milliseconds(500))
        let traffic = server.engine.statistics.traffic
        #expect(traffic.bytesToPeers == 400 && traffic.bytesToClient == 1100)
    }
}
