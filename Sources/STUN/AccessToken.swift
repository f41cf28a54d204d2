import Bytes
import Crypto

/// What a self-contained access token holds (RFC 7635 §6.2): the session's key and how long it is good.
public struct AccessToken: Hashable, Sendable {
    /// How far the clocks of authorization server and STUN server may be apart, in seconds (RFC 7635 §7).
    public static let toleranceSeconds: UInt64 = 5
    /// How many bytes a session key may have: 160 bits must be supported, and an HMAC takes no use of more than 512.
    public static let macKeyByteCounts = 20...64

    /// The session's key (`mac_key`): 20 to 64 bytes.
    public let macKey: [UInt8]
    /// When the token was made: seconds since 1970 in the upper 48 bits, 1/64000 of a second in the lower 16.
    public let timestamp: UInt64
    /// How long it is good, in seconds.
    public let lifetimeSeconds: UInt32

    /// Makes a token; `nil` unless the session key has 20 to 64 bytes.
    public init?(macKey: [UInt8], timestamp: UInt64, lifetimeSeconds: UInt32) {
        guard Self.macKeyByteCounts.contains(macKey.count) else { return nil }
        self.macKey = macKey
        self.timestamp = timestamp
        self.lifetimeSeconds = lifetimeSeconds
    }

    /// Makes a token of that second; `nil` unless the session key has 20 to 64 bytes.
    public init?(macKey: [UInt8], madeAtUnixSeconds seconds: UInt64, lifetimeSeconds: UInt32) {
        self.init(macKey: macKey, timestamp: seconds &<< 16, lifetimeSeconds: lifetimeSeconds)
    }

    /// Reads the block that was encrypted; `nil` if its length is not that of its content.
    init?(plaintext: [UInt8]) {
        var reader = ByteReader(plaintext.span)
        do {
            let count = Int(try reader.readUInt16())
            let key = try reader.read(count).toArray()
            let timestamp = UInt64(try reader.readUInt32()) &<< 32 | UInt64(try reader.readUInt32())
            let lifetime = try reader.readUInt32()
            guard reader.remaining == 0 else { return nil }
            self.init(macKey: key, timestamp: timestamp, lifetimeSeconds: lifetime)
        } catch {
            return nil
        }
    }

    var plaintext: [UInt8] {
        buildBytes(capacity: macKey.count + 14) { output in
            output.append(bigEndian: UInt16(truncatingIfNeeded: macKey.count))
            output.append(contentsOf: macKey.span)
            output.append(bigEndian: timestamp)
            output.append(bigEndian: lifetimeSeconds)
        }
    }

    /// For how many seconds from now an allocation may live by it: 0 once the token is not accepted any more.
    ///
    /// `lifetime + 5 - |now - timestamp|`, and never more than the lifetime (RFC 7635 §7, §9). The formula takes a token
    /// of the future as it takes one of the past.
    public func remainingSeconds(atUnixSeconds now: UInt64) -> UInt32 {
        let made = timestamp &>> 16
        let distance = now > made ? now &- made : made &- now
        let end = UInt64(lifetimeSeconds) &+ Self.toleranceSeconds
        guard end > distance else { return 0 }
        return UInt32(clamping: min(end &- distance, UInt64(lifetimeSeconds)))
    }
}

extension AccessToken: CustomStringConvertible, CustomReflectable {
    /// Says that this is a token, not which.
    public var description: String { "AccessToken" }
    /// Shows nothing, so that no dump shows the session's key.
    public var customMirror: Mirror { Mirror(self, children: []) }
}

/// A long-term key that authorization server and STUN server share, with the name by which clients refer to it.
///
/// Several may be valid at once, so that they can be changed.
public struct AccessTokenKey: Sendable {
    /// How a token is encrypted (RFC 7518 §5.1).
    public enum Algorithm: String, Sendable, CaseIterable {
        /// AES in Galois/counter mode with keys of 32 bytes, which everybody must support.
        case a256gcm = "A256GCM"
        /// The same with keys of 16 bytes.
        case a128gcm = "A128GCM"

        /// How many bytes a key has.
        public var keyByteCount: Int { self == .a256gcm ? 32 : 16 }
    }

    /// The name of the key: what clients show as USERNAME.
    public let id: String
    /// From when on tokens of this key are refused, in seconds since 1970; `nil` for never.
    public let expiryUnixSeconds: UInt64?
    private let cipher: AESGCM

    /// Takes a key.
    ///
    /// - Throws: `CredentialError` if the name cannot be a user name, or the key has not the algorithm's length.
    public init(
        id: String,
        key: [UInt8],
        algorithm: Algorithm = .a256gcm,
        expiryUnixSeconds: UInt64? = nil
    ) throws(CredentialError) {
        _ = try OpaqueString.enforce(id, .username)
        guard key.count == algorithm.keyByteCount, let cipher = AESGCM(key: key) else {
            throw .tooShort(.secret, byteCount: key.count, minimum: algorithm.keyByteCount)
        }
        self.id = id
        self.expiryUnixSeconds = expiryUnixSeconds
        self.cipher = cipher
    }

    /// The token as ACCESS-TOKEN carries it, for the server of that name only; `nil` if OpenSSL fails.
    ///
    /// `nonce` must be of 12 bytes that were never used with this key before.
    public func seal(_ token: AccessToken, for serverName: String, nonce: [UInt8]) -> [UInt8]? {
        guard let sealed = cipher.seal(token.plaintext, nonce: nonce, authenticating: Array(serverName.utf8)) else {
            return nil
        }
        return [0, UInt8(nonce.count)] + nonce + sealed
    }

    /// What a received token holds; `nil` if it was made with another key or for another server, or changed.
    public func open(_ bytes: Span<UInt8>, for serverName: String) -> AccessToken? {
        let start = 2 + AESGCM.nonceByteCount
        guard bytes.count >= start, bytes.bigEndianUInt16(at: 0) == UInt16(AESGCM.nonceByteCount),
            let plaintext = cipher.open(
                bytes.extracting(start...).toArray(),
                nonce: bytes.extracting(2..<start).toArray(),
                authenticating: Array(serverName.utf8)
            )
        else { return nil }
        return AccessToken(plaintext: plaintext)
    }

    /// Whether tokens of this key are still taken.
    public func isValid(atUnixSeconds now: UInt64) -> Bool { expiryUnixSeconds.map { now < $0 } ?? true }
}

/// What an authorization server gives a client (RFC 7635 Appendix B): the token, and what proves that it is the client's.
public struct AccessGrant: Hashable, Sendable {
    /// The name of the key that the token was made with (`kid`): what USERNAME carries.
    public let keyID: String
    /// The token, which only the server can read.
    public let token: [UInt8]
    /// The session's key.
    public let macKey: [UInt8]

    /// Makes a grant.
    ///
    /// - Throws: `CredentialError` if the key's name cannot be a user name, the session's key is shorter than 16 bytes
    ///   (of which servers of coturn take the first 16, and no more), or there is no token.
    public init(keyID: String, token: [UInt8], macKey: [UInt8]) throws(CredentialError) {
        _ = try OpaqueString.enforce(keyID, .username)
        guard macKey.count >= 16 else { throw .tooShort(.secret, byteCount: macKey.count, minimum: 16) }
        guard !token.isEmpty else { throw .tooShort(.secret, byteCount: 0, minimum: 1) }
        self.keyID = keyID
        self.token = token
        self.macKey = macKey
    }
}

extension AccessGrant: CustomReflectable {
    /// Shows nothing, so that no dump shows the session's key.
    public var customMirror: Mirror { Mirror(self, children: []) }
}
