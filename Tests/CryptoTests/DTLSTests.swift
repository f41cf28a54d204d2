import Bytes
import COpenSSL
import NetTypes
import TestSupport
import Testing

@testable import Crypto

/// DTLS sessions in virtual time: handshakes, certificates, loss, sizes, ends.
@Suite struct DTLSTests {
    typealias Weather = DTLSWorld.Weather

    private static let server = Result { () throws(CryptoError) in
        try DTLSContext(
            serverIdentities: [TLSFixture.first, TLSFixture.second],
            applicationProtocols: ["stun.turn", "stun.nat-discovery"]
        )
    }
    private static let client = Result { () throws(CryptoError) in
        try DTLSContext(clientTrust: TLSFixture.roots, applicationProtocols: ["stun.turn"])
    }

    private func world(
        _ serverName: String = "first.example.com",
        weather: Weather = Weather(),
        seed: UInt64 = 1,
        options: DTLSSession.Options = DTLSSession.Options()
    ) throws -> DTLSWorld {
        DTLSWorld(
            server: try Self.server.get(),
            client: try Self.client.get(),
            serverName: serverName,
            weather: weather,
            seed: seed,
            options: options
        )
    }

    // MARK: The handshake

    @Test func `A handshake with a cookie takes three round trips, and messages go both ways (turn 196, 198)`() throws {
        var world = try world()
        let start = world.now
        world.handshake()
        let isEstablished = world.areEstablished
        #expect(isEstablished)
        // One way takes 20 ms: ClientHello, HelloVerifyRequest, ClientHello, flight, flight, flight.
        let elapsed = world.now - start
        #expect(elapsed == .milliseconds(120))
        let protocols = (world.client.applicationProtocol, world.server?.applicationProtocol)
        #expect(protocols.0 == "stun.turn" && protocols.1 == "stun.turn")
        let name = world.server?.serverName
        #expect(name == "first.example.com")
        let areSent = (world.send([1, 2, 3], toServer: true), world.send([4, 5], toServer: false))
        #expect(areSent.0 && areSent.1)
        world.settle()
        let (atServer, atClient) = (world.atServer, world.atClient)
        #expect(atServer == [[1, 2, 3]] && atClient == [[4, 5]])
        let timeouts = (world.client.nextTimeout, world.server?.nextTimeout)
        #expect(timeouts.0 == nil && timeouts.1 == nil)
    }

    @Test func `The suites of RFC 7350 are there, and nothing without forward secrecy (turn 196)`() throws {
        let suites = try Self.server.get().cipherSuites.filter { $0.hasPrefix("TLS_") && $0.contains("_WITH_") }
        #expect(suites.contains("TLS_DHE_RSA_WITH_AES_128_GCM_SHA256"))
        #expect(suites.contains("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"))
        #expect(suites.allSatisfy { $0.hasPrefix("TLS_DHE_") || $0.hasPrefix("TLS_ECDHE_") })
    }

    @Test func `An RSA identity is served with the suite that RFC 7350 names (turn 196)`() throws {
        let identity = TLSFixture.identity("first.example.com", keyKind: .rsa2048)
        var world = DTLSWorld(
            server: try DTLSContext(serverIdentities: [identity]),
            client: try DTLSContext(clientTrust: .roots(pem: identity.certificatePEM))
        )
        world.handshake()
        let suite = world.client.cipherSuite
        #expect(suite == "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256")
    }

    @Test(arguments: ["first.example.com", "one.wild.example.com", "192.0.2.1", "2001:db8::1"])
    func `A server is known by its names and addresses`(name: String) throws {
        var world = try world(name)
        world.handshake()
        let isEstablished = world.areEstablished
        #expect(isEstablished)
    }

    @Test(arguments: [
        ("other.example.com", TLSFailure.certificate(.hostNameMismatch)),
        ("192.0.2.9", .certificate(.hostNameMismatch)), ("no host", .invalidServerName),
    ])
    func `A certificate for another name ends the handshake`(name: String, expected: TLSFailure) throws {
        var world = try world(name)
        world.handshake()
        world.settle()
        let (failure, isEstablished) = (world.client.failure, world.areEstablished)
        #expect(failure == expected && !isEstablished)
    }

