public import NetTypes

/// What a gateway lets out and in, whatever it translates.
public struct FirewallPolicy: Sendable, Hashable {
    /// What becomes of a packet.
    public enum Verdict: String, Sendable, Hashable, CaseIterable {
        /// It goes on.
        case allow
        /// It disappears.
        case drop
        /// Its sender learns of it: a reset for TCP, an ICMP error for the rest.
        case reject
    }

    /// What becomes of UDP on its way out.
    public var udp = Verdict.allow
    /// The TCP ports that may be connected to; `nil` means all.
    public var tcpPorts: Set<UInt16>?
    /// What becomes of TCP to other ports.
    public var otherTCP = Verdict.drop
    /// Whether a connection must begin with a TLS record, or is cut.
    public var requiresTLS = false
    /// The only hosts that may be reached at all; empty means every host.
    public var onlyHosts: Set<IPAddress> = []
    /// What becomes of TCP connections from outside.
    public var inboundTCP = Verdict.allow

    /// Makes a policy that allows everything.
    public init() {}

    /// Everything is allowed.
    public static let open = FirewallPolicy()

    /// No UDP.
    public static func udpBlocked(_ verdict: Verdict = .drop) -> FirewallPolicy {
        var policy = FirewallPolicy()
        policy.udp = verdict
        return policy
    }

    /// Only TCP connections to these ports, made from inside.
    public static func only(ports: Set<UInt16>, requiresTLS: Bool = false) -> FirewallPolicy {
        var policy = udpBlocked()
        policy.tcpPorts = ports
        policy.requiresTLS = requiresTLS
        policy.inboundTCP = .drop
        return policy
    }

    /// Nothing but these hosts: a proxy.
    public static func only(hosts: Set<IPAddress>) -> FirewallPolicy {
        var policy = FirewallPolicy()
        policy.onlyHosts = hosts
        policy.inboundTCP = .drop
        return policy
    }

    func judgeOutbound(_ packet: Packet) -> Verdict {
        if !onlyHosts.isEmpty, !onlyHosts.contains(packet.destination.ip) { return otherTCP }
        switch packet.body {
        case .udp: return udp
        case .tcp(let header):
            // Answers of connections from outside go out whatever their port.
            guard let tcpPorts, !tcpPorts.contains(packet.destination.port) else { return .allow }
            return header.flags.contains(.synchronize) && !header.flags.contains(.acknowledge) ? otherTCP : .allow
        case .icmp: return .allow
        }
    }

    func judgeInbound(_ packet: Packet) -> Verdict {
        guard case .tcp(let header) = packet.body else { return packet.ipProtocol == .udp ? udp : .allow }
        return header.flags.contains(.synchronize) && !header.flags.contains(.acknowledge) ? inboundTCP : .allow
    }
}

/// What stands between two segments.
///
///     GatewayConfiguration(nat: .portRestricted)
///     GatewayConfiguration(nat: .linux, firewall: .only(ports: [443], requiresTLS: true))
public struct GatewayConfiguration: Sendable, Hashable {
    /// How IPv4 is translated; `nil` lets addresses be.
    public var nat: NATBehavior?
    /// What becomes of packets that are not translated; `nil` lets all pass.
    ///
    /// Only filtering, timeouts and refusals of the behaviour count.
    public var statefulFirewall: NATBehavior?
    /// What may pass at all.
    public var firewall: FirewallPolicy
    /// How IPv6 hosts reach IPv4 ones; `nil` if they do not.
    public var nat64: NAT64?
    /// The prefix that stands for the inner one outside (NPTv6, RFC 6296); both have the same length, at most 64.
    public var outerPrefix: IPPrefix?
    /// How many outer IPv4 addresses the NAT has.
    public var addressCount = 1

    /// Translation between the versions (RFC 6146).
    public struct NAT64: Sendable, Hashable {
        /// Where IPv4 lies in the IPv6 address space, with 96 bits.
        public var prefix: IPPrefix
        /// How the NAT behaves.
        public var behavior: NATBehavior

        /// Makes a NAT64 behind the prefix; without one, 64:ff9b::/96 (RFC 6052).
        public init(_ behavior: NATBehavior = .carrier, prefix: IPPrefix? = nil) {
            self.behavior = behavior
            self.prefix = prefix ?? Self.wellKnownPrefix
        }

        static let wellKnownPrefix = SimulatedNetwork.prefix("64:ff9b::/96")
    }

    /// Makes a gateway; by default one that neither translates nor forbids, but keeps uninvited IPv6 out.
    public init(
        nat: NATBehavior? = nil,
        statefulFirewall: NATBehavior? = .portRestricted,
        firewall: FirewallPolicy = .open,
        nat64: NAT64? = nil
    ) {
        self.nat = nat
        self.statefulFirewall = statefulFirewall
        self.firewall = firewall
        self.nat64 = nat64
    }

    /// A router that lets everything pass as it is.
    public static let router = GatewayConfiguration(statefulFirewall: nil)
    /// A firewall without NAT: what was not asked for stays out.
    public static let statefulOnly = GatewayConfiguration()
}
