/// Why a connection was closed (RFC 6455 §7.4); unknown codes are kept.
public struct WebSocketCloseCode: RawRepresentable, Hashable, Sendable {
    /// The number.
    public let rawValue: UInt16

    /// Makes a code of any number; 4000 to 4999 are for applications.
    public init(rawValue: UInt16) { self.rawValue = rawValue }

    /// 1000: done.
    public static let normal = WebSocketCloseCode(rawValue: 1000)
    /// 1001: the server stops, or the page was left.
    public static let goingAway = WebSocketCloseCode(rawValue: 1001)
    /// 1002: the peer broke the protocol.
    public static let protocolError = WebSocketCloseCode(rawValue: 1002)
    /// 1003: messages of this kind are not understood.
    public static let unsupportedData = WebSocketCloseCode(rawValue: 1003)
    /// 1005: the peer closed without a code; never sent.
    public static let noStatus = WebSocketCloseCode(rawValue: 1005)
    /// 1006: the connection ended without a close; never sent.
    public static let abnormal = WebSocketCloseCode(rawValue: 1006)
    /// 1007: a text was not UTF-8.
    public static let invalidPayload = WebSocketCloseCode(rawValue: 1007)
    /// 1008: the peer broke a rule of the application.
    public static let policyViolation = WebSocketCloseCode(rawValue: 1008)
    /// 1009: a message was too big.
    public static let messageTooBig = WebSocketCloseCode(rawValue: 1009)
    /// 1011: the server is at fault.
    public static let internalError = WebSocketCloseCode(rawValue: 1011)
    /// 1012: the server restarts.
    public static let serviceRestart = WebSocketCloseCode(rawValue: 1012)
    /// 1013: come back later.
    public static let tryAgainLater = WebSocketCloseCode(rawValue: 1013)

    /// Whether the code may stand in a close frame (§7.4.1, §7.4.2, and 1012 to 1014 of the IANA registry).
    public var canBeSent: Bool {
        switch rawValue {
        case 1000...1003, 1007...1014, 3000...4999: true
        default: false
        }
    }
}
