import Bytes
import NetTypes
import STUN
import TURN
import TURNServer
import Testing

/// Clients with access tokens (RFC 7635).
@Suite struct ThirdPartyTests {
    static let serverName = "turn.example.org"
    static let macKey = Array("a key of twenty byte".utf8)

    private let north: AccessTokenKey
    private let south: AccessTokenKey
    private let server: TestServer

    init() throws {
        let north = try AccessTokenKey(id: "north", key: [UInt8](repeating: 1, count: 32))
        let south = try AccessTokenKey(id: "south", key: [UInt8](repeating: 2, count: 16), algorithm: .a128gcm)
        self.north = north
        self.south = south
        server = try TestServer { configuration in
            configuration.credentials = TURNServerCredentials(
                realm: TestServer.realm,
                users: (try? [
                    LongTermCredentials(username: "alice", realm: TestServer.realm, password: "secret of alice")
                ])
                    ?? [],
                thirdParty: ThirdPartyAuthorization(serverName: Self.serverName, keys: [north, south]),
                nonceSecret: Array(repeating: 7, count: 16)
            )
        }
    }

    /// What a client of an authorization server sends.
    private struct Holder {
        let client: TestClient
        var kid = "north"
        var token: [UInt8]
        var key: [UInt8]
        var isModern = false

        var protection: MessageProtection {
            let key = IntegrityKey(key.span)
            return isModern ? .sha256(key) : .sha1(key)
        }

        func request(
            _ method: STUNMethod,
            _ attributes: [STUNMessage.Attribute] = [],
            withToken: Bool = true
        ) throws -> Response {
            if client.nonce.isEmpty { try client.challenge() }
            let transaction = client.newTransaction()
            var all: [STUNMessage.Attribute] = attributes.map { $0.xored(with: transaction) }
            all += [.text(.username, kid)]
            if withToken { all.append(.init(.accessToken, token)) }
            all += [.text(.realm, TestServer.realm), .init(.nonce, client.nonce)]
            if isModern {
                all += [
                    .init(.passwordAlgorithms, [0, 2, 0, 0, 0, 1, 0, 0]), .init(.passwordAlgorithm, [0, 2, 0, 0]),
                ]
            }
            let bytes = try STUNMessage(STUNMessageType(method, .request), transaction, attributes: all)
                .encoded(protectedBy: protection)
            return try #require(try client.exchange(bytes))
        }

        func allocate() throws -> Response { try request(.allocate, [.requestedTransport(17)]) }
    }

