import Bytes
public import Crypto
public import STUN

/// Time-limited credentials without a user database: the name carries the time, a shared secret makes the password.
///
/// `username = "<seconds since 1970>:<user id>"`, `password = base64(HMAC-SHA1(secret, username))`: the "TURN REST API"
/// (turn 204 to 209) that every TURN server and call service knows.
public struct RESTCredentials: Hashable, Sendable {
    /// What USERNAME carries.
    public let username: String
    /// What the user's browser takes as `credential`.
    public let password: String
    /// When the credential ends, in seconds since 1970.
    public let expiryUnixSeconds: UInt64
}

/// A secret that call service and TURN server share.
///
/// Several may be valid at once, so that they can be changed.
public struct RESTSecret: Sendable {
    /// How many bytes a secret has at least.
    public static let minimumByteCount = 8

    private let key: HMACKey

    /// Prepares a secret; `hash` is SHA-1 except where both sides were told otherwise.
    ///
    /// - Throws: `CredentialError.tooShort` for fewer than 8 bytes.
    public init(_ secret: [UInt8], hash: HashAlgorithm = .sha1) throws(CredentialError) {
        guard secret.count >= Self.minimumByteCount else {
            throw .tooShort(.secret, byteCount: secret.count, minimum: Self.minimumByteCount)
        }
        key = HMACKey(hash, key: secret.span)
    }

    /// Makes the credential of a user that ends at a time; an empty user id is legal and leaves the colon out.
    public func mint(userID: String, expiryUnixSeconds: UInt64) -> RESTCredentials {
        let username = userID.isEmpty ? String(expiryUnixSeconds) : "\(expiryUnixSeconds):\(userID)"
        return RESTCredentials(
            username: username,
            password: password(for: username.utf8.span),
            expiryUnixSeconds: expiryUnixSeconds
        )
    }

    /// The password that belongs to a user name, whatever the name says; allocates.
    public func password(for username: Span<UInt8>) -> String {
        var context = key.begin()
        context.update(username)
        return Base64.encode(context.finish())
    }

    /// Whether name and password belong together; the time is not looked at, see `RESTUsername`.
    public func verify(username: Span<UInt8>, password: Span<UInt8>) -> Bool {
        constantTimeEqual(Array(self.password(for: username).utf8).span, password)
    }

    /// The long-term key of the user behind a name, with which MESSAGE-INTEGRITY is checked; allocates.
    ///
    /// - Throws: `CredentialError` if the realm cannot be one of a long-term credential, or the algorithm is unknown.
    public func integrityKey(
        username: Span<UInt8>,
        realm: String,
        algorithm: PasswordAlgorithm
    ) throws(CredentialError) -> IntegrityKey {
        let bytes = try LongTermCredentials.keyBytes(
            algorithm,
            receivedUsername: username,
            realm: realm,
            password: password(for: username)
        )
        return IntegrityKey(bytes.span)
    }
}

/// A user name of the form `<seconds since 1970>:<user id>`, taken apart.
public struct RESTUsername: Hashable, Sendable {
    /// When the credential ends, in seconds since 1970.
    public let expiryUnixSeconds: UInt64
    /// Where the user id stands in the name: what quotas count by (turn 209).
    ///
    /// Empty if the name has no colon.
    public let userID: Range<Int>

    /// Takes a name apart; `nil` if it does not begin with decimal digits of a time, then a colon or the end (turn 208).
    public init?(_ username: Span<UInt8>) {
        var expiry: UInt64 = 0
        var index = 0
        while index < username.count, username[index] != UInt8(ascii: ":") {
            guard UInt8(ascii: "0")...UInt8(ascii: "9") ~= username[index] else { return nil }
            let (product, overflow) = expiry.multipliedReportingOverflow(by: 10)
            let (sum, carry) = product.addingReportingOverflow(UInt64(username[index] &- UInt8(ascii: "0")))
            guard !overflow, !carry else { return nil }
            expiry = sum
            index &+= 1
        }
        guard index > 0 else { return nil }
        expiryUnixSeconds = expiry
        userID = min(index &+ 1, username.count)..<username.count
    }

    /// Whether the credential may begin something new at `now` (seconds since 1970).
    ///
    /// Not if it has ended, and not if it ends more than `maximumLifetimeSeconds` from now: nobody should hold a key for
    /// ever (turn 207). Clocks that are `toleranceSeconds` apart do no harm.
    public func isValid(
        atUnixSeconds now: UInt64,
        maximumLifetimeSeconds: UInt64 = 30 * 86_400,
        toleranceSeconds: UInt64 = 30
    ) -> Bool {
        if expiryUnixSeconds < now { return now &- expiryUnixSeconds <= toleranceSeconds }
        let remaining = expiryUnixSeconds &- now
        return remaining <= toleranceSeconds || remaining &- toleranceSeconds <= maximumLifetimeSeconds
    }
}
