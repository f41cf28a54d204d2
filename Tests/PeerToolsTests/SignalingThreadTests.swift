import Bytes
import Crypto
import EventLoop
import HTTP
import NetTypes
import SignalingMessages
import Testing
import Transport
import WebSocket

@testable import PeerTools

/// Our client of the signaling protocol and a server's end of its connection, moved along in one thread.
private struct Conversation: ~Copyable {
    /// The length of each message of the server, in bytes, with all that is around it.
    static let messageBytes = 4000
    private static let room = 100_000

    private(set) var client: SignalingThread
    private var server: StreamConnection
    private var frames: WebSocketConnection
    private let messages: AsyncStream<ServerMessage>
    private let continuation: AsyncStream<ServerMessage>.Continuation
    private var probes = 0

    init(isTLS: Bool) throws {
        var listener = try TCPListener(boundTo: SocketAddress(.loopback(.ipv4), port: 0))
        let identity = try Identity.selfSigned(
            commonName: "localhost",
            dnsNames: ["localhost"],
            validForDays: 2,
            notBefore: Int64(WallClock.unixSeconds()) - 3600
        )
        let trusting = try TLSContext(clientTrust: .anything, applicationProtocols: ["http/1.1"])
        let serving = try TLSContext(serverIdentities: [identity], applicationProtocols: ["http/1.1"])
        let place = try SignalingPlace("https://localhost:\(listener.localAddress.port)")
        let client = SignalingThread(try TCPSocket(connectingTo: listener.localAddress), place, isTLS ? trusting : nil)
        try Self.wait(listener.descriptor)
        let server = try Self.accept(&listener, isTLS ? serving : nil)
        (messages, continuation) = AsyncStream<ServerMessage>.makeStream(bufferingPolicy: .bufferingOldest(Self.room))
        self.client = client
        self.server = server
        frames = WebSocketConnection(role: .server)
    }

    private static func accept(_ listener: inout TCPListener, _ tls: TLSContext?) throws -> StreamConnection {
        guard case .accepted(let tcp) = listener.accept() else { throw PeerError("nobody has come") }
        guard let tls else { return StreamConnection(tcp, outputLimit: 8 << 20) }
        return StreamConnection(tcp, tls: TLSSession(server: tls), outputLimit: 8 << 20)
    }

    /// Whether something came within ten seconds.
    @discardableResult
    static func wait(_ descriptor: Int32) throws -> Bool {
        let poller = try Poller()
        var events = PollEvents(capacity: 1)
        try poller.add(descriptor, token: 0, interest: .read)
        try poller.wait(until: MonotonicClock.now() + .seconds(10), into: &events)
        return events.count > 0
    }

