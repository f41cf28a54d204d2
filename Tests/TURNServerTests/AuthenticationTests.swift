import Bytes
import NetTypes
import STUN
import TURN
import TURNServer
import Testing

@Suite struct AuthenticationTests {
    let server: TestServer

    init() throws { server = try TestServer() }

    private func bare(_ client: TestClient, fingerprint: Bool = false) throws -> Response {
        let bytes = try STUNMessage(
            STUNMessageType(.allocate, .request),
            client.newTransaction(),
            attributes: [.requestedTransport(17)]
        ).encoded(fingerprint: fingerprint)
        return try #require(try client.exchange(bytes))
    }

    @Test func `turn 57, 59: a first request gets 401 with realm, nonce and algorithms, and nothing else`() throws {
        let response = try bare(try TestClient(server))
        #expect(response.code == 401)
        #expect(response[.realm] == Array("example.org".utf8))
        #expect(response.types == [.errorCode, .realm, .nonce, .passwordAlgorithms])
        #expect(!response.hasSHA1 && !response.hasSHA256)
        #expect(response[.errorCode]?.count == 4, "no reason phrase")
        #expect(response.bytes.count <= 108)
    }

    @Test func `turn 56: the nonce begins with the cookie and its features`() throws {
        let nonce = try #require(try bare(try TestClient(server))[.nonce])
        #expect(nonce.starts(with: Array("obMatJos2".utf8)))
        #expect(SecurityFeatures(nonce: nonce.span) == [.passwordAlgorithms, .usernameAnonymity])
    }

    @Test func `turn 59: user names cannot be hidden from a server that takes temporary credentials`() throws {
        let secret = try RESTSecret(Array("shared secret".utf8))
        let server = try TestServer(try TestServer.configuration(secrets: [secret]))
        let nonce = try #require(try bare(try TestClient(server))[.nonce])
        #expect(SecurityFeatures(nonce: nonce.span) == [.passwordAlgorithms])
    }

    @Test func `turn 58: nonces differ between addresses and ports`() throws {
        let nonces = try ["198.51.100.1:4000", "198.51.100.1:4001", "198.51.100.2:4000"].map {
            try #require(try bare(try TestClient(server, $0))[.nonce])
        }
        #expect(Set(nonces).count == 3)
    }

    @Test func `turn 39: FINGERPRINT in, FINGERPRINT out`() throws {
        #expect(try bare(try TestClient(server), fingerprint: true).hasFingerprint)
        #expect(!(try bare(try TestClient(server)).hasFingerprint))
        let client = try TestClient(server, "198.51.100.1:4009")
        client.usesFingerprint = true
        #expect(try client.allocate().hasFingerprint)
    }

    @Test(arguments: [AttributeType.username, .realm, .nonce])
    func `turn 61: integrity without one of the others gets 400 without any of them`(missing: AttributeType) throws {
        let client = try TestClient(server)
        try client.challenge()
        let bytes = try STUNMessage(
            STUNMessageType(.allocate, .request),
            client.newTransaction(),
            attributes: [.requestedTransport(17)] + client.authentication.filter { $0.type != missing }
        ).encoded(protectedBy: client.protection)
        let response = try #require(try client.exchange(bytes))
        #expect(response.code == 400)
        #expect(response.types == [.errorCode])
        #expect(!response.hasSHA1 && !response.hasSHA256)
    }

    @Test func `turn 62, 67: a client without algorithms is served with MD5 and SHA-1`() throws {
        let client = try TestClient(server, style: .legacy)
        let response = try client.allocate()
        #expect(response.isSuccess)
        #expect(try response.isProtected(.sha1(client.credentials.md5Key)))
        #expect(response.types.isDisjoint(with: [.realm, .nonce, .username, .userhash]))
        let failure = try client.allocate()
        #expect(failure.code == 437)
        #expect(try failure.isProtected(.sha1(client.credentials.md5Key)))
    }

    @Test(arguments: [TestClient.Style.modern, .anonymous])
    func `turn 65, 67: a client of RFC 8489 is served with SHA-256`(style: TestClient.Style) throws {
        let client = try TestClient(server, style: style)
        let response = try client.allocate()
        #expect(response.isSuccess)
        let key = try #require(client.credentials.sha256Key)
        #expect(try response.isProtected(.sha256(key)))
        #expect(try client.allocate().isProtected(.sha256(key)))
    }

