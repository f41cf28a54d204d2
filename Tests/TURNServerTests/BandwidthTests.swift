import Bytes
import NetTypes
import STUN
import TURN
import TURNServer
import Testing

/// Limits on bytes: of an allocation, of a user, of all, over any number of shards.
@Suite struct BandwidthTests {
    static let peer = "203.0.113.5:1000"

    /// Shards of one server.
    private func shards(
        _ count: Int,
        _ change: (inout TURNServerLimits) -> Void
    ) throws -> [TestServer] {
        var configuration = try TestServer.configuration()
        change(&configuration.limits)
        let shared = TURNServerShared(configuration, entropy: .seeded(4))
        return try (0..<count).map { try TestServer(configuration, shared: shared, seed: UInt64($0) + 10) }
    }

    private func client(_ server: TestServer, _ port: Int, _ user: String = "alice") throws -> TestClient {
        let client = try TestClient(server, "198.51.100.1:\(port)", username: user)
        _ = try client.relay()
        try client.permit(Self.peer)
        return client
    }

    /// How many of so many datagrams of 1000 bytes pass, and why the first that does not is dropped.
    private func pass(_ client: TestClient, _ count: Int) throws -> (count: Int, reason: TURNServerDrop?) {
        var passed = 0
        var reason: TURNServerDrop?
        let message = try client.indication(
            .send,
            [.peer(Self.peer), .init(.data, [UInt8](repeating: 1, count: 1000))]
        )
        for _ in 0..<count {
            switch client.server.receive(message, from: client.tuple) {
            case .relay: passed += 1
            case .ignored(let why): reason = reason ?? why
            case .accepted, .handOver: Issue.record("neither relayed nor dropped")
            }
        }
        return (passed, reason)
    }

    @Test func `turn 95: one allocation passes what it may in a second, both ways together`() throws {
        let server = try shards(1) { $0.bytesPerSecondPerAllocation = 50_000 }[0]
        let (first, second) = (try client(server, 1), try client(server, 2))
        #expect(try pass(first, 30).count == 30)
        let relay = try #require(server.sockets.min { $0.key < $1.key }?.value.local)
        let payload = [UInt8](repeating: 2, count: 1000)
        for _ in 0..<10 {
            #expect(server.receiveFromPeer(payload, at: relay, from: address(Self.peer)).bytes != nil)
        }
        #expect(try pass(first, 30) == (10, .bandwidthLimit))
        #expect(server.receiveFromPeer(payload, at: relay, from: address(Self.peer)) == .dropped(.bandwidthLimit))
        #expect(try pass(second, 10).count == 10, "another allocation has its own")
        server.advance(.seconds(1))
        #expect(try pass(first, 100) == (50, .bandwidthLimit))
        #expect(server.engine.statistics.drops(.bandwidthLimit) == 71)
    }

    @Test(arguments: [1, 2, 4])
    func `turn 95, 156: the allocations of one user share what the user has, on all shards`(count: Int) throws {
        let servers = try shards(count) { $0.bytesPerSecondPerUser = 1_000_000 }
        let clients = try (0..<8).map { try client(servers[$0 % count], 100 + $0) }
        let passed = try clients.map { try pass($0, 500).count }.reduce(0, +)
        // What shards have taken ahead and not used is missing: a portion of 20 kB each.
        #expect((1000 - 20 * count...1000).contains(passed))
        #expect(try pass(clients[0], 10) == (0, .userBandwidthLimit))
        #expect(try pass(try client(servers[0], 200, "bob"), 100).count == 100, "another user has his own")
        for server in servers { server.advance(.seconds(1)) }
        let later = try clients.map { try pass($0, 500).count }.reduce(0, +)
        #expect((1000 - 20 * count...1000 + 20 * count).contains(later))
    }

    @Test(arguments: [1, 2, 4])
    func `turn 95: all together have a limit, on all shards`(count: Int) throws {
        let servers = try shards(count) { $0.bytesPerSecond = 1_000_000 }
        let clients = try (0..<8).map { try client(servers[$0 % count], 100 + $0, $0 % 2 == 0 ? "alice" : "bob") }
        let passed = try clients.map { try pass($0, 500).count }.reduce(0, +)
        #expect((1000 - 20 * count...1000).contains(passed))
        #expect(try pass(clients[0], 10) == (0, .totalBandwidthLimit))
        let drops = servers.reduce(0) { $0 + $1.engine.statistics.drops(.totalBandwidthLimit) }
        #expect(drops == UInt64(8 * 500 - passed + 10))
    }

