import Bytes
import NetTypes
import TestSupport
import Testing

@testable import Crypto

/// Seeded damage to what a real peer sends: nothing may trap, and nothing but the peer's own plaintext may be read.
@Suite struct TLSMutationTests {
    private static let serverContext = Result { () throws(CryptoError) in
        try TLSContext(
            serverIdentities: [TLSFixture.first, TLSFixture.second],
            applicationProtocols: ["stun.turn", "http/1.1"]
        )
    }
    private static let clientContext = Result { () throws(CryptoError) in
        try TLSContext(clientTrust: TLSFixture.roots, applicationProtocols: ["stun.turn"])
    }

    @Test func `A damaged ClientHello never traps`() throws {
        let server = try Self.serverContext.get()
        let hello = try clientHello()
        for seed in seeds(16_000) {
            var entropy = Entropy.seeded(seed)
            var session = TLSSession(server: server)
            let input = [UInt8.random(in: 0...255, using: &entropy)] + damage(hello, &entropy)
            session.exercise(with: input.span)
        }
    }

    @Test func `A damaged answer of the server never makes an established client`() throws {
        let server = try Self.serverContext.get()
        let context = try Self.clientContext.get()
        for seed in seeds(1500) {
            var entropy = Entropy.seeded(seed)
            var client = TLSSession(client: context, serverName: "first.example.com", verifyingAt: TLSFixture.now)
            var peer = TLSSession(server: server)
            peer.receive(client.transmit())
            let answer = peer.transmit()
            let damaged = damage(answer, &entropy)
            client.exercise(with: ([UInt8.random(in: 0...255, using: &entropy)] + damaged).span)
            let isEstablished = client.isEstablished
            #expect(!isEstablished || damaged.starts(with: answer), "seed \(seed)")
        }
    }

    @Test func `Damaged records are never read as plaintext`() throws {
        let server = try Self.serverContext.get()
        let context = try Self.clientContext.get()
        let message: [UInt8] = Array("attack at dawn".utf8)
        for seed in seeds(1500) {
            var entropy = Entropy.seeded(seed)
            var client = TLSSession(client: context, serverName: "first.example.com", verifyingAt: TLSFixture.now)
            var peer = TLSSession(server: server)
            shuttle(&client, &peer)
            client.mustWrite(message)
            client.mustWrite(message)
            peer.receive(damage(client.transmit(), &entropy), atMost: Int.random(in: 1...99, using: &entropy))
            let read = peer.readAll().bytes
            #expect((message + message).starts(with: read), "seed \(seed)")
        }
    }

    @Test func `Random bytes never trap, as server or as client`() throws {
        let server = try Self.serverContext.get()
        let context = try Self.clientContext.get()
        for seed in seeds(4000) {
            var entropy = Entropy.seeded(seed)
            var bytes = entropy.bytes(Int.random(in: 0...400, using: &entropy))
            // Half of them as records, so that they get past the first check.
            if bytes.count > 8, seed & 1 == 0 {
                bytes.replaceSubrange(1..<6, with: [UInt8.random(in: 20...24, using: &entropy), 3, 3, 0, bytes[1]])
            }
            var session = TLSSession(server: server)
            session.exercise(with: bytes.span)
            var client = TLSSession(client: context, serverName: "first.example.com", verifyingAt: TLSFixture.now)
            client.exercise(with: bytes.span)
            let areEstablished = (session.isEstablished, client.isEstablished)
            #expect(!areEstablished.0 && !areEstablished.1, "seed \(seed)")
        }
    }

    @Test func `Damaged certificate texts are errors, not traps`() {
        let good = TLSFixture.first
        for seed in seeds(2000) {
            var entropy = Entropy.seeded(seed)
            let certificate = String(decoding: damage(Array(good.certificatePEM.utf8), &entropy), as: UTF8.self)
            let key = String(decoding: damage(Array(good.privateKeyPEM.utf8), &entropy), as: UTF8.self)
            if let read = try? Identity(certificatePEM: certificate, privateKeyPEM: good.privateKeyPEM) {
                #expect(read.fingerprintSHA256.count == 95)
            }
            if let read = try? Identity(certificatePEM: good.certificatePEM, privateKeyPEM: key) {
                #expect(read.fingerprintSHA256 == good.fingerprintSHA256, "seed \(seed)")
            }
        }
    }

    private func clientHello() throws -> [UInt8] {
        var client = TLSSession(
            client: try Self.clientContext.get(),
            serverName: "first.example.com",
            verifyingAt: TLSFixture.now
        )
        return client.transmit()
    }

    /// Flips bits, cuts, repeats or inserts; always changes something.
    private func damage(_ bytes: [UInt8], _ entropy: inout Entropy) -> [UInt8] {
        var damaged = bytes
        for _ in 0..<Int.random(in: 1...4, using: &entropy) where !damaged.isEmpty {
            let index = Int.random(in: damaged.indices, using: &entropy)
            let end = min(damaged.count, index + Int.random(in: 1...40, using: &entropy))
            switch Int.random(in: 0..<5, using: &entropy) {
            case 0: damaged[index] ^= 1 << UInt8.random(in: 0...7, using: &entropy)
            case 1: damaged[index] = [0, 1, 0x7F, 0x80, 0xFF].randomElement(using: &entropy) ?? 0
            case 2: damaged.removeLast(damaged.count - index)
            case 3: damaged.insert(contentsOf: damaged[index..<end], at: index)
            default: damaged.removeSubrange(index..<end)
            }
        }
        return damaged
    }
}
