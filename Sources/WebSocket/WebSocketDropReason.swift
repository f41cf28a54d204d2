public import NetTypes

/// Why a peer's frame was not taken; the raw values are the names in logs and metrics.
///
/// All but `afterClose` fail the connection (RFC 6455 §7.1.7).
public enum WebSocketDropReason: String, DropReason, Error {
    /// A length is not in its shortest form, or a control frame is fragmented or longer than 125 bytes.
    case malformedHeader
    /// A reserved bit is set, and no extension was agreed on.
    case reservedBits
    /// An opcode without a meaning.
    case reservedOpcode
    /// A client must mask its frames.
    case unmaskedFrame
    /// A server must not mask its frames.
    case maskedFrame
    /// A continuation, but no message has begun.
    case unexpectedContinuation
    /// A new message within a fragmented one.
    case interleavedMessage
    /// A close frame with half a code, or with a code that may not be sent.
    case invalidCloseCode
    /// A text message or the reason of a close is not UTF-8.
    case invalidUTF8
    /// A message is longer than `messageBytes`; found in the frame's header, before its payload is stored.
    case messageTooBig
    /// The peer sent more messages than the owner has polled.
    case tooManyEvents
    /// Bytes came after the closing handshake, or after a failure.
    case afterClose

    /// The code that tells the peer.
    public var closeCode: WebSocketCloseCode {
        switch self {
        case .malformedHeader, .reservedBits, .reservedOpcode, .unmaskedFrame, .maskedFrame, .unexpectedContinuation,
            .interleavedMessage, .invalidCloseCode, .afterClose:
            .protocolError
        case .invalidUTF8: .invalidPayload
        case .messageTooBig: .messageTooBig
        case .tooManyEvents: .policyViolation
        }
    }

    /// A phrase for the person who debugs the peer; at most 123 bytes, so that it fits into a close frame.
    public var explanation: String {
        switch self {
        case .malformedHeader: "malformed frame header: length not minimal, or control frame fragmented or too long"
        case .reservedBits: "reserved bit set, but no extension was negotiated"
        case .reservedOpcode: "reserved opcode"
        case .unmaskedFrame: "frames from a client must be masked"
        case .maskedFrame: "frames from a server must not be masked"
        case .unexpectedContinuation: "continuation frame, but no message has begun"
        case .interleavedMessage: "new message before the end of a fragmented one"
        case .invalidCloseCode: "close frame with a code that may not be sent"
        case .invalidUTF8: "text is not UTF-8"
        case .messageTooBig: "message too big"
        case .tooManyEvents: "too many messages at once"
        case .afterClose: "bytes after the end of the connection"
        }
    }
}
