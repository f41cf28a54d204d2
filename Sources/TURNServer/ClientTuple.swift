public import Bytes
public import NetTypes

/// The 5-tuple that identifies a client, and with it its allocation (RFC 8656 §6).
public struct ClientTuple: Hashable, Sendable {
    /// What carries the client's messages.
    ///
    /// The same addresses over UDP and over TCP are two clients.
    public let transport: TransportProtocol
    /// The client's address as the server sees it, IPv4 in its native form.
    public let remote: SocketAddress
    /// The server's address to which the client sends; answers leave from it.
    public let local: SocketAddress
    /// The driver's handle of the stream, 0 for UDP.
    ///
    /// A new stream between the same addresses is a new client.
    public let connection: UInt64

    /// Makes a 5-tuple; IPv4-mapped addresses, as dual-stack sockets show them, become IPv4.
    public init(
        transport: TransportProtocol,
        remote: SocketAddress,
        local: SocketAddress,
        connection: UInt64 = 0
    ) {
        self.transport = transport
        self.remote = remote.unmapped
        self.local = local.unmapped
        self.connection = connection
    }
}

extension ClientTuple: FlatKey {
    /// Mixes every part that a client can choose through its own round, so that no parts cancel each other.
    @inlinable
    public func flatHash(seed: UInt64) -> UInt64 {
        let ports = UInt64(remote.port) &<< 16 | UInt64(local.port) | UInt64(transport.rawValue) &<< 32
        let server = local.ip.low ^ local.ip.high &>> 1
        var hash = remote.ip.low.flatHash(seed: seed)
        if remote.ip.family == .ipv6 { hash = (remote.ip.high ^ hash).flatHash(seed: ~seed) }
        return (ports ^ connection &<< 34 ^ server &<< 20 ^ hash).flatHash(seed: seed)
    }
}
