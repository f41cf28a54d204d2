public import Crypto

/// A credential's key, ready for MESSAGE-INTEGRITY and MESSAGE-INTEGRITY-SHA256; no allocation to use.
///
/// A reference to what was worked out once: a request hands it on from its check to its response.
public struct IntegrityKey: Sendable {
    private final class States: Sendable {
        let keys: HMACKeyPair

        init(_ bytes: Span<UInt8>) { keys = HMACKeyPair(bytes) }
    }

    private let states: States

    /// For MESSAGE-INTEGRITY.
    public var sha1: HMACKey { states.keys.sha1 }
    /// For MESSAGE-INTEGRITY-SHA256.
    public var sha256: HMACKey { states.keys.sha256 }

    /// Prepares the key's bytes: 16 or 32 of a long-term credential, or a short-term password (RFC 8489 §9.1.1).
    public init(_ bytes: Span<UInt8>) { states = States(bytes) }

    /// Prepares the key of a short-term credential: OpaqueString(password) in UTF-8 (RFC 8489 §9.1.1).
    ///
    /// - Throws: `CredentialError` if the password is empty or has characters that OpaqueString forbids.
    public init(shortTermPassword password: String) throws(CredentialError) {
        let bytes = try OpaqueString.enforce(password, .password)
        self.init(bytes.span)
    }
}

/// Which attributes protect a message that is being written.
public enum MessageProtection: Sendable {
    /// None.
    case none
    /// MESSAGE-INTEGRITY.
    case sha1(IntegrityKey)
    /// MESSAGE-INTEGRITY-SHA256.
    case sha256(IntegrityKey)
    /// Both, as a first short-term request has them (RFC 8489 §9.1.2).
    case both(IntegrityKey)
}
