import Bytes
import Crypto
public import NetTypes

/// The abilities that a server announces at the front of its nonces, safe from bidding down (RFC 8489 §9.2, §18.1).
public struct SecurityFeatures: OptionSet, Hashable, Sendable {
    /// The 24 bits, bit 0 of the RFC being the most significant one.
    public let rawValue: UInt32

    /// Makes a set of the lowest 24 bits.
    public init(rawValue: UInt32) { self.rawValue = rawValue & 0xFF_FFFF }

    /// Bit 0: the server lists its password algorithms.
    public static let passwordAlgorithms = SecurityFeatures(rawValue: 1 << 23)
    /// Bit 1: the server knows users by USERHASH.
    public static let usernameAnonymity = SecurityFeatures(rawValue: 1 << 22)

    /// Reads the "nonce cookie" at the front of a nonce; `nil` if there is none, as in nonces of older servers.
    public init?(nonce: Span<UInt8>) {
        guard nonce.count >= NonceFactory.cookieByteCount else { return nil }
        guard nonce.bigEndianUInt64(at: 0) == NonceFactory.cookieStart, nonce[8] == NonceFactory.cookieEnd else {
            return nil
        }
        var bits: UInt32 = 0
        for index in 9..<13 {
            guard let digit = NonceDigit.value(nonce[index]) else { return nil }
            bits = bits &<< 6 | digit
        }
        self.init(rawValue: bits)
    }
}

/// What a server learns of a nonce that a request carries.
public enum NonceCheck: Hashable, Sendable {
    /// It is ours, for this client, and not too old.
    case valid
    /// It is anything else: too old, of another address, altered, or noise. The answer is 438 (turn 69).
    case stale
}

/// Makes nonces that need no memory: bound to the client's address and to the time, and verified by a keyed hash.
///
/// Servers that share the secret accept each other's nonces. A nonce has 36 characters of base 64:
///
///     obMatJos2 ffff tttttt mmmmmmmmmmmmmmmmm
///     └ RFC 8489 §9.2   │      └ 102 bits of HMAC-SHA256 over features, time, address and port
///         └ features    └ time of making, seconds since 1970, 36 bits
public struct NonceFactory: Sendable {
    /// How many bytes a nonce has; a multiple of four, so that NONCE needs no padding.
    public static let nonceByteCount = 36
    /// How many bytes the secret has at least.
    public static let minimumSecretByteCount = 16
    /// "obMatJos" and "2" in ASCII.
    static let cookieStart: UInt64 = 0x6F62_4D61_744A_6F73
    static let cookieEnd: UInt8 = 0x32
    static let cookieByteCount = 13
    static let timeEnd = 19

    /// What the server announces.
    public let features: SecurityFeatures
    /// How long a nonce is valid; RFC 8656 §5 wants at most an hour.
    public let lifetimeSeconds: UInt64
    /// How far the clocks of two servers that share the secret may be apart.
    public let toleranceSeconds: UInt64
    private let key: HMACKey
    private let previousKey: HMACKey?

    /// Makes a factory; nonces under `previousSecret` are accepted, so that secrets can be changed one after the other.
    ///
    /// - Throws: `CredentialError.tooShort` for a secret of fewer than 16 bytes.
    public init(
        secret: [UInt8],
        previousSecret: [UInt8]? = nil,
        features: SecurityFeatures,
        lifetimeSeconds: UInt64 = 3600,
        toleranceSeconds: UInt64 = 30
    ) throws(CredentialError) {
        for candidate in [secret, previousSecret ?? secret] where candidate.count < Self.minimumSecretByteCount {
            throw .tooShort(.secret, byteCount: candidate.count, minimum: Self.minimumSecretByteCount)
        }
        key = HMACKey(.sha256, key: secret.span)
        previousKey = previousSecret.map { HMACKey(.sha256, key: $0.span) }
        self.features = features
        self.lifetimeSeconds = lifetimeSeconds
        self.toleranceSeconds = toleranceSeconds
    }

    /// Appends a nonce for a client; the free capacity must be at least `nonceByteCount`.
    public func write(for client: SocketAddress, atUnixSeconds now: UInt64, into output: inout OutputSpan<UInt8>) {
        Self.write(key, features, client, now, into: &output)
    }

    /// A nonce for a client as an array; allocates.
    public func nonce(for client: SocketAddress, atUnixSeconds now: UInt64) -> [UInt8] {
        buildBytes(capacity: Self.nonceByteCount) { write(for: client, atUnixSeconds: now, into: &$0) }
    }

