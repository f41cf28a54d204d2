import Bytes
import Diagnostics
import EventLoop
import NetTypes
import TURNServer
import Transport

/// TCP with peers (RFC 6062): listening on relayed addresses, connecting from them, and the end.
extension RelayShard {
    /// Tokens of listeners have a bit of their own beside the generation and the index of the pool.
    private static var listenerBit: UInt64 { 1 << 63 }

    static func listener(_ token: UInt64) -> SlotHandle { SlotHandle(bits: token & ~listenerBit) }

    private var peerOptions: TCPOptions {
        var options = TCPOptions()
        options.unsentLowWaterBytes = 64 * 1024
        // A peer may stop reading for as long as it likes: its window is the client's back-pressure.
        options.unacknowledgedSeconds = nil
        return options
    }

    mutating func openRelayListener(_ request: RelayRequest, at now: Instant) {
        do throws(SocketError) {
            // Connections leave from the same port, so it must be shared; nobody else may have it.
            try TCPListener.checkAvailable(request.local)
            var options = TCPListener.Options()
            options.reusesPort = true
            options.backlog = 64
            options.connections = peerOptions
            let socket = try TCPListener(boundTo: request.local, options: options)
            let descriptor = socket.descriptor
            guard let handle = relayListeners.insert(RelayListener(socket: socket, id: request.id)) else {
                return engine.relayOpenFailed(request.id, addressInUse: false, at: now)
            }
            guard (try? poller.add(descriptor, token: Self.token(.relayListener, handle), interest: .read)) != nil
            else {
                _ = relayListeners.remove(handle)
                return engine.relayOpenFailed(request.id, addressInUse: false, at: now)
            }
            engine.relayOpened(request.id, token: handle.bits | Self.listenerBit, at: now)
        } catch {
            if !error.isAddressInUse { logger.warning("No relay listener.", ["error": .text("\(error)")]) }
            engine.relayOpenFailed(request.id, addressInUse: error.isAddressInUse, at: now)
        }
    }

    mutating func acceptPeers(_ listener: SlotHandle, at now: Instant) {
        for _ in 0..<16 {
            guard let relay = relayListeners.read(listener, { $0.id }),
                let result = relayListeners.update(listener, { $0.socket.accept() })
            else { break }
            guard case .accepted(let socket) = consume result else { break }
            // Without a name the socket closes here.
            guard let id = engine.peerAccepted(relay, from: socket.remoteAddress, at: now) else { continue }
            let connection = StreamConnection(socket, outputLimit: configuration.streamQueueBytes * 2)
            guard let handle = peers.insert(PeerStream(connection, id, isConnecting: false, at: now)) else {
                engine.peerClosed(id, at: now)
                continue
            }
            peersByID[id] = handle
        }
        drainEngine(at: now)
    }

    mutating func connectPeer(_ request: PeerConnectRequest, at now: Instant) {
        do throws(SocketError) {
            let socket = try TCPSocket(connectingTo: request.destination, from: request.local, options: peerOptions)
            let connection = StreamConnection(socket, outputLimit: configuration.streamQueueBytes * 2)
            let descriptor = connection.descriptor
            guard let handle = peers.insert(PeerStream(connection, request.id, isConnecting: true, at: now)) else {
                return engine.peerConnectFailed(request.id, at: now)
            }
            guard (try? poller.add(descriptor, token: Self.token(.peer, handle), interest: .write)) != nil else {
                _ = peers.remove(handle)
                return engine.peerConnectFailed(request.id, at: now)
            }
            _ = peers.update(handle) { $0.interest = .write }
            peersByID[request.id] = handle
        } catch {
            logger.debug("No connection to a peer.", ["error": .text("\(error)")])
            engine.peerConnectFailed(request.id, at: now)
        }
    }

