import Bytes
import Connectivity
import ICE
import MDNS
import NetTypes
import PortMapping
import STUN
import Simulation
import TURN

/// A session on a simulated host, with all the duties of a driver.
final class SessionProgram: SimulatedProgram {
    private enum Socket {
        case datagrams(SocketID)
        case listener(SocketID)
        case stream(StreamID)
    }

    private struct Pending {
        let id: EffectID
        let remote: SocketAddress
        var tls: SimulatedTLS?
    }

    /// Where all programs of a test find each other's concealed names.
    final class Names {
        var addresses: [MDNSName: ConcealedAddress] = [:]
        var entropy = Entropy.seeded(77)
    }

    var session: ICESession
    var pacer = CheckPacer()
    var events: [(at: Instant, SessionEvent)] = []
    var effects: [SessionEffect] = []
    var received: [[UInt8]] = []
    var sent: [(at: Instant, SessionTransmit)] = []
    /// Effects that this driver never answers.
    var ignores: (SessionEffect) -> Bool = { _ in false }
    /// Where events go besides the log, such as to the peer.
    var forward: (SessionEvent) -> Void = { _ in }
    /// Whether `gather` is called at the start.
    var gathersAtStart = true
    var names: Names?
    var mapsPorts = false
    private var isStarted = false
    private var sockets: [BaseID: Socket] = [:]
    private var basesOfSockets: [SocketID: BaseID] = [:]
    private var basesOfStreams: [StreamID: BaseID] = [:]
    private var connecting: [StreamID: Pending] = [:]
    private var tls: [StreamID: SimulatedTLS] = [:]
    private var lookups: [UInt64: EffectID] = [:]
    private var answers: [EffectID: (left: Int, addresses: [IPAddress])] = [:]
    private var context: HostContext?
    private var lastBase: UInt32 = 0

    init(_ configuration: ICESessionConfiguration, seed: UInt64) throws {
        session = try ICESession(configuration, entropy: .seeded(seed), at: .zero)
    }

    var nextTimeout: Instant? { session.nextTimeout }

    var path: ICEPath? { session.path() }

    var candidates: [Candidate] { session.localCandidates }

    func has(_ event: SessionEvent) -> Bool { events.contains { $0.1 == event } }

    func time(of event: SessionEvent) -> Instant? { events.first { $0.1 == event }?.at }

    /// Does something with the session from outside.
    func act(_ body: (inout ICESession, Instant) -> Void) {
        context?.host
            .perform(self) { program, host in
                body(&program.session, host.now)
                program.drain(host)
            }
    }

    func send(_ payload: [UInt8]) {
        context?.host.perform(self) { program, host in program.send(payload, host) }
    }

    private func send(_ payload: [UInt8], _ context: HostContext) {
        var result = SessionSend.noPath
        let bytes = buildBytes(capacity: 70_000) { output in
            result = session.send(payload.span, at: context.now, into: &output)
        }
        switch result {
        case .direct(let base, let destination):
            transmitNow(payload, base, destination, nil, context)
        case .written(let transmit): transmitNow(bytes, transmit.base, transmit.destination, nil, context)
        case .held, .noPath, .tooLong: break
        }
        drain(context)
    }

    func handle(_ event: HostEvent, _ host: HostContext) {
        context = host
        let now = host.now
        switch event {
        case .started:
            isStarted = true
            session.updateInterfaces(interfaces(host), at: now)
            if gathersAtStart { session.gather(at: now) }
        case .datagram(let socket, let bytes, let source, _, _):
            guard let base = basesOfSockets[socket] else { return }
            if case .data(_, let range) = session.receive(bytes.span, on: base, from: source, at: now) {
                received.append(Array(bytes[range]))
            }
        case .unreachable(let socket, let destination, _):
            guard let base = basesOfSockets[socket] else { return }
            session.sendFailed(on: base, to: destination, .unreachable, at: now)
        case .connected(let stream): connected(stream, host)
        case .accepted(let stream, let listener, let source):
            guard let base = basesOfSockets[listener] else { return }
            session.accepted(newBase(.stream(stream)), on: base, from: source, at: now)
        case .bytes(let stream, let bytes): receive(bytes, stream, host)
        case .ended(let stream, _): ended(stream, host)
        case .timeout: session.handleTimeout(at: now)
        case .resolved(let question, let answer): resolved(question, answer, host)
        case .interfacesChanged: session.updateInterfaces(interfaces(host), at: now)
        case .signal, .woke: break
        }
        drain(host)
    }

