import Bytes
import NetTypes
import STUN

/// Messages put together byte by byte, as no builder of ours would.
enum Messages {
    static let id = TransactionID(high: 0x0102_0304_0506_0708, low: 0x090A_0B0C)
    static let key = IntegrityKey(Array("a key of the tests".utf8).span)
    static let otherKey = IntegrityKey(Array("another key".utf8).span)

    /// A message with the given attributes, written as they are.
    static func raw(
        _ attributes: [(AttributeType, [UInt8])],
        _ type: STUNMessageType = STUNMessageType(.binding, .request)
    ) -> [UInt8] {
        var body: [UInt8] = []
        for (type, value) in attributes {
            body += [UInt8(type.rawValue >> 8), UInt8(type.rawValue & 0xFF)]
            body += [UInt8(value.count >> 8), UInt8(value.count & 0xFF)] + value
            body += [UInt8](repeating: 0xEE, count: STUNFormat.padded(value.count) - value.count)
        }
        return buildBytes(capacity: 20) { output in
            output.append(bigEndian: type.rawValue)
            output.append(bigEndian: UInt16(body.count))
            output.append(bigEndian: STUNFormat.magicCookie)
            output.append(bigEndian: id.high)
            output.append(bigEndian: id.low)
        } + body
    }

    /// The message with more attributes behind its end, and the length that covers them.
    static func extended(_ message: [UInt8], by attributes: [(AttributeType, [UInt8])]) -> [UInt8] {
        var longer = message + raw(attributes)[20...]
        longer[2] = UInt8((longer.count - 20) >> 8)
        longer[3] = UInt8((longer.count - 20) & 0xFF)
        return longer
    }

    /// Four bytes of a 32-bit integer.
    static func word(_ value: UInt32) -> [UInt8] { buildBytes(capacity: 4) { $0.append(bigEndian: value) } }

    /// A message that is built and protected by our own builder.
    static func built(
        _ attributes: [STUNMessage.Attribute],
        protectedBy protection: MessageProtection = .none,
        fingerprint: Bool = false
    ) throws -> [UInt8] {
        try STUNMessage(STUNMessageType(.allocate, .request), id, attributes: attributes)
            .encoded(protectedBy: protection, fingerprint: fingerprint)
    }
}
