/// Which field of a message is wrong, or which does not fit.
public enum STUNError: Error, Hashable, Sendable {
    /// There are fewer bytes than the 20 of the header.
    case truncatedHeader(available: Int)
    /// One of the first two bits is set: another protocol (RFC 8489 §5).
    case notSTUN(firstByte: UInt8)
    /// The bytes 4 to 7 are not 0x2112A442.
    case badMagicCookie(UInt32)
    /// The length in the header is not a multiple of four.
    case unalignedLength(Int)
    /// The length in the header is not that of the bytes behind it.
    case lengthMismatch(declared: Int, available: Int)
    /// The attribute ends behind the message; `type` is 0 if there is no room even for its header.
    case attributeExceedsMessage(type: AttributeType, length: Int, available: Int)
    /// The value's length or content is not that of its type.
    case malformedAttribute(AttributeType)
    /// The address family is neither IPv4 (1) nor IPv6 (2).
    case unknownAddressFamily(AttributeType, UInt8)
    /// What is to be written needs more room than the output or the 16-bit length has.
    case messageFull(freeCapacity: Int)
}

extension STUNError: CustomStringConvertible {
    /// What is wrong, without any byte that a peer could have chosen as text.
    public var description: String {
        switch self {
        case .truncatedHeader(let available): "a STUN header has 20 bytes, there are \(available)"
        case .notSTUN(let byte): "not a STUN message: first byte \(byte)"
        case .badMagicCookie(let cookie): "not a STUN message: magic cookie 0x\(String(cookie, radix: 16))"
        case .unalignedLength(let length): "the message length \(length) is not a multiple of 4"
        case .lengthMismatch(let declared, let available):
            "the header announces \(declared) bytes, \(available) follow it"
        case .attributeExceedsMessage(let type, let length, let available):
            "\(type) announces \(length) bytes, \(available) are left of the message"
        case .malformedAttribute(let type): "the value of \(type) is malformed"
        case .unknownAddressFamily(let type, let family): "\(type) has the unknown address family \(family)"
        case .messageFull(let freeCapacity): "the message does not fit, \(freeCapacity) bytes are free"
        }
    }
}
