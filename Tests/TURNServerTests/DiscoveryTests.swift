import NetTypes
import STUN
import TURN
import TURNServer
import Testing

/// NAT behaviour discovery (RFC 5780).
@Suite struct DiscoveryTests {
    let server: TestServer
    static let remote = address("198.51.100.1:4000")
    static let (first, second) = (RelayAddress(local: ip("192.0.2.1")), RelayAddress(local: ip("192.0.2.2")))

    init() throws {
        server = try TestServer {
            $0.discovery = [DiscoveryAddresses(Self.first, Self.second, firstPort: 3478, secondPort: 3479)]
            $0.limits.discoveryAnswers = RateLimit(perSecond: 1, burst: 8)
        }
    }

    /// Sends a Binding request to one of the server's addresses; returns where the response comes from and goes to.
    private func bind(
        _ attributes: [STUNMessage.Attribute] = [],
        to local: String = "192.0.2.1:3478",
        transport: TransportProtocol = .udp
    ) throws -> (client: ClientTuple, response: Response)? {
        let client = ClientTuple(transport: transport, remote: Self.remote, local: address(local))
        let transaction = TransactionID(high: 1, low: 2)
        let message = STUNMessage(STUNMessageType(.binding, .request), transaction, attributes: attributes)
        server.receive(try message.encoded(), from: client)
        guard let answer = server.responses.popLast() else { return nil }
        return (answer.client, try Response(answer.bytes))
    }

    private static func change(ip: Bool, port: Bool) -> STUNMessage.Attribute {
        .word(.changeRequest, (ip ? 4 : 0) | (port ? 2 : 0))
    }

    private func addresses(_ response: Response) throws -> (origin: SocketAddress?, other: SocketAddress?) {
        let view = try STUNMessageView(response.bytes.span)
        return (try view.responseOrigin(), try view.otherAddress())
    }

    @Test func `turn 176, 181: every response has both mapped addresses, its origin and the other address`() throws {
        let (client, response) = try #require(try bind())
        #expect(client.local == address("192.0.2.1:3478") && client.remote == Self.remote)
        #expect(response.mapped == Self.remote)
        let view = try STUNMessageView(response.bytes.span)
        #expect(try view.mappedAddress() == Self.remote)
        let found = try addresses(response)
        #expect(found.origin == address("192.0.2.1:3478") && found.other == address("192.0.2.2:3479"))
    }

    @Test(arguments: ["192.0.2.1:3478", "192.0.2.1:3479", "192.0.2.2:3478", "192.0.2.2:3479"])
    func `turn 178: table 1, from each of the four`(local: String) throws {
        let asked = address(local)
        let otherIP = asked.ip == Self.first.local ? Self.second.local : Self.first.local
        let otherPort: UInt16 = asked.port == 3478 ? 3479 : 3478
        for (changesIP, changesPort) in [(false, false), (true, false), (false, true), (true, true)] {
            let answer = try #require(try bind([Self.change(ip: changesIP, port: changesPort)], to: local))
            let expected = SocketAddress(
                changesIP ? otherIP : asked.ip,
                port: changesPort ? otherPort : asked.port
            )
            #expect(answer.client.local == expected && answer.client.remote == Self.remote)
            let found = try addresses(answer.response)
            #expect(found.origin == expected && found.other == SocketAddress(otherIP, port: otherPort))
        }
    }

    @Test func `turn 177, 182: without a second address, and over streams, the attributes are unknown`() throws {
        let attributes = [Self.change(ip: true, port: false)]
        let elsewhere = try #require(try bind(attributes, to: "192.0.2.9:3478"))
        #expect(elsewhere.response.code == 420)
        #expect(elsewhere.response[.unknownAttributes] == [0, 3])
        let stream = try #require(try bind(attributes, transport: .tcp))
        #expect(stream.response.code == 420)
        let plain = try #require(try bind(to: "192.0.2.9:3478"))
        #expect(plain.response.types == [.xorMappedAddress])
    }

    @Test func `turn 179: the response goes to the port that was asked for, but not with padding`() throws {
        let port = STUNMessage.Attribute(.responsePort, [0x1F, 0x90, 0, 0])
        let answer = try #require(try bind([port]))
        #expect(answer.client.remote == SocketAddress(Self.remote.ip, port: 8080))
        #expect(answer.response.mapped == Self.remote)
        let padding = STUNMessage.Attribute(.padding, [UInt8](repeating: 1, count: 8))
        #expect(try #require(try bind([port, padding])).response.code == 400)
        #expect(try #require(try bind([.init(.responsePort, [0, 0, 0, 0])])).response.code == 400)
    }

    @Test(arguments: [(0, 0), (8, 8), (1500, 1500), (1800, 1500)])
    func `turn 180: padding is answered with padding, never with more`(sent: Int, expected: Int) throws {
        let padding = STUNMessage.Attribute(.padding, [UInt8](repeating: 1, count: sent))
        let answer = try #require(try bind([padding]))
        #expect(answer.response[.padding]?.count == expected)
    }

    @Test func `turn 182: answers from elsewhere have a limit of their own`() throws {
        let attributes = [Self.change(ip: true, port: true)]
        for _ in 0..<8 { #expect(try bind(attributes) != nil) }
        #expect(try bind(attributes) == nil)
        #expect(server.engine.statistics.drops(.discoveryRateLimit) == 1)
        #expect(try bind() != nil, "ordinary answers go on")
        server.advance(.seconds(1))
        #expect(try bind(attributes) != nil)
    }

    @Test func `two addresses and two ports are needed`() throws {
        var configuration = try TestServer.configuration()
        for (other, port) in [(Self.first, 3479), (TestServer.relay6, 3479), (Self.second, 3478)]
            as [(RelayAddress, UInt16)]
        {
            let pair = DiscoveryAddresses(Self.first, other, firstPort: 3478, secondPort: port)
            configuration.discovery = [pair]
            #expect(throws: TURNServerConfigurationError.badDiscovery(pair)) { try configuration.validate() }
        }
    }
}
