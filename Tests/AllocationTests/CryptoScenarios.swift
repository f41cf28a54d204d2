import Bytes
import Crypto
import NetTypes
import STUN

let cryptoScenarios = [
    Scenario("HMAC-SHA1 of 100 bytes") { try authenticationBlocks(.sha1) },
    Scenario("HMAC-SHA256 of 100 bytes") { try authenticationBlocks(.sha256) },
    Scenario("SHA-256 digest of 100 bytes") {
        let message = [UInt8](repeating: 7, count: 100)
        var sum: UInt8 = 0
        let blocks = blocksPerOperation { _ in sum ^= MessageDigest.sha256(message.span)[0] }
        guard sum == 0 else { throw SetupError("Equal messages have different digests.") }
        return blocks
    },
    Scenario("judge a nonce") {
        let nonces = try NonceFactory(secret: [UInt8](repeating: 1, count: 16), features: [.passwordAlgorithms])
        let client = SocketAddress(.loopback(.ipv4), port: 4000)
        let nonce = nonces.nonce(for: client, atUnixSeconds: 1000)
        return try blocksPerOperation { _ in
            guard nonces.check(nonce.span, from: client, atUnixSeconds: 1001) == .valid else {
                throw SetupError("A nonce is not valid.")
            }
        }
    },
    Scenario("check a message's integrity and fingerprint") {
        let key = try IntegrityKey(shortTermPassword: "password")
        let message = try STUNMessage(STUNMessageType(.binding, .request), TransactionID(high: 1, low: 2))
            .encoded(protectedBy: .sha1(key), fingerprint: true)
        return try blocksPerOperation { _ in
            let view = try STUNMessageView(message.span)
            guard view.checkMessageIntegrity(key) == .valid, view.checkFingerprint() == .valid else {
                throw SetupError("A message is not valid.")
            }
        }
    },
]

private func authenticationBlocks(_ hash: HashAlgorithm) throws -> Double {
    let key = HMACKey(hash, key: [1, 2, 3])
    let message = [UInt8](repeating: 7, count: 100)
    let code = key.authenticationCode(for: message)
    return try blocksPerOperation { _ in
        guard key.isValid(code.span, for: message.span) else { throw SetupError("An HMAC is not valid.") }
    }
}
