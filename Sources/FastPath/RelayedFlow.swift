import CLinux
public import NetTypes

/// One direction of a bound channel: how its datagrams come in, and how they leave.
public struct RelayedFlow: Hashable, Sendable {
    /// Where they come from.
    public let source: SocketAddress
    /// The address of this host that they come to.
    public let destination: SocketAddress
    /// Whether they come as ChannelData and leave without its header, or the other way round.
    public let isToPeer: Bool
    /// The channel.
    public let channel: UInt16
    /// The address of this host that they leave from.
    public let newSource: SocketAddress
    /// Where they go.
    public let newDestination: SocketAddress

    /// Makes the direction from a client to a peer.
    public static func toPeer(
        from client: SocketAddress,
        at server: SocketAddress,
        channel: UInt16,
        relay: SocketAddress,
        peer: SocketAddress
    ) -> RelayedFlow {
        RelayedFlow(
            source: client,
            destination: server,
            isToPeer: true,
            channel: channel,
            newSource: relay,
            newDestination: peer
        )
    }

    /// Makes the direction from a peer to a client.
    public static func toClient(
        _ client: SocketAddress,
        from server: SocketAddress,
        channel: UInt16,
        relay: SocketAddress,
        peer: SocketAddress
    ) -> RelayedFlow {
        RelayedFlow(
            source: peer,
            destination: relay,
            isToPeer: false,
            channel: channel,
            newSource: server,
            newDestination: client
        )
    }

    var key: floe_relay_key {
        let (source, destination) = (WireAddress(source), WireAddress(destination))
        return floe_relay_key(
            source_high: source.high,
            source_low: source.low,
            destination_high: destination.high,
            destination_low: destination.low,
            source_port: source.port,
            destination_port: destination.port,
            channel: isToPeer ? channel.bigEndian : 0,
            family: UInt16(self.source.family.rawValue)
        )
    }

    /// All that is written down of it, but for its number, its end and its allowance.
    func values(from incoming: FlowRoute, over outgoing: FlowRoute) -> floe_relay_flow {
        let (source, destination) = (WireAddress(newSource), WireAddress(newDestination))
        return floe_relay_flow(
            number: 0,
            expires: 0,
            key: key,
            from_interface: incoming.interface,
            to_interface: outgoing.interface,
            source_high: source.high,
            source_low: source.low,
            destination_high: destination.high,
            destination_low: destination.low,
            source_port: source.port,
            destination_port: destination.port,
            channel: isToPeer ? 0 : channel.bigEndian,
            longest: outgoing.mtu,
            allowance: 0,
            reserved: 0,
            packets: 0,
            bytes: 0
        )
    }
}

/// Where packets leave for a remote address.
public struct FlowRoute: Hashable, Sendable {
    /// The interface's index.
    public let interface: UInt32
    /// The longest packet that it takes, in bytes; what is above 65,535 counts as that.
    public let mtu: UInt16

    /// Makes a route, whatever the kernel's table says.
    package init(interface: UInt32, mtu: UInt16) {
        self.interface = interface
        self.mtu = mtu
    }

    /// The route that the kernel's table has now.
    init?(from local: IPAddress, to remote: IPAddress) {
        var (local, remote) = (floe_address(plain: local), floe_address(plain: remote))
        // The function reads both during the call.
        let index = unsafe floe_route_interface(&local, &remote)
        // 1 is the loopback interface.
        guard index > 1 else { return nil }
        let mtu = floe_interface_mtu(UInt32(index))
        guard mtu > 0 else { return nil }
        self.init(interface: UInt32(index), mtu: UInt16(clamping: mtu))
    }
}

/// A place for one flow in the memory that the kernel shares.
public struct FlowSlot: Hashable, Sendable {
    let index: UInt32
    /// How often a flow was opened there: packets that were led there by another opening go up.
    var number: UInt32 = 0

    /// Makes a place that nothing was opened in.
    package init(index: UInt32) { self.index = index }
}

/// What was relayed of a flow.
public struct FlowTraffic: Hashable, Sendable {
    /// Datagrams.
    public var packets: UInt64
    /// Their payload's bytes.
    public var bytes: UInt64

    /// Makes a count.
    public init(packets: UInt64, bytes: UInt64) {
        self.packets = packets
        self.bytes = bytes
    }
}

/// Bytes that flows with a limit may relay together: what user space has taken from the limit, and not yet spent itself.
public struct Allowance: Sendable {
    package let index: UInt32
    /// All bytes that were ever granted.
    public var granted: UInt64 = 0

    /// Makes an allowance that nobody else has.
    package init(index: UInt32) { self.index = index }
}

/// An address and a port with the bytes in the order of the wire.
private struct WireAddress {
    let high: UInt64
    let low: UInt64
    let port: UInt16

    init(_ address: SocketAddress) {
        let ip = address.ip
        high = ip.family == .ipv4 ? UInt64(ip.ipv4Bits.bigEndian) : ip.high.bigEndian
        low = ip.family == .ipv4 ? 0 : ip.low.bigEndian
        port = address.port.bigEndian
    }
}

extension floe_address {
    fileprivate init(plain ip: IPAddress) {
        self.init(
            high: ip.high,
            low: ip.low,
            scope: 0,
            port: 0,
            family: ip.family.rawValue,
            reserved: 0
        )
    }
}
