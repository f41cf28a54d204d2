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

    /// Makes an error from its parts.
    public init(destination: SocketAddress, isICMP: Bool, type: UInt8, code: UInt8, mtu: UInt32) {
        self.destination = destination
        self.isICMP = isICMP
        self.type = type
        self.code = code
        self.mtu = mtu
    }
}

extension UDPSocketHandle {
    /// Takes the oldest error that is queued on the socket, which must report errors; `nil` if there is none.
    ///
    /// Errors that are not taken keep the poller awake.
    public func nextICMPError() -> ICMPError? {
        var error = floe_icmp_error()
        // The C function uses the pointer during the call only.
        guard unsafe floe_receive_icmp_error(descriptor, &error, nil, 0) > 0 else { return nil }
        return ICMPError(error)
    }

    /// Takes the oldest error, and appends to `quote` the beginning of the datagram it is about, as far as it was quoted.
    public func nextICMPError(quoting quote: inout OutputSpan<UInt8>) -> ICMPError? {
        var error = floe_icmp_error()
        // The kernel writes at most the free capacity, behind what the span has already.
        let result = unsafe quote.withUnsafeMutableBufferPointer { buffer, count in
            guard let start = buffer.baseAddress else { return Int32(0) }
            let room = Int32(clamping: buffer.count - count)
            let result = unsafe floe_receive_icmp_error(descriptor, &error, start + count, room)
            count += Int(error.quoted)
            return result
        }
        return result > 0 ? ICMPError(error) : nil
    }
}

extension ICMPError {
    fileprivate init(_ error: floe_icmp_error) {
        destination = error.destination.socketAddress
        isICMP = error.family != 0
        type = error.type
        code = error.code
        mtu = error.mtu
    }
}
