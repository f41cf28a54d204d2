import Bytes
public import NetTypes
import STUN
import TURN
public import TURNServer

/// Our own STUN and TURN server on a simulated host: UDP, TCP and TLS, with relay sockets, and with faults if asked.
public final class TURNServerProgram: SimulatedProgram {
    /// What a server listens on and whom it knows.
    public struct Options: Sendable {
        /// The realm.
        public var realm = "example.org"
        /// Names with their passwords.
        public var users = ["floe": "secret"]
        /// The ports for UDP.
        public var udpPorts: [UInt16] = [3478]
        /// The ports for plain TCP.
        public var tcpPorts: [UInt16] = [3478]
        /// The ports for TLS.
        public var tlsPorts: [UInt16] = [443, 5349]
        /// A last change of the engine's configuration.
        public var change: @Sendable (inout TURNServerConfiguration) -> Void = { _ in }

        /// Makes the ordinary server.
        public init() {}
    }

    /// What the server does wrong.
    public enum Fault: Sendable, Hashable {
        /// Nothing.
        case none
        /// It answers nothing and relays nothing.
        case dead
        /// Everything that leaves it leaves late.
        case slow(TimeSpan)
        /// It grants no allocations (508).
        case full
    }

    private struct Client {
        var framing = StreamFraming()
        var tls: SimulatedTLS?
        var tuple: ClientTuple
        var input: [UInt8] = []
    }

    private enum Output {
        case datagram(SocketID, [UInt8], SocketAddress, ECNCodepoint)
        case stream(StreamID, [UInt8])
    }

    /// The fault; may be changed while it runs.
    public var fault = Fault.none
    private let options: Options
    private var engine: TURNServerEngine?
    private var listeners: [SocketID: TransportProtocol] = [:]
    private var clientSockets: [SocketAddress: SocketID] = [:]
    private var relays: [SocketID: RelayID] = [:]
    private var streams: [StreamID: Client] = [:]
    private var late: [(due: Instant, output: Output)] = []
    private var unixSeconds: UInt64 = 0

    /// Makes a server.
    public init(_ options: Options = Options()) { self.options = options }

    /// What the engine has counted; `nil` before the start.
    public var statistics: TURNServerStatistics? { engine?.statistics }

    /// What the server has to do next: an expiry, or something that leaves late.
    public var nextTimeout: Instant? {
        let engine = engine?.nextTimeout
        guard let first = late.first?.due else { return engine }
        return min(first, engine ?? .distantFuture)
    }

    /// Ends all allocations, as a restart of the server does.
    public func forgetAllocations(_ host: HostContext) {
        engine?.revokeAll(at: host.now)
        drain(host)
    }

    /// Takes what comes to the server's sockets.
    public func handle(_ event: HostEvent, _ host: HostContext) {
        if case .started = event { return start(host) }
        if fault == .dead { return }
        engine?.acceptsAllocations = fault != .full
        if host.unixSeconds != unixSeconds {
            unixSeconds = host.unixSeconds
            engine?.setWallClock(unixSeconds: unixSeconds)
        }
        switch event {
        case .datagram(let socket, let bytes, let peer, let local, let ecn):
            if let relay = relays[socket] {
                fromPeer(bytes, relay, peer, ecn, host)
            } else {
                fromClient(bytes, ClientTuple(transport: .udp, remote: peer, local: local), host)
            }
        case .unreachable(let socket, let destination, let reason):
            if let relay = relays[socket] { tell(reason, relay, destination, host) }
        case .accepted(let stream, let listener, let peer): accept(stream, listener, peer, host)
        case .bytes(let stream, let bytes): fromStream(bytes, stream, host)
        case .ended(let stream, _):
            if let client = streams.removeValue(forKey: stream) { engine?.connectionClosed(client.tuple, at: host.now) }
            host.finish(stream)
        case .timeout:
            engine?.handleTimeout(at: host.now)
            sendLate(host)
        case .started, .connected, .resolved, .signal, .interfacesChanged, .woke: break
        }
        drain(host)
    }

    // MARK: Start

    private func start(_ host: HostContext) {
        let addresses = host.interfaces.flatMap(\.addresses).filter { $0.kind == .stable }.map(\.ip)
        engine = makeEngine(addresses, host)
        for address in addresses {
            for port in options.udpPorts {
                guard let socket = try? host.openUDP(on: address, port: port) else { continue }
                listeners[socket] = .udp
                clientSockets[SocketAddress(address, port: port)] = socket
            }
            for (ports, kind) in [(options.tcpPorts, TransportProtocol.tcp), (options.tlsPorts, .tls)] {
                for port in ports {
                    if let listener = try? host.listen(on: address, port: port) { listeners[listener] = kind }
                }
            }
        }
    }

    private func makeEngine(_ addresses: [IPAddress], _ host: HostContext) -> TURNServerEngine? {
        let relays = addresses.map { RelayAddress(local: $0) }
        let users = options.users.sorted { $0.key < $1.key }.compactMap { name, password in
            try? LongTermCredentials(username: name, realm: options.realm, password: password)
        }
        var entropy = Entropy.seeded(host.randomSeed())
        let credentials = TURNServerCredentials(
            realm: options.realm,
            users: users,
            secrets: [],
            nonceSecret: entropy.bytes(16)
        )
        let allow = ["203.0.113.0/24", "198.18.0.0/15", "2001:db8::/32"].compactMap { IPPrefix($0) }
        var configuration = TURNServerConfiguration(
            credentials: credentials,
            relayAddresses: relays,
            gate: PeerAddressGate(allow: allow, relayAddresses: relays, serverAddresses: addresses)
        )
        configuration.limits.limitedPrefixes = 64
        options.change(&configuration)
        unixSeconds = host.unixSeconds
        let shared = TURNServerShared(configuration, entropy: .seeded(entropy.next()))
        return try? TURNServerEngine(
            configuration,
            shared: shared,
            unixSeconds: unixSeconds,
            entropy: .seeded(entropy.next())
        )
    }

