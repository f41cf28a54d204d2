import CLinux
import EventLoop
public import NetTypes

/// A connected TCP socket, or one that is being connected; closes when its life ends.
public struct TCPSocket: ~Copyable, Sendable {
    private let owned: Descriptor
    /// Our end; the address that the peer chose to connect to.
    public let localAddress: SocketAddress
    /// The peer's end; behind a proxy that names its clients, the client's.
    public internal(set) var remoteAddress: SocketAddress
    /// Whether the connection stood when the socket was made.
    let isConnected: Bool

    init(owned: consuming Descriptor, local: SocketAddress, remote: SocketAddress, isConnected: Bool) {
        self.owned = owned
        localAddress = local
        remoteAddress = remote
        self.isConnected = isConnected
    }

    /// Begins to connect to `address`, from `source` if that is given, without waiting for the outcome.
    ///
    /// A source port other than 0 may be that of a listener, and of other connections, that allow it (`reusesPort`).
    ///
    /// Wrap it in a `StreamConnection`, wait until it is writable, and call `flush`: `isEstablished` or a failure follows.
    ///
    /// - Throws: If the attempt cannot even begin.
    public init(
        connectingTo address: SocketAddress,
        from source: SocketAddress? = nil,
        options: TCPOptions = TCPOptions()
    ) throws(SocketError) {
        let family = Int32(address.family.rawValue)
        let result = floe_tcp_create(family)
        guard result >= 0 else { throw SocketError(.connect, at: address, number: -result) }
        let owned = Descriptor(owning: result)
        let setter = OptionSetter(descriptor: owned.number, address: address)
        try setter.apply(options)
        if let source {
            let setter = OptionSetter(descriptor: owned.number, address: source)
            if source.port != 0 {
                try setter.set(FLOE_OPTION_REUSE_ADDRESS, 1, "SO_REUSEADDR")
                try setter.set(FLOE_OPTION_REUSE_PORT, 1, "SO_REUSEPORT")
            }
            _ = try setter.bind(.tcp)
        }
        var target = floe_address(address)
        var local = floe_address()
        // The C functions use the pointers during the call only.
        let outcome = unsafe floe_connect(owned.number, family, &target)
        guard outcome >= 0 else { throw SocketError(.connect, at: address, number: -outcome) }
        _ = unsafe floe_local_address(owned.number, &local)
        self.init(owned: owned, local: local.socketAddress, remote: address, isConnected: false)
    }

    /// The file descriptor; valid while the socket lives.
    public var descriptor: Int32 { owned.number }
}

/// How TCP connections are kept; those of a listener inherit its options.
public struct TCPOptions: Sendable {
    /// Whether small pieces are sent at once (TCP_NODELAY).
    public var sendsAtOnce = true
    /// After how much silence the peer is probed, in seconds; `nil` never probes.
    public var keepAliveIdleSeconds: Int? = 60
    /// How long sent bytes may stay unacknowledged before the connection fails, in seconds; `nil` is the system's choice.
    public var unacknowledgedSeconds: Int? = 30
    /// How many unsent bytes the kernel may hold before it takes no more; `nil` is the system's choice.
    ///
    /// A low value keeps what is queued where it can still be dropped.
    public var unsentLowWaterBytes: Int?

    /// Makes the default options.
    public init() {}
}

extension OptionSetter {
    func apply(_ options: TCPOptions) throws(SocketError) {
        if options.sendsAtOnce { try set(FLOE_OPTION_NO_DELAY, 1, "TCP_NODELAY") }
        if let seconds = options.keepAliveIdleSeconds {
            try set(FLOE_OPTION_KEEP_ALIVE, 1, "SO_KEEPALIVE")
            try set(FLOE_OPTION_KEEP_ALIVE_IDLE_SECONDS, Int32(clamping: seconds), "TCP_KEEPIDLE")
            try set(FLOE_OPTION_KEEP_ALIVE_INTERVAL_SECONDS, 10, "TCP_KEEPINTVL")
            try set(FLOE_OPTION_KEEP_ALIVE_PROBES, 3, "TCP_KEEPCNT")
        }
        if let seconds = options.unacknowledgedSeconds {
            let milliseconds = Int32(clamping: seconds.multipliedReportingOverflow(by: 1000).partialValue)
            try set(FLOE_OPTION_USER_TIMEOUT_MILLISECONDS, milliseconds, "TCP_USER_TIMEOUT")
        }
        if let bytes = options.unsentLowWaterBytes {
            try set(FLOE_OPTION_UNSENT_LOW_WATER, Int32(clamping: bytes), "TCP_NOTSENT_LOWAT")
        }
    }
}
