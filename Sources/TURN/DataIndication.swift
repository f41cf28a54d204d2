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
        writeHeader(STUNMessageType(.data, .indication), length: length, transactionID, at: start, in: &packet)
        let data = writePeer(transactionID.xor(peer), at: start &+ STUNFormat.headerByteCount, in: &packet)
        packet.store(bigEndian: AttributeType.data.rawValue, at: data)
        packet.store(bigEndian: UInt16(truncatingIfNeeded: payload.count), at: data &+ 2)
        for index in payload.upperBound..<end { packet[index] = 0 }
        return start..<end
    }

    // Stores at known places instead of a builder's appends: this runs for each packet of a peer without a channel.
    private static func writeHeader(
        _ type: STUNMessageType,
        length: Int,
        _ transactionID: TransactionID,
        at start: Int,
        in packet: inout MutableSpan<UInt8>
    ) {
        packet.store(bigEndian: type.rawValue, at: start)
        packet.store(bigEndian: UInt16(truncatingIfNeeded: length), at: start &+ 2)
        packet.store(bigEndian: STUNFormat.magicCookie, at: start &+ 4)
        store(transactionID.high, at: start &+ 8, in: &packet)
        packet.store(bigEndian: transactionID.low, at: start &+ 16)
    }

    /// Writes XOR-PEER-ADDRESS and returns where it ends.
    private static func writePeer(_ xored: SocketAddress, at start: Int, in packet: inout MutableSpan<UInt8>) -> Int {
        packet.store(bigEndian: AttributeType.xorPeerAddress.rawValue, at: start)
        packet.store(bigEndian: UInt16(truncatingIfNeeded: 4 &+ xored.ip.byteCount), at: start &+ 2)
        packet.store(bigEndian: UInt16(xored.family.attributeNumber), at: start &+ 4)
        packet.store(bigEndian: xored.port, at: start &+ 6)
        guard xored.family == .ipv6 else {
            packet.store(bigEndian: xored.ip.ipv4Bits, at: start &+ 8)
            return start &+ 12
        }
        store(xored.ip.high, at: start &+ 8, in: &packet)
        store(xored.ip.low, at: start &+ 16, in: &packet)
        return start &+ 24
    }

    private static func store(_ value: UInt64, at offset: Int, in packet: inout MutableSpan<UInt8>) {
        packet.store(bigEndian: UInt32(truncatingIfNeeded: value &>> 32), at: offset)
        packet.store(bigEndian: UInt32(truncatingIfNeeded: value), at: offset &+ 4)
    }
}
