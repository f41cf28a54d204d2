public import NetTypes

/// Why a packet went no further.
public enum NetworkDrop: String, DropReason {
    /// The link is down.
    case linkDown
    /// The link lost it.
    case lost
    /// The link's queue is full.
    case queueFull
    /// It is longer than the link takes, and nobody says so.
    case blackHole
    /// It is longer than the link takes, and the sender is told.
    case tooBig
    /// It has passed too many routers.
    case timeExceeded
    /// Nobody has its destination.
    case noRoute
    /// The segment keeps its hosts apart.
    case isolated
    /// A firewall forbids it on its way out.
    case firewallOutbound
    /// A firewall has seen nothing that it answers.
    case firewallInbound
    /// A NAT has no mapping for it.
    case noMapping
    /// A NAT has a mapping, but this sender is not awaited.
    case filtered
    /// A NAT does not turn packets round.
    case noHairpin
    /// A NAT has no room for another mapping of this host.
    case mappingsExhausted
    /// A NAT has no free port.
    case portsExhausted
    /// A NAT takes no packets of a sender that has come too early.
    case blacklisted
    /// A NAT does not let both sides open a connection at once.
    case simultaneousOpen
    /// NAT64 cannot say it in the other protocol.
    case untranslatable
    /// A firewall wants to see TLS, and this is something else.
    case notTLS
    /// The host sleeps, or its program is dead.
    case hostAsleep
    /// The host's interface is down or has another address now.
    case interfaceDown
    /// Nothing listens on the port.
    case closedPort
    /// An ICMP message about nothing that is known.
    case unmatchedICMP
}
