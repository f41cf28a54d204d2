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
    private static var readsPerTurn: Int { 4 }
    private static var writeBytes: Int { 32 * 1024 }

    mutating func accept(_ listener: SlotHandle, at now: Instant) {
        for _ in 0..<Self.acceptsPerTurn {
            guard let isTLS = listeners.read(listener, { $0.isTLS }) else { return }
            switch listeners.update(listener, { $0.socket.accept() }) {
            case .accepted(let socket)?: admit(socket, isTLS: isTLS, at: now)
            case .wouldBlock?: return
            case .refused?: return statistics.drops.count(.noDescriptor)
            case .failed(let error)?:
                // It would be readable for ever.
                logger.error("A listener of the web service has failed.", ["error": .text("\(error)")])
                _ = listeners.remove(listener)
                return
            case nil: return
            }
        }
    }

    private mutating func admit(_ socket: consuming TCPSocket, isTLS: Bool, at now: Instant) {
        guard connections.count < connections.limit else { return statistics.drops.count(.tooManyConnections) }
        lobby.admit(socket, tls: isTLS ? configuration.tls?.current : nil, at: now, poller)
    }

    /// Takes a connection that has said something, or hands it to the relay if that is TURN.
    mutating func serveLobby(_ handle: SlotHandle, at now: Instant) {
        guard let stream = lobby.serve(handle, at: now, poller) else { return }
        guard stream.carriedProtocol == .turn, let relay = configuration.relay else { return add(stream, at: now) }
        statistics.handedOver &+= 1
        if !relay(stream) { statistics.drops.count(.relayBusy) }
    }

    private mutating func add(_ stream: consuming StreamConnection, at now: Instant) {
        guard connections.count < connections.limit else { return statistics.drops.count(.tooManyConnections) }
        let http = HTTPServerConnection(
            limits: configuration.http,
            wallClock: .init(unixSeconds: EventLoop.WallClock.unixSeconds(), at: now),
            at: now
        )
        let connection = WebConnection(
            stream,
            http: http,
            limits: configuration.http,
            lingerTime: configuration.lingerTime
        )
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
        // Of the byte that was read ahead the poller knows nothing.
        serve(handle, at: now)
    }

    /// Reads what has come, acts on it and sends what follows.
    mutating func serve(_ handle: SlotHandle, at now: Instant) {
        var buffer = input
        input = []
        defer { input = buffer }
        _ = connections.update(handle) { $0.isUnread = false }
        for _ in 0..<Self.readsPerTurn {
            guard let result = connections.update(handle, { $0.read(through: &buffer, at: now) }) else { return }
            performEvents(of: handle, at: now)
            transmit(handle, at: now)
            switch result {
            case .bytes: continue
            case .wouldBlock: return
            case .closed: return
            case .failed(let reason):
                if case .tls = reason { statistics.drops.count(.tlsFailure) }
                return remove(handle, at: now)
            }
        }
    }

    /// Tells a browser that speaks plain HTTP here what to do, instead of an end that no browser explains.
    static var answerWithoutTLS: String {
        let text = "This port speaks HTTPS: write https:// in place of http://.\n"
        return "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n"
            + "Content-Length: \(text.utf8.count)\r\n\r\n\(text)"
    }

    /// Ends a connection of which the kernel says that both directions are closed, unless it is still to be read.
    mutating func hangUp(_ handle: SlotHandle, at now: Instant) {
        if connections.read(handle, { $0.wantsInput }) == false { remove(handle, at: now) }
    }

    /// Moves what is to be sent from the protocol to the stream as far as it takes it.
    mutating func transmit(_ handle: SlotHandle, at now: Instant) {
        var buffer = output
        output = []
        defer { output = buffer }
        let limit = Self.writeBytes
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
        guard let isOver = connections.update(handle, { $0.settle(at: now) }) else { return }
        if isOver { return remove(handle, at: now) }
        account(handle)
        let change = connections.update(handle) { connection -> (Int32, Interest)? in
            // Of what TLS has decrypted already the poller knows nothing.
            if connection.stream.hasUnreadBytes, connection.wantsInput, !connection.isUnread {
                connection.isUnread = true
                unread.append(handle)
            }
            guard connection.interest != connection.watched else { return nil }
            connection.watched = connection.interest
            return (connection.stream.descriptor, connection.watched)
        }
        if let (descriptor, interest) = change ?? nil {
            try? poller.modify(descriptor, token: Self.token(.connection, handle), interest: interest)
        }
        schedule(handle)
    }

    /// Keeps the sum of what waits for clients to read.
    mutating func account(_ handle: SlotHandle) {
        let change = connections.update(handle) { connection -> Int in
            let before = connection.accountedBytes
            connection.accountedBytes = connection.queuedBytes
            return connection.accountedBytes - before
        }
        queuedBytes += change ?? 0
    }

    mutating func remove(_ handle: SlotHandle, at now: Instant) {
        guard let connection = connections.remove(handle) else { return }
        queuedBytes -= connection.accountedBytes
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
        let isOverdue = connections.update(handle) { connection -> Bool? in
            // An earlier entry has done this one's work; it must not leave another one behind.
            guard connection.scheduled <= now else { return nil }
            connection.scheduled = .distantFuture
            if connection.isOverdue(at: now) { return true }
            connection.stage.handleTimeout(at: now)
            return false
        }
        guard let isOverdue = isOverdue ?? nil else { return }
        if isOverdue {
            return remove(handle, at: now)
        }
        performEvents(of: handle, at: now)
        transmit(handle, at: now)
    }
}