    /// Completes the handshakes: of TLS, and of the WebSocket.
    mutating func open() throws {
        var request: [UInt8] = []
        while !String(decoding: request, as: UTF8.self).contains("\r\n\r\n") {
            client.connection.flush()
            _ = client.step(continuation, at: MonotonicClock.now())
            try Self.wait(server.descriptor)
            request.append(addingCapacity: 4096) { _ = server.read(into: &$0) }
            server.flush()
        }
        let lines = String(decoding: request, as: UTF8.self).split(separator: "\r\n")
        let field = lines.first { $0.lowercased().hasPrefix("sec-websocket-key:") }
        let key = try #require(field?.split(separator: " ").last)
        let digest = MessageDigest.sha1(Array((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").utf8))
        let response = [
            "HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade",
            "Sec-WebSocket-Accept: \(Base64.encode(digest))", "Sec-WebSocket-Protocol: floe.v1", "", "",
        ]
        _ = server.enqueue(Array(response.joined(separator: "\r\n").utf8).span)
    }

    /// Has the server say so many messages, one after the other.
    mutating func say(_ count: Int) {
        let text = ServerFrame(.error(.badMessage, message: String(repeating: "x", count: 4000), sequence: 1)).text
        for _ in 0..<count {
            _ = frames.send(text: text)
            while frames.hasOutput {
                var bytes: [UInt8] = []
                bytes.append(addingCapacity: 16_384) { _ = frames.pollTransmit(into: &$0) }
                _ = server.enqueue(bytes.span)
            }
        }
        server.flush()
    }

    /// Joins, and leaves before there is an answer.
    mutating func joinAndLeave(at now: Instant) {
        for message in [ClientMessage.join(room: "room", name: "floe"), .leave, nil] { client.take(message, at: now) }
    }

    mutating func letIn() {
        _ = frames.send(text: ServerFrame(.joined(session: "session", ServerMessage.welcome(peers: []))).text)
        var bytes: [UInt8] = []
        bytes.append(addingCapacity: 16_384) { _ = frames.pollTransmit(into: &$0) }
        _ = server.enqueue(bytes.span)
        server.flush()
    }

    /// What the client says when something has come to it, and whether it has closed.
    mutating func hear(at now: Instant, isWaiting: Bool = true) throws -> (said: [String], isClosed: Bool) {
        if isWaiting { try Self.wait(client.connection.descriptor) }
        _ = client.step(continuation, at: now)
        try Self.wait(server.descriptor)
        var bytes: [UInt8] = []
        bytes.append(addingCapacity: 16_384) { _ = server.read(into: &$0) }
        _ = frames.receive(bytes.span, at: now)
        var (said, isClosed) = ([String](), false)
        while let event = frames.pollEvent() {
            if case .text(let text) = event { said.append(try ClientFrame(decoding: text).message.typeName) }
            if case .closed = event { isClosed = true }
        }
        return (said, isClosed)
    }

    /// One turn of the client; what was wrong.
    mutating func turn() -> String? {
        server.flush()
        return client.step(continuation, at: MonotonicClock.now())
    }

    /// How many messages the client has told.
    mutating func count() -> Int {
        guard case .enqueued(let remaining) = continuation.yield(.pong(id: 1)) else { return -1 }
        probes += 1
        return Self.room - remaining - probes
    }
}

@Suite struct SignalingThreadTests {
    @Test(.timeLimit(.minutes(1)), arguments: [false, true])
    func `a server that says much at once is read in turns, and to the end`(isTLS: Bool) throws {
        var conversation = try Conversation(isTLS: isTLS)
        try conversation.open()
        conversation.say(400)
        let most = SignalingThread.readsPerTurn * SignalingThread.bytesPerRead / Conversation.messageBytes + 1
        var count = 0
        var unseen = 0
        while count < 400 {
            let failure = conversation.turn()
            #expect(failure == nil)
            let told = conversation.count()
            #expect(told - count <= most)
            count = told
            let now = MonotonicClock.now()
            // What no poller sees, the client comes back for by itself.
            if conversation.client.nextTurn(.distantFuture, at: now) == now {
                unseen += 1
            } else if count < 400 {
                let hasCome = try Conversation.wait(conversation.client.connection.descriptor)
                #expect(hasCome)
                guard hasCome else { break }
            }
        }
        #expect(count == 400)
        #expect(isTLS == (unseen > 0))
    }

    /// The server would keep the session of one that is only gone.
    @Test(.timeLimit(.minutes(1)), arguments: [false, true])
    func `who leaves before it is let in waits for that, but not for long`(isLetIn: Bool) throws {
        var conversation = try Conversation(isTLS: false)
        try conversation.open()
        let now = MonotonicClock.now()
        conversation.joinAndLeave(at: now)
        _ = conversation.turn()
        let first = try conversation.hear(at: now, isWaiting: false)
        #expect(first == (["join"], false))
        if isLetIn { conversation.letIn() }
        let last = try conversation.hear(at: isLetIn ? now : now + SignalingThread.farewellTime, isWaiting: isLetIn)
        #expect(last == (isLetIn ? ["leave"] : [], true))
    }
}
