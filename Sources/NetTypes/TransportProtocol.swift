/// What carries bytes between a client and the server.
public enum TransportProtocol: UInt8, Sendable, Hashable, CaseIterable, CustomStringConvertible {
    /// Datagrams.
    case udp
    /// A plain TCP connection.
    case tcp
    /// TLS over TCP.
    case tls

    /// Whether messages must be cut out of a byte stream.
    public var isStream: Bool { self != .udp }

    /// The name in lower case, as in URIs and metrics.
    public var description: String {
        switch self {
        case .udp: "udp"
        case .tcp: "tcp"
        case .tls: "tls"
        }
    }
}