    @Test func `turn 62: integrity by SHA-256 without algorithms still gets SHA-1 back`() throws {
        let client = try TestClient(server)
        try client.challenge()
        let bytes = try STUNMessage(
            STUNMessageType(.allocate, .request),
            client.newTransaction(),
            attributes: [.requestedTransport(17)] + client.authentication
        ).encoded(protectedBy: .sha256(client.credentials.md5Key))
        let response = try #require(try client.exchange(bytes))
        #expect(response.isSuccess)
        #expect(try response.isProtected(.sha1(client.credentials.md5Key)))
    }

    @Test(
        arguments: [
            [[0, 2, 0, 0], [0, 2, 0, 0]], [[0, 1, 0, 0, 0, 2, 0, 0], [0, 2, 0, 0]],
            [[0, 2, 0, 0, 0, 1, 0, 0], [0, 3, 0, 0]], [nil, [0, 2, 0, 0]], [[0, 2, 0, 0, 0, 1, 0, 0], nil],
            [[0, 2, 0, 0, 0, 1, 0, 0], [0, 2]],
        ] as [[[UInt8]?]]
    )
    func `turn 63: a trimmed, reordered or incomplete choice of algorithms gets 400`(lists: [[UInt8]?]) throws {
        let client = try TestClient(server, style: .modern)
        try client.challenge()
        var attributes = client.authentication.filter {
            $0.type != .passwordAlgorithms && $0.type != .passwordAlgorithm
        }
        if let list = lists[0] { attributes.append(.init(.passwordAlgorithms, list)) }
        if let choice = lists[1] { attributes.append(.init(.passwordAlgorithm, choice)) }
        let bytes = try STUNMessage(
            STUNMessageType(.allocate, .request),
            client.newTransaction(),
            attributes: [.requestedTransport(17)] + attributes
        ).encoded(protectedBy: client.protection)
        #expect(try #require(try client.exchange(bytes)).code == 400)
        let count = server.engine.statistics.allocations
        #expect(count == 0)
    }

    @Test func `turn 64, 65: an unknown user and a wrong password get the same 401`() throws {
        let unknown = try TestClient(server, username: "mallory").allocate()
        let wrong = try TestClient(server, password: "guess").allocate()
        for response in [unknown, wrong] {
            #expect(response.code == 401)
            #expect(response.types == [.errorCode, .realm, .nonce, .passwordAlgorithms])
            #expect(!response.hasSHA1 && !response.hasSHA256)
        }
        #expect(unknown.bytes.count == wrong.bytes.count)
        #expect(server.events.count { if case .authenticationFailed = $0 { true } else { false } } == 2)
    }

