/// What carries bytes between a client and the server.
public enum TransportProtocol: UInt8, Sendable, Hashable, CaseIterable, CustomStringConvertible {
    /// Datagrams.
    case udp
    /// A plain TCP connection.
    case tcp
    /// TLS over TCP.
    case tls
    /// DTLS over UDP (RFC 7350).
    case dtls

    /// Whether messages must be cut out of a byte stream.
    public var isStream: Bool { self == .tcp || self == .tls }

    /// Whether the messages are encrypted.
    public var isSecure: Bool { self == .tls || self == .dtls }

    /// The name in lower case, as in URIs and metrics.
    public var description: String {
        switch self {
        case .udp: "udp"
        case .tcp: "tcp"
        case .tls: "tls"
        case .dtls: "dtls"
        }
    }
}