    /// Judges a nonce that came from `client`; allocates nothing, and takes constant time once the length is right.
    public func check(_ nonce: Span<UInt8>, from client: SocketAddress, atUnixSeconds now: UInt64) -> NonceCheck {
        // Other features than ours mean another configuration: the client must learn of the new one.
        guard nonce.count == Self.nonceByteCount, SecurityFeatures(nonce: nonce) == features else { return .stale }
        var made: UInt64 = 0
        for index in Self.cookieByteCount..<Self.timeEnd {
            guard let digit = NonceDigit.value(nonce[index]) else { return .stale }
            made = made &<< 6 | UInt64(digit)
        }
        // A time ahead of ours is another server's clock, or ours before it was set back.
        if made > now { guard made - now <= toleranceSeconds else { return .stale } }
        if made < now { guard now - made < lifetimeSeconds else { return .stale } }
        if Self.isMade(nonce, key, features, client, made) { return .valid }
        guard let previousKey, Self.isMade(nonce, previousKey, features, client, made) else { return .stale }
        return .valid
    }

    private static func isMade(
        _ nonce: Span<UInt8>,
        _ key: HMACKey,
        _ features: SecurityFeatures,
        _ client: SocketAddress,
        _ time: UInt64
    ) -> Bool {
        let expected = InlineArray<36, UInt8>(initializingWith: { write(key, features, client, time, into: &$0) })
        return constantTimeEqual(expected.span, nonce)
    }

    private static func write(
        _ key: HMACKey,
        _ features: SecurityFeatures,
        _ client: SocketAddress,
        _ time: UInt64,
        into output: inout OutputSpan<UInt8>
    ) {
        let time = time & 0xF_FFFF_FFFF
        let address = client.unmapped
        let text = InlineArray<39, UInt8>(initializingWith: { text in
            // "floe-n01": the secret may serve other ends, and another format gets another label.
            text.append(bigEndian: 0x666C_6F65_2D6E_3031 as UInt64)
            text.append(bigEndian: features.rawValue)
            text.append(bigEndian: time)
            text.append(address.family.rawValue)
            text.append(bigEndian: address.ip.high)
            text.append(bigEndian: address.ip.low)
            text.append(bigEndian: address.port)
        })
        var context = key.begin()
        context.update(text.span)
        let code = context.finishInline()
        let bytes = code.span
        output.append(bigEndian: cookieStart)
        output.append(cookieEnd)
        NonceDigit.append(UInt64(features.rawValue), digits: 4, into: &output)
        NonceDigit.append(time, digits: 6, into: &output)
        // Twice 48 bits are 16 digits; the last digit is the upper 6 bits of the next byte.
        NonceDigit.append(bytes.bigEndianUInt64(at: 0) &>> 16, digits: 8, into: &output)
        NonceDigit.append(bytes.bigEndianUInt64(at: 6) &>> 16, digits: 8, into: &output)
        NonceDigit.append(UInt64(bytes[12] &>> 2), digits: 1, into: &output)
    }
}

/// The digits of base 64 (RFC 4648 §4), of which all are legal in a nonce (RFC 3261 §25.1, qdtext).
private enum NonceDigit {
    static func append(_ value: UInt64, digits: Int, into output: inout OutputSpan<UInt8>) {
        for index in (0..<digits).reversed() {
            output.append(digit(UInt8(truncatingIfNeeded: value &>> UInt64(6 &* index)) & 63))
        }
    }

    static func value(_ digit: UInt8) -> UInt32? {
        switch digit {
        case UInt8(ascii: "A")...UInt8(ascii: "Z"): UInt32(digit &- UInt8(ascii: "A"))
        case UInt8(ascii: "a")...UInt8(ascii: "z"): UInt32(digit &- UInt8(ascii: "a")) &+ 26
        case UInt8(ascii: "0")...UInt8(ascii: "9"): UInt32(digit &- UInt8(ascii: "0")) &+ 52
        case UInt8(ascii: "+"): 62
        case UInt8(ascii: "/"): 63
        default: nil
        }
    }

    private static func digit(_ value: UInt8) -> UInt8 {
        switch value {
        case 0..<26: UInt8(ascii: "A") &+ value
        case 26..<52: UInt8(ascii: "a") &+ value &- 26
        case 52..<62: UInt8(ascii: "0") &+ value &- 52
        case 62: UInt8(ascii: "+")
        default: UInt8(ascii: "/")
        }
    }
}
