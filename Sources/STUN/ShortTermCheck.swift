/// One of the two algorithms that protect messages.
public enum IntegrityAlgorithm: UInt8, Hashable, Sendable, CaseIterable {
    /// MESSAGE-INTEGRITY.
    case sha1
    /// MESSAGE-INTEGRITY-SHA256.
    case sha256

    /// The protection of a message by this algorithm alone.
    public func protection(_ key: IntegrityKey) -> MessageProtection {
        switch self {
        case .sha1: .sha1(key)
        case .sha256: .sha256(key)
        }
    }
}

/// What a server finds out about a request or indication with short-term credentials (RFC 8489 §9.1.3).
public enum ShortTermCheck: Hashable, Sendable {
    /// The sender knows the password. The response has the integrity of this one kind and no USERNAME.
    case authenticated(IntegrityAlgorithm)
    /// An indication is discarded; a request is answered with the refusal's code, without integrity and USERNAME.
    case refused(ShortTermRefusal)
}

/// Why a message with short-term credentials is refused.
public enum ShortTermRefusal: Hashable, Sendable, CaseIterable {
    /// There is no integrity or no USERNAME that can be read.
    case missingCredentials
    /// Nobody has this user name.
    case unknownUsername
    /// The password is another.
    case wrongIntegrity

    /// The code of the error response.
    public var code: ErrorCode {
        switch self {
        case .missingCredentials: .badRequest
        case .unknownUsername, .wrongIntegrity: .unauthenticated
        }
    }
}

extension STUNMessageView {
    /// Checks short-term credentials in the order of RFC 8489 §9.1.3: the one way of every server here to do so.
    ///
    /// `key` looks up the password of a user name, as it was received. SHA-256 counts if it is there, else SHA-1.
    public func checkShortTerm(key: (Span<UInt8>) -> IntegrityKey?) -> ShortTermCheck {
        guard hasIntegrity, let username = try? username() else { return .refused(.missingCredentials) }
        guard let key = key(username) else { return .refused(.unknownUsername) }
        guard checkPreferredIntegrity(key) == .valid else { return .refused(.wrongIntegrity) }
        return .authenticated(contains(.messageIntegritySHA256) ? .sha256 : .sha1)
    }
}
