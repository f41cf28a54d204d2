public import Bytes
import Crypto

/// The hash that stands for a user name where the name is not to be seen (RFC 8489 §14.4).
public struct UserHash: Hashable, Sendable {
    /// How many bytes the hash has.
    public static let byteCount = 32

    private let words: (UInt64, UInt64, UInt64, UInt64)

    /// Takes the 32 bytes of a USERHASH; `nil` for another length.
    public init?(bytes: Span<UInt8>) {
        guard bytes.count == Self.byteCount else { return nil }
        words = (
            bytes.bigEndianUInt64(at: 0), bytes.bigEndianUInt64(at: 8), bytes.bigEndianUInt64(at: 16),
            bytes.bigEndianUInt64(at: 24)
        )
    }

    /// Works out SHA-256(OpaqueString(username) ":" OpaqueString(realm)).
    ///
    /// - Throws: `CredentialError` if one of them is empty or has characters that OpaqueString forbids.
    public init(username: String, realm: String) throws(CredentialError) {
        self.init(
            preparedUsername: try OpaqueString.enforce(username, .username),
            realm: try OpaqueString.enforce(realm, .realm)
        )
    }

    init(preparedUsername username: [UInt8], realm: [UInt8]) {
        let digest = MessageDigest.sha256((username + [UInt8(ascii: ":")] + realm).span)
        let bytes = digest.span
        words = (
            bytes.bigEndianUInt64(at: 0), bytes.bigEndianUInt64(at: 8), bytes.bigEndianUInt64(at: 16),
            bytes.bigEndianUInt64(at: 24)
        )
    }

    /// Appends the 32 bytes; the free capacity must suffice.
    public func write(into output: inout OutputSpan<UInt8>) {
        output.append(bigEndian: words.0)
        output.append(bigEndian: words.1)
        output.append(bigEndian: words.2)
        output.append(bigEndian: words.3)
    }

    /// Whether both are the same hash.
    public static func == (left: UserHash, right: UserHash) -> Bool { left.words == right.words }

    /// Mixes the hash in.
    public func hash(into hasher: inout Hasher) {
        hasher.combine(words.0)
        hasher.combine(words.1)
        hasher.combine(words.2)
        hasher.combine(words.3)
    }
}

extension UserHash: FlatKey {
    /// Mixes all bits with the seed: a peer chooses them.
    public func flatHash(seed: UInt64) -> UInt64 {
        words.0.flatHash(seed: words.1.flatHash(seed: words.2.flatHash(seed: words.3.flatHash(seed: seed))))
    }
}
