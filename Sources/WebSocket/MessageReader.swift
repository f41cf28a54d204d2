import Bytes

/// Puts chunks of frames together to messages, and checks the rules of RFC 6455 §5.1 to §5.6 and §7.4.
struct MessageReader: Sendable {
    /// A message or control frame that is complete.
    enum Frame {
        case message(WebSocketEvent)
        case ping([UInt8])
        case pong([UInt8])
        case close(WebSocketCloseCode, reason: String)
    }

    private struct OpenFrame {
        let opcode: FrameHeader.Opcode
        let isFinal: Bool
        var remaining: UInt64
    }

    private let role: WebSocketRole
    private let messageBytes: Int
    private var frame: OpenFrame?
    // Of the message that has begun; a control frame may come between its fragments.
    private var kind: FrameHeader.Opcode?
    private var message: [UInt8] = []
    private var control: [UInt8] = []

    /// Whether messages are read and dropped, because the owner has begun to close.
    var discardsMessages = false {
        didSet { message = [] }
    }

    init(role: WebSocketRole, messageBytes: Int) {
        self.role = role
        self.messageBytes = messageBytes
    }

    /// Takes the chunk of a frame that `codec` has decoded, and returns what it completes.
    mutating func take(_ header: FrameHeader, from codec: borrowing FrameCodec) throws(WebSocketDropReason) -> Frame? {
        let payload = codec.payload
        var open: OpenFrame
        if let frame { open = frame } else { open = try begin(header) }
        if open.opcode.isControl {
            Self.append(payload, to: &control)
        } else if !discardsMessages {
            Self.append(payload, to: &message)
        }
        // The codec never gives more than the rest of the frame.
        open.remaining -= UInt64(payload.count)
        guard open.remaining == 0 else {
            frame = open
            return nil
        }
        frame = nil
        return open.isFinal ? try finish(open.opcode) : nil
    }

    private mutating func begin(_ header: FrameHeader) throws(WebSocketDropReason) -> OpenFrame {
        guard header.reservedBits == 0 else { throw .reservedBits }
        guard header.isMasked == (role == .server) else {
            throw role == .server ? .unmaskedFrame : .maskedFrame
        }
        guard let opcode = FrameHeader.Opcode(rawValue: header.opcodeBits) else { throw .reservedOpcode }
        switch opcode {
        case .continuation:
            guard kind != nil else { throw .unexpectedContinuation }
        case .text, .binary:
            guard kind == nil else { throw .interleavedMessage }
            kind = opcode
        case .close, .ping, .pong: control.removeAll(keepingCapacity: true)
        }
        if !opcode.isControl && header.payloadLength > UInt64(messageBytes - message.count) { throw .messageTooBig }
        return OpenFrame(opcode: opcode, isFinal: header.isFinal, remaining: header.payloadLength)
    }

    private mutating func finish(_ opcode: FrameHeader.Opcode) throws(WebSocketDropReason) -> Frame? {
        switch opcode {
        case .ping: return .ping(control)
        case .pong: return .pong(control)
        case .close: return try close()
        case .continuation, .text, .binary:
            let bytes = message
            message = []
            let isText = kind == .text
            kind = nil
            if discardsMessages { return nil }
            guard isText else { return .message(.binary(bytes)) }
            guard let text = String(validating: bytes, as: UTF8.self) else { throw .invalidUTF8 }
            return .message(.text(text))
        }
    }

    private func close() throws(WebSocketDropReason) -> Frame {
        if control.isEmpty { return .close(.noStatus, reason: "") }
        guard control.count >= 2 else { throw .invalidCloseCode }
        let code = WebSocketCloseCode(rawValue: control.span.bigEndianUInt16(at: 0))
        guard code.canBeSent else { throw .invalidCloseCode }
        guard let reason = String(validating: control[2...], as: UTF8.self) else { throw .invalidUTF8 }
        return .close(code, reason: reason)
    }

    private static func append(_ payload: Span<UInt8>, to bytes: inout [UInt8]) {
        // Without room to add, the standard library writes a count into the storage that all empty arrays share.
        guard !payload.isEmpty else { return }
        bytes.append(addingCapacity: payload.count) { $0.append(contentsOf: payload) }
    }
}
