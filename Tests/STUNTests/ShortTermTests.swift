import Bytes
import NetTypes
import STUN
import Testing

@Suite struct ShortTermTests {
    private static let server = SocketAddress(IPAddress(ipv4: 0xC000_0201), port: 3478)

    // MARK: The server's side

    @Test(arguments: [STUNClass.request, .indication])
    func `turn 53: a message is refused for what it lacks first, then for its name, then for its integrity`(
        _ messageClass: STUNClass
    ) throws {
        let name = STUNMessage.Attribute(.username, Array("alice".utf8))
        let stranger = STUNMessage.Attribute(.username, Array("mallory".utf8))
        let long = STUNMessage.Attribute(.username, [UInt8](repeating: 97, count: 764))
        let (good, bad) = (Messages.key, Messages.otherKey)
        let table: [([STUNMessage.Attribute], MessageProtection, ShortTermCheck)] = [
            ([], .none, .refused(.missingCredentials)),
            ([name], .none, .refused(.missingCredentials)),
            ([], .both(good), .refused(.missingCredentials)),
            ([long], .both(good), .refused(.missingCredentials)),
            ([stranger], .both(good), .refused(.unknownUsername)),
            ([stranger], .both(bad), .refused(.unknownUsername)),
            ([name], .sha1(bad), .refused(.wrongIntegrity)),
            ([name], .sha256(bad), .refused(.wrongIntegrity)),
            ([name], .both(bad), .refused(.wrongIntegrity)),
            ([name], .sha1(good), .authenticated(.sha1)),
            ([name], .sha256(good), .authenticated(.sha256)),
            ([name], .both(good), .authenticated(.sha256)),
        ]
        for (attributes, protection, expected) in table {
            let message = STUNMessage(STUNMessageType(.binding, messageClass), Messages.id, attributes: attributes)
            let bytes = try message.encoded(protectedBy: protection)
            #expect(try Self.check(bytes) == expected)
        }
        #expect(ShortTermRefusal.missingCredentials.code == .badRequest)
        #expect(ShortTermRefusal.unknownUsername.code == .unauthenticated)
        #expect(ShortTermRefusal.wrongIntegrity.code == .unauthenticated)
    }

    @Test func `turn 53: SHA-256 is preferred, so that a good SHA-1 beside a bad one does not help`() throws {
        let message = STUNMessage(
            STUNMessageType(.binding, .request),
            Messages.id,
            attributes: [.init(.username, Array("alice".utf8))]
        )
        var bytes = try message.encoded(protectedBy: .both(Messages.key))
        bytes[bytes.count - 1] ^= 1
        #expect(try Self.check(bytes) == .refused(.wrongIntegrity))
    }

    private static func check(_ bytes: [UInt8]) throws -> ShortTermCheck {
        let view = try STUNMessageView(bytes.span)
        return view.checkShortTerm { $0.elementsEqual(Array("alice".utf8).span) ? Messages.key : nil }
    }

    // MARK: The client's side

    @Test func `turn 52: a first request has USERNAME and both integrity attributes`() throws {
        let world = try World()
        let request = try #require(world.ask())
        #expect(request.name == "alice")
        #expect(request.kinds == [.sha1, .sha256])
    }

    @Test(arguments: IntegrityAlgorithm.allCases)
    func `turn 52: where the algorithm is known, a request has that one only`(_ algorithm: IntegrityAlgorithm) throws {
        let world = try World(algorithm: algorithm)
        let request = try #require(world.ask())
        #expect(request.name == "alice")
        #expect(request.kinds == [algorithm])
    }

    @Test(arguments: IntegrityAlgorithm.allCases)
    func `turn 55: later requests have only the algorithm of the first response`(
        _ algorithm: IntegrityAlgorithm
    )
        throws
    {
        let world = try World()
        let first = try #require(world.ask())
        world.answer(first, algorithm.protection(world.key))
        #expect(world.answers == 1)
        let second = try #require(world.ask())
        #expect(second.name == "alice")
        #expect(second.kinds == [algorithm])
        // A response by the other algorithm does not match any more, not even one whose integrity is right.
        let other: IntegrityAlgorithm = algorithm == .sha1 ? .sha256 : .sha1
        #expect(world.answer(second, other.protection(world.key)) == .ignored(.integrityViolated))
        world.answer(second, algorithm.protection(world.key))
        #expect(world.answers == 2)
    }

