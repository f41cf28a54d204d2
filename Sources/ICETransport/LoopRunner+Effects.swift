import Bytes
import Connectivity
import Crypto
import EventLoop
import ICE
import NetTypes
import Transport

/// What sessions want done, and what they tell.
extension LoopRunner {
    /// Takes everything out of a session that it has to give, and sets its timer.
    func drain(_ driven: Driven) {
        guard driven.handle != nil else { return }
        var hasMoved = true
        while hasMoved {
            hasMoved = false
            while let effect = driven.session.pollEffect() {
                hasMoved = true
                perform(effect, driven)
            }
            while let message = pollTransmit(driven) {
                hasMoved = true
                let bytes = scratch
                transmit(bytes.span, driven, message.base, message.destination, message.hopLimit)
            }
            while pollData(driven) { hasMoved = true }
            while let event = driven.session.pollEvent() {
                hasMoved = true
                tell(event, driven)
                // The session may be no more.
                guard driven.handle != nil else { return }
            }
        }
        if !driven.arrived.isEmpty {
            driven.core.received.push(driven.arrived)
            driven.arrived = []
        }
        reschedule(driven)
    }

    private func pollTransmit(_ driven: Driven) -> SessionTransmit? {
        var message: SessionTransmit?
        scratch.removeAll(keepingCapacity: true)
        scratch.append(addingCapacity: ICESession.maximumMessageByteCount) { output in
            message = driven.session.pollTransmit(at: now, pacer: &pacer, into: &output)
        }
        return message
    }

    private func pollData(_ driven: Driven) -> Bool {
        var component: UInt16?
        scratch.removeAll(keepingCapacity: true)
        scratch.append(addingCapacity: ICESession.maximumMessageByteCount) { output in
            component = driven.session.pollData(into: &output)
        }
        guard component != nil else { return false }
        let bytes = scratch
        driven.arrived.append(buildBytes(capacity: bytes.count) { $0.append(contentsOf: bytes.span) })
        return true
    }

    private func tell(_ event: SessionEvent, _ driven: Driven) {
        let core = driven.core
        switch event {
        case .candidate(let candidate): core.candidates.push([.found(candidate)])
        case .candidateRemoved(let candidate): core.candidates.push([.removed(candidate)])
        case .goodEnough: core.candidates.push([.goodEnough])
        case .gatheringDone(let signalsEnd): core.candidates.push([.done(signalsEnd: signalsEnd)])
        case .restartAdvised: core.candidates.push([.restartAdvised])
        case .stateChanged(let state): core.states.push([state])
        case .serverFailed(let server, let carrier, let failure):
            guard driven.failures.count < 64 else { return }
            driven.failures.append(ICEServerFailure(server: server, carrier: carrier, failure: failure))
        case .pathChanged, .selected, .roleChanged: break
        case .closed: end(driven)
        }
    }

    // MARK: Effects

    private func perform(_ effect: SessionEffect, _ driven: Driven) {
        switch effect {
        case .bindUDP(let id, let local): bind(id, local, driven)
        case .listenTCP(let id, let local): listen(id, local, driven)
        case .connect(let id, let kind, let source, let target): connect(id, kind, source, target, driven)
        case .resolve(let id, let name): resolve(id, name, driven)
        case .publishName(let id, let address, let interface): publish(id, address, interface, driven)
        case .resolveName(let id, let name): resolve(id, name, driven)
        case .mapPort(let id, let transport, let local, let interface): map(id, transport, local, interface, driven)
        case .unmapPort(let id): unmap(id, driven)
        case .close(let base): close(base, driven)
        case .cancel(let id):
            // Answers of resolvers are not waited for any more; a connection is given up.
            if let handle = driven.pending.removeValue(forKey: id) { dropPending(handle) }
            if let handle = driven.handle { multicast?.cancel(handle, id) }
        }
    }

    /// A number that no socket of this process has had for two billion sockets.
    func newBase() -> BaseID {
        lastBase = lastBase &+ 1 & (ICESession.firstOwnBase - 1)
        return BaseID(rawValue: lastBase)
    }

    private func bind(_ id: EffectID, _ local: SocketAddress, _ driven: Driven) {
        if let port = options.sharedPort, let agents { return bindShared(id, local, port, agents, driven) }
        do throws(SocketError) {
            let end = DatagramEnd(try openSocket(local), newBase(), driven)
            guard add(.datagrams(end), end.socket.descriptor, end.base, driven) else {
                return driven.session.failed(id, .exhausted, at: now)
            }
            driven.session.bound(id, base: end.base, local: end.socket.localAddress, at: now)
        } catch {
            driven.session.failed(id, Self.failure(error), at: now)
        }
    }

    func openSocket(_ local: SocketAddress) throws(SocketError) -> UDPSocket {
        var socketOptions = UDPSocket.Options()
        socketOptions.reportsErrors = true
        socketOptions.receiveBufferBytes = options.receiveBufferBytes
        guard local.port == 0, let ports = options.ports else {
            return try UDPSocket(boundTo: local, options: socketOptions)
        }
        // From a random port on, so that an outsider learns nothing from the order (RFC 6056 §3.3.1).
        let offset = Int.random(in: 0..<ports.count)
        var refusal: SocketError?
        for step in 0..<ports.count {
            let port = ports.lowerBound + UInt16((offset + step) % ports.count)
            let address = SocketAddress(local.ip, port: port, scope: local.scope)
            do throws(SocketError) {
                return try UDPSocket(boundTo: address, options: socketOptions)
            } catch {
                guard error.isAddressInUse else { throw error }
                refusal = error
            }
        }
        // A range is never empty: a port was tried.
        throw refusal ?? SocketError(.listen(.udp), at: local, number: 0)
    }

