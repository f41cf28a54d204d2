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
    /// THIRD-PARTY-AUTHORIZATION as it was received: the name of the server that a token must be for; `nil` if absent.
    public let thirdPartyServerName: [UInt8]?

    /// Makes a challenge of what was kept; one that cannot be used does no harm.
    public init(
        realm: [UInt8],
        nonce: [UInt8],
        passwordAlgorithms: [UInt8]? = nil,
        thirdPartyServerName: [UInt8]? = nil
    ) {
        self.realm = realm
        self.nonce = nonce
        self.passwordAlgorithms = passwordAlgorithms
        self.thirdPartyServerName = thirdPartyServerName
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
    /// The grant that the request shows, if it shows one.
    let grant: AccessGrant?
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
        let username: String
        let key: IntegrityKey
        let algorithm: PasswordAlgorithm?
        /// What is sent in place of the name, where the server asks for that.
        let userhash: UserHash?
    }

    private enum Secret {
        case password(String, of: String)
        case grant(AccessGrant)
    }

    /// How often one purpose may be challenged: a first 401 and stale nonces, but no endless loop (turn 76).
    public static let challengeLimit = 4

    private var secret: Secret
    /// The next grant, until the server has taken it.
    private var next: AccessGrant?
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
        secret = .password(password, of: username)
        if let challenge { _ = adopt(challenge) }
    }

    /// Makes a session of the holder of an access token (RFC 7635), with what an earlier one has learned of the server.
    public init(grant: AccessGrant, challenge: LongTermChallenge? = nil) {
        secret = .grant(grant)
        if let challenge { _ = adopt(challenge) }
    }

    /// Shows another token from the next Allocate or Refresh request on; once the server has taken it, its key protects
    /// all others too.
    ///
    /// Without effect on a session with a password.
    public mutating func renew(_ grant: AccessGrant) {
        guard case .grant = secret else { return }
        next = grant
    }

    /// The name of the server that a token must be for, if the server has said that it takes tokens (RFC 7635 §6.1).
    public var thirdPartyServerName: String? {
        current?.challenge.thirdPartyServerName.flatMap { String(validating: $0, as: UTF8.self) }
    }

    /// The grant that a request of this method shows: RFC 7635 §9 wants it in Allocate and Refresh, and in no others.
    private func grant(for method: STUNMethod) -> AccessGrant? {
        guard method == .allocate || method == .refresh, case .grant(let grant) = secret else { return nil }
        return next ?? grant
    }

    /// What the server has asked for, once it has confirmed a request that was made with it.
    public var challenge: LongTermChallenge? { isConfirmed ? current?.challenge : nil }

    /// How to make the next request; `previous` is the attempt that has led to `.retry`.
    public func attempt(for method: STUNMethod, after previous: LongTermAttempt? = nil) -> LongTermAttempt {
        let grant = current == nil ? nil : grant(for: method)
        let protection: MessageProtection
        if let identity = current?.identity {
            let key = grant.map { IntegrityKey($0.macKey.span) } ?? identity.key
            protection = identity.algorithm == nil ? .sha1(key) : .sha256(key)
        } else {
            protection = .none
        }
        return LongTermAttempt(
            protection: protection,
            revision: revision,
            grant: grant,
            challenges: (previous?.challenges ?? -1) + 1
        )
    }

    /// Appends what authenticates a request, except the integrity; nothing before the first challenge (turn 72).
    public func append(
        _ attempt: LongTermAttempt,
        to builder: inout STUNMessageBuilder,
        into output: inout OutputSpan<UInt8>
    ) {
        guard let (challenge, identity) = current else { return }
        if let grant = attempt.grant {
            builder.append(.username, grant.keyID, into: &output)
            builder.append(.accessToken, grant.token.span, into: &output)
        } else if let userhash = identity.userhash {
            builder.append(userhash: userhash, into: &output)
        } else {
            builder.append(.username, identity.username, into: &output)
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
        if let grant = attempt.grant, grant == next, code == nil { take(grant) }
        return .accepted
    }

    /// Makes the next grant the present one.
    private mutating func take(_ grant: AccessGrant) {
        secret = .grant(grant)
        next = nil
        guard let (challenge, identity) = current else { return }
        let key = IntegrityKey(grant.macKey.span)
        current = (
            challenge, Identity(username: grant.keyID, key: key, algorithm: identity.algorithm, userhash: nil)
        )
        revision &+= 1
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
        var name = response.value(.thirdPartyAuthorization)?.toArray()
        if let count = name?.count, !limit.contains(count) { name = nil }
        let challenge = LongTermChallenge(
            realm: realm,
            nonce: nonce.toArray(),
            passwordAlgorithms: algorithms,
            thirdPartyServerName: name ?? current?.challenge.thirdPartyServerName
        )
        if let failure = adopt(challenge) { return .failed(failure) }
        // 401 with what was shown already: the same again would not help (turn 75).
        // But a server that has taken the next grant already, unknown to us, does not know the old one any more.
        let isBehind = next != nil && attempt.grant == nil
        if !isStale, attempt.isAuthenticated, attempt.revision == revision, !isBehind {
            return .failed(.wrongCredentials)
        }
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
        if isGranted, challenge.thirdPartyServerName == nil { return .noThirdPartyAuthorization }
        let usesHash = challenge.features.contains(.usernameAnonymity) && !isGranted
        if let (old, identity) = current, old.realm == challenge.realm, identity.algorithm == algorithm,
            (identity.userhash != nil) == usesHash
        {
            current = (challenge, identity)
            return nil
        }
        guard let identity = identity(realm: challenge.realm, algorithm, usesHash: usesHash) else {
            return .unusableRealm
        }
        current = (challenge, identity)
        revision &+= 1
        return nil
    }

    private var isGranted: Bool {
        if case .grant = secret { return true }
        return false
    }

    private func identity(realm: [UInt8], _ algorithm: PasswordAlgorithm?, usesHash: Bool) -> Identity? {
        switch secret {
        case .grant(let grant):
            let key = IntegrityKey(grant.macKey.span)
            return Identity(username: grant.keyID, key: key, algorithm: algorithm, userhash: nil)
        case .password(let password, let username):
            guard let realm = String(validating: realm, as: UTF8.self),
                let credentials = try? LongTermCredentials(username: username, realm: realm, password: password),
                let key = credentials.key(for: algorithm ?? .md5)
            else { return nil }
            let hash = usesHash ? credentials.userhash : nil
            return Identity(username: credentials.username, key: key, algorithm: algorithm, userhash: hash)
        }
    }
}

extension LongTermSession: CustomReflectable {
    /// Shows nothing, so that no dump of a value that holds a session shows its password or key.
    public var customMirror: Mirror { Mirror(self, children: []) }
}
