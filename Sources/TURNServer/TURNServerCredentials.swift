import Bytes
import NetTypes
public import STUN
public import TURN

/// Who may use the server, and how the server proves it to itself.
public struct TURNServerCredentials: Sendable {
    /// The realm, best the server's domain name (RFC 8489 §9.2.4).
    public let realm: String
    /// The password algorithms that are offered, best first; empty announces none, as RFC 5389 servers do.
    public let passwordAlgorithms: PasswordAlgorithmList
    /// Whose access tokens are taken as well; `nil` for nobody's.
    public let thirdParty: ThirdPartyAuthorization?

    let realmBytes: [UInt8]
    private let users: [String: Account]
    private let names: [UserHash: String]
    private let secrets: [RESTSecret]
    private let maximumTemporarySeconds: UInt64
    private let nonceSecret: [UInt8]
    private let previousNonceSecret: [UInt8]?

    /// Makes the set of users.
    ///
    /// `users` have static credentials in this realm. `secrets` verify credentials of the form "expiry:user", which a
    /// service has minted with one of them, at most `maximumTemporarySeconds` ahead. `thirdParty` verifies access tokens.
    /// A fleet whose servers take over each other's clients gives all of them
    /// the same `nonceSecret`, of 16 bytes or more; without one it is random. The previous one is accepted as well.
    public init(
        realm: String,
        users: [LongTermCredentials] = [],
        secrets: [RESTSecret] = [],
        maximumTemporarySeconds: UInt64 = 30 * 86_400,
        passwordAlgorithms: PasswordAlgorithmList = [.sha256, .md5],
        thirdParty: ThirdPartyAuthorization? = nil,
        nonceSecret: [UInt8]? = nil,
        previousNonceSecret: [UInt8]? = nil
    ) {
        var entropy = Entropy.system
        self.realm = realm
        realmBytes = Array(realm.utf8)
        self.users = Dictionary(users.map { ($0.username, Account(user: $0.username, credentials: $0)) }) { _, last in
            last
        }
        names = Dictionary(users.map { ($0.userhash, $0.username) }) { _, last in last }
        self.secrets = secrets
        self.maximumTemporarySeconds = maximumTemporarySeconds
        self.passwordAlgorithms = passwordAlgorithms
        self.thirdParty = thirdParty
        self.nonceSecret = nonceSecret ?? entropy.bytes(32)
        self.previousNonceSecret = previousNonceSecret
    }

    /// What the nonces announce.
    ///
    /// User names can only be hidden where the server has all of them to compare with: the names of temporary credentials
    /// hold a time that it cannot guess, so a server that accepts those does not announce it. Nor does one that takes access
    /// tokens, whose key is named in USERNAME (RFC 7635 §5).
    public var features: SecurityFeatures {
        var features: SecurityFeatures = []
        if passwordAlgorithms.count > 0 { features.insert(.passwordAlgorithms) }
        if secrets.isEmpty, thirdParty == nil { features.insert(.usernameAnonymity) }
        return features
    }

    /// The maker and judge of nonces.
    ///
    /// - Throws: `CredentialError.tooShort` for a nonce secret of fewer than 16 bytes.
    func nonceFactory() throws(CredentialError) -> NonceFactory {
        try NonceFactory(secret: nonceSecret, previousSecret: previousNonceSecret, features: features)
    }

    /// Whether every static user belongs to this realm.
    var isConsistent: Bool { users.values.allSatisfy { $0.realm == realm } }

    /// Why nobody is known under a name, or under a hash if there is none.
    func refusal(_ name: String?, _ now: UInt64) -> RefusedCredentials {
        guard let name, !secrets.isEmpty, let parts = RESTUsername(Array(name.utf8).span) else { return .user }
        return parts.expiryUnixSeconds < now ? .expired : .user
    }

    func accounts(hash: UserHash) -> Candidates {
        guard let name = names[hash], let found = users[name] else { return .none }
        return .one(found)
    }

    /// The accounts that a name can stand for: one of a static user, or one for each secret of temporary credentials.
    func accounts(name: String, atUnixSeconds now: UInt64) -> Candidates {
        if let found = users[name] { return .one(found) }
        let bytes = Array(name.utf8)
        guard !secrets.isEmpty, bytes.contains(UInt8(ascii: ":")), let parts = RESTUsername(bytes.span),
            parts.isValid(atUnixSeconds: now, maximumLifetimeSeconds: maximumTemporarySeconds)
        else { return .none }
        let user = String(decoding: bytes[parts.userID], as: UTF8.self)
        let accounts = secrets.compactMap { secret -> Account? in
            let password = secret.password(for: bytes.span)
            guard let credentials = try? LongTermCredentials(username: name, realm: realm, password: password) else {
                return nil
            }
            return Account(user: user, credentials: credentials)
        }
        return Candidates(accounts)
    }
}
