public import NetTypes

/// A TURN server that nobody has configured, and how it was found (RFC 8155 §3).
public struct DiscoveredServer: Hashable, Sendable {
    /// How a server was found.
    public enum Origin: Hashable, Sendable, CustomStringConvertible {
        /// By the records of a domain (§4).
        case domain(String)
        /// By an address that every network may have its own server at (§6).
        case anycast

        /// How, in words.
        public var description: String {
            switch self {
            case .domain(let name): "by the records of \(name)"
            case .anycast: "at an anycast address"
            }
        }
    }

    /// What has to show that a discovered server is one that may be used; whoever is on the way can pose as one.
    public enum Proof: Hashable, Sendable {
        /// TLS or DTLS with a certificate for the domain that has led to the server.
        case certificate(domain: String)
        /// Responses with an integrity that only a server which knows the client's credentials can make.
        case integrity
        /// The same, and the response must lead to another address: an anycast address is nobody's to stay with (§6).
        case integrityAndRedirection
    }

    /// Where it is, and over what it is reached.
    public let candidate: ServerCandidate
    /// How it was found.
    public let origin: Origin

    /// Makes a server of a candidate.
    public init(_ candidate: ServerCandidate, _ origin: Origin) {
        self.candidate = candidate
        self.origin = origin
    }

    /// What has to be proven before the server is used; `nil` if nothing could be, and it must not be used (§9; turn 203).
    ///
    /// `checksCertificates` tells whether a wrong certificate ends the connection, `hasCredentials` whether the client has
    /// a password or an access token that the server knows too.
    public func proof(checksCertificates: Bool, hasCredentials: Bool) -> Proof? {
        switch origin {
        case .domain(let name) where candidate.transport.isSecure && checksCertificates: .certificate(domain: name)
        case .domain: hasCredentials ? .integrity : nil
        case .anycast: hasCredentials ? .integrityAndRedirection : nil
        }
    }
}

/// Where to look for TURN servers that nobody has configured (RFC 8155).
///
/// Departure: of the ways of RFC 8155 §3 there is the domain and there is anycast. DHCP is out of reach of a program without
/// privileges: the domain is the resolver's, which DHCP has often set (§4.1 permits other means). DNS-SD is left out: over
/// multicast everybody on the link may answer, and no name is left that a certificate could be for.
public enum ServerDiscovery {
    /// The anycast addresses of TURN (§8).
    public static let anycastAddresses = [
        IPAddress(ipv4: 0xC000_000A), IPAddress(ipv6: 0x2001_0001_0000_0000, 0x0000_0000_0000_0002),
    ]

    /// The servers at the anycast addresses: over UDP, where the first request and its answer are one packet each (§6).
    public static var anycastServers: [DiscoveredServer] {
        anycastAddresses.map { ip in
            let address = SocketAddress(ip, port: TransportProtocol.udp.standardPort)
            return DiscoveredServer(ServerCandidate(.udp, address, serverName: "\(ip)"), .anycast)
        }
    }

    /// The servers of a domain, in the order in which to try them: what a certificate proves comes first (§9).
    public static func servers(_ candidates: [ServerCandidate], of domain: String) -> [DiscoveredServer] {
        let secure = candidates.filter(\.transport.isSecure)
        let plain = candidates.filter { !$0.transport.isSecure }
        return (secure + plain).map { DiscoveredServer($0, .domain(domain)) }
    }
}