    @Test func `turn 212: what floods one allocation does not cost the others`() throws {
        let server = try shards(1) {
            $0.bytesPerSecondPerAllocation = 100_000
            $0.bytesPerSecond = 1_000_000
        }[0]
        _ = try client(server, 1)
        let other = try client(server, 2, "bob")
        let relays = server.sockets.sorted { $0.key < $1.key }.map(\.value.local)
        let payload = [UInt8](repeating: 0, count: 1000)
        for _ in 0..<5000 { _ = server.receiveFromPeer(payload, at: relays[0], from: address(Self.peer)) }
        #expect(try pass(other, 50).count == 50)
        // Nor do strangers, who have no permission.
        server.advance(.seconds(1))
        for _ in 0..<5000 { _ = server.receiveFromPeer(payload, at: relays[1], from: address("203.0.113.66:1")) }
        #expect(try pass(other, 50).count == 50)
    }

    @Test func `to allocate anew does not fill the user's budget`() throws {
        let server = try shards(1) { $0.bytesPerSecondPerUser = 100_000 }[0]
        var passed = 0
        for port in 1...20 {
            let client = try client(server, port)
            passed += try pass(client, 200).count
            _ = try client.refresh(0)
        }
        #expect(passed <= 100)
    }

    @Test func `what an allocation has not used of its user's bytes is there for the next one`() throws {
        let server = try shards(1) { $0.bytesPerSecondPerUser = 100_000 }[0]
        var passed = 0
        for port in 1...120 {
            let client = try client(server, port)
            passed += try pass(client, 1).count
            _ = try client.refresh(0)
        }
        #expect((99...100).contains(passed))
    }

    @Test func `a low limit lets whole packets pass, at its pace`() throws {
        let server = try shards(1) {
            $0.bytesPerSecondPerUser = 4000
            $0.bytesPerSecond = 4000
        }[0]
        let client = try client(server, 1)
        var passed = 0
        for _ in 0..<100 {
            passed += try pass(client, 3).count
            server.advance(.milliseconds(100))
        }
        #expect((36...44).contains(passed))
    }

    @Test func `turn 95: bytes over TCP make their reader pause for user and server too`() throws {
        let server = try TestServer {
            $0.relaysTCP = true
            $0.limits.bytesPerSecondPerUser = 100_000
            $0.limits.bytesPerSecond = 50_000
        }
        let control = try TestClient(server, transport: .tcp)
        #expect(try control.request(.allocate, [.requestedTransport(6)]).isSuccess)
        let message = try control.message(.connect, [.peer("203.0.113.5:80")])
        _ = try control.exchange(message)
        let id = try #require(server.connecting.first?.id)
        server.engine.peerConnected(id, at: server.now)
        server.drain()
        let pause = server.engine.peerRelayed(id, toPeer: 75_000, toClient: 25_000, at: server.now)
        #expect(pause == server.now + .seconds(1))
    }
}

