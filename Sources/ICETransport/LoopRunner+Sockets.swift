import Bytes
import Connectivity
import Crypto
import EventLoop
import ICE
import NetTypes
import Transport

/// Sockets: what comes from them, and what goes out.
extension LoopRunner {
    /// How often one socket is read in a turn, so that it does not keep the loop from the others.
    static let readsPerTurn = 8

    func handle(_ event: PollEvent, _ socket: Socket) {
        switch socket {
        case .datagrams(let end):
            if event.isBroken { readErrors(end) }
            if event.isReadable { receive(end) }
            drain(end.driven)
        case .listener(let end):
            accept(end)
            drain(end.driven)
        case .stream(let end):
            let driven = end.driven
            if event.isWritable { end.connection.flush() }
            if end.effect != nil { complete(end) }
            if end.effect == nil, driven.bases[end.base] != nil { read(end) }
            drain(driven)
        case .secure(let end): receive(end)
        case .shared(let end):
            if event.isBroken { readSharedErrors(end) }
            if event.isReadable { receiveShared(end) }
        case .sharedListener(let end): acceptShared(end)
        case .undecided(let stream): receive(stream)
        }
    }

    // MARK: Datagrams

    private func receive(_ end: DatagramEnd) {
        for _ in 0..<Self.readsPerTurn {
            let received = incoming.receive(from: end.socket.handle)
            for index in received where !incoming.isTruncated(index) {
                take(incoming.payload(of: index), from: incoming.source(of: index), end.base, end.driven)
            }
            incoming.removeAll()
            guard received.count == incoming.capacity else { return }
        }
    }

    /// Hands a datagram to a session; whether it was believed.
    @discardableResult
    func take(_ bytes: Span<UInt8>, from source: SocketAddress, _ base: BaseID, _ driven: Driven) -> Bool {
        // The scope is the socket's; signalled addresses have none.
        let peer = SocketAddress(source.ip, port: source.port)
        switch driven.session.receive(bytes, on: base, from: peer, at: now) {
        case .data(_, let range):
            driven.arrived.append(buildBytes(capacity: range.count) { $0.append(contentsOf: bytes.extracting(range)) })
            return true
        case .consumed: return true
        case .ignored: return false
        }
    }

    /// Sends what the owner gave.
    func send(_ datagram: [UInt8], _ driven: Driven) {
        var result = SessionSend.noPath
        scratch.removeAll(keepingCapacity: true)
        scratch.append(addingCapacity: ICESession.maximumMessageByteCount) { output in
            result = driven.session.send(datagram.span, at: now, into: &output)
        }
        switch result {
        case .direct(let base, let destination): transmit(datagram.span, driven, base, destination, nil)
        case .written(let message):
            let bytes = scratch
            transmit(bytes.span, driven, message.base, message.destination, message.hopLimit)
        // Kept by the session, or lost as datagrams are.
        case .held, .noPath, .tooLong: break
        }
    }

    func transmit(
        _ bytes: Span<UInt8>,
        _ driven: Driven,
        _ base: BaseID,
        _ destination: SocketAddress,
        _ hopLimit: UInt8?
    ) {
        switch driven.bases[base]?.socket {
        case .datagrams(let end)?:
            if let hopLimit { return end.socket.send(bytes, to: destination, hopLimit: hopLimit) }
            transmit(bytes, DatagramRoute(end.socket.handle, to: destination), driven)
        case .shared(let end)?:
            if let hopLimit { return end.socket.send(bytes, to: destination, hopLimit: hopLimit) }
            transmitShared(bytes, end, driven, destination)
        case .secure(let end)?: _ = end.connection.send(bytes)
        case .stream(let end)?:
            // A message that there is no room for is lost as a whole: a datagram.
            _ = end.connection.write(bytes)
            watch(end)
        case .listener?, .sharedListener?, .undecided?, nil: break
        }
    }

