import CLinux
public import NetTypes

/// What a host or a router has said about a datagram that was sent, or this host itself.
public struct ICMPError: Sendable, Equatable {
    /// Where the datagram was sent to.
    public let destination: SocketAddress
    /// Whether it came by ICMP or ICMPv6, according to the destination's family; type and code count only then.
    public let isICMP: Bool
    /// The type.
    public let type: UInt8
    /// The code.
    public let code: UInt8
    /// The path's MTU in bytes for "packet too big" and "fragmentation needed".
    public let mtu: UInt32
}

extension UDPSocketHandle {
    /// Takes the oldest error that is queued on the socket, which must report errors; `nil` if there is none.
    ///
    /// Errors that are not taken keep the poller awake.
    public func nextICMPError() -> ICMPError? {
        var error = floe_icmp_error()
        // The C function uses the pointer during the call only.
        guard unsafe floe_receive_icmp_error(descriptor, &error) > 0 else { return nil }
        return ICMPError(
            destination: error.destination.socketAddress,
            isICMP: error.family != 0,
            type: error.type,
            code: error.code,
            mtu: error.mtu
        )
    }
}