    @Test func `A certificate that nobody vouches for ends the handshake, and the server is told`() throws {
        let stranger = TLSFixture.identity("first.example.com")
        var world = DTLSWorld(server: try DTLSContext(serverIdentities: [stranger]), client: try Self.client.get())
        world.handshake()
        world.settle()
        let failures = (world.client.failure, world.serverEnd)
        #expect(failures.0 == .certificate(.selfSigned))
        #expect(failures.1 == .failed(.alertReceived(.unknownCA)))
    }

    @Test func `No common application protocol ends the handshake (turn 198)`() throws {
        let client = try DTLSContext(clientTrust: TLSFixture.roots, applicationProtocols: ["webrtc"])
        var world = DTLSWorld(server: try Self.server.get(), client: client)
        world.handshake()
        let failure = world.client.failure
        #expect(failure == .alertReceived(.noApplicationProtocol))
    }

    @Test func `A client that closes says so`() throws {
        var world = try world()
        world.handshake()
        world.client.close()
        world.flush()
        world.settle()
        let end = world.serverEnd
        #expect(end == .closed)
        let isSent = world.send([1], toServer: true)
        #expect(!isSent)
    }

    // MARK: Loss and time

    @Test func `Without an answer the ClientHello is sent again after 1, 2, 4 and 8 seconds, then it is over`() throws {
        var world = try world(weather: Weather(lossPercent: 100))
        let start = world.now
        var times: [UInt64] = []
        var count = world.datagramsToServer.count
        while world.step() {
            if world.datagramsToServer.count > count { times.append((world.now - start).seconds) }
            count = world.datagramsToServer.count
        }
        #expect(times == [1, 3, 7, 15])
        let (failure, elapsed) = (world.client.failure, world.now - start)
        #expect(failure == .timedOut && elapsed == .seconds(30))
    }

    @Test func `Handshakes survive loss, duplicates and reordering, and so do the messages that arrive`() throws {
        var options = DTLSSession.Options()
        options.handshakeTime = .seconds(100_000)
        let weather = Weather(lossPercent: 25, duplicatePercent: 20, milliseconds: 5...400)
        for seed in seeds(300) {
            options.maximumDatagramByteCount = seed & 2 == 0 ? 1200 : 300
            var world = try world(weather: weather, seed: seed, options: options)
            world.handshake()
            let isEstablished = world.areEstablished
            #expect(isEstablished, "seed \(seed)")
            for number in 0..<10 { _ = world.send([UInt8(number)], toServer: number & 1 == 0) }
            world.settle()
            let (atServer, atClient) = (world.atServer, world.atClient)
            // Each at most once: a repeated record is dropped.
            #expect(Set(atServer).count == atServer.count && atServer.allSatisfy { $0[0] & 1 == 0 }, "seed \(seed)")
            #expect(Set(atClient).count == atClient.count && atClient.allSatisfy { $0[0] & 1 == 1 }, "seed \(seed)")
        }
    }

    @Test func `Damaged datagrams neither trap, nor are read, nor end what is established`() throws {
        for seed in seeds(300) {
            var world = try world(weather: Weather(damagedOneIn: 2), seed: seed)
            world.handshake()
            guard world.areEstablished else { continue }
            let isSent = (0..<5).map { world.send([$0, 7, 7, 7], toServer: $0 & 1 == 0) }
            #expect(isSent.allSatisfy { $0 }, "seed \(seed)")
            world.settle()
            let (atServer, atClient) = (world.atServer, world.atClient)
            #expect(atServer == [[0, 7, 7, 7], [2, 7, 7, 7], [4, 7, 7, 7]], "seed \(seed)")
            #expect(atClient == [[1, 7, 7, 7], [3, 7, 7, 7]], "seed \(seed)")
        }
    }

    // MARK: Sizes

    @Test(arguments: [300, 576, 1200])
    func `No datagram of a handshake is longer than the path takes`(maximum: Int) throws {
        var options = DTLSSession.Options()
        options.maximumDatagramByteCount = maximum
        var world = try world(options: options)
        world.handshake()
        let (isEstablished, largest) = (world.areEstablished, world.largestDatagram)
        #expect(isEstablished)
        #expect(largest <= maximum)
    }