    // MARK: Output

    private func drain(_ host: HostContext) {
        var moved = true
        while moved {
            moved = false
            while let effect = session.pollEffect() {
                moved = true
                effects.append(effect)
                if !ignores(effect) { perform(effect, host) }
            }
            while true {
                var transmit: SessionTransmit?
                let bytes = buildBytes(capacity: ICESession.maximumMessageByteCount) { output in
                    transmit = session.pollTransmit(at: host.now, pacer: &pacer, into: &output)
                }
                guard let transmit else { break }
                moved = true
                sent.append((host.now, transmit))
                transmitNow(bytes, transmit.base, transmit.destination, transmit.hopLimit, host)
            }
            while true {
                var component: UInt16?
                let bytes = buildBytes(capacity: 65_535) { component = session.pollData(into: &$0) }
                guard component != nil else { break }
                received.append(bytes)
            }
            while let event = session.pollEvent() {
                moved = true
                events.append((host.now, event))
                forward(event)
            }
        }
    }

    private func transmitNow(
        _ bytes: [UInt8],
        _ base: BaseID,
        _ destination: SocketAddress,
        _ hopLimit: UInt8?,
        _ host: HostContext
    ) {
        switch sockets[base] {
        case .datagrams(let socket)?:
            try? host.send(bytes, to: destination, from: socket, timeToLive: hopLimit ?? 64)
        case .stream(let stream)?:
            let wrapped = tls[stream]?.wrap(bytes) ?? bytes
            host.write(wrapped, to: stream)
        case .listener?, nil: break
        }
    }

    // MARK: Effects

    private func perform(_ effect: SessionEffect, _ host: HostContext) {
        switch effect {
        case .bindUDP(let id, let local):
            bind(id, host, try? host.openUDP(on: local.ip, port: local.port)) { .datagrams($0) }
        case .listenTCP(let id, let local):
            bind(id, host, try? host.listen(on: local.ip, port: 40_000 + UInt16(lastBase))) { .listener($0) }
        case .connect(let id, let kind, let source, let target): connect(id, kind, source, target, host)
        case .resolve(let id, let name):
            answers[id] = (2, [])
            lookups[host.resolve(name, .a)] = id
            lookups[host.resolve(name, .aaaa)] = id
        case .publishName(let id, let address, _):
            guard let names else { return session.failed(id, .notFound, at: host.now) }
            let name = MDNSName.random(using: &names.entropy)
            names.addresses[name] = address
            session.published(id, name, at: host.now)
        case .resolveName(let id, let name):
            guard let address = names?.addresses[name] else { return session.failed(id, .notFound, at: host.now) }
            session.nameResolved(id, address, at: host.now)
        case .mapPort(let id, _, let local, _): map(id, local.port, host)
        case .close(let base): close(base, host)
        case .unmapPort, .cancel: break
        }
    }

    private func map(_ id: EffectID, _ port: UInt16, _ host: HostContext) {
        guard mapsPorts, let address = host.host.address(), let gateway = host.gateway(of: address),
            let external = gateway.openPort(.udp, for: SocketAddress(address, port: port), lifetime: .seconds(600))
        else { return session.failed(id, .notFound, at: host.now) }
        session.mapped(
            id,
            PortMapping(external: external, lifetimeSeconds: 600, via: .pcp, isBehindAnotherNAT: false),
            at: host.now
        )
    }

    private func newBase(_ socket: Socket) -> BaseID {
        lastBase += 1
        let base = BaseID(rawValue: lastBase)
        sockets[base] = socket
        switch socket {
        case .datagrams(let id), .listener(let id): basesOfSockets[id] = base
        case .stream(let id): basesOfStreams[id] = base
        }
        return base
    }

