public import NetTypes

/// An interface of this host with its addresses, as the driver reads it from the system.
public struct NetworkInterface: Hashable, Sendable {
    /// What an interface leads over.
    public enum Kind: UInt8, Hashable, Sendable {
        /// A cable.
        case wired
        /// Wi-Fi.
        case wireless
        /// A mobile network.
        case cellular
        /// A tunnel, such as of a VPN.
        case tunnel
        /// This host alone.
        case loopback
        /// Anything else.
        case other
    }

    /// The system's number.
    public var index: UInt32
    /// The system's name, for logs.
    public var name: String
    /// What it leads over.
    public var kind: Kind
    /// Its addresses.
    public var addresses: [InterfaceAddress]
    /// Whether the default route of a family goes over it.
    public var isDefaultRoute: Bool
    /// What sending over it costs, 0 to 999; comes last among equals.
    public var cost: UInt16

    /// Makes an interface.
    public init(
        index: UInt32,
        name: String,
        kind: Kind = .other,
        addresses: [InterfaceAddress],
        isDefaultRoute: Bool = true,
        cost: UInt16 = 0
    ) {
        self.index = index
        self.name = name
        self.kind = kind
        self.addresses = addresses
        self.isDefaultRoute = isDefaultRoute
        self.cost = cost
    }
}

/// One address of an interface.
public struct InterfaceAddress: Hashable, Sendable {
    /// The address.
    public var ip: IPAddress
    /// How many bits name its network.
    public var prefixLength: Int
    /// Whether it was made up for a while (RFC 8981).
    public var isTemporary: Bool
    /// Whether it is to be used for nothing new (RFC 4862 §5.5.4).
    public var isDeprecated: Bool
    /// Whether it is not yet known to be unique (RFC 4862 §5.4).
    public var isTentative: Bool

    /// Makes an address.
    public init(
        _ ip: IPAddress,
        prefixLength: Int,
        isTemporary: Bool = false,
        isDeprecated: Bool = false,
        isTentative: Bool = false
    ) {
        self.ip = ip
        self.prefixLength = prefixLength
        self.isTemporary = isTemporary
        self.isDeprecated = isDeprecated
        self.isTentative = isTentative
    }
}

/// An address from which candidates are gathered.
public struct SelectedAddress: Hashable, Sendable {
    /// The address, with its interface as scope if it is link-local.
    public let address: SocketAddress
    /// The interface's number.
    public let interface: UInt32
    /// What sending costs.
    public let cost: UInt16
    /// Whether it belongs to a tunnel.
    public let isVPN: Bool
    /// Whether the default route goes over its interface.
    public let isDefaultRoute: Bool
}

/// Chooses the addresses that become candidates (RFC 8445 §5.1.1.1, RFC 8835 §3.2, RFC 8828 §5.2).
public enum AddressSelection {
    /// Networks of IPv6 that are used at most: a host with more would gather for long and gain nothing.
    static let maximumIPv6Networks = 5

    /// Chooses the addresses to use.
    ///
    /// - Parameters:
    ///   - interfaces: All interfaces of the host.
    ///   - onlyDefaultRoute: Whether interfaces without default route are left out (modes 2 and 3 of RFC 8828).
    ///   - loopback: Whether the host's own loopback is used as well, for peers on the same host.
    ///   - limit: How many addresses at most.
    /// - Returns: The addresses, the best first.
    public static func select(
        _ interfaces: [NetworkInterface],
        onlyDefaultRoute: Bool = false,
        loopback: Bool = false,
        limit: Int = 16
    ) -> [SelectedAddress] {
        var found: [SelectedAddress] = []
        for interface in interfaces where loopback || interface.kind != .loopback {
            guard interface.isDefaultRoute || !onlyDefaultRoute else { continue }
            for address in usable(interface.addresses, loopback: interface.kind == .loopback) {
                let scope = address.ip.isLinkLocal && address.ip.family == .ipv6 ? interface.index : 0
                found.append(
                    SelectedAddress(
                        address: SocketAddress(address.ip, port: 0, scope: scope),
                        interface: interface.index,
                        cost: interface.cost,
                        isVPN: interface.kind == .tunnel,
                        isDefaultRoute: interface.isDefaultRoute
                    )
                )
            }
        }
        var ipv6Count = 0
        return found.sorted(by: isBetter)
            .filter { selected in
                guard selected.address.family == .ipv6 else { return true }
                ipv6Count += 1
                return ipv6Count <= maximumIPv6Networks
            }
            .prefix(limit).map(\.self)
    }

