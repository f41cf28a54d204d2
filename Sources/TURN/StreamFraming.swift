import Bytes
public import STUN

/// What stands at the front of a stream's unread bytes.
public enum StreamFrame: Hashable, Sendable {
    /// The frame is not complete: wait until so many bytes are there in all, counted from its first.
    case needMore(byteCount: Int)
    /// A STUN message of so many bytes, all of them there.
    case stun(byteCount: Int)
    /// A ChannelData message of so many bytes, padding included, all of them there.
    case channelData(byteCount: Int)
    /// The stream cannot be followed any more and is to be closed (turn 146).
    case broken(StreamFramingError)
}

/// Why a stream cannot be followed.
public enum StreamFramingError: Error, Hashable, Sendable {
    /// The first byte begins neither a STUN nor a ChannelData message.
    case unknownFirstByte(UInt8)
    /// The header is not one of STUN.
    case stun(STUNError)
    /// The frame is longer than the receiver takes.
    case tooLong(byteCount: Int, limit: Int)
}

/// Cuts a TCP or TLS stream into STUN and ChannelData messages (RFC 8489 §6.2.2, RFC 8656 §12.5).
///
/// Holds no bytes: the owner keeps its buffer, asks, and drops what it has used. The limit bounds that buffer.
public struct StreamFraming: Hashable, Sendable {
    /// The longest frame there can be: the header of a STUN message and its longest length.
    public static let maximumFrameByteCount = 0xFFFC + 20

    /// Frames that are longer break the stream.
    public let limit: Int

    /// Makes framing that takes frames of up to `limit` bytes, padding included.
    public init(limit: Int = StreamFraming.maximumFrameByteCount) { self.limit = limit }

    /// Looks at the front of the unread bytes; O(1), changes nothing.
    ///
    /// A channel number that is reserved (0x5000 to 0x7FFF) does not break the stream: its frame is cut out like any
    /// other and `ChannelData` then refuses it (turn 141).
    public func frame(at front: Span<UInt8>) -> StreamFrame {
        guard front.count > 0 else { return .needMore(byteCount: ChannelData.headerByteCount) }
        switch front[0] &>> 6 {
        case 0b00: return stunFrame(at: front)
        case 0b01: return channelDataFrame(at: front)
        default: return .broken(.unknownFirstByte(front[0]))
        }
    }

    private func stunFrame(at front: Span<UInt8>) -> StreamFrame {
        // The cookie is judged as soon as it is there: what is not STUN should not wait for a length it never meant.
        guard front.count >= 8 else { return .needMore(byteCount: STUNFormat.headerByteCount) }
        let cookie = front.bigEndianUInt32(at: 4)
        guard cookie == STUNFormat.magicCookie else { return .broken(.stun(.badMagicCookie(cookie))) }
        let length = Int(front.bigEndianUInt16(at: 2))
        guard length & 3 == 0 else { return .broken(.stun(.unalignedLength(length))) }
        let byteCount = STUNFormat.headerByteCount &+ length
        guard byteCount <= limit else { return .broken(.tooLong(byteCount: byteCount, limit: limit)) }
        return front.count >= byteCount ? .stun(byteCount: byteCount) : .needMore(byteCount: byteCount)
    }

    private func channelDataFrame(at front: Span<UInt8>) -> StreamFrame {
        guard front.count >= ChannelData.headerByteCount else {
            return .needMore(byteCount: ChannelData.headerByteCount)
        }
        let byteCount = ChannelData.headerByteCount &+ STUNFormat.padded(Int(front.bigEndianUInt16(at: 2)))
        guard byteCount <= limit else { return .broken(.tooLong(byteCount: byteCount, limit: limit)) }
        return front.count >= byteCount ? .channelData(byteCount: byteCount) : .needMore(byteCount: byteCount)
    }
}
