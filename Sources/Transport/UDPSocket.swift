import CLinux
import EventLoop
public import NetTypes

/// Names an open UDP socket for the batches: what they need to know, without owning it.
///
/// Valid while the socket lives. Flush what was queued for a socket before it is closed: the kernel gives its number to
/// the next one.
public struct UDPSocketHandle: Hashable, Sendable {
    /// The file descriptor.
    public let descriptor: Int32
    /// The family of the socket: a dual-stack one is IPv6.
    public let family: AddressFamily
    /// The address and port it is bound to; the address may be unspecified.
    public let localAddress: SocketAddress

    /// How many datagrams the kernel has dropped for the socket, nearly always because its receive buffer was full.
    ///
    /// A system call; asking costs no packet anything, unlike the count that the kernel adds to packets (SO_RXQ_OVFL).
    public var droppedDatagrams: UInt64 { UInt64(max(0, floe_dropped_datagrams(descriptor))) }

    /// Whether nothing waits to be received; a system call.
    public var isDrained: Bool {
        var byte: UInt8 = 0
        // The kernel writes at most one byte, during the call.
        return unsafe floe_stream_peek(descriptor, &byte, 1) < 0
    }
}

/// A UDP socket; closes when its life ends.
///
/// ICMP errors are queued on it only if that is asked for (`reportsErrors`); then the owner reads them with
/// `nextICMPError` whenever the poller says that the socket is broken. One peer's trouble is no other peer's either way:
/// the batches go on after an error.
public struct UDPSocket: ~Copyable, Sendable {
    /// How datagrams longer than the path takes are treated.
    public enum PathMTUDiscovery: Int32, Sendable {
        /// Routers may fragment: the DF bit is clear.
        case fragment = 0
        /// As the system is set up; mostly DF until the path turns out to be narrower.
        case systemDefault = 1
        /// DF is set; what the path is known not to take is refused.
        case obey = 2
        /// DF is set; what is known about the path is ignored.
        case probe = 3
    }

    /// A multicast group on one interface.
    public struct MulticastGroup: Hashable, Sendable {
        /// The group's address, of the socket's family.
        public let address: IPAddress
        /// The interface's number.
        public let interface: UInt32

        /// Makes a group.
        public init(_ address: IPAddress, on interface: UInt32) {
            self.address = address
            self.interface = interface
        }
    }

    /// How a socket is made.
    public struct Options: Sendable {
        /// Whether other sockets of this user may share the port; the kernel spreads flows over them.
        public var reusesPort = false
        /// Whether other sockets may have the port too if they agree, as those of multicast do.
        public var reusesAddress = false
        /// The group that the socket joins on an interface, to which it is then bound; it sends with 255 hops.
        public var group: MulticastGroup?
        /// Whether an IPv6 socket leaves IPv4 alone; otherwise it takes IPv4 too, with plain IPv4 addresses to us.
        public var isIPv6Only = true
        /// Whether the local address of each datagram is told; `nil` means where the socket is bound to no address.
        public var reportsLocalAddress: Bool?
        /// The traffic class of what is sent, with the ECN bits lowest; a datagram's own goes before it.
        public var trafficClass: UInt8 = 0
        /// Whether the local address and the port that each datagram was sent to are told, where they are not the socket's.
        public var reportsOriginalDestination = false
        /// Whether the traffic class, with the ECN bits, of each datagram is told.
        public var reportsTrafficClass = false
        /// Whether the TTL or hop limit of each datagram is told.
        public var reportsHopLimit = false
        /// Whether ICMP errors about what was sent are queued for `UDPSocketHandle.nextICMPError`.
        public var reportsErrors = false
        /// Whether an address may be used that the host does not have yet.
        public var allowsMissingAddress = false
        /// How datagrams longer than the path takes are treated.
        public var pathMTUDiscovery = PathMTUDiscovery.systemDefault
        /// Whether the kernel may hand over equal datagrams of one flow as one (UDP_GRO); they need buffers of 64 KiB.
        public var mergesReceived = false
        /// The size of the receive buffer in bytes, `nil` for the system's; the system may grant less.
        public var receiveBufferBytes: Int?
        /// The size of the send buffer in bytes, `nil` for the system's; the system may grant less.
        public var sendBufferBytes: Int?

        /// Makes the default options.
        public init() {}
    }

    private let owned: Descriptor
    /// The socket's name for the batches and, by its descriptor, for the poller.
    public let handle: UDPSocketHandle

