import CLinux
import EventLoop
import Glibc
public import NetTypes

/// What accepting a connection brought.
public enum AcceptResult: ~Copyable {
    /// A connection.
    case accepted(TCPSocket)
    /// No connection waits.
    case wouldBlock
    /// The process has no descriptor left; a waiting connection was closed, so that its client knows.
    case refused
    /// The listener does not work, or nothing can even be refused for lack of descriptors: look away for a while.
    case failed(SocketError)
}

/// A socket that takes TCP connections; closes when its life ends.
public struct TCPListener: ~Copyable {
    /// How a listener is made.
    public struct Options: Sendable {
        /// Whether other listeners of this user may share the port; the kernel spreads connections over them.
        public var reusesPort = false
        /// Whether an IPv6 listener leaves IPv4 alone.
        public var isIPv6Only = true
        /// How many connections may wait to be accepted.
        public var backlog = 1024
        /// What the accepted connections inherit.
        public var connections = TCPOptions()

        /// Makes the default options.
        public init() {}
    }

    private let owned: Descriptor
    /// The address and port it listens on.
    public let localAddress: SocketAddress
    /// Held back for the day when the process has no descriptor left, so that a connection can be refused even then.
    private var reserve: Descriptor?
    /// How many connections were closed because there was no descriptor, or by `refuse`.
    public private(set) var refusedConnections: UInt64 = 0

    /// Listens at an address; port 0 lets the system choose.
    ///
    /// - Throws: If the address cannot be used or an option is refused.
    public init(boundTo address: SocketAddress, options: Options = Options()) throws(SocketError) {
        let result = floe_tcp_create(Int32(address.family.rawValue))
        guard result >= 0 else { throw SocketError(.listen(.tcp), at: address, number: -result) }
        let owned = Descriptor(owning: result)
        let setter = OptionSetter(descriptor: owned.number, address: address)
        // Connections of an earlier process that linger must not keep the port from this one.
        try setter.set(FLOE_OPTION_REUSE_ADDRESS, 1, "SO_REUSEADDR")
        if options.reusesPort { try setter.set(FLOE_OPTION_REUSE_PORT, 1, "SO_REUSEPORT") }
        if address.family == .ipv6 { try setter.set(FLOE_OPTION_IPV6_ONLY, options.isIPv6Only ? 1 : 0, "IPV6_V6ONLY") }
        try setter.apply(options.connections)
        let local = try setter.bind(.tcp)
        let listening = floe_listen(owned.number, Int32(clamping: options.backlog))
        guard listening >= 0 else { throw SocketError(.listen(.tcp), at: address, number: -listening) }
        localAddress = local
        self.owned = owned
        reserve = try? Descriptor(floe_open_reserve(), "hold a descriptor in reserve")
    }

    /// Asks whether nobody has the address, by having it for a moment.
    ///
    /// Listeners that reuse a port share it with any other program of the same user that does; ask this before the first.
    ///
    /// - Throws: If somebody has it, or it cannot be used.
    public static func checkAvailable(_ address: SocketAddress, isIPv6Only: Bool = true) throws(SocketError) {
        var options = Options()
        options.isIPv6Only = isIPv6Only
        _ = try TCPListener(boundTo: address, options: options)
    }

    /// The file descriptor, for a poller; readable while connections wait.
    public var descriptor: Int32 { owned.number }

    /// Takes a waiting connection.
    ///
    /// The owner bounds how many it takes in one turn, and how many it has.
    public mutating func accept() -> AcceptResult {
        var peer = floe_address()
        // A connection that broke while it waited is the peer's affair: the next one, a few times.
        for _ in 0..<8 {
            // The C function uses the pointer during the call only.
            let result = unsafe floe_accept(descriptor, &peer)
            if result >= 0 { return accepted(result, peer) }
            switch -result {
            case EAGAIN: return .wouldBlock
            case EMFILE, ENFILE, ENOBUFS, ENOMEM: return refuseWithReserve()
            case EBADF, EINVAL, ENOTSOCK, EOPNOTSUPP, EFAULT:
                return .failed(SocketError(.listen(.tcp), at: localAddress, number: -result))
            default: continue
            }
        }
        return .wouldBlock
    }

    /// Closes a waiting connection at once, for an owner that has enough; returns `false` if none waits.
    @discardableResult
    public mutating func refuse() -> Bool {
        var peer = floe_address()
        // The C function uses the pointer during the call only.
        let result = unsafe floe_accept(descriptor, &peer)
        guard result >= 0 else { return false }
        _ = floe_close(result)
        refusedConnections &+= 1
        return true
    }

    private func accepted(_ number: Int32, _ peer: floe_address) -> AcceptResult {
        let owned = Descriptor(owning: number)
        var local = floe_address(localAddress)
        // A listener on the unspecified address learns here which one the client chose.
        if localAddress.ip.isUnspecified { _ = unsafe floe_local_address(number, &local) }
        return .accepted(
            TCPSocket(owned: owned, local: local.socketAddress, remote: peer.socketAddress, isConnected: true)
        )
    }

    private mutating func refuseWithReserve() -> AcceptResult {
        reserve = nil
        let wasRefused = refuse()
        reserve = try? Descriptor(floe_open_reserve(), "hold a descriptor in reserve")
        if wasRefused { return .refused }
        // Somebody else in this process has taken the last one: connections wait, and the listener stays readable.
        return reserve == nil ? .failed(SocketError(.listen(.tcp), at: localAddress, number: EMFILE)) : .wouldBlock
    }
}
