import Connectivity
import ICE
import MDNS
import NetTypes
import PortMapping
import Simulation

/// The driver's duties: sockets, connections, names.
extension SimulatedSession {
    func interfaces(_ host: HostContext) -> [NetworkInterface] {
        host.interfaces.enumerated().map { number, interface in
            NetworkInterface(
                index: UInt32(number + 1),
                name: interface.name,
                kind: Self.kind(interface.kind),
                addresses: interface.addresses.map {
                    InterfaceAddress(
                        $0.ip,
                        prefixLength: interface.segment.prefix($0.ip.family)?.length ?? 64,
                        isTemporary: $0.kind == .temporary,
                        isDeprecated: $0.kind == .deprecated
                    )
                },
                cost: interface.kind == .cellular ? 900 : 0
            )
        }
    }

    private static func kind(_ kind: InterfaceKind) -> NetworkInterface.Kind {
        switch kind {
        case .ethernet: .wired
        case .wifi: .wireless
        case .cellular: .cellular
        case .vpn: .tunnel
        }
    }

    func newBase(_ endpoint: Endpoint) -> BaseID {
        lastBase += 1
        let base = BaseID(rawValue: lastBase)
        endpoints[lastBase] = endpoint
        switch endpoint {
        case .datagrams(let socket), .listener(let socket): baseOfSocket[socket] = base
        case .stream(let stream): baseOfStream[stream] = base
        }
        return base
    }

    // MARK: Effects

    func perform(_ effect: SessionEffect, _ host: HostContext) {
        switch effect {
        case .bindUDP(let id, let local): bind(id, local, host) { try? host.openUDP(on: local.ip, port: local.port) }
        case .listenTCP(let id, let local): bind(id, local, host) { try? host.listen(on: local.ip, port: local.port) }
        case .connect(let id, let kind, let source, let target): connect(id, kind, source, target, host)
        case .resolve(let id, let name):
            lookups[id] = PendingLookup()
            questions[host.resolve(name, .a)] = id
            questions[host.resolve(name, .aaaa)] = id
        case .publishName(let id, let address, let interface):
            startNames(host)
            names?.publish(id, address, interface, host, into: &session)
        case .resolveName(let id, let name):
            startNames(host)
            names?.resolve(id, name, host)
        case .mapPort(let id, let transport, let local, let interface):
            map(id, transport, local, interface, host)
        case .unmapPort(let id): for key in mappers.keys.sorted() { mappers[key]?.unmap(id, host) }
        case .close(let base): close(base, host)
        case .cancel(let id):
            lookups[id] = nil
            for (stream, pending) in connecting where pending.id == id {
                connecting[stream] = nil
                host.abort(stream)
            }
        }
    }

    private func bind(_ id: EffectID, _ local: SocketAddress, _ host: HostContext, _ open: () -> SocketID?) {
        guard let socket = open(), let address = host.localAddress(of: socket) else {
            session?.failed(id, .unreachable, at: host.now)
            return
        }
        let isListener = host.isListener(socket)
        let base = newBase(isListener ? .listener(socket) : .datagrams(socket))
        session?.bound(
            id,
            base: base,
            local: SocketAddress(address.ip, port: address.port, scope: local.scope),
            at: host.now
        )
    }

    private func connect(
        _ id: EffectID,
        _ kind: StreamKind,
        _ source: SocketAddress,
        _ target: SocketAddress,
        _ host: HostContext
    ) {
        switch kind {
        case .tcp, .tls: break
        case .udp:
            guard let socket = try? host.openUDP(on: source.ip), let local = host.localAddress(of: socket) else {
                session?.failed(id, .unreachable, at: host.now)
                return
            }
            session?.connected(id, base: newBase(.datagrams(socket)), local: local, at: host.now)
            return
        case .dtls:
            session?.failed(id, .tlsFailed, at: host.now)
            return
        }
        do throws(SocketFailure) {
            let address = source.ip.isUnspecified ? nil : source.ip
            let stream = try host.connect(to: proxy ?? target, from: address, port: source.port)
            connecting[stream] = PendingConnection(
                id: id,
                kind: kind,
                target: target,
                tunnel: proxy == nil ? nil : []
            )
        } catch {
            session?.failed(id, .unreachable, at: host.now)
        }
    }

