import Bytes

/// A message that owns its bytes' content: for tests, tools and whatever is kept; not for the packet path.
public struct STUNMessage: Hashable, Sendable {
    /// One attribute with its value, without padding.
    public struct Attribute: Hashable, Sendable {
        /// The kind.
        public var type: AttributeType
        /// The value.
        public var value: [UInt8]

        /// Makes an attribute.
        public init(_ type: AttributeType, _ value: [UInt8]) {
            self.type = type
            self.value = value
        }
    }

    /// Method and class.
    public var type: STUNMessageType
    /// What ties a response to its request.
    public var transactionID: TransactionID
    /// The attributes that count, in order, without those that protect the message.
    public var attributes: [Attribute]

    /// Makes a message.
    public init(_ type: STUNMessageType, _ transactionID: TransactionID, attributes: [Attribute] = []) {
        self.type = type
        self.transactionID = transactionID
        self.attributes = attributes
    }

    /// Copies what counts out of a view.
    public init(_ view: borrowing STUNMessageView) {
        type = view.type
        transactionID = view.transactionID
        attributes = []
        var iterator = view.attributes
        while let attribute = iterator.next() {
            switch attribute.type {
            case .messageIntegrity, .messageIntegritySHA256, .fingerprint: continue
            default: attributes.append(Attribute(attribute.type, attribute.value.toArray()))
            }
        }
    }

    /// Reads a message that fills `bytes`.
    ///
    /// - Throws: `STUNError` with the field that is wrong.
    public init(decoding bytes: Span<UInt8>) throws(STUNError) {
        self.init(try STUNMessageView(bytes))
    }

    /// Writes the message, protected as asked.
    ///
    /// - Throws: `STUNError.messageFull` if it does not fit.
    public func encode(
        protectedBy protection: MessageProtection = .none,
        fingerprint: Bool = false,
        into output: inout OutputSpan<UInt8>
    ) throws(STUNError) -> Int {
        var builder = STUNMessageBuilder(type, transactionID, into: &output)
        for attribute in attributes { builder.append(attribute.type, attribute.value.span, into: &output) }
        return try builder.finish(protectedBy: protection, fingerprint: fingerprint, into: &output)
    }

    /// The message as an array.
    ///
    /// - Throws: `STUNError.messageFull` if it is longer than a message can be.
    public func encoded(
        protectedBy protection: MessageProtection = .none,
        fingerprint: Bool = false
    ) throws(STUNError) -> [UInt8] {
        let sum = attributes.reduce(0) { $0 + 4 + STUNFormat.padded($1.value.count) }
        return try buildBytes(capacity: STUNFormat.headerByteCount + sum + 68) { output throws(STUNError) in
            _ = try encode(protectedBy: protection, fingerprint: fingerprint, into: &output)
        }
    }
}
