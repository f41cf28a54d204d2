import Bytes
import NetTypes
import STUN
import TURN
import TURNServer
import Testing

/// What changes under a running server, and what does not.
@Suite struct ReloadTests {
    let server: TestServer

    init() throws { server = try TestServer() }

    private func reload(_ change: (inout TURNServerConfiguration) throws -> Void) throws {
        var configuration = try TestServer.configuration()
        try change(&configuration)
        try server.engine.reload(configuration)
    }

    private func credentials(_ users: [String], secrets: [String] = []) throws -> TURNServerCredentials {
        TURNServerCredentials(
            realm: TestServer.realm,
            users: try users.map {
                try LongTermCredentials(username: $0, realm: TestServer.realm, password: "secret of \($0)")
            },
            secrets: try secrets.map { try RESTSecret(Array($0.utf8)) },
            nonceSecret: Array(repeating: 7, count: 16)
        )
    }

    @Test func `a user who is removed gets nothing new, and what she has lives on`() throws {
        let alice = try TestClient(server)
        let relay = try alice.relay()
        try alice.permit("198.51.100.9:0")
        try reload { $0.credentials = try credentials(["carol"]) }
        #expect(try TestClient(server, "198.51.100.1:4001").allocate().code == 401)
        let carol = try TestClient(server, "198.51.100.1:4002", username: "carol")
        #expect(try carol.allocate().isSuccess)
        #expect(try alice.refresh().isSuccess)
        #expect(try alice.permit("198.51.100.9:0").isSuccess)
        let arrival = server.receiveFromPeer([1, 2, 3], at: relay, from: address("198.51.100.9:7"))
        #expect(arrival.bytes != nil)
    }

    @Test func `turn 207: of several secrets each is good, until it is taken out`() throws {
        let expiry = TestServer.wallClock + 600
        let minted = try ["the first secret", "the second secret"].map {
            try RESTSecret(Array($0.utf8)).mint(userID: "dora", expiryUnixSeconds: expiry)
        }
        func allocates(_ credential: RESTCredentials, port: Int) throws -> Bool {
            try TestClient(
                server,
                "198.51.100.1:\(port)",
                username: credential.username,
                password: credential.password
            ).allocate().isSuccess
        }
        try reload { $0.credentials = try credentials([], secrets: ["the first secret", "the second secret"]) }
        #expect(try allocates(minted[0], port: 1) && allocates(minted[1], port: 2))
        try reload { $0.credentials = try credentials([], secrets: ["the second secret"]) }
        #expect(try !allocates(minted[0], port: 3) && allocates(minted[1], port: 4))
    }

    private func deny(_ peer: String) throws {
        try reload { configuration in
            configuration.gate = PeerAddressGate(
                allow: [IPPrefix("198.51.100.0/24")].compactMap(\.self),
                deny: [IPPrefix(peer)].compactMap(\.self),
                relayAddresses: configuration.relayAddresses
            )
        }
        server.drain()
    }

    @Test func `turn 157: the gate closes at once, also for permissions and channels of before, and for no other peer`()
        throws
    {
        let alice = try TestClient(server)
        let relay = try alice.relay()
        try alice.permit("198.51.100.9:0")
        try alice.bind(0x4002, "198.51.100.9:9")
        try alice.bind(0x4003, "198.51.100.8:8")
        try deny("198.51.100.9/32")
        #expect(server.receiveFromPeer([1], at: relay, from: address("198.51.100.9:7")).bytes == nil)
        #expect(try alice.send([1], to: "198.51.100.9:7") == .ignored(.noPermission))
        #expect(alice.sendChannelData([1], on: 0x4002) == .ignored(.unboundChannel))
        #expect(try alice.permit("198.51.100.9:0").code == 403)
        #expect(try alice.bind(0x4001, "198.51.100.9:9").code == 403)
        guard case .relay = alice.sendChannelData([1], on: 0x4003) else {
            Issue.record("the other peer must be reached")
            return
        }
        #expect(server.receiveFromPeer([1], at: relay, from: address("198.51.100.8:8")).bytes != nil)
        let statistics = server.engine.statistics
        #expect(statistics.permissions == 1 && statistics.channels == 1 && statistics.allocations == 1)
    }