    /// Queues a datagram, with the code point that all of its session's packets have (RFC 8445 §7.2.3; ice 45).
    func transmit(_ bytes: Span<UInt8>, _ route: DatagramRoute, _ driven: Driven) {
        var route = route
        route.trafficClass = driven.trafficClass
        if outgoing.enqueue(copying: bytes, on: route) { return }
        outgoing.flush()
        _ = outgoing.enqueue(copying: bytes, on: route)
    }

    // MARK: Streams

    private func accept(_ end: ListenerEnd) {
        for _ in 0..<Self.readsPerTurn {
            switch end.listener.accept() {
            case .accepted(let socket):
                let remote = socket.remoteAddress
                let stream = StreamEnd(StreamConnection(socket), newBase(), end.driven, effect: nil)
                guard add(stream) else { continue }
                mark(stream)
                end.driven.session.accepted(
                    stream.base,
                    on: end.base,
                    from: SocketAddress(remote.ip, port: remote.port),
                    at: now
                )
            case .refused: continue
            case .wouldBlock: return
            case .failed: return
            }
        }
    }

    /// Finds out whether a connection stands by now.
    private func complete(_ end: StreamEnd) {
        guard let effect = end.effect else { return }
        var failure = end.connection.failure
        if failure == nil, end.connection.isSecure, !end.connection.isEstablished {
            // Reading drives the handshake; nothing of the peer's can come before its end.
            scratch.removeAll(keepingCapacity: true)
            scratch.append(addingCapacity: 16_384) { output in
                switch end.connection.read(into: &output) {
                case .failed(let reason): failure = reason
                case .closed: failure = .truncated
                case .bytes, .wouldBlock: break
                }
            }
            end.connection.flush()
        }
        let driven = end.driven
        if let failure {
            driven.pending[effect] = nil
            if let handle = end.handle { _ = sockets.remove(handle) }
            return driven.session.failed(effect, Self.words(failure), at: now)
        }
        watch(end)
        guard end.connection.isEstablished else { return }
        end.effect = nil
        driven.pending[effect] = nil
        guard let handle = end.handle else { return }
        driven.bases[end.base] = Endpoint(socket: .stream(end), handle: handle)
        driven.session.connected(effect, base: end.base, local: end.connection.localAddress, at: now)
        if !scratch.isEmpty, end.connection.isSecure {
            let bytes = scratch
            driven.session.receiveStream(bytes.span, on: end.base, at: now)
        }
    }

    private static func words(_ failure: StreamFailure) -> EffectFailure {
        switch failure {
        case .tls, .truncated: .tlsFailed
        case .system(let number):
            switch DatagramError(errno: number) {
            case .hostUnreachable, .networkUnreachable: .unreachable
            case .notPermitted: .notPermitted
            default: SocketError(.connect, at: nil, number: number).isTimeout ? .timedOut : .refused
            }
        }
    }

    private func read(_ end: StreamEnd) {
        let driven = end.driven
        for _ in 0..<Self.readsPerTurn {
            var result = StreamReadResult.wouldBlock
            scratch.removeAll(keepingCapacity: true)
            scratch.append(addingCapacity: 16_384) { result = end.connection.read(into: &$0) }
            if !scratch.isEmpty {
                let bytes = scratch
                driven.session.receiveStream(bytes.span, on: end.base, at: now)
            }
            switch result {
            case .bytes: continue
            case .wouldBlock: return watch(end)
            case .closed, .failed:
                guard let endpoint = driven.bases.removeValue(forKey: end.base) else { return }
                forget(endpoint, driven)
                return driven.session.closed(end.base, at: now)
            }
        }
        watch(end)
    }

    /// Has a connection's packets marked as datagrams are.
    func mark(_ end: StreamEnd) {
        if end.driven.trafficClass != 0 { end.connection.setTrafficClass(end.driven.trafficClass) }
    }

    /// Has the poller look for what the connection waits for.
    func watch(_ end: StreamEnd) {
        let wants = end.connection.wantsWrite
        guard wants != end.wantsWrite, let handle = end.handle else { return }
        end.wantsWrite = wants
        let token = PollToken(TokenKind.endpoint, handle).bits
        try? poller.modify(end.connection.descriptor, token: token, interest: wants ? [.read, .write] : .read)
    }
}
