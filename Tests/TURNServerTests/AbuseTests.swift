import Bytes
import NetTypes
import STUN
import TURN
import TURNServer
import Testing

/// Attacks that no other suite has a place for; Documentation/Abuse.md lists all of them.
@Suite struct AbuseTests {
    @Test func `turn 70: a code that is wrong in any one byte is refused alike`() throws {
        for style in [TestClient.Style.legacy, .modern] {
            let server = try TestServer()
            let client = try TestClient(server, style: style)
            try client.challenge()
            let good = try client.message(.allocate, [.requestedTransport(17)])
            let length = style == .legacy ? 20 : 32
            var sizes: Set<Int> = []
            for index in good.count - length..<good.count {
                var bad = good
                bad[index] ^= 1
                let response = try #require(try client.exchange(bad))
                #expect(response.code == 401)
                sizes.insert(response.bytes.count)
            }
            #expect(sizes.count == 1, "the answer tells nothing about where the code is wrong")
            #expect(try client.exchange(good)?.isSuccess == true)
        }
    }

    @Test func `an unknown user and a wrong password get the same answer`() throws {
        let server = try TestServer()
        let unknown = try TestClient(server, "198.51.100.1:1", username: "mallory")
        let wrong = try TestClient(server, "198.51.100.1:2", password: "a guess")
        let answers = try [unknown, wrong].map { try $0.allocate() }
        #expect(answers.map(\.code) == [401, 401])
        #expect(answers[0].types == answers[1].types && answers[0].bytes.count == answers[1].bytes.count)
    }

    @Test(arguments: [STUNMethod.allocate, .refresh, .createPermission, .channelBind])
    func `turn 210: no stranger gets more than three times what he sends, headers of the network included`(
        method: STUNMethod
    ) throws {
        let server = try TestServer { $0.software = String(repeating: "x", count: 100) }
        let client = try TestClient(server)
        let bare = try STUNMessage(STUNMessageType(method, .request), client.newTransaction(), attributes: []).encoded()
        let response = try #require(try client.exchange(bare))
        let headers = 28
        #expect(response.code == 401 && response.bytes.count + headers <= 3 * (bare.count + headers))
        #expect(response[.software] == nil && response.reason == "")
    }

    @Test func `turn 110: what must not be guessed is not: nonces, ports, tokens, tickets`() throws {
        var configuration = try TestServer.configuration()
        configuration.allowsMobility = true
        configuration.limits.limitedPrefixes = 64
        var nonces: Set<[UInt8]> = []
        var tokens: Set<UInt64> = []
        var tickets: Set<[UInt8]> = []
        var ports: [UInt16] = []
        for _ in 0..<4 {
            let shared = TURNServerShared(configuration)
            let server = try TestServer(configuration, shared: shared)
            for port in 1...40 {
                let client = try TestClient(server, "198.51.100.1:\(port)")
                let response = try client.allocate([.evenPort(0x80), .init(.mobilityTicket, [])])
                nonces.insert(client.nonce)
                tokens.insert(try #require(response.token))
                tickets.insert(try #require(response[.mobilityTicket]))
                ports.append(try #require(response.relayed.first).port)
            }
        }
        // The nonce's secret is fixed in these tests: it differs by address alone.
        #expect(nonces.count == 40 && tokens.count == 160 && tickets.count == 160)
        let high = tokens.count { $0 >> 63 == 1 }
        #expect((40...120).contains(high), "the highest bit is random too")
        let steps = Set(zip(ports, ports.dropFirst()).map { Int($0) - Int($1) })
        #expect(steps.count > 120, "ports follow no pattern")
        #expect(Set(ports.map { $0 >> 12 }).count == 4, "ports are all over the range")
    }

    @Test func `random nonce secrets differ, so that no server accepts another one's nonces`() throws {
        let user = try LongTermCredentials(
            username: "alice",
            realm: TestServer.realm,
            password: "secret of alice"
        )
        let secrets = (0..<2).map { _ in
            TURNServerConfiguration(
                credentials: TURNServerCredentials(realm: TestServer.realm, users: [user]),
                relayAddresses: [TestServer.relay4]
            )
        }
        let first = try TestClient(try TestServer(secrets[0]))
        let second = try TestClient(try TestServer(secrets[1]))
        second.nonce = try first.knownNonce()
        let answer = try #require(try second.exchange(second.message(.allocate, [.requestedTransport(17)])))
        #expect(answer.code == 438)
    }

    @Test func `turn 155: two relays that are bound to each other are held by the limits`() throws {
        let server = try TestServer { $0.limits.bytesPerSecondPerUser = 10_000 }
        let clients = try (1...2).map { try TestClient(server, "198.51.100.1:\($0)") }
        let relays = try clients.map { try $0.relay() }
        for (client, other) in zip(clients, relays.reversed()) { try client.bind(0x4000, other.description) }
        // What one has relayed arrives at the other, whose client sends it back: a loop with a client in it.
        var rounds = 0
        while case .relay = clients[0].sendChannelData([UInt8](repeating: 1, count: 500), on: 0x4000) {
            guard
                case .delivered = server.receiveFromPeer(
                    [UInt8](repeating: 1, count: 500),
                    at: relays[1],
                    from: relays[0]
                )
            else { break }
            rounds += 1
            guard rounds < 1000 else { break }
        }
        #expect((5...10).contains(rounds))
        let statistics = server.engine.statistics
        #expect(statistics.drops(.userBandwidthLimit) >= 1)
    }
}
