import Bytes
public import NetTypes
public import STUN

/// A Data indication written around data that stands in a packet already (RFC 8656 §11.3).
public enum DataIndication {
    /// How many bytes stand before the data: header, XOR-PEER-ADDRESS, and type and length of DATA; at most 48.
    public static func headerByteCount(peer family: AddressFamily) -> Int { family == .ipv4 ? 36 : 48 }

    /// Writes what stands before the data, and the padding behind it, without moving the data.
    ///
    /// - Returns: the range of the whole message, or `nil`, with nothing changed, if there is no room before the data
    ///   or for up to three bytes behind it, or if the data is too long for the 16-bit length of a message.
    public static func frame(
        _ payload: Range<Int>,
        from peer: SocketAddress,
        _ transactionID: TransactionID,
        in packet: inout MutableSpan<UInt8>
    ) -> Range<Int>? {
        let headerCount = headerByteCount(peer: peer.family)
        let end = payload.lowerBound &+ STUNFormat.padded(payload.count)
        let length = headerCount &- STUNFormat.headerByteCount &+ end &- payload.lowerBound
        guard length <= 0xFFFC, payload.lowerBound >= headerCount, payload.upperBound <= packet.count,
            end <= packet.count
        else { return nil }
        let start = payload.lowerBound &- headerCount
        let header = InlineArray<48, UInt8>(initializingWith: { output in
            writeHeader(length: length, dataCount: payload.count, peer, transactionID, into: &output)
            output.append(zeros: output.freeCapacity)
        })
        for index in 0..<headerCount { packet[start &+ index] = header[index] }
        for index in payload.upperBound..<end { packet[index] = 0 }
        return start..<end
    }

    private static func writeHeader(
        length: Int,
        dataCount: Int,
        _ peer: SocketAddress,
        _ transactionID: TransactionID,
        into output: inout OutputSpan<UInt8>
    ) {
        let start = output.count
        var builder = STUNMessageBuilder(.data, .indication, transactionID, into: &output)
        builder.append(.xorPeerAddress, xored: peer, into: &output)
        // The output has room for the longest header, so that nothing is left out.
        _ = try? builder.finish(into: &output)
        output.append(bigEndian: AttributeType.data.rawValue)
        output.append(bigEndian: UInt16(truncatingIfNeeded: dataCount))
        output[start &+ 2] = UInt8(truncatingIfNeeded: length &>> 8)
        output[start &+ 3] = UInt8(truncatingIfNeeded: length)
    }
}
