public import NetTypes
public import STUN
public import TURN

/// A way to try: what carries the messages, and to where.
public struct ServerCandidate: Hashable, Sendable {
    /// The transport.
    public let transport: TransportProtocol
    /// Address and port.
    public let address: SocketAddress
    /// The name that a certificate must be for: the one of the URI, whatever records have led here (RFC 5928 §5).
    public let serverName: String
    /// Candidates of one record have one number: only among them may the order be changed.
    public let group: Int

    /// Makes a candidate.
    public init(_ transport: TransportProtocol, _ address: SocketAddress, serverName: String, group: Int = 0) {
        self.transport = transport
        self.address = address
        self.serverName = serverName
        self.group = group
    }

    /// Where a redirection leads (RFC 8489 §10): over the same transport, to a certificate for ALTERNATE-DOMAIN, or for
    /// the same name if there is none (turn 84).
    public func redirected(to address: SocketAddress, domain: String?) -> ServerCandidate {
        ServerCandidate(transport, address, serverName: domain ?? serverName, group: group)
    }
}

/// What is looked for: the parts of a URI and what the caller can do with it.
public struct ServerQuery: Hashable, Sendable {
    /// The service of SRV and NAPTR records.
    public enum Service: String, Hashable, Sendable {
        /// STUN (RFC 8489 §8): no NAPTR.
        case stun
        /// TURN (RFC 5928).
        case turn
    }

    /// The service.
    public var service: Service
    /// Host and port as the URI has them.
    public var host: URIHost
    /// Whether the scheme is `stuns` or `turns`.
    public var isSecure: Bool
    /// The transport that the URI names.
    public var named: TransportProtocol?
    /// What the caller can carry messages over, the one it likes best first.
    public var supported: [TransportProtocol]
    /// Whether only S-NAPTR records lead to a server: a domain that nobody has named as a server's (RFC 8155 §4.2).
    public var isDiscovery = false

    /// Makes a query for a TURN server.
    ///
    /// Without TLS in the URI, TLS is used only where a NAPTR record offers it.
    public init(_ uri: TURNURI, supported: [TransportProtocol] = TransportProtocol.allCases) {
        service = .turn
        host = uri.host
        isSecure = uri.isSecure
        named = uri.transport
        self.supported = supported
    }

    /// Makes a query for the TURN servers of a domain in which a client happens to be (RFC 8155 §4).
    public init(discoveringIn domain: String, supported: [TransportProtocol] = TransportProtocol.allCases) {
        service = .turn
        host = URIHost(domain)
        isSecure = false
        named = nil
        self.supported = supported
        isDiscovery = true
    }

    /// Makes a query for a STUN server over one transport, which the URI does not tell.
    public init(_ uri: STUNURI, over transport: TransportProtocol) {
        service = .stun
        host = uri.host
        isSecure = uri.isSecure
        named = nil
        supported = [transport]
    }
}

extension TransportProtocol {
    /// Whether certificates are looked at.
    var isSecure: Bool {
        switch self {
        case .udp, .tcp: false
        case .tls, .dtls: true
        }
    }

    /// The protocol in the name of an SRV record.
    var recordProtocol: String { isStream ? "tcp" : "udp" }

    /// The protocol tag of NAPTR records (RFC 5928 §3, RFC 7350 §4).
    var tag: String { "turn.\(description)" }

    /// The port that is meant where none is given.
    var standardPort: UInt16 { isSecure ? 5349 : 3478 }

    /// What a URI's words mean (RFC 5928 table 1).
    static func meant(by named: TransportProtocol, isSecure: Bool, of supported: [TransportProtocol]) -> Self? {
        supported.first { $0.isSecure == isSecure && $0.isStream == named.isStream }
    }
}
