import Bytes
import NetTypes
import STUN
import TURN
import TURNServer
import Testing

/// A client with an access token (RFC 7635), against scripts and against the server's engine.
@Suite struct AccessGrantTests {
    private static let serverName = "turn.example.org"
    private static let wallClock: UInt64 = 1_700_000_000

    private static func key(_ id: String = "north") throws -> AccessTokenKey {
        try AccessTokenKey(id: id, key: [UInt8](repeating: UInt8(id.utf8.count), count: 32))
    }

    private func grant(
        _ kid: String = "north",
        _ letter: Character = "k",
        lifetime: UInt32 = 3600
    ) throws -> AccessGrant {
        let macKey = Array(String(repeating: letter, count: 20).utf8)
        let token = try #require(
            AccessToken(macKey: macKey, madeAtUnixSeconds: Self.wallClock, lifetimeSeconds: lifetime)
        )
        let nonce = [UInt8](repeating: macKey[0], count: 12)
        let sealed = try #require(try Self.key(kid).seal(token, for: Self.serverName, nonce: nonce))
        return try AccessGrant(keyID: kid, token: sealed, macKey: macKey)
    }

    private func world() throws -> World {
        try World { configuration in
            let keys = ["north", "union!"].compactMap { try? Self.key($0) }
            configuration.credentials = TURNServerCredentials(
                realm: World.realm,
                users: (try? [LongTermCredentials(username: "alice", realm: World.realm, password: "wonderland")])
                    ?? [],
                thirdParty: ThirdPartyAuthorization(serverName: Self.serverName, keys: keys)
            )
        }
    }

    @Test func `turn 185: Allocate and Refresh show kid and token, the others only the kid`() throws {
        let grant = try grant()
        let script = try Script { $0.credentials = .grant(grant) }
        script.start()
        let name = STUNMessage.Attribute(.thirdPartyAuthorization, Array(Self.serverName.utf8))
        try script.challenge(#require(script.next()), extra: [name])
        let request = try #require(script.next())
        #expect(request[.username] == Array("north".utf8))
        #expect(request[.accessToken] == grant.token)
        #expect(script.client.thirdPartyServerName == Self.serverName)
    }

    @Test func `turn 184: where nobody takes tokens, the client says so`() throws {
        let grant = try grant()
        let script = try Script { $0.credentials = .grant(grant) }
        script.start()
        try script.challenge(#require(script.next()))
        #expect(script.sent.isEmpty)
        #expect(script.end == .failed(.transaction(.noThirdPartyAuthorization)))
    }

    @Test func `turn 184: a client with a password ignores the offer, and its owner can read it`() throws {
        let world = try world()
        let host = try world.client()
        host.start()
        #expect(world.run(atMost: .seconds(5)) { host.allocation != nil })
        #expect(host.client.thirdPartyServerName == Self.serverName)
    }

    @Test func `turn 185, 188: against the server, up to a renewal with a token of another key`() throws {
        let world = try world()
        let grant = try grant(lifetime: 700)
        let host = try world.client { $0.credentials = .grant(grant) }
        host.start()
        #expect(world.run(atMost: .seconds(5)) { host.allocation != nil })
        #expect(host.allocation?.lifetimeSeconds == 600)
        host.permit("198.51.100.9")
        world.run(.seconds(2))
        let next = try self.grant("union!", "n", lifetime: 650)
        host.act { $0.renew(next, at: $1) }
        // On its way together with the renewal, still under the old key.
        host.permit("198.51.100.10")
        world.run(.seconds(2))
        host.permit("198.51.100.11")
        world.run(.seconds(2))
        #expect(host.allocation != nil && host.end == nil)
        #expect(world.engine.statistics.permissions == 3)
    }
}
