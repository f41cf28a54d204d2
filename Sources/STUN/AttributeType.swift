/// The kind of an attribute: a number of the STUN Attributes registry (RFC 8489 §18.3).
public struct AttributeType: RawRepresentable, Hashable, Sendable {
    /// The number in the registry.
    public let rawValue: UInt16

    /// Makes a type from its number.
    @inlinable
    public init(rawValue: UInt16) { self.rawValue = rawValue }

    /// Whether a receiver that does not know the type must not process the message (RFC 8489 §14).
    @inlinable public var isComprehensionRequired: Bool { rawValue < 0x8000 }
}

/// STUN itself (RFC 8489 §18.3).
extension AttributeType {
    /// MAPPED-ADDRESS.
    public static let mappedAddress = AttributeType(rawValue: 0x0001)
    /// USERNAME.
    public static let username = AttributeType(rawValue: 0x0006)
    /// MESSAGE-INTEGRITY.
    public static let messageIntegrity = AttributeType(rawValue: 0x0008)
    /// ERROR-CODE.
    public static let errorCode = AttributeType(rawValue: 0x0009)
    /// UNKNOWN-ATTRIBUTES.
    public static let unknownAttributes = AttributeType(rawValue: 0x000A)
    /// REALM.
    public static let realm = AttributeType(rawValue: 0x0014)
    /// NONCE.
    public static let nonce = AttributeType(rawValue: 0x0015)
    /// MESSAGE-INTEGRITY-SHA256.
    public static let messageIntegritySHA256 = AttributeType(rawValue: 0x001C)
    /// PASSWORD-ALGORITHM.
    public static let passwordAlgorithm = AttributeType(rawValue: 0x001D)
    /// USERHASH.
    public static let userhash = AttributeType(rawValue: 0x001E)
    /// XOR-MAPPED-ADDRESS.
    public static let xorMappedAddress = AttributeType(rawValue: 0x0020)
    /// PASSWORD-ALGORITHMS.
    public static let passwordAlgorithms = AttributeType(rawValue: 0x8002)
    /// ALTERNATE-DOMAIN.
    public static let alternateDomain = AttributeType(rawValue: 0x8003)
    /// SOFTWARE.
    public static let software = AttributeType(rawValue: 0x8022)
    /// ALTERNATE-SERVER.
    public static let alternateServer = AttributeType(rawValue: 0x8023)
    /// FINGERPRINT.
    public static let fingerprint = AttributeType(rawValue: 0x8028)
}

/// TURN (RFC 8656 §18), TURN over TCP (RFC 6062 §6.2), third-party authorization (RFC 7635), mobility (RFC 8016).
extension AttributeType {
    /// CHANNEL-NUMBER.
    public static let channelNumber = AttributeType(rawValue: 0x000C)
    /// LIFETIME.
    public static let lifetime = AttributeType(rawValue: 0x000D)
    /// XOR-PEER-ADDRESS.
    public static let xorPeerAddress = AttributeType(rawValue: 0x0012)
    /// DATA.
    public static let data = AttributeType(rawValue: 0x0013)
    /// XOR-RELAYED-ADDRESS.
    public static let xorRelayedAddress = AttributeType(rawValue: 0x0016)
    /// REQUESTED-ADDRESS-FAMILY.
    public static let requestedAddressFamily = AttributeType(rawValue: 0x0017)
    /// EVEN-PORT.
    public static let evenPort = AttributeType(rawValue: 0x0018)
    /// REQUESTED-TRANSPORT.
    public static let requestedTransport = AttributeType(rawValue: 0x0019)
    /// DONT-FRAGMENT.
    public static let dontFragment = AttributeType(rawValue: 0x001A)
    /// ACCESS-TOKEN.
    public static let accessToken = AttributeType(rawValue: 0x001B)
    /// RESERVATION-TOKEN.
    public static let reservationToken = AttributeType(rawValue: 0x0022)
    /// CONNECTION-ID.
    public static let connectionID = AttributeType(rawValue: 0x002A)
    /// ADDITIONAL-ADDRESS-FAMILY.
    public static let additionalAddressFamily = AttributeType(rawValue: 0x8000)
    /// ADDRESS-ERROR-CODE.
    public static let addressErrorCode = AttributeType(rawValue: 0x8001)
    /// ICMP.
    public static let icmp = AttributeType(rawValue: 0x8004)
    /// THIRD-PARTY-AUTHORIZATION.
    public static let thirdPartyAuthorization = AttributeType(rawValue: 0x802E)
    /// MOBILITY-TICKET.
    public static let mobilityTicket = AttributeType(rawValue: 0x8030)
}