    private func sealed(
        _ key: AccessTokenKey? = nil,
        macKey: [UInt8] = macKey,
        age: Int64 = 0,
        lifetime: UInt32 = 3600,
        for serverName: String = serverName
    ) throws -> [UInt8] {
        let made = UInt64(Int64(TestServer.wallClock) - age)
        let token = try #require(AccessToken(macKey: macKey, madeAtUnixSeconds: made, lifetimeSeconds: lifetime))
        return try #require(
            (key ?? north).seal(token, for: serverName, nonce: [UInt8](repeating: UInt8(macKey.count), count: 12))
        )
    }

    private func holder(_ remote: String = "198.51.100.1:4000") throws -> Holder {
        Holder(client: try TestClient(server, remote), token: try sealed(), key: Self.macKey)
    }

    @Test func `turn 184: 401 names the server that a token must be for, 438 does not`() throws {
        let client = try TestClient(server)
        let bare = try STUNMessage(
            STUNMessageType(.allocate, .request),
            client.newTransaction(),
            attributes: [.requestedTransport(17)]
        ).encoded()
        let response = try #require(try client.exchange(bare))
        #expect(response.code == 401)
        #expect(response[.thirdPartyAuthorization] == Array(Self.serverName.utf8))
        #expect(response[.realm] != nil && response[.nonce] != nil)
        client.nonce = try #require(response[.nonce])
        server.engine.setWallClock(unixSeconds: TestServer.wallClock + 86_400)
        let stale = try #require(
            try client.exchange(client.message(.allocate, [.requestedTransport(17)]))
        )
        #expect(stale.code == 438 && stale[.thirdPartyAuthorization] == nil)
    }

    @Test func `turn 184: a client with a password is served as ever, and does not hide its name`() throws {
        let client = try TestClient(server, style: .modern)
        #expect(try client.allocate().isSuccess)
        #expect(SecurityFeatures(nonce: client.nonce.span)?.contains(.usernameAnonymity) == false)
    }

    @Test(arguments: [false, true])
    func `turn 185: a token is taken, and its key protects the answer`(_ isModern: Bool) throws {
        var holder = try holder()
        holder.isModern = isModern
        let response = try holder.allocate()
        #expect(response.isSuccess)
        #expect(try response.isProtected(holder.protection))
        #expect(try holder.request(.createPermission, [.peer("198.51.100.9:0")], withToken: false).isSuccess)
        #expect(
            try holder.request(.channelBind, [.channel(0x4001), .peer("198.51.100.9:9")], withToken: false).isSuccess
        )
        #expect(try holder.request(.refresh, [.lifetime(0)], withToken: false).lifetime == 0)
    }

    @Test func `turn 185: a key of 256 bits serves both forms of integrity, and SHA-1 of it as well`() throws {
        let long = [UInt8](repeating: 3, count: 32)
        var port = 4000
        for (key, isModern) in [(long, true), (long, false), (sha1(long), false)] {
            port += 1
            let holder = Holder(
                client: try TestClient(server, "198.51.100.1:\(port)"),
                token: try sealed(macKey: long),
                key: key,
                isModern: isModern
            )
            let response = try holder.allocate()
            #expect(response.isSuccess)
            #expect(try response.isProtected(holder.protection))
        }
    }

    @Test func `Clients of coturn, which use 16 bytes of the key, are served`() throws {
        var holder = try holder()
        holder.key = Array(Self.macKey.prefix(16))
        let response = try holder.allocate()
        #expect(response.isSuccess)
        #expect(try response.isProtected(holder.protection))
    }

    /// SHA-1 of 32 bytes of 3.
    private func sha1(_ bytes: [UInt8]) -> [UInt8] { Hex.decode("89f49c8d17f509b4b90f8b0848c8f44de463c4f4") ?? bytes }

    @Test func `turn 187: forged, foreign, expired and future tokens get 401 and nothing else`() throws {
        let stranger = try AccessTokenKey(id: "north", key: [UInt8](repeating: 9, count: 32))
        var changed = try sealed()
        changed[20] ^= 1
        let tokens = [
            try sealed(stranger), changed, try sealed(for: "other.example.org"), try sealed(age: 3605),
            try sealed(age: -3605), [], [0], [UInt8](repeating: 0xFF, count: 600),
        ]
        for (index, token) in tokens.enumerated() {
            var holder = try holder("198.51.100.1:\(5000 + index)")
            holder.token = token
            let response = try holder.allocate()
            #expect(response.code == 401, "token \(index)")
            #expect(!response.hasSHA1 && response[.thirdPartyAuthorization] != nil)
        }
        #expect(server.engine.statistics.allocations == 0)
    }

    @Test func `turn 187: the right token with another key, another kid, or without itself gets 401`() throws {
        var wrongKey = try holder()
        wrongKey.key = Array("another of twenty by".utf8)
        #expect(try wrongKey.allocate().code == 401)
        var wrongName = try holder("198.51.100.1:4001")
        wrongName.kid = "south"
        #expect(try wrongName.allocate().code == 401)
        let without = try holder("198.51.100.1:4002")
        #expect(try without.request(.allocate, [.requestedTransport(17)], withToken: false).code == 401)
        #expect(server.engine.statistics.allocations == 0)
    }

    @Test func `turn 187: a token is good up to lifetime + 5 s on either side of its time`() throws {
        for (index, (age, isGood)) in [(3604 as Int64, true), (3605, false), (-3604, true), (-3605, false)].enumerated()
        {
            var holder = try holder("198.51.100.2:\(4000 + index)")
            holder.token = try sealed(age: age)
            #expect(try holder.allocate().isSuccess == isGood, "age \(age)")
        }
    }

    @Test func `turn 188: no allocation lives longer than its token`() throws {
        var holder = try holder()
        holder.token = try sealed(age: 300, lifetime: 400)
        #expect(try holder.allocate().lifetime == 105)
        #expect(try holder.request(.refresh, [.lifetime(3600)]).lifetime == 105)
        #expect(try holder.request(.refresh, [.lifetime(3600)], withToken: false).lifetime == 105)
        server.engine.setWallClock(unixSeconds: TestServer.wallClock + 104)
        #expect(try holder.request(.refresh, withToken: false).lifetime == 1)
        server.engine.setWallClock(unixSeconds: TestServer.wallClock + 105)
        #expect(try holder.request(.refresh, withToken: false).code == 401, "not a deletion in disguise")
        #expect(server.engine.statistics.allocations == 1)
        server.advance(.seconds(106))
        #expect(server.engine.statistics.allocations == 0)
    }

    @Test func `turn 188: a refresh with a new token, also of another key, goes on, and only the new key then counts`()
        throws
    {
        let first = try holder()
        #expect(try first.allocate().isSuccess)
        var second = first
        second.kid = "south"
        second.key = Array("a key of 20 bytes, 2".utf8)
        second.token = try sealed(south, macKey: second.key, lifetime: 1000)
        let response = try second.request(.refresh, [.lifetime(3600)])
        #expect(response.lifetime == 1000)
        #expect(try response.isProtected(second.protection))
        #expect(try second.request(.createPermission, [.peer("198.51.100.9:0")], withToken: false).isSuccess)
        #expect(try first.request(.createPermission, [.peer("198.51.100.9:0")], withToken: false).code == 401)
        #expect(try second.request(.refresh, [.lifetime(0)]).lifetime == 0)
        #expect(server.shared.userCount == 0, "the quota got back what it had given")
    }

    @Test func `turn 104: tokens do not open the allocation of a password, nor a password that of a token`() throws {
        let alice = try TestClient(server, "198.51.100.1:4000")
        #expect(try alice.allocate().isSuccess)
        let holder = Holder(client: alice, token: try sealed(), key: Self.macKey)
        #expect(try holder.request(.refresh).code == 441)
        let other = try self.holder("198.51.100.1:4001")
        #expect(try other.allocate().isSuccess)
        let bob = try TestClient(server, "198.51.100.1:4001")
        #expect(try bob.refresh().code == 441)
    }

    @Test func `turn 209: each token has a quota of its own`() throws {
        let first = try holder("198.51.100.1:4000")
        let again = try holder("198.51.100.1:4001")
        #expect(try first.allocate().isSuccess && again.allocate().isSuccess)
        #expect(server.shared.userCount == 1)
        var other = try holder("198.51.100.1:4002")
        other.token = try sealed(lifetime: 3599)
        #expect(try other.allocate().isSuccess)
        #expect(server.shared.userCount == 2)
    }

    @Test func `A key that has ended opens nothing`() throws {
        let ended = try AccessTokenKey(
            id: "north",
            key: [UInt8](repeating: 1, count: 32),
            expiryUnixSeconds: TestServer.wallClock
        )
        let server = try TestServer { configuration in
            configuration.credentials = TURNServerCredentials(
                realm: TestServer.realm,
                thirdParty: ThirdPartyAuthorization(serverName: Self.serverName, keys: [ended])
            )
        }
        let holder = Holder(client: try TestClient(server), token: try sealed(), key: Self.macKey)
        #expect(try holder.allocate().code == 401)
    }

    @Test func `A token that nobody asked for gets 420`() throws {
        let server = try TestServer()
        let holder = Holder(client: try TestClient(server), token: try sealed(), key: Self.macKey)
        let response = try holder.allocate()
        #expect(response.code == 420)
        #expect(response[.unknownAttributes] == [0x00, 0x1B])
    }

    @Test func `Names that no answer has room for, or no keys at all, are refused at the start`() throws {
        for thirdParty in [
            ThirdPartyAuthorization(serverName: "", keys: [north]),
            ThirdPartyAuthorization(serverName: String(repeating: "x", count: 256), keys: [north]),
            ThirdPartyAuthorization(serverName: "a", keys: []),
        ] {
            #expect(throws: TURNServerConfigurationError.badThirdParty) {
                try TestServer {
                    $0.credentials = TURNServerCredentials(realm: TestServer.realm, thirdParty: thirdParty)
                }
            }
        }
    }
}
