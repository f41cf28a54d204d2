import Bytes
public import NetTypes

/// Writes one message straight into an output span; call `finish` to get it, after which nothing can be added.
///
/// Nothing traps and nothing throws on the way: what does not fit is left out, and `finish` then throws and takes the
/// whole message back. All calls must get the same output, to which no one else appends meanwhile.
public struct STUNMessageBuilder: ~Copyable {
    let transactionID: TransactionID
    /// Where the message begins in the output.
    let start: Int
    private var isFull = false

    /// The longest value that the length field of a message has room for.
    static let maximumLength = 0xFFFC

    /// Writes the header; the message begins where `output` ends.
    public init(_ type: STUNMessageType, _ transactionID: TransactionID, into output: inout OutputSpan<UInt8>) {
        self.transactionID = transactionID
        start = output.count
        guard output.freeCapacity >= STUNFormat.headerByteCount else {
            isFull = true
            return
        }
        output.append(bigEndian: type.rawValue)
        output.append(bigEndian: 0 as UInt16)
        output.append(bigEndian: STUNFormat.magicCookie)
        output.append(bigEndian: transactionID.high)
        output.append(bigEndian: transactionID.low)
    }

    /// Writes the header of a request or an indication.
    public init(
        _ method: STUNMethod,
        _ messageClass: STUNClass,
        _ transactionID: TransactionID,
        into output: inout OutputSpan<UInt8>
    ) {
        self.init(STUNMessageType(method, messageClass), transactionID, into: &output)
    }

    /// How many bytes more fit, for a value with its padding, in front of `protection` and FINGERPRINT.
    public func room(
        before protection: borrowing MessageProtection = .none,
        fingerprint: Bool = false,
        in output: borrowing OutputSpan<UInt8>
    ) -> Int {
        guard !isFull else { return 0 }
        let length = output.count &- start &- STUNFormat.headerByteCount
        let needed = STUNFormat.attributeHeaderByteCount &+ protection.byteCount &+ (fingerprint ? 8 : 0)
        return max(0, (min(output.freeCapacity, Self.maximumLength &- length) &- needed) & ~3)
    }

    /// Appends an attribute with its padding, which is zero (turn 6).
    public mutating func append(_ type: AttributeType, _ value: Span<UInt8>, into output: inout OutputSpan<UInt8>) {
        guard begin(type, byteCount: value.count, into: &output) else { return }
        output.append(contentsOf: value)
        output.append(zeros: STUNFormat.padded(value.count) &- value.count)
    }

    /// Appends an attribute without value.
    public mutating func append(_ type: AttributeType, into output: inout OutputSpan<UInt8>) {
        _ = begin(type, byteCount: 0, into: &output)
    }

    /// Appends an attribute that is a 32-bit integer.
    public mutating func append(_ type: AttributeType, _ value: UInt32, into output: inout OutputSpan<UInt8>) {
        guard begin(type, byteCount: 4, into: &output) else { return }
        output.append(bigEndian: value)
    }

    /// Appends an attribute that is a 64-bit integer.
    public mutating func append(_ type: AttributeType, _ value: UInt64, into output: inout OutputSpan<UInt8>) {
        guard begin(type, byteCount: 8, into: &output) else { return }
        output.append(bigEndian: value)
    }

    /// Appends a text in UTF-8, without allocation.
    ///
    /// The caller has kept to the limit of the attribute: fewer than 128 characters and at most 509 bytes.
    public mutating func append(_ type: AttributeType, _ text: String, into output: inout OutputSpan<UInt8>) {
        let count = text.utf8.count
        guard begin(type, byteCount: count, into: &output) else { return }
        for byte in text.utf8 { output.append(byte) }
        output.append(zeros: STUNFormat.padded(count) &- count)
    }

    /// Appends an address as it is (RFC 8489 §14.1).
    public mutating func append(
        _ type: AttributeType,
        _ address: SocketAddress,
        into output: inout OutputSpan<UInt8>
    ) {
        guard begin(type, byteCount: 4 &+ address.ip.byteCount, into: &output) else { return }
        output.append(0)
        output.append(address.family.attributeNumber)
        output.append(bigEndian: address.port)
        address.ip.write(into: &output)
    }

    /// Appends an address XORed with cookie and transaction identifier (RFC 8489 §14.2).
    public mutating func append(
        _ type: AttributeType,
        xored address: SocketAddress,
        into output: inout OutputSpan<UInt8>
    ) {
        append(type, transactionID.xor(address), into: &output)
    }

    /// Appends type and length if the whole attribute will fit, after which exactly the padded value must be appended.
    mutating func begin(_ type: AttributeType, byteCount: Int, into output: inout OutputSpan<UInt8>) -> Bool {
        guard !isFull else { return false }
        let needed = STUNFormat.attributeHeaderByteCount &+ STUNFormat.padded(byteCount)
        let length = output.count &- start &- STUNFormat.headerByteCount
        guard byteCount <= Self.maximumLength, needed <= output.freeCapacity, length &+ needed <= Self.maximumLength
        else {
            isFull = true
            return false
        }
        output.append(bigEndian: type.rawValue)
        output.append(bigEndian: UInt16(truncatingIfNeeded: byteCount))
        return true
    }

    /// Appends what protects the message, completes the header and returns how many bytes the message has.
    ///
    /// - Throws: `STUNError.messageFull` if anything did not fit; `output` then ends where it did before.
    public consuming func finish(
        protectedBy protection: borrowing MessageProtection = .none,
        fingerprint: Bool = false,
        into output: inout OutputSpan<UInt8>
    ) throws(STUNError) -> Int {
        switch protection {
        case .none: break
        case .sha1(let key): appendIntegrity(.messageIntegrity, key.sha1, into: &output)
        case .sha256(let key): appendIntegrity(.messageIntegritySHA256, key.sha256, into: &output)
        case .both(let key):
            // In this order: behind MESSAGE-INTEGRITY-SHA256 the other would not count.
            appendIntegrity(.messageIntegrity, key.sha1, into: &output)
            appendIntegrity(.messageIntegritySHA256, key.sha256, into: &output)
        }
        if fingerprint { appendFingerprint(into: &output) }
        guard !isFull else {
            output.removeLast(output.count &- start)
            throw .messageFull(freeCapacity: output.freeCapacity)
        }
        setLength(addingBytes: 0, in: &output)
        return output.count &- start
    }
}
