public import NetTypes
import STUN

/// Other servers to which clients are sent, by 300 (Try Alternate), when this one has no room (RFC 8489 §10).
///
/// Only authenticated Allocate requests are redirected: nobody else should learn of the servers, or be sent to them by a
/// forged answer (turn 81).
public struct TURNServerRedirection: Sendable, Hashable {
    /// The servers: a client gets one of its own family, chosen at random, then one of the other if there is any.
    public var servers: [SocketAddress]
    /// The name in the servers' certificates, for clients that came over TLS and authenticated with SHA-256.
    public var domain: String?
    /// Whether every client is sent away, and not only when there is no room.
    public var isForAll = false

    /// Makes a redirection for the time when there is no room.
    public init(to servers: [SocketAddress], domain: String? = nil) {
        self.servers = servers
        self.domain = domain
    }
}

extension TURNServerEngine {
    /// Answers with 300 if there is a server of the client's own family (turn 82); returns whether there is.
    mutating func redirect(_ responder: Responder) -> Bool {
        guard let redirection = configuration.redirection, responder.isAuthenticated else { return false }
        let family = responder.client.remote.family
        let own = redirection.servers.filter { $0.family == family }.randomElement(using: &weakEntropy)
        guard let own else { return false }
        let other = redirection.servers.filter { $0.family != family }.randomElement(using: &weakEntropy)
        var domain: String?
        if case .sha256 = responder.protection, responder.client.transport.isSecure { domain = redirection.domain }
        fail(responder, .tryAlternate) { builder, output in
            builder.append(.alternateServer, own, into: &output)
            if let other { builder.append(.alternateServer, other, into: &output) }
            if let domain { builder.append(.alternateDomain, domain, into: &output) }
        }
        return true
    }
}
