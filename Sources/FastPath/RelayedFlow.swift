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
    /// When that ends.
    public let expires: Instant

    /// Makes the direction from a client to a peer.
    public static func toPeer(
        from client: SocketAddress,
        at server: SocketAddress,
        channel: UInt16,
        relay: SocketAddress,
        peer: SocketAddress,
        until expires: Instant
    ) -> RelayedFlow {
        RelayedFlow(
            source: client,
            destination: server,
            isToPeer: true,
            channel: channel,
            newSource: relay,
            newDestination: peer,
            expires: expires
        )
    }

    /// Makes the direction from a peer to a client.
    public static func toClient(
        _ client: SocketAddress,
        from server: SocketAddress,
        channel: UInt16,
        relay: SocketAddress,
        peer: SocketAddress,
        until expires: Instant
    ) -> RelayedFlow {
        RelayedFlow(
            source: peer,
            destination: relay,
            isToPeer: false,
            channel: channel,
            newSource: server,
            newDestination: client,
            expires: expires
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

    /// Where the flow comes in and leaves, as the routes of now say; `nil` without routes to other hosts.
    ///
    /// Packets that come in elsewhere than answers would leave are left to the kernel's own judgement (RFC 3704 §2.2).
    var interfaces: (from: UInt32, to: UInt32)? {
        guard let from = Self.interface(from: destination, to: source),
            let to = Self.interface(from: newSource, to: newDestination)
        else { return nil }
        return (from, to)
    }

    func path(from: UInt32, to: UInt32, mtu: UInt16) -> floe_relay_path {
        let (source, destination) = (WireAddress(newSource), WireAddress(newDestination))
        return floe_relay_path(
            source_high: source.high,
            source_low: source.low,
            destination_high: destination.high,
            destination_low: destination.low,
            source_port: source.port,
            destination_port: destination.port,
            channel: isToPeer ? 0 : channel.bigEndian,
            longest: mtu,
            from_interface: from,
            to_interface: to,
            allowance: 0,
            reserved: 0,
            expires: expires.nanoseconds,
            packets: 0,
            bytes: 0
        )
    }

    private static func interface(from local: SocketAddress, to remote: SocketAddress) -> UInt32? {
        var (local, remote) = (floe_address(plain: local), floe_address(plain: remote))
        // The function reads both during the call.
        let index = unsafe floe_route_interface(&local, &remote)
        // 1 is the loopback interface.
        return index > 1 ? UInt32(index) : nil
    }
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
    let index: UInt32
    /// All bytes that were ever granted.
    public var granted: UInt64 = 0

    init(index: UInt32) { self.index = index }
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
    fileprivate init(plain address: SocketAddress) {
        self.init(
            high: address.ip.high,
            low: address.ip.low,
            scope: 0,
            port: address.port,
            family: address.ip.family.rawValue,
            reserved: 0
        )
    }
}
