import Bytes

/// The constants of the message format (RFC 8489 §5).
public enum STUNFormat {
    /// How many bytes the header has.
    public static let headerByteCount = 20
    /// How many bytes the header of an attribute has.
    public static let attributeHeaderByteCount = 4
    /// The value of the bytes 4 to 7 of each message.
    public static let magicCookie: UInt32 = 0x2112_A442
    /// How long a text attribute may be in a message that is received (RFC 8489 §14.3, §14.8 to §14.10).
    public static let maximumReceivedTextByteCount = 763
    /// How long a text attribute may be in a message that is sent; a USERNAME must be one byte shorter.
    public static let maximumSentTextByteCount = 509

    /// `byteCount` rounded up to a multiple of four, as attributes and messages in a stream are padded.
    @inlinable
    public static func padded(_ byteCount: Int) -> Int { (byteCount &+ 3) & ~3 }
}

/// An attribute where it stands in a message.
public struct STUNAttribute: ~Escapable {
    /// The kind.
    public let type: AttributeType
    /// The value without padding.
    public let value: Span<UInt8>

    @_lifetime(copy value)
    init(_ type: AttributeType, _ value: Span<UInt8>) {
        self.type = type
        self.value = value
    }
}

/// A received message, checked and read where it lies; attributes are found when asked for (RFC 8489 §5, §14).
///
/// The rules of the text are built into every look-up: of several attributes of one type the first counts; behind
/// MESSAGE-INTEGRITY only MESSAGE-INTEGRITY-SHA256 and FINGERPRINT count, behind MESSAGE-INTEGRITY-SHA256 only
/// FINGERPRINT. No byte sequence makes a view trap, and nothing allocates except where it says so.
public struct STUNMessageView: ~Escapable {
    /// The whole message.
    public let bytes: Span<UInt8>
    /// Method and class.
    public let type: STUNMessageType
    /// What ties a response to its request.
    public let transactionID: TransactionID
    let layout: AttributeLayout

    /// Checks header and attribute boundaries of a message that must fill `bytes` exactly (turn 1 to 3, 5).
    ///
    /// - Throws: `STUNError` with the field that is wrong; the bytes are then to be discarded without an answer.
    @_lifetime(copy bytes)
    public init(_ bytes: Span<UInt8>) throws(STUNError) {
        guard bytes.count >= STUNFormat.headerByteCount else { throw .truncatedHeader(available: bytes.count) }
        guard let type = STUNMessageType(rawValue: bytes.bigEndianUInt16(at: 0)) else {
            throw .notSTUN(firstByte: bytes[0])
        }
        let cookie = bytes.bigEndianUInt32(at: 4)
        guard cookie == STUNFormat.magicCookie else { throw .badMagicCookie(cookie) }
        let length = Int(bytes.bigEndianUInt16(at: 2))
        guard length & 3 == 0 else { throw .unalignedLength(length) }
        let available = bytes.count &- STUNFormat.headerByteCount
        guard length == available else { throw .lengthMismatch(declared: length, available: available) }
        self.bytes = bytes
        self.type = type
        transactionID = TransactionID(high: bytes.bigEndianUInt64(at: 8), low: bytes.bigEndianUInt32(at: 16))
        layout = try AttributeLayout(of: bytes)
    }

    /// The method of the message.
    public var method: STUNMethod { type.method }

    /// The class of the message.
    public var messageClass: STUNClass { type.messageClass }

    /// The value of the first attribute of that type that counts, or `nil`.
    @_lifetime(copy self)
    public func value(_ type: AttributeType) -> Span<UInt8>? {
        switch type {
        case .messageIntegrity: return value(at: layout.messageIntegrity)
        case .messageIntegritySHA256: return value(at: layout.messageIntegritySHA256)
        case .fingerprint: return value(at: layout.fingerprint)
        default: break
        }
        guard layout.mayContain(type) else { return nil }
        var offset = STUNFormat.headerByteCount
        while offset < layout.contentEnd {
            if bytes.bigEndianUInt16(at: offset) == type.rawValue { return value(at: offset) }
            offset = endOfAttribute(at: offset)
        }
        return nil
    }

    /// Whether an attribute of that type counts.
    public func contains(_ type: AttributeType) -> Bool {
        guard value(type) != nil else { return false }
        return true
    }

    /// All attributes that count, in order, duplicates included (for CreatePermission, which permits several).
    public var attributes: AttributeIterator {
        @_lifetime(copy self)
        get { AttributeIterator(self) }
    }

    /// The comprehension-required attributes that are not in `known`, each once (turn 28 to 31).
    ///
    /// Departure: RFC 8489 §6.3.1 wants all of them in the answer; the list ends after `AttributeTypeList.maximumCount`,
    /// so that an answer stays short whatever the request.
    public func unknownRequiredAttributes(known: AttributeSet) -> AttributeTypeList {
        var unknown = AttributeTypeList()
        var offset = STUNFormat.headerByteCount
        while offset < layout.contentEnd, unknown.count < AttributeTypeList.maximumCount {
            let type = AttributeType(rawValue: bytes.bigEndianUInt16(at: offset))
            if type.isComprehensionRequired, !known.contains(type) { unknown.insert(type) }
            offset = endOfAttribute(at: offset)
        }
        return unknown
    }

    /// The value of the attribute at `offset`, which `AttributeLayout` has checked; `nil` at offset 0.
    @_lifetime(copy self)
    private func value(at offset: Int) -> Span<UInt8>? {
        guard offset != 0 else { return nil }
        let start = offset &+ STUNFormat.attributeHeaderByteCount
        return bytes.extracting(start..<start &+ Int(bytes.bigEndianUInt16(at: offset &+ 2)))
    }

    private func endOfAttribute(at offset: Int) -> Int {
        offset &+ STUNFormat.attributeHeaderByteCount &+ STUNFormat.padded(Int(bytes.bigEndianUInt16(at: offset &+ 2)))
    }

    /// Walks over the attributes of a message that count.
    public struct AttributeIterator: ~Escapable {
        private let message: STUNMessageView
        private var offset = STUNFormat.headerByteCount

        @_lifetime(copy message)
        init(_ message: borrowing STUNMessageView) { self.message = copy message }

        /// The next attribute, or `nil` at the end.
        @_lifetime(copy self)
        public mutating func next() -> STUNAttribute? {
            let layout = message.layout
            while offset < message.bytes.count {
                let start = offset
                offset = message.endOfAttribute(at: start)
                guard layout.counts(at: start), let value = message.value(at: start) else { continue }
                return STUNAttribute(AttributeType(rawValue: message.bytes.bigEndianUInt16(at: start)), value)
            }
            return nil
        }
    }
}