    private func bind(_ id: EffectID, _ host: HostContext, _ socket: SocketID?, _ kind: (SocketID) -> Socket) {
        guard let socket, let local = host.localAddress(of: socket) else {
            return session.failed(id, .unreachable, at: host.now)
        }
        session.bound(id, base: newBase(kind(socket)), local: local, at: host.now)
    }

    private func connect(
        _ id: EffectID,
        _ kind: StreamKind,
        _ source: SocketAddress,
        _ target: SocketAddress,
        _ host: HostContext
    ) {
        if case .udp = kind {
            guard let socket = try? host.openUDP(on: source.ip, port: 0), let local = host.localAddress(of: socket)
            else {
                return session.failed(id, .unreachable, at: host.now)
            }
            return session.connected(id, base: newBase(.datagrams(socket)), local: local, at: host.now)
        }
        guard let stream = try? host.connect(to: target, from: source.ip, port: source.port) else {
            return session.failed(id, .unreachable, at: host.now)
        }
        var pending = Pending(id: id, remote: target)
        if case .tls = kind { pending.tls = SimulatedTLS(isClient: true) }
        connecting[stream] = pending
    }

    private func connected(_ stream: StreamID, _ host: HostContext) {
        guard let pending = connecting[stream] else { return }
        guard let opening = pending.tls?.opening() else { return established(stream, pending, host) }
        host.write(opening, to: stream)
    }

    private func established(_ stream: StreamID, _ pending: Pending, _ host: HostContext) {
        connecting[stream] = nil
        tls[stream] = pending.tls
        guard let local = host.addresses(of: stream)?.local else { return }
        session.connected(pending.id, base: newBase(.stream(stream)), local: local, at: host.now)
    }

    private func receive(_ bytes: [UInt8], _ stream: StreamID, _ host: HostContext) {
        if var pending = connecting[stream] {
            guard let output = pending.tls?.receive(bytes) else { return }
            host.write(output.reply, to: stream)
            established(stream, pending, host)
            return
        }
        guard let base = basesOfStreams[stream] else { return }
        var bytes = bytes
        if let output = tls[stream]?.receive(bytes) {
            host.write(output.reply, to: stream)
            bytes = output.data
        }
        session.receiveStream(bytes.span, on: base, at: host.now)
    }

    private func ended(_ stream: StreamID, _ host: HostContext) {
        if let pending = connecting.removeValue(forKey: stream) {
            return session.failed(pending.id, .refused, at: host.now)
        }
        guard let base = basesOfStreams.removeValue(forKey: stream) else { return }
        sockets[base] = nil
        session.closed(base, at: host.now)
    }

    private func close(_ base: BaseID, _ host: HostContext) {
        switch sockets.removeValue(forKey: base) {
        case .datagrams(let socket)?, .listener(let socket)?:
            basesOfSockets[socket] = nil
            host.close(socket)
        case .stream(let stream)?:
            basesOfStreams[stream] = nil
            host.finish(stream)
        case nil: break
        }
    }

    private func resolved(_ question: UInt64, _ answer: NameAnswer, _ host: HostContext) {
        guard let id = lookups.removeValue(forKey: question), var known = answers[id] else { return }
        if case .addresses(let more) = answer { known.addresses += more }
        known.left -= 1
        answers[id] = known
        guard known.left == 0 else { return }
        if known.addresses.isEmpty {
            session.failed(id, .notFound, at: host.now)
        } else {
            session.resolved(id, known.addresses, at: host.now)
        }
    }

    private func interfaces(_ host: HostContext) -> [NetworkInterface] {
        host.interfaces.enumerated().map { number, interface in
            NetworkInterface(
                index: UInt32(number + 1),
                name: interface.name,
                addresses: interface.addresses.map {
                    InterfaceAddress(
                        $0.ip,
                        prefixLength: 64,
                        isTemporary: $0.kind == .temporary,
                        isDeprecated: $0.kind == .deprecated
                    )
                }
            )
        }
    }
}