/// ICE (RFC 8445 §16.1) and NAT behaviour discovery (RFC 5780 §9.1).
extension AttributeType {
    /// CHANGE-REQUEST.
    public static let changeRequest = AttributeType(rawValue: 0x0003)
    /// PRIORITY.
    public static let priority = AttributeType(rawValue: 0x0024)
    /// USE-CANDIDATE.
    public static let useCandidate = AttributeType(rawValue: 0x0025)
    /// PADDING.
    public static let padding = AttributeType(rawValue: 0x0026)
    /// RESPONSE-PORT.
    public static let responsePort = AttributeType(rawValue: 0x0027)
    /// CACHE-TIMEOUT.
    public static let cacheTimeout = AttributeType(rawValue: 0x8027)
    /// ICE-CONTROLLED.
    public static let iceControlled = AttributeType(rawValue: 0x8029)
    /// ICE-CONTROLLING.
    public static let iceControlling = AttributeType(rawValue: 0x802A)
    /// RESPONSE-ORIGIN.
    public static let responseOrigin = AttributeType(rawValue: 0x802B)
    /// OTHER-ADDRESS.
    public static let otherAddress = AttributeType(rawValue: 0x802C)
}

extension AttributeType: CustomStringConvertible {
    /// The name in the registry, or the number in hexadecimal.
    public var description: String { Self.names[rawValue] ?? "0x" + String(rawValue, radix: 16) }

    private static let names: [UInt16: String] = [
        0x0001: "MAPPED-ADDRESS", 0x0003: "CHANGE-REQUEST", 0x0006: "USERNAME", 0x0008: "MESSAGE-INTEGRITY",
        0x0009: "ERROR-CODE", 0x000A: "UNKNOWN-ATTRIBUTES", 0x000C: "CHANNEL-NUMBER", 0x000D: "LIFETIME",
        0x0012: "XOR-PEER-ADDRESS", 0x0013: "DATA", 0x0014: "REALM", 0x0015: "NONCE", 0x0016: "XOR-RELAYED-ADDRESS",
        0x0017: "REQUESTED-ADDRESS-FAMILY", 0x0018: "EVEN-PORT", 0x0019: "REQUESTED-TRANSPORT",
        0x001A: "DONT-FRAGMENT", 0x001B: "ACCESS-TOKEN", 0x001C: "MESSAGE-INTEGRITY-SHA256",
        0x001D: "PASSWORD-ALGORITHM", 0x001E: "USERHASH", 0x0020: "XOR-MAPPED-ADDRESS", 0x0022: "RESERVATION-TOKEN",
        0x0024: "PRIORITY", 0x0025: "USE-CANDIDATE", 0x0026: "PADDING", 0x0027: "RESPONSE-PORT",
        0x002A: "CONNECTION-ID", 0x8000: "ADDITIONAL-ADDRESS-FAMILY", 0x8001: "ADDRESS-ERROR-CODE",
        0x8002: "PASSWORD-ALGORITHMS", 0x8003: "ALTERNATE-DOMAIN", 0x8004: "ICMP", 0x8022: "SOFTWARE",
        0x8023: "ALTERNATE-SERVER", 0x8027: "CACHE-TIMEOUT", 0x8028: "FINGERPRINT", 0x8029: "ICE-CONTROLLED",
        0x802A: "ICE-CONTROLLING", 0x802B: "RESPONSE-ORIGIN", 0x802C: "OTHER-ADDRESS",
        0x802E: "THIRD-PARTY-AUTHORIZATION", 0x8030: "MOBILITY-TICKET",
    ]
}
