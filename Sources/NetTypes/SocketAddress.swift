public import Bytes

/// An address and a port: RFC 8656's "transport address" without the protocol.
public struct SocketAddress: Hashable, Sendable {
    /// The host part.
    public let ip: IPAddress
    /// The port in host order.
    public let port: UInt16
    /// The interface that a link-local IPv6 address belongs to, 0 if none.
    public let scope: UInt32

    /// Makes a transport address.
    @inlinable
    public init(_ ip: IPAddress, port: UInt16, scope: UInt32 = 0) {
        self.ip = ip
        self.port = port
        self.scope = scope
    }

    /// The protocol version of the host part.
    @inlinable public var family: AddressFamily { ip.family }

    /// The same address with IPv4-mapped IPv6 turned into IPv4.
    @inlinable public var unmapped: SocketAddress { SocketAddress(ip.unmapped, port: port, scope: scope) }
}

extension SocketAddress: FlatKey {
    /// Mixes address and port with the seed.
    @inlinable
    public func flatHash(seed: UInt64) -> UInt64 { ip.flatHash(seed: seed &+ UInt64(port)) }
}

extension SocketAddress: CustomStringConvertible, LosslessStringConvertible {
    /// Reads `a.b.c.d:port` or `[v6]:port`.
    public init?(_ text: String) {
        guard let colon = text.lastIndex(of: ":"),
            text[text.index(after: colon)...].utf8.allSatisfy({ (48...57).contains($0) }),
            let port = UInt16(text[text.index(after: colon)...])
        else { return nil }
        var host = text[..<colon]
        if host.hasPrefix("["), host.hasSuffix("]") {
            host = host.dropFirst().dropLast()
            guard let ip = IPAddress(text: host), ip.family == .ipv6 else { return nil }
            self.init(ip, port: port)
        } else {
            guard let ip = IPAddress(text: host), ip.family == .ipv4 else { return nil }
            self.init(ip, port: port)
        }
    }

    /// `a.b.c.d:port` or `[v6]:port`.
    public var description: String { ip.family == .ipv4 ? "\(ip):\(port)" : "[\(ip)]:\(port)" }
}
