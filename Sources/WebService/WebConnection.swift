import EventLoop
import HTTP
import NetTypes
import Transport
import WebSocket

/// One client of the web service: a stream, and what is spoken on it at present.
struct WebConnection: ~Copyable {
    /// What is spoken.
    enum Stage: ~Copyable {
        case http(HTTPServerConnection)
        case webSocket(WebSocketConnection)
    }

    var stream: StreamConnection
    var stage: Stage
    let remote: SocketAddress
    let prefix: IPAddress
    let isTLS: Bool
    /// The signaling engine's name for the connection, once it is one.
    var signalingID: UInt64?
    /// When the closing of the stream must be done.
    private(set) var streamDeadline: Instant?
    /// The earliest entry in the deadline queue that counts: later ones find that they are stale.
    var scheduled = Instant.distantFuture
    /// What the poller watches for.
    var watched = Interest.read
    /// Whether the loop serves it in its next turn anyway.
    var isUnread = false
    /// What of the service's queued bytes is this connection's.
    var accountedBytes = 0
    private(set) var isClosing = false
    private var peerHasEnded = false
    /// What one read takes at most: what the HTTP engine bears in one piece.
    private let readBytes: Int
    /// How long the other end has to read what is left at the end.
    private let drainTime: TimeSpan
    /// How long it then has to end its side.
    private let lingerTime: TimeSpan

    init(
        _ stream: consuming StreamConnection,
        http: consuming HTTPServerConnection,
        limits: HTTPLimits,
        lingerTime: TimeSpan
    ) {
        self.lingerTime = lingerTime
        readBytes = max(1, limits.pipelinedBytes / 2)
        drainTime = limits.responseTime
        remote = stream.remoteAddress.unmapped
        prefix = remote.ip.family == .ipv4 ? remote.ip : IPAddress(ipv6: remote.ip.high, 0)
        isTLS = stream.isSecure
        self.stream = stream
        stage = .http(http)
    }

    /// When something is due: of the stream, or of what is spoken.
    var nextTimeout: Instant? {
        let inner =
            switch stage {
            case .http(let http): http.nextTimeout
            case .webSocket(let socket): socket.nextTimeout
            }
        return [inner, streamDeadline].compactMap { $0 }.min()
    }

    /// Whether the service has given the client up, which no longer counts for anything.
    func isOverdue(at now: Instant) -> Bool { streamDeadline.map { $0 <= now } ?? false }

    /// Whether nothing more will be said: the stream can be ended.
    private var isFinished: Bool {
        switch stage {
        case .http(let http): http.isFinished
        case .webSocket(let socket): socket.isFinished
        }
    }

    /// Whether to read on; while not, the kernel holds the client back.
    var wantsInput: Bool {
        if peerHasEnded { return false }
        // What comes while the stream ends is read and dropped: a reset would take the last response with it.
        if isClosing { return true }
        return switch stage {
        case .http(let http): http.wantsInput
        case .webSocket: true
        }
    }

    /// What to watch for now.
    var interest: Interest {
        var interest: Interest = wantsInput ? .read : []
        if stream.wantsWrite { interest.insert(.write) }
        return interest
    }

    /// How many bytes wait for the client to read.
    var queuedBytes: Int {
        let inner =
            switch stage {
            case .http: 0
            case .webSocket(let socket): socket.queuedBytes
            }
        return inner + stream.queuedBytes
    }

    /// Reads once and hands what came to what is spoken; `bytes` is scratch memory.
    mutating func read(through bytes: inout [UInt8], at now: Instant) -> StreamReadResult {
        guard wantsInput else { return .wouldBlock }
        bytes.removeAll(keepingCapacity: true)
        var result = StreamReadResult.wouldBlock
        bytes.append(addingCapacity: readBytes) { result = stream.read(into: &$0) }
        if !isClosing, !bytes.isEmpty { stage.receive(bytes.span, at: now) }
        if case .closed = result {
            peerHasEnded = true
            stage.receiveEnd(at: now)
        }
        return result
    }

    /// Ends our side once everything is said; returns whether the connection is over.
    ///
    /// The other end has a moment to end its own, so that it can read what was sent last.
    mutating func settle(at now: Instant) -> Bool {
        if isFinished, !isClosing {
            isClosing = true
            streamDeadline = now + drainTime
            stream.finish()
        }
        if stream.failure != nil { return true }
        guard isClosing, stream.hasFinished else { return false }
        if let deadline = streamDeadline { streamDeadline = min(deadline, now + lingerTime) }
        return peerHasEnded
    }
}

// The enum itself is consumed and put back: of a field of a struct the compiler does not allow it.
extension WebConnection.Stage {
    /// Takes the other end's end.
    mutating func receiveEnd(at now: Instant) {
        switch consume self {
        case .http(var http):
            http.receiveEnd(at: now)
            self = .http(http)
        case .webSocket(var socket):
            socket.receiveEnd()
            self = .webSocket(socket)
        }
    }

    /// Does what is due.
    mutating func handleTimeout(at now: Instant) {
        switch consume self {
        case .http(var http):
            http.handleTimeout(at: now)
            self = .http(http)
        case .webSocket(var socket):
            socket.handleTimeout(at: now)
            self = .webSocket(socket)
        }
    }

    /// Hands received bytes to what is spoken.
    mutating func receive(_ bytes: Span<UInt8>, at now: Instant) {
        switch consume self {
        case .http(var http):
            http.receive(bytes, at: now)
            self = .http(http)
        case .webSocket(var socket):
            _ = socket.receive(bytes, at: now)
            self = .webSocket(socket)
        }
    }

    /// Writes what is to be sent; returns how many bytes.
    mutating func pollTransmit(at now: Instant, into output: inout OutputSpan<UInt8>) -> Int {
        switch consume self {
        case .http(var http):
            let count = http.pollTransmit(at: now, into: &output)
            self = .http(http)
            return count
        case .webSocket(var socket):
            let count = socket.pollTransmit(into: &output)
            self = .webSocket(socket)
            return count
        }
    }

    /// The next thing that the client wants.
    mutating func pollEvent() -> WebEvent? {
        switch consume self {
        case .http(var http):
            let event = http.pollEvent()
            self = .http(http)
            return event.map(WebEvent.http)
        case .webSocket(var socket):
            let event = socket.pollEvent()
            self = .webSocket(socket)
            return event.map(WebEvent.webSocket)
        }
    }

    /// Changes the HTTP side, if that is what is spoken.
    mutating func withHTTP<Result>(_ body: (inout HTTPServerConnection) -> Result) -> Result? {
        switch consume self {
        case .http(var http):
            let result = body(&http)
            self = .http(http)
            return result
        case .webSocket(let socket):
            self = .webSocket(socket)
            return nil
        }
    }

    /// Changes the WebSocket side, if that is what is spoken.
    mutating func withWebSocket<Result>(_ body: (inout WebSocketConnection) -> Result) -> Result? {
        switch consume self {
        case .http(let http):
            self = .http(http)
            return nil
        case .webSocket(var socket):
            let result = body(&socket)
            self = .webSocket(socket)
            return result
        }
    }
}

/// What a client of the web service wants or has done.
enum WebEvent {
    case http(HTTPServerEvent)
    case webSocket(WebSocketEvent)
}
