import Bytes
public import NetTypes

/// The attributes of RFC 8489 that are more than an integer, a text or an address.
extension STUNMessageBuilder {
    /// Appends ERROR-CODE; `reason` has at most 127 characters, of which as many are written as 509 bytes hold.
    ///
    /// An empty reason is legal and keeps the answer small; `code.reasonPhrase` is the recommended one.
    public mutating func append(_ code: ErrorCode, reason: String = "", into output: inout OutputSpan<UInt8>) {
        append(.errorCode, family: nil, code, reason, into: &output)
    }

    /// Appends an attribute that ends in class, number and phrase: ERROR-CODE, or ADDRESS-ERROR-CODE with a family.
    public mutating func append(
        _ type: AttributeType,
        family: AddressFamily?,
        _ code: ErrorCode,
        _ reason: String,
        into output: inout OutputSpan<UInt8>
    ) {
        let phrase = reason.prefix(127).utf8
        let count = phrase.count <= STUNFormat.maximumSentTextByteCount ? phrase.count : 0
        guard begin(type, byteCount: 4 &+ count, into: &output) else { return }
        output.append(family.map(\.attributeNumber) ?? 0)
        output.append(0)
        output.append(UInt8(truncatingIfNeeded: code.rawValue / 100) & 7)
        output.append(UInt8(truncatingIfNeeded: code.rawValue % 100))
        guard count > 0 else { return }
        for byte in phrase { output.append(byte) }
        output.append(zeros: STUNFormat.padded(count) &- count)
    }

    /// Appends UNKNOWN-ATTRIBUTES with ordinary padding (turn 49).
    public mutating func append(unknownAttributes list: AttributeTypeList, into output: inout OutputSpan<UInt8>) {
        let count = 2 &* list.count
        guard begin(.unknownAttributes, byteCount: count, into: &output) else { return }
        for index in 0..<list.count { output.append(bigEndian: list[index].rawValue) }
        output.append(zeros: STUNFormat.padded(count) &- count)
    }

    /// Appends PASSWORD-ALGORITHMS.
    public mutating func append(passwordAlgorithms list: PasswordAlgorithmList, into output: inout OutputSpan<UInt8>) {
        guard begin(.passwordAlgorithms, byteCount: 4 &* list.count, into: &output) else { return }
        for index in 0..<list.count {
            output.append(bigEndian: list[index].rawValue)
            output.append(bigEndian: 0 as UInt16)
        }
    }

    /// Appends PASSWORD-ALGORITHM.
    public mutating func append(passwordAlgorithm: PasswordAlgorithm, into output: inout OutputSpan<UInt8>) {
        append(.passwordAlgorithm, UInt32(passwordAlgorithm.rawValue) &<< 16, into: &output)
    }

    /// Appends USERHASH.
    public mutating func append(userhash: UserHash, into output: inout OutputSpan<UInt8>) {
        guard begin(.userhash, byteCount: UserHash.byteCount, into: &output) else { return }
        userhash.write(into: &output)
    }

    /// Appends NONCE with a new nonce for `client`.
    public mutating func append(
        nonceFor client: SocketAddress,
        from factory: borrowing NonceFactory,
        atUnixSeconds now: UInt64,
        into output: inout OutputSpan<UInt8>
    ) {
        guard begin(.nonce, byteCount: NonceFactory.nonceByteCount, into: &output) else { return }
        factory.write(for: client, atUnixSeconds: now, into: &output)
    }

    /// Appends CHANGE-REQUEST (RFC 5780 §7.2).
    public mutating func append(_ request: ChangeRequest, into output: inout OutputSpan<UInt8>) {
        append(.changeRequest, (request.ip ? 4 : 0) | (request.port ? 2 : 0) as UInt32, into: &output)
    }
}
