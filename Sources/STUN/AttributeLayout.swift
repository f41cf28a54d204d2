import Bytes

/// Where the attributes of one message stand: found in the pass that checks their boundaries.
struct AttributeLayout {
    /// Where the attributes end that count without condition.
    private(set) var contentEnd: Int
    /// Where the attributes stand that protect the message; 0 if absent or of no account.
    private(set) var messageIntegrity = 0
    private(set) var messageIntegritySHA256 = 0
    private(set) var fingerprint = 0
    /// One bit for each remainder of the types by 64: absence is known without a search.
    private var presence: UInt64 = 0

    /// Checks that each attribute ends within `message`, the length of which the header has confirmed.
    init(of message: Span<UInt8>) throws(STUNError) {
        contentEnd = message.count
        var offset = STUNFormat.headerByteCount
        while offset < message.count {
            // The length of the message is a multiple of four, and so is every offset: the header is inside.
            let type = AttributeType(rawValue: message.bigEndianUInt16(at: offset))
            let length = Int(message.bigEndianUInt16(at: offset &+ 2))
            let available = message.count &- offset &- STUNFormat.attributeHeaderByteCount
            guard length <= available else {
                throw .attributeExceedsMessage(type: type, length: length, available: available)
            }
            note(type, at: offset)
            offset &+= STUNFormat.attributeHeaderByteCount &+ STUNFormat.padded(length)
        }
    }

    /// Whether there may be an attribute of that type before `contentEnd`.
    func mayContain(_ type: AttributeType) -> Bool { presence & Self.bit(type) != 0 }

    /// Whether the attribute at `offset` is one that a receiver looks at (turn 45).
    func counts(at offset: Int) -> Bool {
        offset < contentEnd || offset == messageIntegrity || offset == messageIntegritySHA256 || offset == fingerprint
    }

    private mutating func note(_ type: AttributeType, at offset: Int) {
        let isFirstOfAll = messageIntegrity == 0 && messageIntegritySHA256 == 0 && fingerprint == 0
        switch type {
        case .messageIntegrity where isFirstOfAll:
            messageIntegrity = offset
            contentEnd = offset
        case .messageIntegritySHA256 where messageIntegritySHA256 == 0 && fingerprint == 0:
            messageIntegritySHA256 = offset
            contentEnd = min(contentEnd, offset)
        case .fingerprint where fingerprint == 0:
            fingerprint = offset
            contentEnd = min(contentEnd, offset)
        default:
            if isFirstOfAll { presence |= Self.bit(type) }
        }
    }

    private static func bit(_ type: AttributeType) -> UInt64 { 1 &<< UInt64(type.rawValue & 63) }
}
