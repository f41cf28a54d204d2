import Bytes
import Crypto

/// What a server has asked for in a 401 or 438 response, kept for the next request (RFC 8489 §9.2.3.2).
///
/// Also good for another client of the same user and server: its first request is then answered at once, if the nonce is
/// still valid there.
public struct LongTermChallenge: Hashable, Sendable {
    /// REALM as it was received.
    public let realm: [UInt8]
    /// NONCE as it was received.
    public let nonce: [UInt8]
    /// PASSWORD-ALGORITHMS as it was received, `nil` if it was absent.
    public let passwordAlgorithms: [UInt8]?

    /// Makes a challenge of what was kept; one that cannot be used does no harm.
    public init(realm: [UInt8], nonce: [UInt8], passwordAlgorithms: [UInt8]? = nil) {
        self.realm = realm
        self.nonce = nonce
        self.passwordAlgorithms = passwordAlgorithms
    }

    /// The longest PASSWORD-ALGORITHMS that is kept.
    static let algorithmsLimit = 256

    var features: SecurityFeatures { SecurityFeatures(nonce: nonce.span) ?? [] }
}

/// How a request was authenticated, to be handed back with its response.
public struct LongTermAttempt: Sendable {
    /// What protects the request.
    public let protection: MessageProtection
    let revision: UInt32
    /// How many requests for the same purpose were challenged before.
    let challenges: Int

    var isAuthenticated: Bool {
        if case .none = protection { return false }
        return true
    }
}

/// What becomes of a response under the long-term credential mechanism.
public enum LongTermVerdict: Hashable, Sendable {
    /// It is what it seems: the owner goes on with it, be it a success or an error.
    case accepted
    /// The request is to be made anew with a new transaction.
    case retry
    /// It was never received: the transaction goes on.
    case ignored(ResponseRefusal)
    /// The transaction is over.
    case failed(TransactionFailure)
}

/// Why a response is treated as if it had not come.
public enum ResponseRefusal: Hashable, Sendable {
    /// A 400 that nothing protects (turn 78).
    case unprotectedBadRequest
    /// The integrity is absent or wrong (turn 79).
    case integrityViolated
    /// The nonce announces password algorithms, and they are not there (turn 77).
    case biddenDown
}

/// The client's side of the long-term credential mechanism (RFC 8489 §9.2): what to send, and which responses to believe.
///
/// A value without time: the owner makes transactions and hands their responses over.
public struct LongTermSession: Sendable {
    private struct Identity {
        let credentials: LongTermCredentials
        let key: IntegrityKey
        let algorithm: PasswordAlgorithm?
        let usesHash: Bool
    }

    /// How often one purpose may be challenged: a first 401 and stale nonces, but no endless loop (turn 76).
    public static let challengeLimit = 4

    private let username: String
    private let password: String
    private var current: (challenge: LongTermChallenge, identity: Identity)?
    /// Grows when realm, user name form or algorithm changes.
    private var revision: UInt32 = 0
    /// Whether a server has confirmed the challenge by a response with integrity.
    private var isConfirmed = false

    /// Makes a session of a user, with what an earlier one has learned of the server.
    ///
    /// - Throws: `CredentialError` if the name or the password cannot be one of a long-term credential.
    public init(username: String, password: String, challenge: LongTermChallenge? = nil) throws(CredentialError) {
        _ = try LongTermCredentials(username: username, realm: "realm", password: password)
        self.username = username
        self.password = password
        if let challenge { _ = adopt(challenge) }
    }

    /// What the server has asked for, once it has confirmed a request that was made with it.
    public var challenge: LongTermChallenge? { isConfirmed ? current?.challenge : nil }

    /// How to make the next request; `previous` is the attempt that has led to `.retry`.
    public func attempt(after previous: LongTermAttempt? = nil) -> LongTermAttempt {
        let protection: MessageProtection =
            switch current?.identity {
            case nil: .none
            case let identity?: identity.algorithm == nil ? .sha1(identity.key) : .sha256(identity.key)
            }
        return LongTermAttempt(
            protection: protection,
            revision: revision,
            challenges: (previous?.challenges ?? -1) + 1
        )
    }

    /// Appends what authenticates a request, except the integrity; nothing before the first challenge (turn 72).
    public func append(to builder: inout STUNMessageBuilder, into output: inout OutputSpan<UInt8>) {
        guard let (challenge, identity) = current else { return }
        if identity.usesHash {
            builder.append(userhash: identity.credentials.userhash, into: &output)
        } else {
            builder.append(.username, identity.credentials.username, into: &output)
        }
        builder.append(.realm, challenge.realm.span, into: &output)
        builder.append(.nonce, challenge.nonce.span, into: &output)
        guard let list = challenge.passwordAlgorithms, let algorithm = identity.algorithm else { return }
        builder.append(.passwordAlgorithms, list.span, into: &output)
        builder.append(passwordAlgorithm: algorithm, into: &output)
    }

