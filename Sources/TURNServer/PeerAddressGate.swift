public import NetTypes

/// Why the gate refuses a peer's address; raw values are the names in logs.
public enum PeerDenial: String, Sendable, Hashable, CaseIterable {
    /// A prefix that the operator denied.
    case deniedByOperator
    /// One of the server's own addresses on which it does not relay.
    case serverAddress
    /// A range that is never a peer on the public Internet: loopback, private, link-local, multicast, reserved …
    case specialPurpose
    /// A Teredo or 6to4 address (RFC 8656 §21.4), or another form that carries an IPv4 address inside IPv6.
    case tunnel
}

/// What the gate says about a peer's address.
public enum PeerVerdict: Sendable, Hashable {
    /// Any port of the address may be a peer.
    case allowed
    /// The address is one of the server's own relay addresses: only ports that are live relays may be peers.
    case ownRelay
    /// No port of the address may be a peer.
    case denied(PeerDenial)
}

/// The one judge of every address that a peer may be sent to or heard from, on every path.
///
/// The order: what the operator denied, the server's own addresses, Teredo and 6to4, what the operator allowed, and the
/// ranges that are denied by default. An IPv6 address that carries an IPv4 address is judged by both.
public struct PeerAddressGate: Sendable {
    private let allow: [IPPrefix]
    private let deny: [IPPrefix]
    private let relays: [RelayAddress]
    private let own: [IPAddress]

    /// Makes a gate.
    ///
    /// `allow` overrides the default denials, and, where a prefix is a single address, also the denial of the server's
    /// own address: the operator has then named this very host. `deny` overrides everything. `serverAddresses` are all
    /// addresses of this host, whatever listens there.
    public init(
        allow: [IPPrefix] = [],
        deny: [IPPrefix] = [],
        relayAddresses: [RelayAddress] = [],
        serverAddresses: [IPAddress] = []
    ) {
        self.allow = allow
        self.deny = deny
        relays = relayAddresses
        own = serverAddresses.map(\.unmapped)
    }

    /// Whether the address may be a peer.
    ///
    /// O(number of prefixes); called when a permission is made, not per packet.
    public func judge(_ address: IPAddress) -> PeerVerdict {
        if contains(deny, address) { return .denied(.deniedByOperator) }
        if namedByOperator(address) { return .allowed }
        if relays.contains(where: { $0.external == address || $0.local == address }) { return .ownRelay }
        if own.contains(address) { return .denied(.serverAddress) }
        if AddressForms.isForbiddenTunnel(address) { return .denied(.tunnel) }
        if let denial = judgeEmbedded(in: address) { return .denied(denial) }
        if contains(allow, address) { return .allowed }
        if AddressForms.carriesIPv4(address) { return .denied(.tunnel) }
        return contains(Self.deniedByDefault, address) ? .denied(.specialPurpose) : .allowed
    }

    /// The form under which a peer is known to clients: its address, or the external form of our own relay address.
    public func presented(_ peer: SocketAddress) -> SocketAddress {
        for index in relays.indices where relays[index].local == peer.ip {
            return SocketAddress(relays[index].external, port: peer.port)
        }
        return peer
    }

    /// Where a datagram to a peer goes: its address, or the local form of our own relay address.
    public func reachable(_ peer: SocketAddress) -> SocketAddress {
        for index in relays.indices where relays[index].external == peer.ip {
            return SocketAddress(relays[index].local, port: peer.port)
        }
        return peer
    }

    // A tunnel form is a second name of an IPv4 host, so a denial of that host holds for all its names. Not even our
    // own relays are reached this way: whether their ports are live is only checked under their own name.
    private func judgeEmbedded(in address: IPAddress) -> PeerDenial? {
        for embedded in AddressForms.embeddedIPv4(in: address) {
            if contains(deny, embedded) { return .deniedByOperator }
            if own.contains(embedded) || relays.contains(where: { $0.external == embedded || $0.local == embedded }) {
                return .serverAddress
            }
            if !contains(allow, embedded), contains(Self.deniedByDefault, embedded) { return .specialPurpose }
        }
        return nil
    }

    private func namedByOperator(_ address: IPAddress) -> Bool {
        allow.contains { $0.length == address.byteCount * 8 && $0.base == address }
    }

    private func contains(_ prefixes: [IPPrefix], _ address: IPAddress) -> Bool {
        prefixes.contains { $0.contains(address) }
    }
}

extension PeerAddressGate {
    /// The ranges that are no peer unless the operator says so: the special-purpose registries of RFC 6890.
    ///
    /// Of IPv6, all that is not global unicast (2000::/3) and so on no path through the Internet, and the parts
    /// of that which are on none either: protocol assignments, Teredo, ORCHID and benchmarks (2001::/23), documentation, 6to4.
    public static let deniedByDefault: [IPPrefix] = [
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
        "224.0.0.0/4", "240.0.0.0/4", "::/3", "4000::/2", "8000::/1", "2001::/23", "2001:db8::/32", "2002::/16",
        "3fff::/20",
    ].compactMap { IPPrefix($0) }
}
