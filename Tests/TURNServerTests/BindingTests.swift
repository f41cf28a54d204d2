import Bytes
import NetTypes
import STUN
import TURNServer
import Testing

@Suite struct BindingTests {
    private func bind(_ attributes: [STUNMessage.Attribute] = [], fingerprint: Bool = false) throws -> [UInt8] {
        try STUNMessage(
            STUNMessageType(.binding, .request),
            TransactionID(high: 1, low: 2),
            attributes: attributes
        ).encoded(fingerprint: fingerprint)
    }

    @Test(arguments: ["198.51.100.1:4000", "[2001:db8::9]:5000"])
    func `turn 33: the response has the request's source and nothing else`(remote: String) throws {
        let client = try TestClient(try TestServer(), remote)
        let response = try #require(try client.exchange(bind()))
        #expect(response.isSuccess)
        #expect(response.mapped == address(remote))
        #expect(response.types == [.xorMappedAddress])
        #expect(response.message.transactionID == TransactionID(high: 1, low: 2))
    }

    @Test func `turn 39: FINGERPRINT in, FINGERPRINT out, and a wrong one is dropped`() throws {
        let client = try TestClient(try TestServer())
        var bytes = try bind(fingerprint: true)
        #expect(try #require(try client.exchange(bytes)).hasFingerprint)
        bytes[bytes.count - 1] ^= 1
        #expect(client.server.receive(bytes, from: client.tuple) == .ignored(.badFingerprint))
    }

    @Test func `turn 36, 177: CHANGE-REQUEST and other unknown attributes get 420`() throws {
        let client = try TestClient(try TestServer())
        let response = try #require(try client.exchange(bind([.word(.changeRequest, 6)])))
        #expect(response.code == 420)
        #expect(response[.unknownAttributes] == [0, 3])
    }

    @Test func `turn 25, 26, 37: what is no request gets no answer`() throws {
        let server = try TestServer()
        let client = try TestClient(server)
        let transaction = TransactionID(high: 1, low: 1)
        let unknown = STUNMethod(rawValue: 0x77)
        for (type, expected) in [
            (STUNMessageType(.binding, .indication), ClientDisposition.accepted),
            (STUNMessageType(.binding, .success), .ignored(.unexpectedClass)),
            (STUNMessageType(.allocate, .error), .ignored(.unexpectedClass)),
            (STUNMessageType(.allocate, .indication), .ignored(.unexpectedClass)),
            (STUNMessageType(.data, .indication), .ignored(.unexpectedClass)),
            (STUNMessageType(.data, .request), .ignored(.unsupportedMethod)),
            (STUNMessageType(.connect, .request), .ignored(.unsupportedMethod)),
            (STUNMessageType(unknown, .request), .ignored(.unsupportedMethod)),
            (STUNMessageType(unknown, .indication), .ignored(.unsupportedMethod)),
        ] {
            #expect(server.receive(try STUNMessage(type, transaction).encoded(), from: client.tuple) == expected)
        }
        let bound = try bind()
        for bytes in [[], [0], [0, 1, 0], Array(repeating: 0, count: 20), Array(bound.dropLast()), bound + [0]]
            as [[UInt8]]
        {
            guard case .ignored = server.receive(bytes, from: client.tuple) else {
                Issue.record("\(bytes) was accepted")
                continue
            }
        }
        #expect(server.responses.isEmpty)
    }

    @Test func `turn 144: each first byte goes its way`() throws {
        let server = try TestServer()
        let client = try TestClient(server)
        for byte in UInt8.min...UInt8.max {
            let disposition = server.receive([byte, 0, 0, 0] + Array(repeating: 0, count: 16), from: client.tuple)
            let expected: ClientDisposition =
                switch byte {
                case 0...3: .ignored(.malformedSTUN)
                case 64...79: .ignored(.noAllocation)
                default: .ignored(.notTURN)
                }
            #expect(disposition == expected)
        }
    }

    @Test func `turn 210: answers are limited for each prefix`() throws {
        let server = try TestServer {
            $0.limits.bindingAnswers = RateLimit(perSecond: 1, burst: 5)
            $0.limits.unauthenticatedAnswers = RateLimit(perSecond: 1, burst: 3)
        }
        let client = try TestClient(server)
        let answered = try (0..<10).count { _ in try client.exchange(bind()) != nil }
        #expect(answered == 5)
        let allocate = try STUNMessage(STUNMessageType(.allocate, .request), TransactionID(high: 3, low: 4)).encoded()
        let challenged = try (0..<10).count { _ in try client.exchange(allocate) != nil }
        #expect(challenged == 3)
        let other = try TestClient(server, "198.51.100.2:4000")
        #expect(try other.exchange(bind()) != nil)
        #expect(try other.exchange(allocate) != nil)
        let statistics = server.engine.statistics
        #expect(statistics.drops(.bindingRateLimit) == 5)
        #expect(statistics.drops(.unauthenticatedRateLimit) == 7)
    }

    @Test func `an authenticated client is served while its prefix is over the limit`() throws {
        let server = try TestServer { $0.limits.unauthenticatedAnswers = RateLimit(perSecond: 0.001, burst: 2) }
        let client = try TestClient(server)
        _ = try client.relay()
        let stranger = try TestClient(server, "198.51.100.1:6666", username: "mallory")
        try stranger.challenge()
        let bytes = try stranger.message(.allocate, [.requestedTransport(17)])
        #expect(server.receive(bytes, from: stranger.tuple) == .ignored(.unauthenticatedRateLimit))
        #expect(try client.refresh().isSuccess)
    }

    @Test func `memory stays the same whatever comes without credentials`() throws {
        let server = try TestServer()
        for index in 0..<5000 as Range<UInt32> {
            let tuple = ClientTuple(
                transport: .udp,
                remote: SocketAddress(IPAddress(ipv4: 0x0800_0000 &+ index &* 7919), port: UInt16(index % 60_000)),
                local: SocketAddress(TestServer.relay4.local, port: 3478)
            )
            server.receive(
                try STUNMessage(STUNMessageType(.allocate, .request), TransactionID(high: 1, low: index)).encoded(),
                from: tuple
            )
        }
        #expect(server.responses.count == 5000)
        let statistics = server.engine.statistics
        #expect(statistics.allocations == 0)
        #expect(server.shared.allocationCount == 0)
    }
}
