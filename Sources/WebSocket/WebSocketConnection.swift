import Bytes
public import NetTypes

/// Which end of the connection this is; a client masks its frames.
public enum WebSocketRole: Sendable {
    /// The end that accepted the handshake.
    case server
    /// The end that began it.
    case client
}

/// What a connection tells its owner.
public enum WebSocketEvent: Sendable, Equatable {
    /// A text message.
    case text(String)
    /// A binary message.
    case binary([UInt8])
    /// A ping; the pong is queued already.
    case ping([UInt8])
    /// A pong, in answer to a ping of ours or of the peer's own accord.
    case pong([UInt8])
    /// The end, once and last: the peer's code and reason, ours if it broke a rule, or 1006 if the transport just ended.
    case closed(WebSocketCloseCode, reason: String)
}

/// One WebSocket after its handshake (RFC 6455 §5 to §7), either end: bytes in, messages out, and the other way.
///
/// After each call drain `pollTransmit` and `pollEvent`, then sleep until `nextTimeout`; close the transport when
/// `isFinished`.
public struct WebSocketConnection: ~Copyable, Sendable {
    private struct Outgoing: Sendable {
        let opcode: FrameHeader.Opcode
        let payload: [UInt8]
    }

    private static let frameOverhead = 16

    private let role: WebSocketRole
    private let limits: WebSocketLimits
    private var codec: FrameCodec
    private var reader: MessageReader
    private var events: RingBuffer<WebSocketEvent>
    private var closedEvent: WebSocketEvent?

    private var messages: RingBuffer<Outgoing>
    private var controls: [Outgoing] = []
    // Goes out when nothing stands before it; set once.
    private var close: Outgoing?
    private var current: Outgoing?
    private var currentOffset = 0

    private var closeRequested = false
    private var closeSent = false
    // A close was received, or the peer failed the protocol: nothing more is read.
    private var readingEnded = false
    private var aborted = false
    private var closeReported = false
    private var deadline: Instant?

    /// How many bytes of messages wait to be transmitted, frames included; at most `WebSocketLimits.queuedBytes`.
    public private(set) var queuedBytes = 0

    /// Makes an open connection; `entropy` is for the masking keys of a client.
    public init(role: WebSocketRole, limits: WebSocketLimits = WebSocketLimits(), entropy: Entropy = .system) {
        self.role = role
        self.limits = limits
        codec = FrameCodec(masks: role == .client, entropy: entropy)
        reader = MessageReader(role: role, messageBytes: limits.messageBytes)
        events = RingBuffer(limit: limits.pendingEvents)
        messages = RingBuffer(limit: limits.queuedBytes / Self.frameOverhead)
    }

    /// Makes an open connection with the default limits but for the longest message, in bytes.
    public init(role: WebSocketRole, maximumMessageBytes: Int) {
        var limits = WebSocketLimits()
        limits.messageBytes = maximumMessageBytes
        self.init(role: role, limits: limits)
    }

    /// Takes bytes from the transport.
    ///
    /// New events and bytes to transmit may follow. A reason other than `.afterClose` means that the connection has
    /// failed: the peer is told, and `.closed` is the last event.
    public mutating func receive(_ bytes: Span<UInt8>, at now: Instant) -> Disposition<WebSocketDropReason> {
        guard !readingEnded, !aborted else { return .ignored(.afterClose) }
        var offset = 0
        do throws(WebSocketDropReason) {
            while !readingEnded {
                switch codec.decode(bytes, from: &offset) {
                case .needsInput: return .accepted
                case .malformed: throw .malformedHeader
                case .chunk(let header):
                    guard let frame = try reader.take(header, from: codec) else { continue }
                    try handle(frame, at: now)
                }
            }
            return .accepted
        } catch {
            fail(error, at: now)
            return .ignored(error)
        }
    }

    /// Takes the end of the transport.
    public mutating func receiveEnd() {
        aborted = true
        reportClose(.abnormal, "")
    }

    /// Queues a text message; returns `false`, and queues nothing, if the queue is full or the connection is closing.
    public mutating func send(text: String) -> Bool { queue(.text, Array(text.utf8)) }

    /// Queues a binary message; returns `false`, and queues nothing, if the queue is full or the connection is closing.
    public mutating func send(binary bytes: [UInt8]) -> Bool { queue(.binary, bytes) }

    /// Queues a ping with at most 125 bytes; returns `false` if it is longer, or too many wait, or closing has begun.
    public mutating func ping(_ payload: [UInt8] = []) -> Bool {
        guard isOpen, payload.count <= 125, controls.count < limits.queuedControlFrames else { return false }
        controls.append(Outgoing(opcode: .ping, payload: payload))
        return true
    }

    /// Begins the closing handshake behind the messages that are queued; messages that still come are dropped.
    ///
    /// The reason is cut to 123 bytes. A code that may not be sent, such as 1005, goes out as a close without a code.
    /// If the peer does not answer within `closeTime`, the connection is finished with 1006.
    public mutating func close(_ code: WebSocketCloseCode = .normal, reason: String = "", at now: Instant) {
        guard isOpen else { return }
        requestClose(code, reason, at: now)
        reader.discardsMessages = true
    }

