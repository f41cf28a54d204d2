import Bytes
import Crypto
import Diagnostics
import EventLoop
import HTTP
import NetTypes
import Signaling
import Transport
import WebSocket

/// Connections: accepted, read, written, timed out, closed.
extension WebServer {
    private static var acceptsPerTurn: Int { 32 }
    private static var readBytes: Int { 32 * 1024 }
    private static var lingerTime: TimeSpan { .seconds(2) }

    mutating func accept(_ listener: SlotHandle, at now: Instant) {
        for _ in 0..<Self.acceptsPerTurn {
            guard let isTLS = listeners.read(listener, { $0.isTLS }),
                let socket = listeners.update(listener, Self.acceptOne) ?? nil
            else { return }
            add(socket, isTLS: isTLS, at: now)
        }
    }

    private static func acceptOne(_ listener: inout Listener) -> TCPSocket? {
        switch listener.socket.accept() {
        case .accepted(let socket): return socket
        case .wouldBlock: return nil
        case .refused: return nil
        case .failed: return nil
        }
    }

    private mutating func add(_ socket: consuming TCPSocket, isTLS: Bool, at now: Instant) {
        guard connections.count < connections.limit else { return statistics.drops.count(.tooManyConnections) }
        let http = HTTPServerConnection(
            wallClock: .init(unixSeconds: EventLoop.WallClock.unixSeconds(), at: now),
            at: now
        )
        let stream: StreamConnection
        if isTLS {
            guard let tls else { return }
            stream = StreamConnection(socket, tls: TLSSession(server: tls), outputLimit: 512 * 1024)
        } else {
            stream = StreamConnection(socket, outputLimit: 512 * 1024)
        }
        let handshakeBy = isTLS ? now + configuration.handshakeTime : nil
        let connection = WebConnection(stream, http: http, isTLS: isTLS, handshakeBy: handshakeBy)
        let prefix = connection.prefix
        // Loopback is also where a reverse proxy comes from, with everybody behind it.
        let isLimited = !connection.remote.ip.isLoopback
        guard !isLimited || connectionsByPrefix[prefix, default: 0] < configuration.connectionsPerPrefix else {
            return statistics.drops.count(.tooManyConnectionsOfPrefix)
        }
        let descriptor = connection.stream.descriptor
        guard let handle = connections.insert(connection) else { return }
        connectionsByPrefix[prefix, default: 0] += 1
        guard (try? poller.add(descriptor, token: Self.token(.connection, handle), interest: .read)) != nil else {
            return remove(handle, at: now)
        }
        statistics.accepted &+= 1
        schedule(handle)
    }

    /// Reads what has come, acts on it and sends what follows.
    mutating func serve(_ handle: SlotHandle, at now: Instant) {
        var buffer = input
        input = []
        defer { input = buffer }
        for _ in 0..<4 {
            buffer.removeAll(keepingCapacity: true)
            let result = connections.update(handle) { connection -> StreamReadResult in
                guard connection.wantsInput || !connection.stream.isEstablished else { return .wouldBlock }
                var result = StreamReadResult.wouldBlock
                buffer.append(addingCapacity: Self.readBytes) { result = connection.stream.read(into: &$0) }
                if connection.stream.isEstablished, !connection.isClosing { connection.streamDeadline = nil }
                if !connection.isClosing, !buffer.isEmpty { connection.stage.receive(buffer.span, at: now) }
                if case .closed = result { connection.stage.receiveEnd(at: now) }
                return result
            }
            guard let result else { return }
            performEvents(of: handle, at: now)
            transmit(handle, at: now)
            switch result {
            case .bytes: continue
            case .wouldBlock: return
            case .closed:
                // What is owed is still sent; a peer that has ended and is owed nothing goes.
                let owed = connections.read(handle) { $0.stream.wantsWrite || !$0.isFinished } ?? false
                let isClosing = connections.read(handle) { $0.isClosing } ?? true
                if !owed || isClosing { return remove(handle, at: now) }
                return stopReading(handle)
            case .failed(let reason):
                if case .tls = reason { statistics.drops.count(.tlsFailure) }
                return remove(handle, at: now)
            }
        }
        if connections.contains(handle) { unread.append(handle) }
    }