    private func close(_ base: BaseID, _ host: HostContext) {
        switch endpoints.removeValue(forKey: base.rawValue) {
        case .datagrams(let socket), .listener(let socket):
            baseOfSocket[socket] = nil
            host.close(socket)
        case .stream(let stream):
            baseOfStream[stream] = nil
            wrappers[stream] = nil
            host.finish(stream)
        case nil: break
        }
    }

    // MARK: Events

    func handleNetwork(_ event: HostEvent, _ host: HostContext) {
        switch event {
        case .datagram(let socket, let bytes, let source, let local, _):
            receive(bytes, socket, source, local, host)
        case .unreachable(let socket, let destination, let reason):
            guard let base = baseOfSocket[socket], let failure = Self.failure(reason) else { return }
            session?.sendFailed(on: base, to: destination, failure, at: host.now)
        case .connected(let stream): connected(stream, host)
        case .accepted(let stream, let listener, let source):
            guard let listening = baseOfSocket[listener] else { return host.abort(stream) }
            session?.accepted(newBase(.stream(stream)), on: listening, from: source, at: host.now)
        case .bytes(let stream, let bytes): receive(bytes, stream, host)
        case .ended(let stream, let end): ended(stream, end, host)
        case .resolved(let question, let answer): resolved(question, answer, host)
        case .started, .timeout, .signal, .interfacesChanged, .woke: break
        }
    }

    private func receive(
        _ bytes: [UInt8],
        _ socket: SocketID,
        _ source: SocketAddress,
        _ local: SocketAddress,
        _ host: HostContext
    ) {
        if names?.socket == socket { names?.receive(bytes, source, local, host) }
        for key in mappers.keys.sorted() where mappers[key]?.socket == socket {
            mappers[key]?.receive(bytes, source, host)
        }
        guard let base = baseOfSocket[socket] else { return }
        let outcome = session?.receive(bytes.span, on: base, from: source, at: host.now)
        if case .data(_, let range) = outcome { received.append((host.worldTime, Array(bytes[range]))) }
    }

    private static func failure(_ reason: ICMPReason) -> SendFailure? {
        switch reason {
        case .hostUnreachable: .unreachable
        case .portUnreachable: .refused
        case .prohibited: .notPermitted
        case .packetTooBig(let mtu): .messageTooBig(mtu: UInt16(clamping: mtu))
        case .timeExceeded: nil
        }
    }

    private func resolved(_ question: UInt64, _ answer: NameAnswer, _ host: HostContext) {
        guard let id = questions.removeValue(forKey: question), var lookup = lookups[id] else { return }
        if case .addresses(let found) = answer { lookup.addresses += found }
        lookup.waiting -= 1
        lookups[id] = lookup.waiting == 0 ? nil : lookup
        guard lookup.waiting == 0 else { return }
        if lookup.addresses.isEmpty {
            session?.failed(id, .notFound, at: host.now)
        } else {
            session?.resolved(id, lookup.addresses, at: host.now)
        }
    }

    // MARK: Sending

    func transmit(
        _ bytes: [UInt8],
        _ base: BaseID,
        _ destination: SocketAddress,
        _ hopLimit: UInt8?,
        _ host: HostContext
    ) {
        switch endpoints[base.rawValue] {
        case .datagrams(let socket):
            do throws(SocketFailure) {
                try host.send(bytes, to: destination, from: socket, timeToLive: hopLimit ?? 64)
            } catch {
                let failure: SendFailure? =
                    switch error {
                    case .unreachable, .addressNotAvailable, .addressInUse: .unreachable
                    case .notPermitted: .notPermitted
                    case .tooLong: .messageTooBig(mtu: nil)
                    case .closed: .closed
                    // What the system has no memory for is lost, as on the way.
                    case .noBuffers: nil
                    }
                if let failure { session?.sendFailed(on: base, to: destination, failure, at: host.now) }
            }
        case .stream(let stream):
            host.write(wrappers[stream] == nil ? bytes : wrappers[stream]?.wrap(bytes) ?? [], to: stream)
        case .listener, nil: break
        }
    }
}
