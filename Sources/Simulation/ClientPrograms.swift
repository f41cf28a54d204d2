import Bytes
public import NetTypes
public import STUN
public import TURN

/// A STUN client on a simulated host: asks once when it starts, and again when told to.
public final class STUNClientProgram: SimulatedProgram {
    /// What the client has told.
    public private(set) var events: [STUNClient.Event] = []
    private var client: STUNClient
    private var socket: SocketID?
    private let localPort: UInt16

    /// Makes a client of a server that is asked over UDP.
    public init(server: SocketAddress, localPort: UInt16 = 0, policy: RetransmissionPolicy = .init(), seed: UInt64 = 1)
    {
        client = STUNClient(server: server, policy: policy, entropy: .seeded(seed))
        self.localPort = localPort
    }

    /// The answer of the latest query that was answered.
    public var mapped: SocketAddress? {
        for case .answered(let answer) in events.reversed() { return answer.mapped }
        return nil
    }

    /// The engine's.
    public var nextTimeout: Instant? { client.nextTimeout }

    /// Asks once more.
    public func query(_ host: HostContext) {
        _ = client.query(at: host.now)
        drain(host)
    }

    /// Moves bytes between the engine and the network.
    public func handle(_ event: HostEvent, _ host: HostContext) {
        switch event {
        case .started:
            socket = try? host.openUDP(port: localPort)
            _ = client.query(at: host.now)
        case .datagram(_, let bytes, let peer, _, _): _ = client.receive(bytes.span, from: peer, at: host.now)
        case .unreachable(_, _, .portUnreachable): client.transportFailed()
        case .timeout: client.handleTimeout(at: host.now)
        default: break
        }
        drain(host)
    }

    private func drain(_ host: HostContext) {
        while true {
            var order: Transmit?
            let bytes = buildBytes(capacity: STUNClient.maximumMessageByteCount) { output in
                order = client.pollTransmit(at: host.now, into: &output)
            }
            guard let order, let socket else { break }
            try? host.send(bytes, to: order.destination, from: socket)
        }
        while let event = client.pollEvent() {
            events.append(event)
            host.note("STUN: \(event)")
        }
    }
}

/// A TURN client on a simulated host, over UDP, TCP or TLS.
public final class TURNClientProgram: SimulatedProgram {
    /// What the client has told.
    public private(set) var events: [TURNClientEvent] = []
    /// What came from peers.
    public private(set) var received: [(from: SocketAddress, bytes: [UInt8])] = []
    private var client: TURNClient
    private var socket: SocketID?
    private var stream: StreamID?
    private var tls: SimulatedTLS?
    private var framing = StreamFraming()
    private var input: [UInt8] = []

    /// Makes a client that allocates when it starts.
    ///
    /// - Throws: `CredentialError` if user name or password cannot be used.
    public init(_ configuration: TURNClientConfiguration, seed: UInt64 = 1) throws(CredentialError) {
        client = try TURNClient(configuration, entropy: .seeded(seed))
        if configuration.transport == .tls { tls = SimulatedTLS(isClient: true) }
    }

    /// What the server has granted.
    public var allocation: TURNAllocation? { client.allocation }
    /// The engine's.
    public var nextTimeout: Instant? { client.nextTimeout }

    /// Does one thing with the engine, and what follows from it.
    public func act(_ host: HostContext, _ body: (inout TURNClient, Instant) -> Void) {
        body(&client, host.now)
        drain(host)
    }

    /// Sends data to a peer.
    public func send(_ payload: [UInt8], to peer: SocketAddress, _ host: HostContext) {
        let bytes = buildBytes(capacity: 4096) { output in
            _ = client.send(payload.span, to: peer, at: host.now, into: &output)
        }
        if !bytes.isEmpty { transmit(bytes, host) }
        drain(host)
    }

    /// Moves bytes between the engine and the network.
    public func handle(_ event: HostEvent, _ host: HostContext) {
        switch event {
        case .started: start(host)
        case .datagram(_, let bytes, let peer, _, _): receive(bytes, from: peer, host)
        case .unreachable(_, _, .portUnreachable): client.transportFailed(at: host.now)
        case .connected(let stream):
            if let tls { host.write(tls.opening(), to: stream) }
            client.start(at: host.now)
        case .bytes(_, let bytes): receiveStream(bytes, host)
        case .ended: client.transportFailed(at: host.now)
        case .timeout: client.handleTimeout(at: host.now)
        default: break
        }
        drain(host)
    }

    private func start(_ host: HostContext) {
        let server = client.configuration.server
        guard client.configuration.transport.isStream else {
            socket = try? host.openUDP()
            return client.start(at: host.now)
        }
        stream = try? host.connect(to: server)
        if stream == nil { client.transportFailed(at: host.now) }
    }

    private func receive(_ bytes: [UInt8], from peer: SocketAddress, _ host: HostContext) {
        if case .data(let peer, let range) = client.receive(bytes.span, from: peer, at: host.now) {
            received.append((peer, Array(bytes[range])))
        }
    }

    private func receiveStream(_ bytes: [UInt8], _ host: HostContext) {
        if tls == nil {
            input += bytes
        } else if let (data, reply) = tls?.receive(bytes), let stream {
            host.write(reply, to: stream)
            input += data
        }
        while true {
            switch framing.frame(at: input.span) {
            case .needMore: return
            case .stun(let count), .channelData(let count):
                let message = Array(input[..<count])
                input.removeFirst(count)
                receive(message, from: client.configuration.server, host)
            case .broken:
                if let stream { host.abort(stream) }
                return client.transportFailed(at: host.now)
            }
        }
    }

    private func transmit(_ bytes: [UInt8], _ host: HostContext) {
        if let socket { try? host.send(bytes, to: client.configuration.server, from: socket) }
        if let stream { host.write(tls == nil ? bytes : tls?.wrap(bytes) ?? [], to: stream) }
    }

    private func drain(_ host: HostContext) {
        while true {
            var isDone = false
            let bytes = buildBytes(capacity: TURNClient.maximumMessageByteCount) { output in
                isDone = client.pollTransmit(at: host.now, into: &output) == nil
            }
            if isDone { break }
            transmit(bytes, host)
        }
        while let event = client.pollEvent() {
            events.append(event)
            host.note("TURN: \(event)")
        }
    }
}
