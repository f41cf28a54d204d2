import Bytes
public import NetTypes

/// The attributes of RFC 8489, read: `nil` if absent, an error if malformed.
extension STUNMessageView {
    /// XOR-MAPPED-ADDRESS (§14.2).
    ///
    /// - Throws: `STUNError.malformedAttribute`, or `.unknownAddressFamily`, which a client ignores (turn 34).
    public func xorMappedAddress() throws(STUNError) -> SocketAddress? { try xorAddress(.xorMappedAddress) }

    /// MAPPED-ADDRESS (§14.1).
    ///
    /// - Throws: `STUNError.malformedAttribute` or `.unknownAddressFamily`.
    public func mappedAddress() throws(STUNError) -> SocketAddress? { try address(.mappedAddress) }

    /// ALTERNATE-SERVER (§14.15).
    ///
    /// - Throws: `STUNError.malformedAttribute` or `.unknownAddressFamily`.
    public func alternateServer() throws(STUNError) -> SocketAddress? { try address(.alternateServer) }

    /// The first attribute of `type` as an address that is not XORed.
    ///
    /// - Throws: `STUNError.malformedAttribute` or `.unknownAddressFamily`.
    public func address(_ type: AttributeType) throws(STUNError) -> SocketAddress? {
        guard let value = value(type) else { return nil }
        return try AddressCoding.decode(value, type, xoredWith: nil)
    }

    /// The first attribute of `type` as a XORed address.
    ///
    /// - Throws: `STUNError.malformedAttribute` or `.unknownAddressFamily`.
    public func xorAddress(_ type: AttributeType) throws(STUNError) -> SocketAddress? {
        guard let value = value(type) else { return nil }
        return try AddressCoding.decode(value, type, xoredWith: transactionID)
    }

    /// The XORed address in one attribute of this message, for walks over `attributes`.
    ///
    /// - Throws: `STUNError.malformedAttribute` or `.unknownAddressFamily`.
    public func xorAddress(in attribute: borrowing STUNAttribute) throws(STUNError) -> SocketAddress {
        try AddressCoding.decode(attribute.value, attribute.type, xoredWith: transactionID)
    }

    /// USERNAME as bytes, at most 763 (§14.3).
    ///
    /// - Throws: `STUNError.malformedAttribute` if it is longer.
    @_lifetime(copy self)
    public func username() throws(STUNError) -> Span<UInt8>? { try text(.username) }

    /// REALM as bytes, at most 763 (§14.9).
    ///
    /// - Throws: `STUNError.malformedAttribute` if it is longer.
    @_lifetime(copy self)
    public func realm() throws(STUNError) -> Span<UInt8>? { try text(.realm) }

    /// NONCE as bytes, at most 763 (§14.10).
    ///
    /// - Throws: `STUNError.malformedAttribute` if it is longer.
    @_lifetime(copy self)
    public func nonce() throws(STUNError) -> Span<UInt8>? { try text(.nonce) }

    /// USERHASH (§14.4).
    ///
    /// - Throws: `STUNError.malformedAttribute` if it has not 32 bytes.
    public func userhash() throws(STUNError) -> UserHash? {
        guard let value = value(.userhash) else { return nil }
        guard let hash = UserHash(bytes: value) else { throw .malformedAttribute(.userhash) }
        return hash
    }

    /// ERROR-CODE without its phrase (§14.8).
    ///
    /// - Throws: `STUNError.malformedAttribute` unless the class is 3 to 6 and the number 0 to 99.
    public func errorCode() throws(STUNError) -> ErrorCode? {
        guard let value = value(.errorCode) else { return nil }
        guard let code = ErrorCode(attributeValue: value) else { throw .malformedAttribute(.errorCode) }
        return code
    }

    /// UNKNOWN-ATTRIBUTES, as many as the list holds (§14.13).
    ///
    /// - Throws: `STUNError.malformedAttribute` if it has an odd length.
    public func unknownAttributes() throws(STUNError) -> AttributeTypeList? {
        guard let value = value(.unknownAttributes) else { return nil }
        guard value.count & 1 == 0 else { throw .malformedAttribute(.unknownAttributes) }
        var list = AttributeTypeList()
        for offset in stride(from: 0, to: value.count, by: 2) {
            list.insert(AttributeType(rawValue: value.bigEndianUInt16(at: offset)))
        }
        return list
    }

    /// PASSWORD-ALGORITHM (§14.12).
    ///
    /// - Throws: `STUNError.malformedAttribute` if the parameters do not end with the attribute, or MD5 or SHA-256 has
    ///   parameters.
    public func passwordAlgorithm() throws(STUNError) -> PasswordAlgorithm? {
        guard let value = value(.passwordAlgorithm) else { return nil }
        guard let list = PasswordAlgorithmList(attributeValue: value), list.count == 1 else {
            throw .malformedAttribute(.passwordAlgorithm)
        }
        return list[0]
    }

    /// PASSWORD-ALGORITHMS, as many as the list holds (§14.11); a client sends `value(.passwordAlgorithms)` back as is.
    ///
    /// - Throws: `STUNError.malformedAttribute` if empty, cut off, or if MD5 or SHA-256 has parameters.
    public func passwordAlgorithms() throws(STUNError) -> PasswordAlgorithmList? {
        guard let value = value(.passwordAlgorithms) else { return nil }
        guard let list = PasswordAlgorithmList(attributeValue: value) else {
            throw .malformedAttribute(.passwordAlgorithms)
        }
        return list
    }