    @Test func `turn 157: TCP connections with a peer end when the gate denies it, and those under way get 447`() throws
    {
        let server = try TestServer { $0.relaysTCP = true }
        let client = try TestClient(server, transport: .tcp)
        #expect(try client.request(.allocate, [.requestedTransport(6)]).isSuccess)
        #expect(try client.exchange(client.message(.connect, [.peer("198.51.100.9:80")])) == nil)
        #expect(try client.exchange(client.message(.connect, [.peer("198.51.100.8:80")])) == nil)
        #expect(server.connections.count == 2)
        var configuration = try TestServer.configuration()
        configuration.gate = PeerAddressGate(
            allow: [IPPrefix("198.51.100.0/24")].compactMap(\.self),
            deny: [IPPrefix("198.51.100.9/32")].compactMap(\.self),
            relayAddresses: configuration.relayAddresses
        )
        try server.engine.reload(configuration)
        server.drain()
        #expect(try server.takeResponse(to: client.tuple)?.code == 447)
        #expect(server.connections.count == 1)
        let left = server.engine.statistics.peerConnections
        #expect(left == 1)
    }

    @Test func `turn 214: a reload between any two datagrams loses none, either way`() throws {
        let alice = try TestClient(server)
        let relay = try alice.relay()
        let peer = address("198.51.100.9:9")
        try alice.bind(0x4000, "198.51.100.9:9")
        for number in 0..<200 as Range<UInt8> {
            switch number % 4 {
            case 0: try reload { $0.credentials = try credentials(number % 8 == 0 ? ["carol"] : ["alice", "bob"]) }
            case 1: try reload { $0.limits.allocationsPerUser = 1 + Int(number) }
            case 2: try deny("203.0.113.0/24")
            default: break
            }
            guard case .relay(let transmit) = alice.sendChannelData([number], on: 0x4000) else {
                Issue.record("datagram \(number) to the peer is lost")
                return
            }
            #expect(transmit.destination == peer && transmit.payload.count == 1)
            #expect(server.receiveFromPeer([number], at: relay, from: peer).bytes == [0x40, 0, 0, 1, number])
            server.advance(.milliseconds(20))
        }
        let drops = server.engine.statistics.drops.reduce(0) { $0 + $1.count }
        #expect(drops == 0)
    }

    @Test func `quotas change for what is new`() throws {
        let clients = try (0..<3).map { try TestClient(server, "198.51.100.1:\(4000 + $0)") }
        #expect(try clients[0].allocate().isSuccess && clients[1].allocate().isSuccess)
        try reload { $0.limits.allocationsPerUser = 2 }
        server.shared.setQuotas(perUser: 2, total: 2)
        #expect(try clients[2].allocate().code == 486)
        #expect(try clients[0].refresh().isSuccess)
        server.shared.setQuotas(perUser: 3, total: 3)
        try reload { $0.limits.allocations = 2 }
        #expect(try TestClient(server, "198.51.100.1:5000", username: "bob").allocate().code == 508)
        try reload { $0.limits.allocations = 3 }
        #expect(try TestClient(server, "198.51.100.1:5001", username: "bob").allocate().isSuccess)
    }

    @Test func `what cannot work is refused, and nothing changes`() throws {
        let bad = try TestServer.configuration()
        var configuration = bad
        configuration.credentials = TURNServerCredentials(realm: "")
        #expect(throws: TURNServerConfigurationError.badRealm) { try server.engine.reload(configuration) }
        configuration = bad
        configuration.credentials = TURNServerCredentials(realm: TestServer.realm, nonceSecret: [1])
        #expect(throws: TURNServerConfigurationError.badNonceSecret) { try server.engine.reload(configuration) }
        #expect(try TestClient(server).allocate().isSuccess)
    }

    @Test func `what is bound to sockets stays`() throws {
        try reload { configuration in
            configuration.relayPorts = 2000...2001
            configuration.relaysTCP = true
        }
        let relayed = try TestClient(server).relay()
        #expect(relayed.port >= 49152)
        #expect(try TestClient(server, "198.51.100.1:4001").request(.allocate, [.requestedTransport(6)]).code == 442)
    }
}
