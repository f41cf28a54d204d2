import STUN

/// A user who may allocate; one object for all allocations of a static user.
///
/// No packet touches it.
final class Account: Sendable {
    private enum Proof: Sendable {
        case password(LongTermCredentials)
        case token(IntegrityKey, AccessToken)
    }

    /// The name under which the quota counts: without the expiry time of temporary credentials; of tokens, one each.
    let user: String
    /// What USERNAME carries.
    let username: String
    private let proof: Proof

    /// The holder of a password.
    init(user: String, credentials: LongTermCredentials) {
        self.user = user
        username = credentials.username
        proof = .password(credentials)
    }

    /// The holder of an access token that was made with the key `username` (RFC 7635).
    init(user: String, username: String, key: IntegrityKey, token: AccessToken) {
        self.user = user
        self.username = username
        proof = .token(key, token)
    }

    /// What USERHASH carries; a token's key has its name in USERNAME always.
    var userhash: UserHash? {
        guard case .password(let credentials) = proof else { return nil }
        return credentials.userhash
    }

    /// Whether USERNAME carries this account's name.
    func isNamed(_ name: Span<UInt8>) -> Bool {
        let bytes = username.utf8
        guard bytes.count == name.count else { return false }
        var index = 0
        for byte in bytes {
            guard name[index] == byte else { return false }
            index += 1
        }
        return true
    }

    var realm: String? {
        guard case .password(let credentials) = proof else { return nil }
        return credentials.realm
    }

    /// A token's key is what it is, whatever the algorithm (RFC 7635 §5).
    func key(for algorithm: PasswordAlgorithm) -> IntegrityKey? {
        switch proof {
        case .password(let credentials): credentials.key(for: algorithm)
        case .token(let key, _): key
        }
    }

    private var token: AccessToken? {
        guard case .token(_, let token) = proof else { return nil }
        return token
    }

    /// The longest lifetime that may be granted, in seconds; `nil` if nothing bounds it (RFC 7635 §9).
    func remainingSeconds(atUnixSeconds now: UInt64) -> UInt32? { token?.remainingSeconds(atUnixSeconds: now) }

    /// Whether a request of `other` may be about an allocation of this account: the same user, or any valid token where
    /// the allocation was made by one, since a client must refresh with a new token (RFC 7635 §9).
    func admits(_ other: Account) -> Bool {
        (token != nil) == (other.token != nil) && (token != nil || username == other.username)
    }

    /// Whether `other` is the holder of this account and nobody else: what a mobility ticket needs, for it may be stolen
    /// by somebody who has a valid token too.
    func isHeld(by other: Account) -> Bool {
        switch (token, other.token) {
        case (nil, nil): username == other.username
        case (let mine?, let theirs?): mine.macKey == theirs.macKey
        default: false
        }
    }

    /// This account with the proof of another one that it admits; the quota goes on counting for its own user.
    func continued(by other: Account) -> Account {
        guard other !== self, case .token(let key, let token) = other.proof else { return self }
        return Account(user: user, username: other.username, key: key, token: token)
    }
}
