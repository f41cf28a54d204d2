import Bytes
import Crypto
import EventLoop
import HTTP
import NameResolver
import NetTypes
import SignalingMessages
import Transport
import WebSocket

/// One connection to a signaling server: TCP or TLS, the handshake, the WebSocket, the sequence numbers.
struct SignalingThread: ~Copyable {
    var connection: StreamConnection
    private var socket = WebSocketConnection(role: .client)
    private let handshake: WebSocketClientHandshake
    private var parser = HTTPResponseParser()
    private var isOpen = false
    private var isAsked = false
    private var waiting: [ClientMessage] = []
    private var isJoined = false
    private var sequence: UInt64 = 0
    private var received: UInt64 = 0
    /// Until when one who leaves waits to be let in.
    private var farewellEnd: Instant?
    private var isLeaving: Bool { farewellEnd != nil }
    /// How often is read in one turn, so that a server that never ends still lets us speak, and leave.
    static let readsPerTurn = 8
    static let bytesPerRead = 16_384

    /// How long one who leaves waits to be let in, so as to leave.
    static let farewellTime = TimeSpan.seconds(2)
    /// How long the server may take to let us in.
    private static let patience = TimeSpan.seconds(15)

    static func run(
        _ place: SignalingPlace,
        _ tls: TLSContext?,
        _ outgoing: Mailbox<ClientMessage?>,
        _ messages: AsyncStream<ServerMessage>.Continuation
    ) -> PeerError? {
        do {
            // What waits to be said outlasts an address that does not answer.
            var waiting: [ClientMessage] = []
            var failure = PeerError("the server at \(place.authority) does not answer")
            for address in try ServerFinder.addresses(of: place.host, port: place.port) {
                do throws(SocketError) {
                    let socket = try TCPSocket(connectingTo: address)
                    var thread = SignalingThread(socket, place, tls)
                    swap(&thread.waiting, &waiting)
                    guard let found = thread.run(outgoing, messages) else { return nil }
                    swap(&thread.waiting, &waiting)
                    failure = PeerError("\(place.authority): \(found)")
                    if thread.isOpen { return failure }
                } catch {
                    failure = PeerError("\(error)")
                }
            }
            return failure
        } catch {
            return PeerError("\(error)")
        }
    }

    init(_ tcp: consuming TCPSocket, _ place: SignalingPlace, _ tls: TLSContext?) {
        if let tls {
            connection = StreamConnection(tcp, tls: TLSSession(client: tls, serverName: place.host))
        } else {
            connection = StreamConnection(tcp)
        }
        var entropy = Entropy.system
        handshake = WebSocketClientHandshake(
            authority: place.authority,
            target: "/signal",
            subprotocols: ["floe.v1"],
            entropy: &entropy
        )
    }

    /// Drives until the end; what was wrong, or `nil` if we have left.
    private mutating func run(
        _ outgoing: Mailbox<ClientMessage?>,
        _ messages: AsyncStream<ServerMessage>.Continuation
    ) -> String? {
        do throws(SystemError) {
            let poller = try Poller()
            var events = PollEvents(capacity: 4)
            var mail: [ClientMessage?] = []
            let opensUntil = MonotonicClock.now() + Self.patience
            var pingAt = Instant.distantFuture
            try poller.add(connection.descriptor, token: 0, interest: [.read, .write])
            try poller.add(outgoing.descriptor, token: 1, interest: .read)
            connection.flush()
            while true {
                outgoing.receive(into: &mail)
                for message in mail { take(message, at: MonotonicClock.now()) }
                mail.removeAll(keepingCapacity: true)
                if isLeaving, !isOpen { return nil }
                let now = MonotonicClock.now()
                if now >= pingAt {
                    _ = socket.send(text: ClientFrame(.ping(id: 1)).text)
                    pingAt = now + .seconds(10)
                }
                socket.handleTimeout(at: now)
                connection.flush()
                if let failure = step(messages, at: now) { return isLeaving ? nil : failure }
                if isOpen, pingAt == .distantFuture { pingAt = now + .seconds(10) }
                if socket.isFinished { return isLeaving ? nil : "the server has closed the connection" }
                if !isJoined, now >= opensUntil { return isLeaving ? nil : "the server takes too long to answer" }
                let opening = isJoined ? Instant.distantFuture : opensUntil
                let farewell = isJoined ? nil : farewellEnd.flatMap { $0 > now ? $0 : nil }
                let deadline = min(opening, farewell ?? .distantFuture)
                let interest: Interest = connection.wantsWrite ? [.read, .write] : .read
                try poller.modify(connection.descriptor, token: 0, interest: interest)
                try poller.wait(
                    until: nextTurn(min(pingAt, deadline), at: now),
                    into: &events
                )
            }
        } catch {
            return "\(error)"
        }
    }

