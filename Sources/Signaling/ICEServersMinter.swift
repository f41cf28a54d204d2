import Bytes
import Crypto
public import SignalingMessages

/// Why no ICE servers can be named.
public enum ICEServersError: Error, Equatable, Sendable, CustomStringConvertible {
    /// The host is neither a DNS name nor an address, and no public host is configured.
    case badHost
    /// The user's id is empty, longer than 400 bytes or has a control character in it.
    case badUserID

    /// A sentence for people.
    public var description: String {
        switch self {
        case .badHost: "The host that the request names is no DNS name or address. Set the server's public host."
        case .badUserID: "The user's id must have 1 to 400 bytes and no control characters."
        }
    }
}

/// Makes the `iceServers` of a browser, with TURN credentials that last for a while and need no database.
///
/// The credentials are those of the "REST API for access to TURN services", which browsers, coturn and this server all
/// know: the user name is `expiry:id` and the password the base64 of its HMAC-SHA1 under a secret that the TURN server
/// shares.
public struct ICEServersMinter: Sendable {
    /// Where this server is to be found; a port that is `nil` is not served.
    public struct Endpoints: Hashable, Sendable {
        /// The port of STUN and TURN over UDP.
        public var udpPort: UInt16?
        /// The port of TURN over TCP.
        public var tcpPort: UInt16?
        /// The port of TURN over TLS over TCP.
        public var tlsPort: UInt16?

        /// Makes a set of ports; the registered ones by default (RFC 8656 §21.4), without TLS.
        public init(udpPort: UInt16? = 3478, tcpPort: UInt16? = 3478, tlsPort: UInt16? = nil) {
            self.udpPort = udpPort
            self.tcpPort = tcpPort
            self.tlsPort = tlsPort
        }
    }

    /// For how many seconds credentials last.
    public let ttlSeconds: UInt32
    /// The host to name in the URLs instead of the one that the page was loaded from.
    public let publicHost: WebHost?
    /// The ports and transports to name in the URLs.
    public let endpoints: Endpoints
    private let key: HMACKey?

    /// Makes a minter, which names STUN only if it has no secret.
    ///
    /// The default lifetime of a day outlives almost every call.
    public init(
        secret: String?,
        ttlSeconds: UInt32 = 86400,
        publicHost: WebHost? = nil,
        endpoints: Endpoints = Endpoints()
    ) {
        key = secret.map { HMACKey(.sha1, key: Array($0.utf8)) }
        self.ttlSeconds = max(60, ttlSeconds)
        self.publicHost = publicHost
        self.endpoints = endpoints
    }

    /// The servers for one user, who reached this server under `host` (a `Host` header's value will do).
    ///
    /// - Throws: `ICEServersError` if the host or the id is not fit to stand in a URL or a user name.
    public func mint(
        userID: String,
        host: String?,
        unixSeconds: UInt64
    ) throws(ICEServersError) -> ICEServerList {
        guard (1...400).contains(userID.utf8.count), userID.utf8.allSatisfy({ $0 >= 0x20 && $0 != 0x7F }) else {
            throw .badUserID
        }
        guard let host = publicHost ?? host.flatMap(WebHost.init) else { throw .badHost }
        var servers: [ICEServer] = []
        if let port = endpoints.udpPort { servers.append(ICEServer(urls: ["stun:\(host):\(port)"])) }
        let urls = turnURLs(host)
        if let key, !urls.isEmpty {
            let (expiry, overflow) = unixSeconds.addingReportingOverflow(UInt64(ttlSeconds))
            let username = "\(overflow ? .max : expiry):\(userID)"
            let credential = Base64.encode(key.authenticationCode(for: Array(username.utf8)))
            servers.append(ICEServer(urls: urls, username: username, credential: credential))
        }
        return ICEServerList(iceServers: servers, ttlSeconds: ttlSeconds)
    }

    private func turnURLs(_ host: WebHost) -> [String] {
        var urls: [String] = []
        if let port = endpoints.udpPort { urls.append("turn:\(host):\(port)?transport=udp") }
        if let port = endpoints.tcpPort { urls.append("turn:\(host):\(port)?transport=tcp") }
        if let port = endpoints.tlsPort { urls.append("turns:\(host):\(port)?transport=tcp") }
        return urls
    }
}