    @Test func `turn 55: an error response decides too, and a response that is not believed does not`() throws {
        let world = try World()
        let first = try #require(world.ask())
        #expect(world.answer(first, .none) == .ignored(.integrityViolated))
        #expect(world.answer(first, .sha1(Messages.otherKey)) == .ignored(.integrityViolated))
        let same = try #require(world.ask())
        #expect(same.kinds == [.sha1, .sha256])
        #expect(world.answer(same, .sha1(world.key), .error) == .accepted)
        #expect(try #require(world.ask()).kinds == [.sha1])
    }

    @Test func `turn 54: violated integrity is told at the end over UDP, and at once over TCP`() throws {
        let datagrams = try World()
        let asked = try #require(datagrams.ask())
        _ = datagrams.answer(asked, .none, .error)
        #expect(datagrams.failure == nil)
        datagrams.wait()
        #expect(datagrams.failure == .transaction(.integrityViolated))
        let stream = try World(transport: .tcp)
        let request = try #require(stream.ask())
        #expect(stream.answer(request, .none, .error) == .accepted)
        #expect(stream.failure == .transaction(.integrityViolated))
    }

    @Test func `what cannot be a credential is refused, and no dump shows the password`() throws {
        #expect(throws: CredentialError.empty(.username)) { _ = try ShortTermSession(username: "", password: "x") }
        #expect(throws: CredentialError.empty(.password)) { _ = try ShortTermSession(username: "x", password: "") }
        let session = try ShortTermSession(username: "alice", password: "secret")
        #expect(Mirror(reflecting: session).children.isEmpty)
    }

    /// A request as it was sent.
    private struct Request {
        let id: TransactionID
        let name: String?
        let kinds: [IntegrityAlgorithm]
    }

    private final class World {
        let key: IntegrityKey
        var client: STUNClient
        var now = Instant(nanoseconds: 100)
        var answers = 0
        var failure: STUNClient.Failure?

        init(algorithm: IntegrityAlgorithm? = nil, transport: TransportProtocol = .udp) throws {
            key = try IntegrityKey(shortTermPassword: "secret")
            let session = try ShortTermSession(username: "alice", password: "secret", algorithm: algorithm)
            client = STUNClient(
                server: ShortTermTests.server,
                transport: transport,
                session: session,
                entropy: .seeded(4)
            )
        }

        func ask() -> Request? {
            guard client.query(at: now) else { return nil }
            let bytes = buildBytes(capacity: STUNClient.maximumMessageByteCount) { output in
                _ = client.pollTransmit(at: now, into: &output)
            }
            guard let view = try? STUNMessageView(bytes.span) else { return nil }
            var kinds: [IntegrityAlgorithm] = []
            if view.checkMessageIntegrity(key) == .valid { kinds.append(.sha1) }
            if view.checkMessageIntegritySHA256(key) == .valid { kinds.append(.sha256) }
            return Request(id: view.transactionID, name: view.string(.username), kinds: kinds)
        }

        @discardableResult
        func answer(
            _ request: Request,
            _ protection: MessageProtection,
            _ messageClass: STUNClass = .success
        ) -> Disposition<STUNClient.Drop>? {
            let attribute: STUNMessage.Attribute =
                messageClass == .error
                ? .init(.errorCode, [0, 0, 4, 0]) : .init(.mappedAddress, [0, 1, 0, 9, 192, 0, 2, 9])
            let message = STUNMessage(STUNMessageType(.binding, messageClass), request.id, attributes: [attribute])
            guard let bytes = try? message.encoded(protectedBy: protection) else { return nil }
            defer { drain() }
            return client.receive(bytes.span, from: ShortTermTests.server, at: now)
        }

        func wait() {
            while let next = client.nextTimeout {
                now = next
                client.handleTimeout(at: now)
            }
            drain()
        }

        private func drain() {
            while let event = client.pollEvent() {
                switch event {
                case .answered: answers += 1
                case .failed(let why): failure = why
                }
            }
        }
    }
}
