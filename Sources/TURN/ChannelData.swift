import Bytes
import STUN

/// Why bytes are no ChannelData message; each is a silent discard (RFC 8656 §12.6, turn 141).
public enum ChannelDataError: Error, Hashable, Sendable {
    /// There are fewer than the four bytes of the header.
    case truncatedHeader(available: Int)
    /// The number is not in 0x4000 to 0x4FFF.
    case reservedChannelNumber(UInt16)
    /// The header announces more than there is.
    case truncated(declared: Int, available: Int)
}

/// A ChannelData message: four bytes of header, then the data (RFC 8656 §12.4).
public struct ChannelData: Hashable, Sendable {
    /// How many bytes the header has.
    public static let headerByteCount = 4

    /// The channel.
    public let channel: ChannelNumber
    /// Where the data stands in the bytes that were read.
    public let payload: Range<Int>

    /// Reads a message from a whole datagram, or from a whole frame of a stream.
    ///
    /// What follows the announced length is padding and is ignored (turn 140); a length of 0 is legal (turn 142).
    /// - Throws: `ChannelDataError`; the bytes are to be discarded without an answer.
    public init(_ bytes: Span<UInt8>) throws(ChannelDataError) {
        guard bytes.count >= Self.headerByteCount else { throw .truncatedHeader(available: bytes.count) }
        let number = bytes.bigEndianUInt16(at: 0)
        guard let channel = ChannelNumber(rawValue: number) else { throw .reservedChannelNumber(number) }
        let declared = Int(bytes.bigEndianUInt16(at: 2))
        let available = bytes.count &- Self.headerByteCount
        guard declared <= available else { throw .truncated(declared: declared, available: available) }
        self.channel = channel
        payload = Self.headerByteCount..<Self.headerByteCount &+ declared
    }

    /// Appends a whole message, padded to a multiple of four if `isPadded`, as streams demand.
    ///
    /// - Returns: `false`, with nothing appended, if it does not fit or the data is longer than 65535 bytes.
    public static func write(
        _ data: Span<UInt8>,
        on channel: ChannelNumber,
        isPadded: Bool,
        into output: inout OutputSpan<UInt8>
    ) -> Bool {
        let padding = isPadded ? STUNFormat.padded(data.count) &- data.count : 0
        guard data.count <= 0xFFFF, output.freeCapacity >= headerByteCount &+ data.count &+ padding else {
            return false
        }
        output.append(bigEndian: channel.rawValue)
        output.append(bigEndian: UInt16(truncatingIfNeeded: data.count))
        output.append(contentsOf: data)
        output.append(zeros: padding)
        return true
    }

    /// Writes header and padding around data that stands in a packet already, without moving it.
    ///
    /// - Returns: the range of the whole message, or `nil`, with nothing changed, if there is no room for four bytes
    ///   before the data or for the padding behind it, or if the data is longer than 65535 bytes.
    public static func frame(
        _ payload: Range<Int>,
        on channel: ChannelNumber,
        isPadded: Bool,
        in packet: inout MutableSpan<UInt8>
    ) -> Range<Int>? {
        let end = payload.lowerBound &+ (isPadded ? STUNFormat.padded(payload.count) : payload.count)
        guard payload.count <= 0xFFFF, payload.lowerBound >= headerByteCount, payload.upperBound <= packet.count,
            end <= packet.count
        else { return nil }
        let start = payload.lowerBound &- headerByteCount
        packet.store(bigEndian: channel.rawValue, at: start)
        packet.store(bigEndian: UInt16(truncatingIfNeeded: payload.count), at: start &+ 2)
        for index in payload.upperBound..<end { packet[index] = 0 }
        return start..<end
    }
}