    /// When the next turn must come, though the descriptor is silent: what TLS has decrypted, no poller sees.
    func nextTurn(_ deadline: Instant, at now: Instant) -> Instant {
        connection.hasUnreadBytes ? now : min(deadline, socket.nextTimeout ?? .distantFuture)
    }

    mutating func take(_ message: ClientMessage?, at now: Instant) {
        guard let message else { return farewellEnd = farewellEnd ?? now + Self.farewellTime }
        waiting.append(message)
    }

    /// Reads and writes what can be, within the turn's limit; what is wrong, if anything.
    mutating func step(
        _ messages: AsyncStream<ServerMessage>.Continuation,
        at now: Instant
    ) -> String? {
        if let failure = connection.failure { return "\(failure)" }
        var bytes: [UInt8] = []
        var result = StreamReadResult.wouldBlock
        for _ in 0..<Self.readsPerTurn {
            bytes.removeAll(keepingCapacity: true)
            result = Self.read(&connection, into: &bytes)
            if let failure = receive(bytes, at: now) { return failure }
            guard case .bytes = result else { break }
        }
        // Reading has driven TLS's handshake: only now is it known whether it is complete.
        if connection.isEstablished, !isAsked {
            isAsked = true
            let request = handshake.requestBytes
            _ = connection.write(request.span)
        }
        while let event = socket.pollEvent() {
            switch event {
            case .text(let text): if let failure = receive(text, messages) { return failure }
            case .closed(let code, let reason): return "closed by the server: \(code.rawValue) \(reason)"
            case .binary, .ping, .pong: break
            }
        }
        sendWaiting()
        // After the last words: the server keeps the session of a client that is only gone, also of one that it lets in later.
        if let farewellEnd, isJoined || now >= farewellEnd { socket.close(.normal, at: now) }
        while isOpen, socket.hasOutput {
            var output: [UInt8] = []
            output.append(addingCapacity: 16_384) { _ = socket.pollTransmit(into: &$0) }
            guard !output.isEmpty else { break }
            _ = connection.write(output.span)
        }
        switch result {
        case .failed(let failure): return "\(failure)"
        case .closed: return "the server has ended the connection"
        case .bytes, .wouldBlock: return nil
        }
    }

    private static func read(_ connection: inout StreamConnection, into bytes: inout [UInt8]) -> StreamReadResult {
        var result = StreamReadResult.wouldBlock
        bytes.append(addingCapacity: bytesPerRead) { result = connection.read(into: &$0) }
        return result
    }

    private mutating func receive(_ bytes: [UInt8], at now: Instant) -> String? {
        guard !bytes.isEmpty else { return nil }
        if isOpen {
            _ = socket.receive(bytes.span, at: now)
            return nil
        }
        do {
            guard let response = try parser.receive(bytes.span) else { return nil }
            _ = try handshake.check(response)
        } catch {
            return "this is no signaling server (\(error))"
        }
        isOpen = true
        let rest = parser.takeRemainingBytes()
        _ = socket.receive(rest.span, at: now)
        return nil
    }

    private mutating func receive(_ text: String, _ messages: AsyncStream<ServerMessage>.Continuation) -> String? {
        guard let frame = try? ServerFrame(decoding: text) else { return nil }
        if let number = frame.sequence {
            guard number == received + 1 else { return nil }
            received = number
            _ = socket.send(text: ClientFrame(.acknowledge, acknowledged: received).text)
        }
        if case .joined = frame.message { isJoined = true }
        messages.yield(frame.message)
        if case .error(_, let message, let number) = frame.message, number == nil { return message }
        return nil
    }

    /// Sends what waits: the first message at once, the others when we are in the room.
    private mutating func sendWaiting() {
        guard isOpen else { return }
        while let message = waiting.first {
            if case .join = message {} else if !isJoined { return }
            waiting.removeFirst()
            if message.isSequenced { sequence += 1 }
            let number = message.isSequenced ? sequence : nil
            _ = socket.send(text: ClientFrame(message, sequence: number).text)
        }
    }
}
