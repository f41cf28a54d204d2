import NetTypes
import STUN
import TURN
import TURNServer
import Testing

/// ALTERNATE-SERVER (RFC 8489 §10), and what is left of RFC 3489.
@Suite struct RedirectionTests {
    private static let servers = [address("198.51.100.7:3478"), address("[2001:db8::7]:3478")]

    private func server(isForAll: Bool = true, domain: String? = nil) throws -> TestServer {
        try TestServer {
            $0.redirection = TURNServerRedirection(to: Self.servers, domain: domain)
            $0.redirection?.isForAll = isForAll
        }
    }

    /// Where a response sends the client: the families in their order, and the first address.
    private func alternates(_ response: Response) throws -> (families: [UInt8], first: SocketAddress?) {
        let values = response.message.attributes.filter { $0.type == .alternateServer }.map(\.value)
        let first = try STUNMessageView(response.bytes.span).alternateServer()
        return (values.map { $0[1] }, first)
    }

    @Test(arguments: [TestClient.Style.legacy, .modern])
    func `turn 81: only a client that has authenticated is sent away, under its key`(style: TestClient.Style) throws {
        let server = try server()
        let client = try TestClient(server, style: style)
        let stranger = try STUNMessage(
            STUNMessageType(.allocate, .request),
            client.newTransaction(),
            attributes: [.requestedTransport(17)]
        ).encoded()
        #expect(try #require(try client.exchange(stranger)).code == 401)
        let wrong = try TestClient(server, "198.51.100.1:2", password: "wrong", style: style)
        #expect(try wrong.allocate().code == 401)
        let response = try client.allocate()
        #expect(response.code == 300)
        #expect(try response.isProtected(client.protection))
        #expect(server.engine.statistics.errors(300) == 1)
        #expect(server.shared.takenPortCount == 0)
    }

    @Test func `turn 82: first a server of the request's own family, then one of the other`() throws {
        let server = try server()
        let client = try TestClient(server).allocate()
        let (families, first) = try alternates(client)
        #expect(families == [1, 2] && first == Self.servers[0])
        let other = try TestClient(server, "[2001:db8::5]:9").allocate()
        let (otherFamilies, otherFirst) = try alternates(other)
        #expect(otherFamilies == [2, 1] && otherFirst == Self.servers[1])
    }

    @Test func `turn 83: ALTERNATE-DOMAIN is for clients of TLS that have used SHA-256`() throws {
        let server = try server(domain: "turn.example.net")
        for (index, (transport, style, expected)) in [
            (TransportProtocol.tls, TestClient.Style.modern, true), (.tls, .legacy, false), (.udp, .modern, false),
        ].enumerated() {
            let client = try TestClient(server, "198.51.100.1:\(index)", transport: transport, style: style)
            let response = try client.allocate()
            #expect(response.code == 300 && (response[.alternateDomain] != nil) == expected)
        }
    }

    @Test func `turn 108: a server with room keeps its clients, one without sends them on`() throws {
        let server = try server(isForAll: false)
        let client = try TestClient(server)
        #expect(try client.allocate().isSuccess)
        server.engine.acceptsAllocations = false
        #expect(try TestClient(server, "198.51.100.1:2").allocate().code == 300)
        #expect(try client.refresh().isSuccess)
    }

    @Test func `turn 82: without a server of the client's family there is no redirect`() throws {
        let server = try TestServer {
            $0.redirection = TURNServerRedirection(to: [Self.servers[1]])
        }
        server.engine.acceptsAllocations = false
        #expect(try TestClient(server).allocate().code == 508)
    }

    // MARK: RFC 3489

    private func old(_ server: TestServer, _ bytes: [UInt8], transport: TransportProtocol = .udp) -> [UInt8]? {
        let client = ClientTuple(
            transport: transport,
            remote: address("198.51.100.1:4000"),
            local: address("192.0.2.1:3478")
        )
        server.receive(bytes, from: client)
        return server.responses.popLast()?.bytes
    }

    private static let request: [UInt8] = [0, 1, 0, 0] + (1...16)

    @Test func `turn 87: a request without the cookie is answered if the operator says so`() throws {
        #expect(try old(TestServer(), Self.request) == nil)
        let server = try TestServer { $0.answersRFC3489 = true }
        let address: [UInt8] = [0, 1, 0, 8, 0, 1, 0x0F, 0xA0, 198, 51, 100, 1]
        #expect(old(server, Self.request) == [1, 1, 0, 12] + (1...16) + address)
    }

    @Test func `turn 87, 96: nothing else is, and not TURN`() throws {
        let server = try TestServer { $0.answersRFC3489 = true }
        let responseAddress: [UInt8] = [0, 2, 0, 8, 0, 1, 0, 53, 203, 0, 113, 9]
        #expect(old(server, [0, 1, 0, 12] + (1...16) + responseAddress) == nil)
        #expect(old(server, [0, 3, 0, 0] + (1...16)) == nil)
        #expect(old(server, [0, 1, 0, 4] + (1...16)) == nil)
        #expect(old(server, Self.request, transport: .tcp) == nil)
        #expect(server.engine.statistics.drops(.malformedSTUN) == 4)
    }

    @Test func `turn 87: old clients share the limit of all Binding answers`() throws {
        let server = try TestServer {
            $0.answersRFC3489 = true
            $0.limits.bindingAnswers = RateLimit(perSecond: 1, burst: 3)
        }
        for _ in 0..<3 { #expect(old(server, Self.request) != nil) }
        #expect(old(server, Self.request) == nil)
    }
}