    /// The value of a text attribute as a string if it is valid UTF-8 and not longer than 763 bytes; allocates.
    ///
    /// For REALM, SOFTWARE, ALTERNATE-DOMAIN and the like. The text is the peer's choice: do not log it as it is.
    public func string(_ type: AttributeType) -> String? {
        guard let value = value(type), value.count <= STUNFormat.maximumReceivedTextByteCount else { return nil }
        return String(validating: value.toArray(), as: UTF8.self)
    }

    /// The phrase of ERROR-CODE, if it is valid UTF-8; allocates.
    public func errorReason() -> String? {
        guard let value = value(.errorCode), value.count >= 4,
            value.count <= 4 + STUNFormat.maximumReceivedTextByteCount
        else { return nil }
        return String(validating: value.extracting(droppingFirst: 4).toArray(), as: UTF8.self)
    }

    /// The value of `type`, which must have `byteCount` bytes.
    ///
    /// - Throws: `STUNError.malformedAttribute` if it has another length.
    @_lifetime(copy self)
    public func value(_ type: AttributeType, byteCount: Int) throws(STUNError) -> Span<UInt8>? {
        guard let value = value(type) else { return nil }
        guard value.count == byteCount else { throw .malformedAttribute(type) }
        return value
    }

    @_lifetime(copy self)
    private func text(_ type: AttributeType) throws(STUNError) -> Span<UInt8>? {
        guard let value = value(type) else { return nil }
        guard value.count <= STUNFormat.maximumReceivedTextByteCount else { throw .malformedAttribute(type) }
        return value
    }
}

/// The attributes of ICE (RFC 8445 §16.1) and of NAT behaviour discovery (RFC 5780 §7).
extension STUNMessageView {
    /// PRIORITY.
    ///
    /// - Throws: `STUNError.malformedAttribute` if it has not 4 bytes.
    public func priority() throws(STUNError) -> UInt32? {
        try value(.priority, byteCount: 4)?.bigEndianUInt32(at: 0)
    }

    /// USE-CANDIDATE; its value, which should be empty, is ignored.
    public var useCandidate: Bool { contains(.useCandidate) }

    /// The tie-breaker in ICE-CONTROLLING.
    ///
    /// - Throws: `STUNError.malformedAttribute` if it has not 8 bytes.
    public func iceControlling() throws(STUNError) -> UInt64? {
        try value(.iceControlling, byteCount: 8)?.bigEndianUInt64(at: 0)
    }

    /// The tie-breaker in ICE-CONTROLLED.
    ///
    /// - Throws: `STUNError.malformedAttribute` if it has not 8 bytes.
    public func iceControlled() throws(STUNError) -> UInt64? {
        try value(.iceControlled, byteCount: 8)?.bigEndianUInt64(at: 0)
    }

    /// CHANGE-REQUEST: from which other socket the response shall come.
    ///
    /// - Throws: `STUNError.malformedAttribute` if it has not 4 bytes.
    public func changeRequest() throws(STUNError) -> ChangeRequest? {
        guard let flags = try value(.changeRequest, byteCount: 4)?.bigEndianUInt32(at: 0) else { return nil }
        return ChangeRequest(ip: flags & 4 != 0, port: flags & 2 != 0)
    }

    /// RESPONSE-ORIGIN.
    ///
    /// - Throws: `STUNError.malformedAttribute` or `.unknownAddressFamily`.
    public func responseOrigin() throws(STUNError) -> SocketAddress? { try address(.responseOrigin) }

    /// OTHER-ADDRESS.
    ///
    /// - Throws: `STUNError.malformedAttribute` or `.unknownAddressFamily`.
    public func otherAddress() throws(STUNError) -> SocketAddress? { try address(.otherAddress) }

    /// The port in RESPONSE-PORT.
    ///
    /// - Throws: `STUNError.malformedAttribute` if it has not 4 bytes with a port in the first two.
    public func responsePort() throws(STUNError) -> UInt16? {
        guard let value = value(.responsePort) else { return nil }
        // The text says 16 bits, and that two bytes of padding follow: senders differ in which length they write.
        guard value.count == 2 || value.count == 4 else { throw .malformedAttribute(.responsePort) }
        return value.bigEndianUInt16(at: 0)
    }
}

/// What CHANGE-REQUEST asks for (RFC 5780 §7.2).
public struct ChangeRequest: Hashable, Sendable {
    /// Answer from another address.
    public let ip: Bool
    /// Answer from another port.
    public let port: Bool

    /// Makes a request with both flags.
    public init(ip: Bool, port: Bool) {
        self.ip = ip
        self.port = port
    }
}

extension ErrorCode {
    /// Reads the first four bytes of ERROR-CODE; reserved bits are ignored (turn 46).
    init?(attributeValue value: Span<UInt8>) {
        guard value.count >= 4, 3...6 ~= value[2] & 7, value[3] < 100 else { return nil }
        self.init(rawValue: UInt16(value[2] & 7) &* 100 &+ UInt16(value[3]))
    }
}