    /// By default route, tunnel, cost, scope, and then by number, so that equal hosts choose equally.
    private static func isBetter(_ left: SelectedAddress, _ right: SelectedAddress) -> Bool {
        func rank(_ selected: SelectedAddress) -> (Int, UInt16, Int, UInt32) {
            let ip = selected.address.ip
            let scope = ip.isLinkLocal ? 2 : isUniqueLocal(ip) ? 1 : 0
            return (
                (selected.isDefaultRoute ? 0 : 2) + (selected.isVPN ? 1 : 0), selected.cost, scope, selected.interface
            )
        }
        let (first, second) = (rank(left), rank(right))
        if first != second { return first < second }
        if left.address.family != right.address.family { return left.address.family == .ipv6 }
        return (left.address.ip.high, left.address.ip.low) < (right.address.ip.high, right.address.ip.low)
    }

    /// The addresses of one interface that may be used, in their order.
    private static func usable(_ all: [InterfaceAddress], loopback: Bool) -> [InterfaceAddress] {
        let legal = all.filter { (isLegal($0.ip) || loopback && $0.ip.isLoopback) && !$0.isTentative }
        var chosen: [InterfaceAddress] = []
        for family in AddressFamily.allCases {
            let own = legal.filter { $0.ip.family == family }
            // What is deprecated is better than nothing (RFC 6724 §5 rule 3).
            let fresh = own.contains { !$0.isDeprecated } ? own.filter { !$0.isDeprecated } : own
            // Wider scopes make narrower ones needless: global, unique local, link-local (RFC 6724 §5 rule 2).
            let scopes: [(IPAddress) -> Bool] = [
                { !$0.isLinkLocal && !isUniqueLocal($0) }, isUniqueLocal, { $0.isLinkLocal },
            ]
            guard let scope = scopes.first(where: { scope in fresh.contains { scope($0.ip) } }) else { continue }
            let inScope = fresh.filter { scope($0.ip) }
            chosen += family == .ipv4 ? inScope : withoutTracks(inScope)
        }
        return chosen
    }

    /// Leaves one address of each prefix, the one that tells least about the host (ice 5, 142).
    private static func withoutTracks(_ addresses: [InterfaceAddress]) -> [InterfaceAddress] {
        var chosen: [InterfaceAddress] = []
        for address in addresses {
            let place = chosen.firstIndex { $0.ip.high == address.ip.high }
            guard let place else {
                chosen.append(address)
                continue
            }
            if privacy(address) > privacy(chosen[place]) { chosen[place] = address }
        }
        return chosen
    }

    private static func privacy(_ address: InterfaceAddress) -> Int {
        // An identifier made of the hardware's address has FFFE in its middle (RFC 4291 Appendix A).
        address.isTemporary ? 2 : address.ip.low &>> 24 & 0xFFFF == 0xFFFE ? 0 : 1
    }

    /// Whether candidates may have it at all (RFC 8445 §5.1.1.1; ice 2, 3, 4).
    static func isLegal(_ ip: IPAddress) -> Bool {
        guard !ip.isUnspecified, !ip.isLoopback else { return false }
        if ip.family == .ipv4 { return ip.ipv4Bits &>> 24 != 0 && ip.ipv4Bits < 0xE000_0000 }
        let isCompatible = ip.high == 0 && ip.low &>> 32 == 0
        let isMapped = ip.high == 0 && ip.low &>> 32 == 0xFFFF
        let isSiteLocal = ip.high &>> 54 == 0x3FB
        let isMulticast = ip.high &>> 56 == 0xFF
        return !isCompatible && !isMapped && !isSiteLocal && !isMulticast
    }

    /// fc00::/7 (RFC 4193).
    static func isUniqueLocal(_ ip: IPAddress) -> Bool { ip.family == .ipv6 && ip.high &>> 57 == 0x7E }
}