    mutating func servePeer(_ handle: SlotHandle, at now: Instant) {
        guard peers.read(handle, { $0.isConnecting }) == true else { return copy(handle, at: now) }
        let outcome = peers.update(handle) { peer -> (isOver: Bool, isDone: Bool) in
            peer.connection.flush()
            peer.isConnecting = !peer.connection.isEstablished
            return (peer.connection.failure != nil, !peer.isConnecting)
        }
        guard let outcome, outcome.isOver || outcome.isDone, let id = peers.read(handle, { $0.id }) else { return }
        if outcome.isOver {
            peersByID[id] = nil
            _ = peers.remove(handle)
            engine.peerConnectFailed(id, at: now)
        } else {
            watchPeer(handle, nil)
            engine.peerConnected(id, at: now)
        }
        drainEngine(at: now)
    }

    /// Joins a client's stream to a connection with a peer; copying begins when the turn ends.
    mutating func joinPeer(_ id: PeerConnectionID, _ client: ClientTuple, at now: Instant) {
        let stream = SlotHandle(bits: client.connection)
        guard let handle = peersByID[id], streams.contains(stream) else {
            engine.peerClosed(id, at: now)
            if let handle = peersByID[id] { closePeer(handle, at: now) }
            return
        }
        let interest = streams.update(stream) { stream -> Interest in
            stream.peer = handle
            return stream.watchesWriting ? [.read, .write] : .read
        }
        _ = peers.update(handle) { peer in
            peer.client = stream
            peer.clientInterest = interest
            peer.lastMove = now
        }
        markDirty(stream)
    }

    /// Ends a connection with a peer; the client's stream that is joined to it ends with what waits for it.
    mutating func closePeer(_ handle: SlotHandle, at now: Instant) {
        guard var peer = peers.remove(handle) else { return }
        peersByID[peer.id] = nil
        engine.peerClosed(peer.id, at: now)
        // What waits goes to the kernel, as far as it takes it, and from there to the peer.
        peer.connection.finish()
        guard let client = peer.client, streams.contains(client) else { return }
        watchClient(client, peer.clientInterest, [.read])
        _ = streams.update(client) { stream in
            stream.peer = nil
            stream.watchesWriting = false
        }
        endStream(client, at: now)
        markDirty(client)
    }

    /// Looks at connections whose bandwidth has come back or whose half-closed state has lasted too long.
    mutating func servePeerDeadlines(at now: Instant) {
        while let handle = peerDeadlines.pop(at: now) {
            guard peers.update(handle, { $0.hasDeadline = false }) != nil else { continue }
            let isOver = peers.read(handle) { peer in
                (peer.peerHasEnded || peer.clientHasEnded) && now >= peer.lastMove + PeerStream.halfClosedTime
            }
            if isOver == true { closePeer(handle, at: now) } else { copy(handle, at: now) }
        }
    }

    // MARK: Watching

    /// Watches the peer's side for exactly that; for nothing at all, a broken connection would wake the loop for ever.
    func watch(_ descriptor: Int32, _ token: UInt64, _ old: Interest?, _ new: Interest?) {
        guard old != new else { return }
        if let new {
            if old == nil {
                try? poller.add(descriptor, token: token, interest: new)
            } else {
                try? poller.modify(descriptor, token: token, interest: new)
            }
        } else {
            try? poller.remove(descriptor)
        }
    }

    mutating func watchPeer(_ handle: SlotHandle, _ interest: Interest?) {
        guard let (descriptor, old) = peers.read(handle, { ($0.connection.descriptor, $0.interest) }) else { return }
        watch(descriptor, Self.token(.peer, handle), old, interest)
        _ = peers.update(handle) { $0.interest = interest }
    }

    mutating func watchClient(_ stream: SlotHandle, _ old: Interest?, _ interest: Interest?) {
        guard let descriptor = streams.read(stream, { $0.connection.descriptor }) else { return }
        watch(descriptor, Self.token(.stream, stream), old, interest)
    }
}
