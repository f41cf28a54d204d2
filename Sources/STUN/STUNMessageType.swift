/// What a STUN message asks for: 12 bits (RFC 8489 §5, §18.2).
public struct STUNMethod: RawRepresentable, Hashable, Sendable {
    /// The number in the registry, at most 0xFFF.
    public let rawValue: UInt16

    /// Makes a method from its number, of which the lowest 12 bits count.
    @inlinable
    public init(rawValue: UInt16) { self.rawValue = rawValue & 0xFFF }

    /// Binding (RFC 8489 §3).
    public static let binding = STUNMethod(rawValue: 0x001)
    /// Allocate (RFC 8656 §7).
    public static let allocate = STUNMethod(rawValue: 0x003)
    /// Refresh (RFC 8656 §8).
    public static let refresh = STUNMethod(rawValue: 0x004)
    /// Send, an indication (RFC 8656 §11).
    public static let send = STUNMethod(rawValue: 0x006)
    /// Data, an indication (RFC 8656 §11).
    public static let data = STUNMethod(rawValue: 0x007)
    /// CreatePermission (RFC 8656 §10).
    public static let createPermission = STUNMethod(rawValue: 0x008)
    /// ChannelBind (RFC 8656 §12).
    public static let channelBind = STUNMethod(rawValue: 0x009)
    /// Connect (RFC 6062 §4.3).
    public static let connect = STUNMethod(rawValue: 0x00A)
    /// ConnectionBind (RFC 6062 §4.3).
    public static let connectionBind = STUNMethod(rawValue: 0x00B)
    /// ConnectionAttempt, an indication (RFC 6062 §4.4).
    public static let connectionAttempt = STUNMethod(rawValue: 0x00C)
}

extension STUNMethod: CustomStringConvertible {
    /// The name as the RFCs spell it, or the number in hexadecimal.
    public var description: String {
        switch self {
        case .binding: "Binding"
        case .allocate: "Allocate"
        case .refresh: "Refresh"
        case .send: "Send"
        case .data: "Data"
        case .createPermission: "CreatePermission"
        case .channelBind: "ChannelBind"
        case .connect: "Connect"
        case .connectionBind: "ConnectionBind"
        case .connectionAttempt: "ConnectionAttempt"
        default: "0x" + String(rawValue, radix: 16)
        }
    }
}

/// Which part a message plays in a transaction (RFC 8489 §5).
public enum STUNClass: UInt8, Hashable, Sendable, CaseIterable {
    /// Asks for a response.
    case request = 0b00
    /// Asks for nothing.
    case indication = 0b01
    /// Answers a request that was carried out.
    case success = 0b10
    /// Answers a request that was not.
    case error = 0b11
}

/// Method and class together: the first 16 bits of a message, of which the upper two are zero (RFC 8489 §5).
public struct STUNMessageType: Hashable, Sendable {
    /// The method.
    public let method: STUNMethod
    /// The class.
    public let messageClass: STUNClass

    /// Makes a type from its parts.
    @inlinable
    public init(_ method: STUNMethod, _ messageClass: STUNClass) {
        self.method = method
        self.messageClass = messageClass
    }

    /// Takes a type apart; `nil` if one of the first two bits is set, so that this is no STUN message.
    public init?(rawValue: UInt16) {
        guard rawValue & 0xC000 == 0 else { return nil }
        // The method's bits stand around the class's two: M11…M7 C1 M6…M4 C0 M3…M0 (figure 3).
        method = STUNMethod(rawValue: rawValue & 0x000F | rawValue &>> 1 & 0x0070 | rawValue &>> 2 & 0x0F80)
        switch (rawValue & 0x0100 != 0, rawValue & 0x0010 != 0) {
        case (false, false): messageClass = .request
        case (false, true): messageClass = .indication
        case (true, false): messageClass = .success
        case (true, true): messageClass = .error
        }
    }

    /// The 16 bits as on the wire.
    public var rawValue: UInt16 {
        let bits = method.rawValue
        let methodBits = bits & 0x000F | (bits & 0x0070) &<< 1 | (bits & 0x0F80) &<< 2
        let classBits = UInt16(messageClass.rawValue)
        return methodBits | (classBits & 0b10) &<< 7 | (classBits & 0b01) &<< 4
    }
}
