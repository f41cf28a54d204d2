public import NetTypes

/// Names a UDP socket or a TCP listener of a host.
public struct SocketID: Hashable, Sendable {
    let index: Int
}

/// Names a TCP connection of a host.
public struct StreamID: Hashable, Sendable {
    let index: Int
}

/// Why a host's system refuses a call.
public enum SocketFailure: Error, Sendable, Hashable {
    /// No interface leads there, or it is down (EHOSTUNREACH, ENETUNREACH).
    case unreachable
    /// The host's own firewall forbids it (EPERM).
    case notPermitted
    /// The system has no memory for it (ENOBUFS).
    case noBuffers
    /// The datagram is longer than the interface takes (EMSGSIZE).
    case tooLong
    /// The host does not have the address (EADDRNOTAVAIL).
    case addressNotAvailable
    /// Another socket has the port (EADDRINUSE).
    case addressInUse
    /// The socket or stream was closed.
    case closed
}

/// How a TCP connection ended.
public enum StreamEnd: Sendable, Hashable {
    /// The other side has said all it had to say.
    case finished
    /// The other side, or a box on the way, has cut it.
    case reset
    /// Nothing listens there.
    case refused
    /// Nobody answers any more.
    case timedOut
    /// A box on the way says that there is no way.
    case unreachable
}

/// What an answer to a question for a name says.
public enum NameAnswer: Sendable, Hashable {
    /// Addresses, in the order of the answer.
    case addresses([IPAddress])
    /// Services (SRV): hosts with ports, the most wanted first.
    case services([Service])
    /// The name does not exist (NXDOMAIN).
    case noSuchName
    /// The server failed, or no answer came.
    case failed

    /// A host that offers a service.
    public struct Service: Sendable, Hashable {
        /// The host's name.
        public var name: String
        /// The port.
        public var port: UInt16
        /// Lower ones first.
        public var priority: UInt16

        /// Makes a service.
        public init(_ name: String, port: UInt16, priority: UInt16 = 0) {
            self.name = name
            self.port = port
            self.priority = priority
        }
    }
}

/// What happens to a program.
public enum HostEvent: Sendable {
    /// It has been started.
    case started
    /// A datagram came in on a socket of its own; `to` is the local address that it was sent to.
    case datagram(SocketID, [UInt8], from: SocketAddress, to: SocketAddress, ecn: ECNCodepoint)
    /// An ICMP error came in about a datagram to `destination`.
    case unreachable(SocketID, destination: SocketAddress, ICMPReason)
    /// A connection that it asked for stands.
    case connected(StreamID)
    /// A connection to a listener of its own stands.
    case accepted(StreamID, listener: SocketID, from: SocketAddress)
    /// Bytes of a stream, in order.
    case bytes(StreamID, [UInt8])
    /// A stream is over; after `.finished`, it can still be written to.
    case ended(StreamID, StreamEnd)
    /// The time that `nextTimeout` named has come.
    case timeout
    /// A name was looked up; the number is that of the question.
    case resolved(UInt64, NameAnswer)
    /// A message came over the signaling channel.
    case signal([UInt8], from: String)
    /// The host's interfaces or their addresses have changed.
    case interfacesChanged
    /// The host has slept; time has passed without it.
    case woke
}

/// Something that runs on a host: the driver of a sans-I/O engine, or a whole application.
///
/// The network calls `handle` for each thing that happens, and reads `nextTimeout` after each call. All that a program
/// may do to the world it does through its `HostContext`, at once and without waiting.
///
///     final class Echo: SimulatedProgram {
///         func handle(_ event: HostEvent, _ host: HostContext) {
///             switch event {
///             case .started: _ = try? host.openUDP(port: 7)
///             case .datagram(let socket, let bytes, let peer, _, _): _ = try? host.send(bytes, to: peer, from: socket)
///             default: break
///             }
///         }
///     }
public protocol SimulatedProgram: AnyObject {
    /// Takes one event.
    func handle(_ event: HostEvent, _ host: HostContext)

    /// When `.timeout` is wanted, on the host's clock, or `nil`; read after each event.
    var nextTimeout: Instant? { get }
}

extension SimulatedProgram {
    /// No timeout.
    public var nextTimeout: Instant? { nil }
}

/// A program's view of its host.
public struct HostContext {
    /// The host.
    public let host: SimulatedHost
    let program: Int

    /// The time on the host's monotonic clock, which jumps if the scenario makes it.
    public var now: Instant { host.now }

    /// The world's time, which no fault moves: for measurements, not for what is measured.
    public var worldTime: Instant { host.network.now }

    /// The time of day on the host, in seconds since 1970.
    public var unixSeconds: UInt64 { host.unixSeconds }