    @Test func `A ClientHello of several datagrams is put together`() throws {
        var options = DTLSSession.Options()
        options.maximumDatagramByteCount = 256
        let long = ["stun.turn", String(repeating: "x", count: 240)]
        let client = try DTLSContext(clientTrust: TLSFixture.roots, applicationProtocols: long)
        var world = DTLSWorld(server: try Self.server.get(), client: client, options: options)
        #expect(world.datagramsToServer.count > 1)
        world.handshake()
        let isEstablished = world.areEstablished
        #expect(isEstablished)
    }

    @Test func `A message of a whole datagram is carried; an empty one and one that is too long are refused`() throws {
        var world = try world()
        world.handshake()
        let message = [UInt8](repeating: 7, count: 1472)
        let longest = [UInt8](repeating: 8, count: DTLSSession.maximumMessageByteCount)
        let areTaken = [message, longest, longest + [1], []].map { world.send($0, toServer: true) }
        #expect(areTaken == [true, true, false, false])
        world.settle()
        let atServer = world.atServer
        #expect(atServer == [message, longest])
    }

    @Test func `A client that has asked for short records gets no longer ones, and its association goes on`() throws {
        let client = try DTLSContext(clientTrust: TLSFixture.roots)
        // The client asks for 512 bytes (RFC 6066 §4). The context lives as long as `client`.
        #expect(unsafe SSL_CTX_set_tlsext_max_fragment_length(client.base.context, 1) == 1)
        var world = DTLSWorld(server: try Self.server.get(), client: client)
        world.handshake()
        let (short, long) = ([UInt8](repeating: 7, count: 512), [UInt8](repeating: 8, count: 513))
        let areTaken = [short, long, short].map { world.send($0, toServer: false) }
        #expect(areTaken == [true, false, true])
        world.settle()
        let atClient = world.atClient
        #expect(atClient == [short, short])
    }

    @Test func `A handshake that never ends is cut off`() throws {
        var world = try world()
        while world.server == nil { _ = world.step() }
        // Records of a foreign version are dropped, and counted none the less.
        let record: [UInt8] = [22, 3, 3, 0, 0, 0, 0, 0, 0, 9, 9, 4, 0] + [UInt8](repeating: 0, count: 1024)
        var end = TLSReadResult.wouldBlock
        for _ in 0..<70 where end == .wouldBlock { end = world.server?.take(record, at: world.now).end ?? .closed }
        #expect(end == .failed(.handshakeTooLarge(limitBytes: DTLSSession.handshakeLimit)))
    }

    @Test func `Random datagrams never trap, before and after the handshake`() throws {
        for seed in seeds(300) {
            var world = try world(seed: seed)
            if seed & 1 == 0 { world.handshake() } else { while world.server == nil { _ = world.step() } }
            var entropy = Entropy.seeded(seed)
            for _ in 0..<20 {
                var bytes = entropy.bytes(Int.random(in: 0...200, using: &entropy))
                if bytes.count > 13 {
                    let type = UInt8.random(in: 20...24, using: &entropy)
                    bytes.replaceSubrange(0..<13, with: [type, 0xFE, 0xFD, 0, bytes[3] & 1, 0, 0, 0, 0, 0, bytes[9]])
                    bytes.insert(contentsOf: [0, UInt8(bytes.count - 11)], at: 11)
                }
                let messages = world.server?.take(bytes, at: world.now).messages
                #expect(messages?.isEmpty != false, "seed \(seed)")
            }
        }
    }

    @Test func `whoever owns the network cannot make either end trap, grow or read what nobody wrote`() throws {
        var established = 0
        for seed in seeds(600) {
            var entropy = Entropy.seeded(seed)
            var script: [UInt8] = []
            for _ in 0..<60 {
                // Mostly the network does its work; now and then the attacker does his.
                let isHonest = Int.random(in: 0..<8, using: &entropy) > 0
                let step = UInt8.random(in: 0..<8, using: &entropy)
                let count = isHonest ? 0 : Int.random(in: 0..<40, using: &entropy)
                let direction: UInt8 = script.count & 2 == 0 ? 0 : 8
                script += [(isHonest ? (step > 5 ? 7 : 0) : step) | direction, UInt8(count)] + entropy.bytes(count)
            }
            var exercise = DTLSExercise(
                server: try Self.server.get(),
                client: try Self.client.get(),
                unixTime: TLSFixture.now
            )
            if exercise.run(script.span) { established += 1 }
        }
        #expect(established > 0 || seeds(2).count == 1)
    }
}