    /// Judges a response to a request that was made as `attempt` says, in the order of RFC 8489 §9.2.5.
    public mutating func judge(
        _ response: borrowing STUNMessageView,
        to attempt: LongTermAttempt,
        isReliable: Bool
    ) -> LongTermVerdict {
        let code = response.messageClass == .error ? (try? response.errorCode()) ?? nil : nil
        if code == .unauthenticated || code == .staleNonce {
            return takeChallenge(response, attempt, isStale: code == .staleNonce)
        }
        if let nonce = response.value(.nonce), let features = SecurityFeatures(nonce: nonce),
            features.contains(.passwordAlgorithms), !response.contains(.passwordAlgorithms)
        {
            return .ignored(.biddenDown)
        }
        if code == .badRequest, !response.hasIntegrity { return .ignored(.unprotectedBadRequest) }
        // Who was not asked for credentials cannot have its answer confirmed by them.
        guard attempt.isAuthenticated else { return .accepted }
        guard isConfirmedBy(response, attempt.protection) else {
            return isReliable ? .failed(.integrityViolated) : .ignored(.integrityViolated)
        }
        isConfirmed = true
        return .accepted
    }

    private func isConfirmedBy(_ response: borrowing STUNMessageView, _ protection: MessageProtection) -> Bool {
        switch protection {
        case .none: true
        case .sha1(let key): response.checkPreferredIntegrity(key) == .valid
        case .sha256(let key): response.checkMessageIntegritySHA256(key) == .valid
        case .both(let key): response.checkPreferredIntegrity(key) == .valid
        }
    }

    /// Takes realm, nonce and algorithms out of a 401 or 438.
    private mutating func takeChallenge(
        _ response: borrowing STUNMessageView,
        _ attempt: LongTermAttempt,
        isStale: Bool
    ) -> LongTermVerdict {
        let limit = 1...STUNFormat.maximumReceivedTextByteCount
        guard let nonce = response.value(.nonce), limit.contains(nonce.count) else {
            return .failed(.malformedResponse)
        }
        let algorithms = response.value(.passwordAlgorithms)?.toArray()
        if let features = SecurityFeatures(nonce: nonce), features.contains(.passwordAlgorithms), algorithms == nil {
            return .failed(.biddenDown)
        }
        // Once algorithms were listed, a challenge without them would lead back to MD5 and SHA-1 (turn 80).
        if algorithms == nil, current?.challenge.passwordAlgorithms != nil { return .failed(.biddenDown) }
        let realm = response.value(.realm)?.toArray() ?? (isStale ? current?.challenge.realm : nil)
        guard let realm, limit.contains(realm.count) else { return .failed(.malformedResponse) }
        let challenge = LongTermChallenge(
            realm: realm,
            nonce: nonce.toArray(),
            passwordAlgorithms: algorithms
        )
        if let failure = adopt(challenge) { return .failed(failure) }
        // 401 with what was shown already: the same again would not help (turn 75).
        if !isStale, attempt.isAuthenticated, attempt.revision == revision { return .failed(.wrongCredentials) }
        guard attempt.challenges < Self.challengeLimit else { return .failed(.tooManyChallenges) }
        return .retry
    }

    /// Makes a challenge the present one; returns why it cannot be.
    private mutating func adopt(_ challenge: LongTermChallenge) -> TransactionFailure? {
        let algorithm: PasswordAlgorithm?
        if let bytes = challenge.passwordAlgorithms {
            guard bytes.count <= LongTermChallenge.algorithmsLimit,
                let list = PasswordAlgorithmList(attributeValue: bytes.span)
            else { return .malformedResponse }
            algorithm = (0..<list.count).lazy.map { list[$0] }.first { $0 == .md5 || $0 == .sha256 }
            guard algorithm != nil else { return .noSupportedPasswordAlgorithm }
        } else {
            algorithm = nil
        }
        let usesHash = challenge.features.contains(.usernameAnonymity)
        if let (old, identity) = current, old.realm == challenge.realm, identity.algorithm == algorithm,
            identity.usesHash == usesHash
        {
            current = (challenge, identity)
            return nil
        }
        guard let realm = String(validating: challenge.realm, as: UTF8.self),
            let credentials = try? LongTermCredentials(username: username, realm: realm, password: password),
            let key = credentials.key(for: algorithm ?? .md5)
        else { return .unusableRealm }
        current = (challenge, Identity(credentials: credentials, key: key, algorithm: algorithm, usesHash: usesHash))
        revision &+= 1
        return nil
    }
}

extension LongTermSession: CustomReflectable {
    /// Shows nothing, so that no dump of a value that holds a session shows its password.
    public var customMirror: Mirror { Mirror(self, children: []) }
}