    /// Opens a socket at an address; port 0 lets the system choose.
    ///
    /// - Throws: If the address cannot be used or an option is refused.
    public init(boundTo address: SocketAddress, options: Options = Options()) throws(SocketError) {
        let family = Int32(address.family.rawValue)
        let result = floe_udp_create(family)
        guard result >= 0 else { throw SocketError(.listen(.udp), at: address, number: -result) }
        let owned = Descriptor(owning: result)
        let setter = OptionSetter(descriptor: owned.number, address: address)
        try setter.apply(options)
        let local = try setter.bind(.udp)
        handle = UDPSocketHandle(descriptor: owned.number, family: address.family, localAddress: local)
        self.owned = owned
    }

    /// Asks whether nobody has the address, by having it for a moment.
    ///
    /// Sockets that reuse a port share it with any other program of the same user that does; ask this before the first.
    ///
    /// - Throws: If somebody has it, or it cannot be used.
    public static func checkAvailable(_ address: SocketAddress, isIPv6Only: Bool = true) throws(SocketError) {
        var options = Options()
        options.isIPv6Only = isIPv6Only
        _ = try UDPSocket(boundTo: address, options: options)
    }

    /// The file descriptor, for a poller; valid while the socket lives.
    public var descriptor: Int32 { handle.descriptor }

    /// The address and port it is bound to.
    public var localAddress: SocketAddress { handle.localAddress }

    /// The size of the receive buffer that the system has granted, in bytes.
    public var receiveBufferBytes: Int { granted(FLOE_OPTION_RECEIVE_BUFFER) }

    /// The size of the send buffer that the system has granted, in bytes.
    public var sendBufferBytes: Int { granted(FLOE_OPTION_SEND_BUFFER) }

    /// Changes how datagrams longer than the path takes are treated, from the next one on.
    ///
    /// - Throws: If the system refuses.
    public func setPathMTUDiscovery(_ discovery: PathMTUDiscovery) throws(SocketError) {
        try OptionSetter(descriptor: descriptor, address: localAddress).setPathMTU(discovery)
    }

    /// Has the kernel tell requests from data among what comes to this port; `false` if it cannot.
    ///
    /// Of sockets that reuse the port each thread binds three, one after the other: the first gets data (ChannelData, records
    /// of DTLS that carry data), the second requests (STUN messages and handshakes), the third TURN's Send indications. A
    /// client has the same thread always, chosen by its address under `seed`. To be called, with the same values, by each
    /// thread once its first socket is bound.
    public func steer(threads: Int, seed: UInt64) -> Bool {
        floe_steer(descriptor, Int32(handle.family.rawValue), UInt32(clamping: threads), seed) >= 0
    }

    /// Has the kernel cut what is sent from now on into datagrams of this many bytes (UDP_SEGMENT).
    ///
    /// - Throws: If the system refuses.
    public func setSegmentByteCount(_ count: Int) throws(SocketError) {
        try OptionSetter(descriptor: descriptor, address: localAddress)
            .set(FLOE_OPTION_SEGMENT_SENT, Int32(clamping: count), "UDP_SEGMENT")
    }

    /// Sends one datagram with a TTL or hop limit of its own; what goes wrong is as if it were lost on the way.
    public func send(_ bytes: Span<UInt8>, to destination: SocketAddress, hopLimit: UInt8) {
        let family = Int32(handle.family.rawValue)
        guard floe_set_option(descriptor, family, FLOE_OPTION_HOP_LIMIT, Int32(hopLimit)) >= 0 else { return }
        var batch = DatagramSendBatch(capacity: 1, copyBytes: max(1, bytes.count))
        _ = batch.enqueue(copying: bytes, on: DatagramRoute(handle, to: destination))
        batch.flush()
        _ = floe_set_option(descriptor, family, FLOE_OPTION_HOP_LIMIT, -1)
    }

    /// The kernel reports twice what was asked for: its own structures count too.
    private func granted(_ option: floe_option) -> Int {
        Int(max(0, floe_get_option(descriptor, Int32(handle.family.rawValue), option))) / 2
    }
}

/// Sets options of a socket that is to be bound to `address`, with errors that say so.
struct OptionSetter {
    let descriptor: Int32
    let address: SocketAddress

    var family: Int32 { Int32(address.family.rawValue) }

