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
    /// When the TLS handshake must be done, or the closing of the stream.
    var streamDeadline: Instant?
    /// The earliest entry in the deadline queue; later ones do not count.
    var scheduled = Instant.distantFuture
    var watchesWriting = false
    var isClosing = false
    var wantsInput = true

    init(_ stream: consuming StreamConnection, http: consuming HTTPServerConnection, isTLS: Bool, handshakeBy: Instant?)
    {
        remote = stream.remoteAddress.unmapped
        prefix = remote.ip.family == .ipv4 ? remote.ip : IPAddress(ipv6: remote.ip.high, 0)
        self.stream = stream
        stage = .http(http)
        self.isTLS = isTLS
        streamDeadline = handshakeBy
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

    /// Whether nothing more will be said: the stream can be ended.
    var isFinished: Bool {
        switch stage {
        case .http(let http): http.isFinished
        case .webSocket(let socket): socket.isFinished
        }
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
