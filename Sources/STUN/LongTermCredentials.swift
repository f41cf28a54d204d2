import Bytes
import Crypto

/// A user's long-term credential: the keys that come of the password, not the password (RFC 8489 §9.2, turn 71).
public struct LongTermCredentials: Sendable {
    /// The user name after OpaqueString, as USERNAME carries it.
    public let username: String
    /// The realm after OpaqueString.
    public let realm: String
    /// What USERHASH carries in place of the name.
    public let userhash: UserHash
    /// The key when the algorithm is MD5, or when none was named.
    public let md5Key: IntegrityKey
    /// The key when the algorithm is SHA-256; `nil` if only the MD5 key is stored.
    public let sha256Key: IntegrityKey?

    /// Derives the keys of a password.
    ///
    /// - Throws: `CredentialError` if a part is empty, too long, or has characters that OpaqueString forbids.
    public init(username: String, realm: String, password: String) throws(CredentialError) {
        try self.init(
            username: username,
            realm: realm,
            md5Key: try Self.keyBytes(.md5, username: username, realm: realm, password: password),
            sha256Key: try Self.keyBytes(.sha256, username: username, realm: realm, password: password)
        )
    }

    /// Takes keys that were derived before: 16 bytes of MD5, and 32 of SHA-256 if known.
    ///
    /// - Throws: `CredentialError` if name or realm is not usable, or `.tooShort` if a key has a wrong length.
    public init(username: String, realm: String, md5Key: [UInt8], sha256Key: [UInt8]?) throws(CredentialError) {
        guard md5Key.count == 16 else { throw .tooShort(.secret, byteCount: md5Key.count, minimum: 16) }
        if let sha256Key, sha256Key.count != 32 { throw .tooShort(.secret, byteCount: sha256Key.count, minimum: 32) }
        let usernameBytes = try OpaqueString.enforce(username, .username)
        let realmBytes = try OpaqueString.enforce(realm, .realm)
        self.username = String(decoding: usernameBytes, as: UTF8.self)
        self.realm = String(decoding: realmBytes, as: UTF8.self)
        userhash = UserHash(preparedUsername: usernameBytes, realm: realmBytes)
        self.md5Key = IntegrityKey(md5Key.span)
        self.sha256Key = sha256Key.map { IntegrityKey($0.span) }
    }

    /// The key for an algorithm; `nil` for one that is not known or whose key is not stored.
    public func key(for algorithm: PasswordAlgorithm) -> IntegrityKey? {
        switch algorithm {
        case .md5: md5Key
        case .sha256: sha256Key
        default: nil
        }
    }

    /// The key's bytes, to store in place of the password: the digest of `username:realm:password` (§9.2.2, §18.5.1).
    ///
    /// - Throws: `CredentialError` if a part is empty, too long, or has characters that OpaqueString forbids, or if the
    ///   algorithm is not known.
    public static func keyBytes(
        _ algorithm: PasswordAlgorithm,
        username: String,
        realm: String,
        password: String
    ) throws(CredentialError) -> [UInt8] {
        let name = try OpaqueString.enforce(username, .username)
        return try keyBytes(algorithm, receivedUsername: name.span, realm: realm, password: password)
    }

    /// The key's bytes for a name as USERNAME carries it: §18.5.1 leaves the preparation of the name to its sender.
    ///
    /// - Throws: `CredentialError` if realm or password is empty, too long, or has forbidden characters, or if the
    ///   algorithm is not known.
    public static func keyBytes(
        _ algorithm: PasswordAlgorithm,
        receivedUsername username: Span<UInt8>,
        realm: String,
        password: String
    ) throws(CredentialError) -> [UInt8] {
        let colon = [UInt8(ascii: ":")]
        var text = username.toArray() + colon
        text += try OpaqueString.enforce(realm, .realm) + colon
        text += try OpaqueString.enforce(password, .password)
        switch algorithm {
        case .md5: return MessageDigest.md5(text)
        case .sha256: return MessageDigest.sha256(text)
        // Never an empty key, which everyone would know.
        default: throw .unknownAlgorithm(algorithm)
        }
    }
}

extension LongTermCredentials: CustomStringConvertible, CustomReflectable {
    /// Says that this is a credential, not which.
    public var description: String { "LongTermCredentials" }
    /// Shows nothing, so that no dump of a value that holds a credential shows its keys.
    public var customMirror: Mirror { Mirror(self, children: []) }
}