    /// Whoever writes the victim's address on a datagram must not have the victim locked out, nor fill the log.
    @Test func `wrong credentials are told of only where the sender has had our nonce`() throws {
        let spoofer = try TestClient(server, password: "guess")
        spoofer.nonce = try TestClient(server, "198.51.100.2:1").knownNonce()
        for _ in 0..<5 { #expect(try spoofer.exchange(spoofer.message(.allocate, []))?.code == 401) }
        let stream = try TestClient(server, transport: .tcp, password: "guess")
        stream.nonce = spoofer.nonce
        #expect(server.events.isEmpty)
        #expect(try stream.exchange(stream.message(.allocate, []))?.code == 401)
        #expect(server.events == [.authenticationFailed(client: stream.tuple, .password)])
    }

    @Test func `an unknown USERHASH gets 401`() throws {
        #expect(try TestClient(server, username: "mallory", style: .anonymous).allocate().code == 401)
    }

    @Test func `a request for another realm gets 401`() throws {
        let client = try TestClient(server)
        try client.challenge()
        let attributes = client.authentication.map { $0.type == .realm ? .text(.realm, "example.net") : $0 }
        let bytes = try STUNMessage(
            STUNMessageType(.allocate, .request),
            client.newTransaction(),
            attributes: [.requestedTransport(17)] + attributes
        ).encoded(protectedBy: client.protection)
        #expect(try #require(try client.exchange(bytes)).code == 401)
    }

    @Test func `turn 44: a shortened MESSAGE-INTEGRITY-SHA256 gets 401`() throws {
        let client = try TestClient(server, style: .modern)
        try client.challenge()
        var bytes = try client.message(.allocate, [.requestedTransport(17)])
        // Cut the last 16 bytes of the value off, and mend both lengths.
        bytes.removeLast(16)
        bytes[3] = UInt8(bytes.count - 20)
        bytes[bytes.count - 17] = 16
        #expect(try #require(try client.exchange(bytes)).code == 401)
    }

    @Test func `turn 66: a stale nonce gets 438 with a valid new one, after the integrity check`() throws {
        let client = try TestClient(server)
        try client.challenge()
        server.engine.setWallClock(unixSeconds: TestServer.wallClock + 3601)
        let stale = try #require(try client.exchange(client.message(.allocate, [.requestedTransport(17)])))
        #expect(stale.code == 438)
        #expect(stale.types == [.errorCode, .realm, .nonce, .passwordAlgorithms])
        client.nonce = try #require(stale[.nonce])
        #expect(try #require(try client.exchange(client.message(.allocate, [.requestedTransport(17)]))).isSuccess)
        let wrong = try TestClient(server, "198.51.100.1:4001", password: "guess")
        wrong.nonce = Array("stale".utf8)
        #expect(try #require(try wrong.exchange(wrong.message(.allocate, [.requestedTransport(17)]))).code == 401)
    }

    @Test func `turn 69: a nonce of another address, an altered one and noise get 438`() throws {
        let other = try TestClient(server, "198.51.100.2:4000")
        try other.challenge()
        let client = try TestClient(server)
        try client.challenge()
        var altered = client.nonce
        altered[9] = UInt8(ascii: "A")
        for nonce in [other.nonce, altered, Array("noise".utf8), []] {
            client.nonce = nonce
            let response = try #require(try client.exchange(client.message(.allocate, [.requestedTransport(17)])))
            #expect(response.code == 438)
        }
    }

    @Test func `turn 28: an unknown required attribute gets 420, only after authentication`() throws {
        let client = try TestClient(server)
        let unknown = [STUNMessage.Attribute(AttributeType(rawValue: 0x7ABC), [1, 2, 3])]
        let bytes = try STUNMessage(
            STUNMessageType(.allocate, .request),
            client.newTransaction(),
            attributes: unknown
        ).encoded()
        #expect(try #require(try client.exchange(bytes)).code == 401)
        let response = try client.allocate(unknown + [.init(AttributeType(rawValue: 0x7ABD), [])])
        #expect(response.code == 420)
        #expect(response[.unknownAttributes] == [0x7A, 0xBC, 0x7A, 0xBD])
        #expect(try response.isProtected(.sha1(client.credentials.md5Key)))
        #expect(try client.allocate([.init(AttributeType(rawValue: 0xFF05), [1])]).isSuccess)
    }

    @Test func `turn 45: a LIFETIME behind the integrity has no effect`() throws {
        let client = try TestClient(server)
        _ = try client.relay()
        var bytes = try client.message(.refresh, [])
        bytes += [0, 0x0D, 0, 4, 0, 0, 0, 0]
        bytes[2] = UInt8((bytes.count - 20) >> 8)
        bytes[3] = UInt8((bytes.count - 20) & 255)
        #expect(try #require(try client.exchange(bytes)).lifetime == 600)
    }

    @Test func `turn 206: expired temporary credentials refresh, but do not allocate`() throws {
        let secret = try RESTSecret(Array("shared secret".utf8))
        let server = try TestServer(
            try TestServer.configuration(secrets: [try RESTSecret(Array("older secret".utf8)), secret])
        )
        let minted = secret.mint(userID: "carol", expiryUnixSeconds: TestServer.wallClock + 100)
        let client = try TestClient(server, username: minted.username, password: minted.password)
        _ = try client.relay()
        #expect(server.shared.allocationCount(of: "carol") == 1, "turn 209: the quota counts by user")
        server.engine.setWallClock(unixSeconds: TestServer.wallClock + 1000)
        #expect(try client.refresh().isSuccess)
        let late = try TestClient(server, "198.51.100.1:4001", username: minted.username, password: minted.password)
        #expect(try late.allocate().code == 401)
        #expect(try client.refresh(0).isSuccess)
    }

    @Test(arguments: [
        "carol", "17000000000000000000000000:carol", "-5:carol", ":carol", "1700000100", "99999999999:carol", "x:y",
    ])
    func `turn 207, 208: malformed and far-future names get 401`(username: String) throws {
        let secret = try RESTSecret(Array("shared secret".utf8))
        let server = try TestServer(try TestServer.configuration(secrets: [secret]))
        let password = secret.password(for: Array(username.utf8).span)
        #expect(try TestClient(server, username: username, password: password).allocate().code == 401)
    }

    @Test func `a name that is no UTF-8 gets 400`() throws {
        let client = try TestClient(server)
        try client.challenge()
        let attributes = client.authentication.map { $0.type == .username ? .init(.username, [0xFF, 0xFE]) : $0 }
        let bytes = try STUNMessage(
            STUNMessageType(.refresh, .request),
            client.newTransaction(),
            attributes: attributes
        ).encoded(protectedBy: client.protection)
        #expect(try #require(try client.exchange(bytes)).code == 400)
    }
}