    func set(_ option: floe_option, _ value: Int32, _ name: String, family: Int32? = nil) throws(SocketError) {
        let result = floe_set_option(descriptor, family ?? self.family, option, value)
        guard result >= 0 else { throw SocketError(.set(name), at: address, number: -result) }
    }

    private func join(_ group: UDPSocket.MulticastGroup) throws(SocketError) {
        var address = floe_address(group.address)
        // The C function reads the structure during the call only.
        let result = unsafe floe_join_group(descriptor, family, group.interface, &address)
        guard result >= 0 else { throw SocketError(.set("the multicast group"), at: self.address, number: -result) }
    }

    func apply(_ options: UDPSocket.Options) throws(SocketError) {
        if options.reportsErrors { try set(FLOE_OPTION_RECEIVE_ERRORS, 1, "the reporting of errors") }
        if address.family == .ipv6 { try set(FLOE_OPTION_IPV6_ONLY, options.isIPv6Only ? 1 : 0, "IPV6_V6ONLY") }
        if options.reusesAddress { try set(FLOE_OPTION_REUSE_ADDRESS, 1, "SO_REUSEADDR") }
        if let group = options.group { try join(group) }
        if options.reusesPort { try set(FLOE_OPTION_REUSE_PORT, 1, "SO_REUSEPORT") }
        if options.allowsMissingAddress { try set(FLOE_OPTION_FREE_BIND, 1, "IP_FREEBIND") }
        if options.reportsLocalAddress ?? address.ip.isUnspecified {
            try set(FLOE_OPTION_PACKET_INFORMATION, 1, "the reporting of local addresses")
        }
        if options.trafficClass != 0 {
            try set(FLOE_OPTION_TRAFFIC_CLASS, Int32(options.trafficClass), "the traffic class")
        }
        if options.reportsOriginalDestination {
            try set(FLOE_OPTION_ORIGINAL_DESTINATION, 1, "the reporting of local ports")
        }
        if options.reportsTrafficClass {
            try set(FLOE_OPTION_RECEIVE_TRAFFIC_CLASS, 1, "the reporting of traffic classes")
            // The IPv4 packets of a dual-stack socket obey the IPv4 options.
            if isDual(options) {
                try set(FLOE_OPTION_RECEIVE_TRAFFIC_CLASS, 1, "the reporting of traffic classes", family: 4)
            }
        }
        if options.reportsHopLimit {
            try set(FLOE_OPTION_RECEIVE_HOP_LIMIT, 1, "the reporting of hop limits")
            if isDual(options) { try set(FLOE_OPTION_RECEIVE_HOP_LIMIT, 1, "the reporting of hop limits", family: 4) }
        }
        if options.pathMTUDiscovery != .systemDefault {
            try setPathMTU(options.pathMTUDiscovery)
        }
        if options.mergesReceived { try set(FLOE_OPTION_MERGE_RECEIVED, 1, "UDP_GRO") }
        if let bytes = options.receiveBufferBytes {
            try set(FLOE_OPTION_RECEIVE_BUFFER, Int32(clamping: bytes), "the receive buffer")
        }
        if let bytes = options.sendBufferBytes {
            try set(FLOE_OPTION_SEND_BUFFER, Int32(clamping: bytes), "the send buffer")
        }
    }

    func setPathMTU(_ discovery: UDPSocket.PathMTUDiscovery) throws(SocketError) {
        try set(FLOE_OPTION_PATH_MTU, discovery.rawValue, "path MTU discovery")
        // An IPv6 socket takes the IPv4 option too, for its IPv4-mapped packets.
        if address.family == .ipv6 {
            try set(FLOE_OPTION_PATH_MTU, discovery.rawValue, "path MTU discovery", family: 4)
        }
    }

    /// Binds the socket; returns the address with the port that it got.
    func bind(_ transport: TransportProtocol) throws(SocketError) -> SocketAddress {
        var kernelAddress = floe_address(address)
        // The C functions use the pointer during the call only.
        var result = unsafe floe_bind(descriptor, family, &kernelAddress)
        // A port that was asked for is the one that it got.
        if result >= 0, address.port == 0 { result = unsafe floe_local_address(descriptor, &kernelAddress) }
        guard result >= 0 else { throw SocketError(.listen(transport), at: address, number: -result) }
        return SocketAddress(address.ip, port: kernelAddress.port, scope: address.scope)
    }

    private func isDual(_ options: UDPSocket.Options) -> Bool { address.family == .ipv6 && !options.isIPv6Only }
}