    // MARK: Clients

    private func fromClient(_ bytes: [UInt8], _ client: ClientTuple, _ host: HostContext) {
        guard case .relay(let relay) = engine?.receive(bytes.span, from: client, at: host.now),
            let socket = relays.keys.first(where: { $0.index == Int(relay.token) })
        else { return }
        put(.datagram(socket, Array(bytes[relay.payload]), relay.destination, .notCapable), host)
    }

    private func accept(_ stream: StreamID, _ listener: SocketID, _ peer: SocketAddress, _ host: HostContext) {
        guard let kind = listeners[listener], let local = host.addresses(of: stream)?.local else { return }
        let tuple = ClientTuple(transport: kind, remote: peer, local: local, connection: UInt64(stream.index + 1))
        streams[stream] = Client(tls: kind == .tls ? SimulatedTLS(isClient: false) : nil, tuple: tuple)
    }

    private func fromStream(_ bytes: [UInt8], _ stream: StreamID, _ host: HostContext) {
        guard var client = streams[stream] else { return }
        if client.tls != nil {
            guard let (data, reply) = client.tls?.receive(bytes) else { return host.abort(stream) }
            if !reply.isEmpty { put(.stream(stream, reply), host) }
            client.input += data
        } else {
            client.input += bytes
        }
        while true {
            switch client.framing.frame(at: client.input.span) {
            case .needMore:
                streams[stream] = client
                return
            case .stun(let count), .channelData(let count):
                let message = Array(client.input[..<count])
                client.input.removeFirst(count)
                fromClient(message, client.tuple, host)
            case .broken:
                streams[stream] = nil
                engine?.connectionClosed(client.tuple, at: host.now)
                return host.abort(stream)
            }
        }
    }

    private func send(_ bytes: [UInt8], to client: ClientTuple, _ host: HostContext) {
        if client.transport == .udp {
            if let socket = clientSockets[client.local] {
                put(.datagram(socket, bytes, client.remote, .notCapable), host)
            }
            return
        }
        let stream = StreamID(index: Int(client.connection) - 1)
        guard streams[stream] != nil else { return }
        let wrapped = streams[stream]?.tls == nil ? bytes : streams[stream]?.tls?.wrap(bytes) ?? []
        put(.stream(stream, wrapped), host)
    }

    // MARK: Peers

    private func fromPeer(
        _ bytes: [UInt8],
        _ relay: RelayID,
        _ peer: SocketAddress,
        _ ecn: ECNCodepoint,
        _ host: HostContext
    ) {
        var packet = [UInt8](repeating: 0, count: 64) + bytes + [0, 0, 0, 0]
        var span = packet.mutableSpan
        let outcome = engine?.receiveFromPeer(
            &span,
            payload: 64..<64 + bytes.count,
            relay: relay,
            source: peer,
            at: host.now
        )
        if case .deliver(let client, let range) = outcome { send(Array(packet[range]), to: client, host) }
    }

    private func tell(_ reason: ICMPReason, _ relay: RelayID, _ destination: SocketAddress, _ host: HostContext) {
        let numbers = reason.numbers(destination.family)
        var data: UInt32 = 0
        if case .packetTooBig(let mtu) = reason { data = UInt32(mtu) }
        engine?.receiveICMP(
            ICMPReport(type: numbers.type, code: numbers.code, errorData: data),
            relay: relay,
            destination: destination,
            at: host.now
        )
    }

    // MARK: Output

    private func drain(_ host: HostContext) {
        while true {
            var client: ClientTuple?
            let bytes = buildBytes(capacity: TURNServerEngine.maximumResponseByteCount) { output in
                client = engine?.pollTransmit(into: &output)?.client
            }
            guard let client else { break }
            send(bytes, to: client, host)
        }
        while let event = engine?.pollEvent() { obey(event, host) }
    }

    private func obey(_ event: TURNServerEvent, _ host: HostContext) {
        switch event {
        case .openRelay(let request):
            do throws(SocketFailure) {
                let socket = try host.openUDP(on: request.local.ip, port: request.local.port)
                relays[socket] = request.id
                engine?.relayOpened(request.id, token: UInt64(socket.index), at: host.now)
            } catch {
                engine?.relayOpenFailed(request.id, addressInUse: error == .addressInUse, at: host.now)
            }
            drain(host)
        case .closeRelay(let token):
            guard let socket = relays.keys.first(where: { $0.index == Int(token) }) else { return }
            relays[socket] = nil
            host.close(socket)
        case .openListener(let request): engine?.relayOpenFailed(request.id, addressInUse: false, at: host.now)
        case .connectPeer(let request): engine?.peerConnectFailed(request.id, at: host.now)
        case .joinPeer, .closePeer, .clientJoined, .clientLeft, .channelPathsChanged, .channelPathsExtended,
            .allocationCreated, .allocationMoved, .peerPermitted, .allocationEnded, .authenticationFailed:
            break
        }
    }

    private func put(_ output: Output, _ host: HostContext) {
        guard case .slow(let span) = fault else { return perform(output, host) }
        late.append((host.now + span, output))
    }

    private func sendLate(_ host: HostContext) {
        while let next = late.first, next.due <= host.now {
            late.removeFirst()
            perform(next.output, host)
        }
    }

    private func perform(_ output: Output, _ host: HostContext) {
        switch output {
        case .datagram(let socket, let bytes, let destination, let ecn):
            try? host.send(bytes, to: destination, from: socket, ecn: ecn)
        case .stream(let stream, let bytes): host.write(bytes, to: stream)
        }
    }
}
