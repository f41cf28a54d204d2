import Bytes
import Crypto
public import STUN

/// How clients of an authorization server are known: by tokens that it made with one of these keys (RFC 7635).
public struct ThirdPartyAuthorization: Sendable {
    /// This server's name: what THIRD-PARTY-AUTHORIZATION tells, and what a token must be made for.
    public let serverName: String
    private let keys: [String: AccessTokenKey]

    /// Takes the keys; of two with the same name, the last one counts.
    public init(serverName: String, keys: [AccessTokenKey]) {
        self.serverName = serverName
        self.keys = Dictionary(keys.map { ($0.id, $0) }) { _, last in last }
    }

    /// Whether the name has a length that every answer to a stranger may have, and there is a key.
    var isUsable: Bool { (1...255).contains(serverName.utf8.count) && !keys.isEmpty }

    /// Whom a token stands for: nobody, unless it is whole, made for this server, and good at this time (RFC 7635 §7).
    ///
    /// Of a session key of more than 160 bits there are two for MESSAGE-INTEGRITY: the key itself (§5), and its SHA-1
    /// digest, as Appendix B has it.
    func accounts(keyID: String, token bytes: Span<UInt8>, atUnixSeconds now: UInt64) -> [Account] {
        guard let key = keys[keyID], key.isValid(atUnixSeconds: now), let token = key.open(bytes, for: serverName),
            token.remainingSeconds(atUnixSeconds: now) > 0
        else { return [] }
        let digest = MessageDigest.sha256(bytes)
        let user = keyID + ":" + Hex.encode((0..<6).map { digest[$0] })
        var macKeys = [token.macKey]
        if token.macKey.count > 20 { macKeys.append(MessageDigest.sha1(token.macKey)) }
        // Departure: coturn's clients take 16 bytes of the key, whatever it is, as if it were a long-term credential's.
        macKeys.append(Array(token.macKey.prefix(16)))
        return macKeys.map { Account(user: user, username: keyID, key: IntegrityKey($0.span), token: token) }
    }
}