    /// Writes bytes for the transport and returns how many; 0 if there are none or `bytes` is full.
    public mutating func pollTransmit(into bytes: inout OutputSpan<UInt8>) -> Int {
        let before = bytes.count
        while !closeSent, !aborted, bytes.freeCapacity > 0 {
            if current == nil { current = nextOutgoing() }
            guard let frame = current else { break }
            guard codec.encode(frame.opcode, frame.payload, from: &currentOffset, into: &bytes) else { break }
            if !frame.opcode.isControl { queuedBytes -= frame.payload.count + Self.frameOverhead }
            if frame.opcode == .close { endOfSending() }
            current = nil
            currentOffset = 0
        }
        return bytes.count - before
    }

    /// Takes the oldest event that was not taken yet.
    public mutating func pollEvent() -> WebSocketEvent? { events.popFirst() ?? closedEvent.take() }

    /// Gives the closing handshake up if it has taken too long.
    public mutating func handleTimeout(at now: Instant) {
        guard let due = deadline, due <= now else { return }
        deadline = nil
        receiveEnd()
    }

    /// When `handleTimeout` must be called, or `nil` if nothing waits for time to pass.
    public var nextTimeout: Instant? { isFinished ? nil : deadline }

    /// Whether messages can be sent: neither end has begun to close.
    public var isOpen: Bool { !closeRequested && !readingEnded && !aborted }

    /// Whether nothing more will be sent or understood: the transport can be closed.
    public var isFinished: Bool { aborted || (closeSent && readingEnded) }

    /// Whether bytes wait for `pollTransmit`.
    public var hasOutput: Bool {
        !closeSent && !aborted && (current != nil || close != nil || !controls.isEmpty || !messages.isEmpty)
    }
}

extension WebSocketConnection {
    private mutating func handle(_ frame: MessageReader.Frame, at now: Instant) throws(WebSocketDropReason) {
        switch frame {
        case .message(let event): try report(event)
        case .ping(let payload):
            if !closeRequested { queuePong(payload) }
            try report(.ping(payload))
        case .pong(let payload): try report(.pong(payload))
        case .close(let code, let reason):
            readingEnded = true
            // The peer reads no more messages: the answer goes at once (RFC 6455 §5.5.1).
            dropQueuedMessages()
            requestClose(code, "", at: now)
            reportClose(code, reason)
        }
    }

    private mutating func report(_ event: WebSocketEvent) throws(WebSocketDropReason) {
        guard events.append(event) else { throw .tooManyEvents }
    }

    private mutating func reportClose(_ code: WebSocketCloseCode, _ reason: String) {
        guard !closeReported else { return }
        closeReported = true
        closedEvent = .closed(code, reason: reason)
    }

    private mutating func fail(_ reason: WebSocketDropReason, at now: Instant) {
        readingEnded = true
        reader = MessageReader(role: role, messageBytes: 0)
        dropQueuedMessages()
        requestClose(reason.closeCode, reason.explanation, at: now)
        reportClose(reason.closeCode, reason.explanation)
    }

    private mutating func requestClose(_ code: WebSocketCloseCode, _ reason: String, at now: Instant) {
        guard !closeRequested else { return }
        closeRequested = true
        deadline = now + limits.closeTime
        var payload: [UInt8] = []
        if code.canBeSent {
            payload = [UInt8(code.rawValue &>> 8), UInt8(code.rawValue & 255)]
            for scalar in reason.unicodeScalars {
                guard payload.count + scalar.utf8.count <= 125 else { break }
                payload.append(contentsOf: scalar.utf8)
            }
        }
        close = Outgoing(opcode: .close, payload: payload)
    }

    private mutating func queue(_ opcode: FrameHeader.Opcode, _ payload: [UInt8]) -> Bool {
        let cost = payload.count + Self.frameOverhead
        guard isOpen, cost <= limits.queuedBytes - queuedBytes,
            messages.append(Outgoing(opcode: opcode, payload: payload))
        else { return false }
        queuedBytes += cost
        return true
    }

    private mutating func queuePong(_ payload: [UInt8]) {
        let pong = Outgoing(opcode: .pong, payload: payload)
        if controls.count < limits.queuedControlFrames {
            controls.append(pong)
        } else if let last = controls.lastIndex(where: { $0.opcode == .pong }) {
            controls[last] = pong
        }
    }

    private mutating func nextOutgoing() -> Outgoing? {
        if !controls.isEmpty { return controls.removeFirst() }
        return messages.popFirst() ?? close.take()
    }

    /// Leaves only what must be sent: the rest of a frame that has begun, and the close.
    private mutating func dropQueuedMessages() {
        controls = []
        while let message = messages.popFirst() { queuedBytes -= message.payload.count + Self.frameOverhead }
    }

    private mutating func endOfSending() {
        closeSent = true
        dropQueuedMessages()
    }
}