    private func listen(_ id: EffectID, _ local: SocketAddress, _ driven: Driven) {
        if let port = options.sharedPort { return listenShared(id, local, port, driven) }
        do throws(SocketError) {
            var listenerOptions = TCPListener.Options()
            // Connections to peers leave from the same port, for simultaneous open (RFC 6544 §4.1).
            listenerOptions.reusesPort = true
            listenerOptions.backlog = 16
            let end = ListenerEnd(try TCPListener(boundTo: local, options: listenerOptions), newBase(), driven)
            guard add(.listener(end), end.listener.descriptor, end.base, driven) else {
                return driven.session.failed(id, .exhausted, at: now)
            }
            driven.session.bound(id, base: end.base, local: end.listener.localAddress, at: now)
        } catch {
            driven.session.failed(id, Self.failure(error), at: now)
        }
    }

    private func connect(
        _ id: EffectID,
        _ kind: StreamKind,
        _ source: SocketAddress,
        _ target: SocketAddress,
        _ driven: Driven
    ) {
        // A shared port is not connected to itself, which the system would do.
        guard source != target else { return driven.session.failed(id, .unreachable, at: now) }
        do throws(SocketError) {
            let end: StreamEnd
            switch kind {
            case .udp: return try connectByDatagrams(id, source, driven)
            case .dtls(let name): return try connectSecurely(id, name, source, target, driven)
            case .tcp:
                let socket = try TCPSocket(connectingTo: target, from: source)
                end = StreamEnd(StreamConnection(socket), newBase(), driven, effect: id)
            case .tls(let name):
                guard let tls = options.tls else { return driven.session.failed(id, .tlsFailed, at: now) }
                let socket = try TCPSocket(connectingTo: target, from: source)
                let session = TLSSession(client: tls, serverName: name)
                end = StreamEnd(StreamConnection(socket, tls: session), newBase(), driven, effect: id)
            }
            guard let handle = register(.stream(end), end.connection.descriptor, [.read, .write]) else {
                return driven.session.failed(id, .exhausted, at: now)
            }
            end.handle = handle
            driven.pending[id] = handle
            mark(end)
        } catch {
            driven.session.failed(id, Self.failure(error), at: now)
        }
    }

    private func resolve(_ id: EffectID, _ name: String, _ driven: Driven) {
        guard let handle = driven.handle else { return }
        if names == nil {
            names = try? NameLookups()
            if let names {
                try? poller.add(names.descriptor, token: PollToken(TokenKind.lookups).bits, interest: .read)
            }
        }
        guard let names else { return driven.session.failed(id, .exhausted, at: now) }
        if !names.ask(name, NameAsker(session: handle, effect: id)) { driven.session.failed(id, .notFound, at: now) }
    }

    private func close(_ base: BaseID, _ driven: Driven) {
        guard let endpoint = driven.bases.removeValue(forKey: base) else { return }
        // What was queued for it goes out first: the kernel may give its number to the next one.
        outgoing.flush()
        if case .stream(let end) = endpoint.socket { end.connection.finish() }
        forget(endpoint, driven)
    }

    static func failure(_ error: SocketError) -> EffectFailure {
        if error.isForbidden { return .notPermitted }
        if error.isTimeout { return .timedOut }
        return error.isAddressInUse || error.isOutOfDescriptors ? .exhausted : .unreachable
    }

    // MARK: The pool

    /// Takes a socket into the pool and has the poller watch it; `nil` if either is full.
    func register(_ socket: Socket, _ descriptor: Int32, _ interest: Interest = .read) -> SlotHandle? {
        guard let handle = sockets.insert(socket) else { return nil }
        do throws(SystemError) {
            try poller.add(descriptor, token: PollToken(TokenKind.endpoint, handle).bits, interest: interest)
        } catch {
            _ = sockets.remove(handle)
            return nil
        }
        return handle
    }

    /// Takes a socket into the pool as a base of a session.
    private func add(_ socket: Socket, _ descriptor: Int32, _ base: BaseID, _ driven: Driven) -> Bool {
        guard let handle = register(socket, descriptor) else { return false }
        driven.bases[base] = Endpoint(socket: socket, handle: handle)
        return true
    }

    /// Takes an accepted connection into the pool.
    func add(_ end: StreamEnd) -> Bool {
        guard let handle = register(.stream(end), end.connection.descriptor, [.read, .write]) else { return false }
        end.handle = handle
        end.driven.bases[end.base] = Endpoint(socket: .stream(end), handle: handle)
        return true
    }

    /// Lets go of what was a base of a session.
    func forget(_ endpoint: Endpoint, _ driven: Driven) {
        switch endpoint.socket {
        case .secure(let end): drop(end)
        case .shared(let end): if let user = driven.tag.index { end.forget(user) }
        case .sharedListener(let end): if let user = driven.tag.index { end.users[user] = nil }
        case .undecided(let stream): drop(stream, nil)
        case .datagrams, .listener, .stream: if let handle = endpoint.handle { _ = sockets.remove(handle) }
        }
    }

    /// Gives up a connection that is no base yet.
    func dropPending(_ handle: SlotHandle) {
        if case .secure(let end)? = sockets.read(handle, { $0 }) { return drop(end) }
        _ = sockets.remove(handle)
    }
}
