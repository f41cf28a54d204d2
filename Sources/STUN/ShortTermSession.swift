/// What becomes of a response under the short-term credential mechanism.
public enum ShortTermVerdict: Hashable, Sendable {
    /// It is what it seems: the owner goes on with it, be it a success or an error.
    case accepted
    /// It was never received: the transaction goes on.
    case ignored(ResponseRefusal)
    /// The transaction is over.
    case failed(TransactionFailure)
}

/// The client's side of the short-term credential mechanism (RFC 8489 §9.1): what to send, and which responses to believe.
///
/// One for each transport address of a server, since what was learned holds for that address alone (§9.1.5). ICE does
/// without: its agents know from outside that both ends take MESSAGE-INTEGRITY, and send no other.
public struct ShortTermSession: Sendable {
    /// What USERNAME carries.
    public let username: String
    private let key: IntegrityKey
    /// The algorithm that both ends support, if it was known or a response has shown it.
    public private(set) var algorithm: IntegrityAlgorithm?

    /// Makes a session of a user; `algorithm` is what both ends are known to support, `nil` if nothing is known.
    ///
    /// - Throws: `CredentialError` if name or password is empty, too long, or has characters that OpaqueString forbids.
    public init(
        username: String,
        password: String,
        algorithm: IntegrityAlgorithm? = nil
    ) throws(CredentialError) {
        self.username = String(decoding: try OpaqueString.enforce(username, .username), as: UTF8.self)
        key = try IntegrityKey(shortTermPassword: password)
        self.algorithm = algorithm
    }

    /// What protects the next message: both attributes until one algorithm is known (§9.1.2, §9.1.5).
    public var protection: MessageProtection { algorithm?.protection(key) ?? .both(key) }

    /// Judges a response to a request that was protected as `sent` says (§9.1.4).
    ///
    /// The first response of a server decides with which algorithm it is spoken to from then on.
    public mutating func judge(
        _ response: borrowing STUNMessageView,
        to sent: MessageProtection,
        isReliable: Bool
    ) -> ShortTermVerdict {
        guard let confirmed = Self.algorithm(of: response, to: sent) else {
            return isReliable ? .failed(.integrityViolated) : .ignored(.integrityViolated)
        }
        if algorithm == nil { algorithm = confirmed }
        return .accepted
    }

    /// The algorithm by which a response is authentic: the request's, where that had only one.
    private static func algorithm(
        of response: borrowing STUNMessageView,
        to sent: MessageProtection
    ) -> IntegrityAlgorithm? {
        switch sent {
        case .none: nil
        case .sha1(let key): response.checkMessageIntegrity(key) == .valid ? .sha1 : nil
        case .sha256(let key): response.checkMessageIntegritySHA256(key) == .valid ? .sha256 : nil
        case .both(let key):
            if response.checkPreferredIntegrity(key) != .valid {
                nil
            } else {
                response.contains(.messageIntegritySHA256) ? .sha256 : .sha1
            }
        }
    }
}

extension ShortTermSession: CustomReflectable {
    /// Shows nothing, so that no dump of a value that holds a session shows its key.
    public var customMirror: Mirror { Mirror(self, children: []) }
}