    /// The interfaces that are up, with their addresses.
    public var interfaces: [HostInterface] { host.interfaces.filter(\.isUp) }

    // MARK: Datagrams

    /// Opens a UDP socket on an address, or on all; port 0 takes a free one.
    ///
    /// - Throws: `SocketFailure.addressNotAvailable` or `.addressInUse`.
    public func openUDP(on address: IPAddress? = nil, port: UInt16 = 0) throws(SocketFailure) -> SocketID {
        try host.open(.udp, address, port, program: program)
    }

    /// The address that a socket is bound to; all zeros for all addresses.
    public func localAddress(of socket: SocketID) -> SocketAddress? { host.sockets[socket.index]?.local }

    /// Whether the name is that of a TCP listener.
    public func isListener(_ socket: SocketID) -> Bool { host.sockets[socket.index]?.ipProtocol == .tcp }

    /// Sends a datagram; a socket on all addresses sends from `source` if it is given.
    ///
    /// - Throws: What the system says at once; what happens on the way nobody hears of, or by `.unreachable`.
    public func send(
        _ bytes: [UInt8],
        to destination: SocketAddress,
        from socket: SocketID,
        source: IPAddress? = nil,
        ecn: ECNCodepoint = .notCapable,
        dontFragment: Bool = false,
        timeToLive: UInt8 = 64
    ) throws(SocketFailure) {
        guard let open = host.sockets[socket.index], open.program == program else { throw .closed }
        var packet = Packet(
            from: SocketAddress(source ?? open.local.ip, port: open.local.port),
            to: destination,
            payload: bytes,
            timeToLive: timeToLive,
            ecn: ecn,
            dontFragment: dontFragment
        )
        try host.send(&packet)
    }

    /// Receives what is sent to a group on the segments of the host's interfaces.
    public func joinGroup(_ group: IPAddress, with socket: SocketID) {
        host.sockets[socket.index]?.groups.append(group)
    }

    /// Closes a socket or a listener.
    public func close(_ socket: SocketID) { host.close(socket) }

    // MARK: Streams

    /// Listens for TCP connections.
    ///
    /// - Throws: `SocketFailure.addressNotAvailable` or `.addressInUse`.
    public func listen(on address: IPAddress? = nil, port: UInt16) throws(SocketFailure) -> SocketID {
        try host.open(.tcp, address, port, program: program)
    }

    /// Begins a TCP connection; `.connected` or `.ended` follows.
    ///
    /// With a local port that listens or connects elsewhere as well, it is shared, as SO_REUSEPORT allows.
    ///
    /// - Throws: `SocketFailure.unreachable`, `.addressNotAvailable`, or `.addressInUse` for the same connection twice.
    public func connect(
        to destination: SocketAddress,
        from source: IPAddress? = nil,
        port: UInt16 = 0
    ) throws(SocketFailure) -> StreamID {
        try host.connect(to: destination, from: source, port: port, program: program)
    }

    /// The two ends of a stream.
    public func addresses(of stream: StreamID) -> (local: SocketAddress, remote: SocketAddress)? {
        host.streams[stream.index].map { ($0.local, $0.remote) }
    }

    /// Writes to a stream; bytes wait without limit until they can go.
    ///
    /// Nothing happens if it has ended.
    public func write(_ bytes: [UInt8], to stream: StreamID) { host.streams[stream.index]?.write(bytes) }

    /// Says that no more bytes will come.
    public func finish(_ stream: StreamID) { host.streams[stream.index]?.finish() }

    /// Cuts a stream; the other side sees a reset.
    public func abort(_ stream: StreamID) { host.streams[stream.index]?.abort() }

    // MARK: The rest

    /// Asks for a name's addresses or services; `.resolved` with the number that is returned follows.
    public func resolve(_ name: String, _ kind: NameService.Kind) -> UInt64 {
        host.network.resolve(name, kind, for: host, program: program)
    }

    /// Sends a message to the programs of another host over the signaling channel, which the scenario may spoil.
    public func signal(_ message: [UInt8], to peer: String) { host.network.signal(message, from: host, to: peer) }

    /// Opens the door of the gateway of the interface that has this address, as a port mapping service does.
    public func gateway(of address: IPAddress) -> SimulatedGateway? {
        host.interfaces.first { $0.addresses.contains { $0.ip == address } }?.segment.gateway
    }

    /// Writes a line into the timeline.
    public func note(_ text: @autoclosure () -> String) { host.network.note(text(), at: host.name) }

    /// Random numbers that the seed decides, of the host's own sequence.
    public func randomSeed() -> UInt64 { host.entropy.next() }
}