/// Limits on what a user can find out, or bother, through the relay.
@Suite struct ScanTests {
    @Test func `new peers are added at a pace, known ones always`() throws {
        let server = try TestServer { $0.limits.newPeers = RateLimit(perSecond: 2, burst: 10) }
        let client = try TestClient(server)
        _ = try client.relay()
        for host in 1...10 { #expect(try client.permit("203.0.113.\(host):1").isSuccess) }
        let refusal = try client.permit("203.0.113.11:1")
        #expect(refusal.code == 508 && refusal.reason == "too many new peers")
        #expect(try client.bind(0x4000, "203.0.113.12:1").code == 508)
        #expect(try client.bind(0x4000, "203.0.113.1:1").isSuccess)
        #expect(try client.permit("203.0.113.2:1", "203.0.113.3:1").isSuccess)
        server.advance(.seconds(1))
        #expect(try client.permit("203.0.113.11:1", "203.0.113.12:1", "203.0.113.13:1").code == 508, "all or nothing")
        #expect(try client.permit("203.0.113.11:1", "203.0.113.12:1").isSuccess)
        #expect(try client.permit("203.0.113.13:1").code == 508)
    }

    @Test func `by default a call's candidates pass at once, and a scan of a network does not`() throws {
        let server = try TestServer { $0.limits.permissionsPerAllocation = 1000 }
        let client = try TestClient(server)
        _ = try client.relay()
        let codes = try (0..<250).map { try client.permit("203.0.113.\($0):1").code }
        #expect(codes.prefix(100).allSatisfy { $0 == 0 } && codes.dropFirst(100).allSatisfy { $0 == 508 })
    }

    @Test func `turn 174: failed connections are counted for the user over all addresses, allocations and shards`()
        throws
    {
        var configuration = try TestServer.configuration()
        configuration.relaysTCP = true
        configuration.limits.failedConnects = RateLimit(perSecond: 1, burst: 6)
        let shared = TURNServerShared(configuration, entropy: .seeded(4))
        let servers = try [1, 2].map { try TestServer(configuration, shared: shared, seed: $0) }
        var codes: [Int] = []
        for index in 0..<10 {
            let server = servers[index % 2]
            let client = try TestClient(server, "198.51.\(100 + index).1:1", transport: .tcp)
            try #require(try client.request(.allocate, [.requestedTransport(6)]).isSuccess)
            let answer = try client.exchange(client.message(.connect, [.peer("203.0.113.5:\(index + 1)")]))
            if let answer {
                codes.append(answer.code)
                #expect(answer.reason == "too many failed connections")
                continue
            }
            let id = try #require(server.connecting.popLast()?.id)
            server.engine.peerConnectFailed(id, at: server.now)
            server.drain()
            codes.append(try #require(try server.takeResponse(to: client.tuple)).code)
            server.connections.remove(id)
        }
        #expect(codes == Array(repeating: 447, count: 6) + Array(repeating: 508, count: 4))
        // Connections that succeed cost nothing, and others are not to blame.
        let bob = try TestClient(servers[0], "198.51.100.200:1", transport: .tcp, username: "bob")
        try #require(try bob.request(.allocate, [.requestedTransport(6)]).isSuccess)
        for port in 1...20 {
            #expect(try bob.exchange(bob.message(.connect, [.peer("203.0.113.5:\(port)")])) == nil)
            let id = try #require(servers[0].connecting.popLast()?.id)
            servers[0].engine.peerConnected(id, at: servers[0].now)
            servers[0].drain()
            #expect(try servers[0].takeResponse(to: bob.tuple)?.isSuccess == true)
        }
    }
}

/// What error responses say beside their code.
@Suite struct ReasonTests {
    private let server: TestServer
    private let client: TestClient

    init() throws {
        server = try TestServer()
        client = try TestClient(server)
    }

    @Test func `400 says what is wrong with a request`() throws {
        #expect(try client.request(.allocate).reason == "REQUESTED-TRANSPORT is missing")
        #expect(
            try client.request(.allocate, [.init(.requestedTransport, [17])]).reason
                == "REQUESTED-TRANSPORT is malformed"
        )
        #expect(try client.allocate([.family(1), .additional(2)]).reason?.contains("not both") == true)
        #expect(try client.allocate([.additional(1)]).reason == "ADDITIONAL-ADDRESS-FAMILY must be IPv6")
        _ = try client.relay()
        #expect(try client.bind(0x5000, "203.0.113.1:7").reason == "channels are 0x4000 to 0x4FFF (RFC 8656)")
        #expect(try client.bind(0x4000, "203.0.113.1:0").reason == "XOR-PEER-ADDRESS has port 0")
        #expect(try client.request(.channelBind, [.channel(0x4000)]).reason == "XOR-PEER-ADDRESS is missing")
        #expect(try client.request(.channelBind, [.peer("203.0.113.1:7")]).reason == "CHANNEL-NUMBER is missing")
        #expect(
            try client.request(.channelBind, [.channel(0x4000), .peer("nonsense")]).reason
                == "XOR-PEER-ADDRESS is malformed"
        )
        #expect(try client.bind(0x4000, "203.0.113.1:7").isSuccess)
        #expect(try client.bind(0x4000, "203.0.113.1:8").reason == "the channel has another peer")
        #expect(try client.bind(0x4001, "203.0.113.1:7").reason == "the peer has another channel")
        #expect(try client.request(.createPermission).reason == "XOR-PEER-ADDRESS is missing")
        #expect(try client.refresh(nil, [.init(.lifetime, [1])]).reason == "LIFETIME is malformed")
    }

    @Test func `a stranger gets a reason only in an answer that is no longer than the request`() throws {
        let nonce = try client.knownNonce()
        let key = client.credentials.md5Key
        let all: [STUNMessage.Attribute] = [
            .text(.username, "alice"), .text(.realm, TestServer.realm), .init(.nonce, nonce),
        ]
        var reasons: [String?] = []
        for missing in 0..<3 {
            let attributes = all.enumerated().filter { $0.offset != missing }.map(\.element)
            let bytes = try STUNMessage(
                STUNMessageType(.allocate, .request),
                client.newTransaction(),
                attributes: attributes
            ).encoded(protectedBy: .sha1(key))
            let response = try #require(try client.exchange(bytes))
            #expect(response.code == 400 && response.bytes.count <= bytes.count)
            reasons.append(response.reason)
        }
        #expect(reasons == ["USERNAME is missing", "REALM is missing", "NONCE is missing"])
        let bare = try STUNMessage(STUNMessageType(.allocate, .request), client.newTransaction(), attributes: [])
            .encoded(protectedBy: .sha1(key))
        let response = try #require(try client.exchange(bare))
        #expect(response.code == 400 && response.reason == "" && response.bytes.count <= bare.count)
    }
}
