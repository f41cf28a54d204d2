import EventLoop
import HTTP
import NetTypes
import ServiceTestSupport
import SignalingMessages
import Testing
import WebSocket

/// A client of the signaling protocol over a WebSocket.
final class SignalingClient {
    let stream: StreamClient
    private var socket: WebSocketConnection

    init(
        _ stream: StreamClient,
        authority: String,
        subprotocols: [String] = [signalingSubprotocol],
        origin: String? = nil
    ) throws {
        self.stream = stream
        var entropy = Entropy.system
        var headers = HTTPHeaders()
        headers["Origin"] = origin
        let handshake = WebSocketClientHandshake(
            authority: authority,
            target: "/signal",
            subprotocols: subprotocols,
            headers: headers,
            entropy: &entropy
        )
        try stream.send(handshake.requestBytes)
        var parser = HTTPResponseParser()
        var response: HTTPResponseParser.Response?
        while response == nil {
            guard let bytes = try stream.receive() else { throw ClientError.ended }
            response = try parser.receive(bytes.span)
        }
        let answer = try #require(response)
        if answer.status != .switchingProtocols { expectSecurityHeaders(answer.headers) }
        _ = try handshake.check(answer)
        socket = WebSocketConnection(role: .client)
        _ = socket.receive(parser.takeRemainingBytes().span, at: MonotonicClock.now())
    }

    func send(_ message: ClientMessage, sequence: UInt64? = nil, acknowledged: UInt64? = nil) throws {
        try send(text: ClientFrame(message, sequence: sequence, acknowledged: acknowledged).text)
    }

    func send(text: String) throws {
        let isTaken = socket.send(text: text)
        #expect(isTaken)
        try flush()
    }

    func close() throws {
        socket.close(at: MonotonicClock.now())
        try flush()
    }

    func nextEvent() throws -> WebSocketEvent {
        while true {
            if let event = socket.pollEvent() { return event }
            guard let bytes = try stream.receive() else {
                socket.receiveEnd()
                return socket.pollEvent() ?? .closed(.abnormal, reason: "")
            }
            _ = socket.receive(bytes.span, at: MonotonicClock.now())
            try flush()
        }
    }

    /// The next message that is no mere acknowledgement.
    func next() throws -> ServerFrame {
        while true {
            guard case .text(let text) = try nextEvent() else { throw ClientError.ended }
            let frame = try ServerFrame(decoding: text)
            if frame.message != .acknowledge { return frame }
        }
    }

    /// The code that the server closes with; what it says before that is passed over.
    func closeCode() throws -> WebSocketCloseCode {
        while true {
            if case .closed(let code, _) = try nextEvent() { return code }
        }
    }

    /// Enters a room and returns the session's secret and what else the server says.
    func join(_ room: String, as name: String) throws -> (session: String, welcome: ServerMessage.Welcome) {
        try send(.join(room: room, name: name))
        guard case .joined(let session, let welcome) = try next().message else { throw ClientError.ended }
        return (session, welcome)
    }

    private func flush() throws {
        var bytes: [UInt8] = []
        var count = 1
        while count > 0 { bytes.append(addingCapacity: 16384) { count = socket.pollTransmit(into: &$0) } }
        if !bytes.isEmpty { try stream.send(bytes) }
    }
}