    /// After the peer's end the descriptor stays readable for ever: it is watched for writing only.
    private mutating func stopReading(_ handle: SlotHandle) {
        let descriptor = connections.update(handle) { connection in
            connection.wantsInput = false
            connection.watchesWriting = true
            return connection.stream.descriptor
        }
        guard let descriptor else { return }
        try? poller.modify(descriptor, token: Self.token(.connection, handle), interest: .write)
    }

    /// Moves what is to be sent from the protocol to the stream as far as it takes it.
    mutating func transmit(_ handle: SlotHandle, at now: Instant) {
        var buffer = output
        output = []
        defer { output = buffer }
        let limit = Self.readBytes
        while true {
            buffer.removeAll(keepingCapacity: true)
            let moved = connections.update(handle) { connection -> Bool in
                connection.stream.flush()
                guard connection.stream.isEstablished, connection.stream.queuedBytes < limit else { return false }
                var count = 0
                buffer.append(addingCapacity: limit) { count = connection.stage.pollTransmit(at: now, into: &$0) }
                guard count > 0 else { return false }
                _ = connection.stream.write(buffer.span)
                return true
            }
            guard moved == true else { break }
            // The last byte of a response lets the next request in line through.
            performEvents(of: handle, at: now)
        }
        settle(handle, at: now)
    }

    /// After anything that changed a connection: ends it if it is done, watches for what it waits for.
    private mutating func settle(_ handle: SlotHandle, at now: Instant) {
        guard
            let (isDone, hasFailed) = connections.read(
                handle,
                { connection in
                    (connection.isFinished && !connection.stream.wantsWrite, connection.stream.failure != nil)
                }
            )
        else { return }
        if hasFailed { return remove(handle, at: now) }
        if isDone { closeStream(handle, at: now) }
        let change = connections.update(handle) { connection -> (Int32, Bool)? in
            guard connection.stream.wantsWrite != connection.watchesWriting, connection.wantsInput else { return nil }
            connection.watchesWriting.toggle()
            return (connection.stream.descriptor, connection.watchesWriting)
        }
        if let (descriptor, watches) = change ?? nil {
            let interest: Interest = watches ? [.read, .write] : .read
            try? poller.modify(descriptor, token: Self.token(.connection, handle), interest: interest)
        }
        schedule(handle)
    }

    /// Ends our side and gives the peer a moment to end its own, so that it can read what was sent last.
    mutating func closeStream(_ handle: SlotHandle, at now: Instant) {
        _ = connections.update(handle) { connection in
            guard !connection.isClosing else { return }
            connection.isClosing = true
            connection.streamDeadline = now + Self.lingerTime
            connection.stream.finish()
        }
        schedule(handle)
    }

    mutating func remove(_ handle: SlotHandle, at now: Instant) {
        guard let connection = connections.remove(handle) else { return }
        if let id = connection.signalingID { signaling.connectionClosed(id, at: now) }
        let count = connectionsByPrefix[connection.prefix, default: 1] - 1
        connectionsByPrefix[connection.prefix] = count > 0 ? count : nil
    }

    // MARK: Time

    mutating func schedule(_ handle: SlotHandle) {
        let deadline = connections.update(handle) { connection -> Instant? in
            guard let due = connection.nextTimeout, due < connection.scheduled else { return nil }
            connection.scheduled = due
            return due
        }
        if let deadline = deadline ?? nil { deadlines.push(handle, at: deadline) }
    }

    mutating func handleTimeout(of handle: SlotHandle, at now: Instant) {
        let isOver = connections.update(handle) { connection -> Bool? in
            // An entry that an earlier one has overtaken goes: kept, each would breed another at every request.
            guard connection.scheduled <= now else { return nil }
            connection.scheduled = .distantFuture
            if let due = connection.streamDeadline, due <= now { return true }
            connection.stage.handleTimeout(at: now)
            return false
        }
        guard let isOver = isOver ?? nil else { return }
        if isOver {
            if connections.read(handle, { $0.isClosing }) == false { statistics.drops.count(.handshakeTimeout) }
            return remove(handle, at: now)
        }
        performEvents(of: handle, at: now)
        transmit(handle, at: now)
    }
}
