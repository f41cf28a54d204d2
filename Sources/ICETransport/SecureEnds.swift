import Bytes
import Connectivity
import Crypto
import EventLoop
import ICE
import NetTypes
import Transport

/// DTLS to TURN servers (RFC 7350), and UDP sockets that have one server each.
extension LoopRunner {
    func connectSecurely(
        _ id: EffectID,
        _ name: String,
        _ source: SocketAddress,
        _ target: SocketAddress,
        _ driven: Driven
    ) throws(SocketError) {
        guard let context = options.dtls else { return driven.session.failed(id, .tlsFailed, at: now) }
        var socketOptions = UDPSocket.Options()
        socketOptions.trafficClass = driven.trafficClass
        let local = SocketAddress(source.ip, port: 0, scope: source.scope)
        let socket = try UDPSocket(boundTo: local, options: socketOptions)
        let session = DTLSSession(client: context, serverName: name, at: now)
        let connection = DTLSConnection(socket, to: target, session: session)
        let end = SecureEnd(connection, to: target, newBase(), driven, id)
        guard let handle = register(.secure(end), end.connection.descriptor) else {
            return driven.session.failed(id, .exhausted, at: now)
        }
        end.handle = handle
        driven.pending[id] = handle
        reschedule(end)
    }

    func connectByDatagrams(_ id: EffectID, _ source: SocketAddress, _ driven: Driven) throws(SocketError) {
        let end = DatagramEnd(try openSocket(SocketAddress(source.ip, port: 0, scope: source.scope)), newBase(), driven)
        guard let handle = register(.datagrams(end), end.socket.descriptor) else {
            return driven.session.failed(id, .exhausted, at: now)
        }
        driven.bases[end.base] = Endpoint(socket: .datagrams(end), handle: handle)
        driven.session.connected(id, base: end.base, local: end.socket.localAddress, at: now)
    }

    func receive(_ end: SecureEnd) {
        let driven = end.driven
        end.connection.receive(at: now) { bytes in
            // Before the association stands, nothing is handed over.
            guard case .data(_, let range) = driven.session.receive(bytes, on: end.base, from: end.server, at: now)
            else { return }
            driven.arrived.append(buildBytes(capacity: range.count) { $0.append(contentsOf: bytes.extracting(range)) })
        }
        review(end)
    }

    func handleTimeout(_ end: SecureEnd) {
        end.timer = nil
        end.deadline = nil
        end.connection.handleTimeout(at: now)
        review(end)
    }

    /// Tells the session what has become of an association.
    private func review(_ end: SecureEnd) {
        let driven = end.driven
        let isOver = end.connection.failure != nil || end.connection.hasEnded
        switch (end.effect, isOver) {
        case (let effect?, true):
            driven.pending[effect] = nil
            drop(end)
            driven.session.failed(effect, .tlsFailed, at: now)
        case (let effect?, false):
            guard end.connection.isEstablished else { break }
            end.effect = nil
            driven.pending[effect] = nil
            driven.bases[end.base] = Endpoint(socket: .secure(end), handle: end.handle)
            driven.session.connected(effect, base: end.base, local: end.connection.localAddress, at: now)
        case (nil, true):
            driven.bases[end.base] = nil
            drop(end)
            driven.session.closed(end.base, at: now)
        case (nil, false): break
        }
        if end.handle != nil { reschedule(end) }
        drain(driven)
    }

    /// Forgets an association, after a goodbye.
    func drop(_ end: SecureEnd) {
        guard let handle = end.handle else { return }
        end.handle = nil
        if let timer = end.timer { wheel.cancel(timer) }
        end.connection.close()
        _ = sockets.remove(handle)
    }

    private func reschedule(_ end: SecureEnd) {
        guard let handle = end.handle, end.connection.nextTimeout != end.deadline else { return }
        if let timer = end.timer { wheel.cancel(timer) }
        end.deadline = end.connection.nextTimeout
        end.timer = end.deadline.map { wheel.schedule(PollToken(TokenKind.endpoint, handle).bits, at: $0) }
    }
}
