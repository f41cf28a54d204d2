/// The number of an error response, 300 to 699 (RFC 8489 §14.8, §18.4).
public struct ErrorCode: RawRepresentable, Hashable, Sendable {
    /// The code: class times 100 plus number.
    public let rawValue: UInt16

    /// Makes a code from its number.
    @inlinable
    public init(rawValue: UInt16) { self.rawValue = rawValue }

    /// 300 Try Alternate (RFC 8489 §10).
    public static let tryAlternate = ErrorCode(rawValue: 300)
    /// 400 Bad Request.
    public static let badRequest = ErrorCode(rawValue: 400)
    /// 401 Unauthenticated.
    public static let unauthenticated = ErrorCode(rawValue: 401)
    /// 403 Forbidden (RFC 8656 §19).
    public static let forbidden = ErrorCode(rawValue: 403)
    /// 405 Mobility Forbidden (RFC 8016).
    public static let mobilityForbidden = ErrorCode(rawValue: 405)
    /// 420 Unknown Attribute.
    public static let unknownAttribute = ErrorCode(rawValue: 420)
    /// 437 Allocation Mismatch (RFC 8656 §19).
    public static let allocationMismatch = ErrorCode(rawValue: 437)
    /// 438 Stale Nonce.
    public static let staleNonce = ErrorCode(rawValue: 438)
    /// 440 Address Family not Supported (RFC 8656 §19).
    public static let addressFamilyNotSupported = ErrorCode(rawValue: 440)
    /// 441 Wrong Credentials (RFC 8656 §19).
    public static let wrongCredentials = ErrorCode(rawValue: 441)
    /// 442 Unsupported Transport Protocol (RFC 8656 §19).
    public static let unsupportedTransportProtocol = ErrorCode(rawValue: 442)
    /// 443 Peer Address Family Mismatch (RFC 8656 §19).
    public static let peerAddressFamilyMismatch = ErrorCode(rawValue: 443)
    /// 446 Connection Already Exists (RFC 6062 §6.3).
    public static let connectionAlreadyExists = ErrorCode(rawValue: 446)
    /// 447 Connection Timeout or Failure (RFC 6062 §6.3).
    public static let connectionTimeoutOrFailure = ErrorCode(rawValue: 447)
    /// 486 Allocation Quota Reached (RFC 8656 §19).
    public static let allocationQuotaReached = ErrorCode(rawValue: 486)
    /// 487 Role Conflict (RFC 8445 §16.2).
    public static let roleConflict = ErrorCode(rawValue: 487)
    /// 500 Server Error.
    public static let serverError = ErrorCode(rawValue: 500)
    /// 508 Insufficient Capacity (RFC 8656 §19).
    public static let insufficientCapacity = ErrorCode(rawValue: 508)

    /// The recommended phrase, empty for a code that is not registered.
    public var reasonPhrase: StaticString {
        switch self {
        case .tryAlternate: "Try Alternate"
        case .badRequest: "Bad Request"
        case .unauthenticated: "Unauthenticated"
        case .forbidden: "Forbidden"
        case .mobilityForbidden: "Mobility Forbidden"
        case .unknownAttribute: "Unknown Attribute"
        case .allocationMismatch: "Allocation Mismatch"
        case .staleNonce: "Stale Nonce"
        case .addressFamilyNotSupported: "Address Family not Supported"
        case .wrongCredentials: "Wrong Credentials"
        case .unsupportedTransportProtocol: "Unsupported Transport Protocol"
        case .peerAddressFamilyMismatch: "Peer Address Family Mismatch"
        case .connectionAlreadyExists: "Connection Already Exists"
        case .connectionTimeoutOrFailure: "Connection Timeout or Failure"
        case .allocationQuotaReached: "Allocation Quota Reached"
        case .roleConflict: "Role Conflict"
        case .serverError: "Server Error"
        case .insufficientCapacity: "Insufficient Capacity"
        default: ""
        }
    }
}

extension ErrorCode: CustomStringConvertible {
    /// The number and the recommended phrase.
    public var description: String {
        let phrase = reasonPhrase.description
        return phrase.isEmpty ? String(rawValue) : "\(rawValue) \(phrase)"
    }
}
