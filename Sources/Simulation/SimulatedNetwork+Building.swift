public import NetTypes

/// Which IPv6 addresses an interface gets beside its ordinary one.
public struct AddressChoice: Sendable, Hashable {
    /// The kinds to add.
    public var kinds: Set<AddressKind>

    /// Only an ordinary address of each family.
    public static let plain = AddressChoice(kinds: [])
    /// What a laptop at home has: a temporary and a link-local address as well.
    public static let laptop = AddressChoice(kinds: [.temporary, .linkLocal])
    /// Everything there is.
    public static let everything = AddressChoice(kinds: [.temporary, .deprecated, .uniqueLocal, .linkLocal])

    /// Makes a choice.
    public init(kinds: Set<AddressKind>) { self.kinds = kinds }
}

/// Building a world.
extension SimulatedNetwork {
    /// Adds a segment behind a gateway.
    ///
    /// Several gateways in a row make nested NATs: give an earlier segment as `outer`. Without a prefix, IPv4 addresses
    /// are 192.168.N.0/24; several segments may have the same ones, as homes do. IPv6 addresses are global ones of
    /// a prefix of the segment's own. The links of the gateway are those between it and the outer segment.
    @discardableResult
    public func addLAN(
        _ name: String,
        behind configuration: GatewayConfiguration,
        of outer: SimulatedSegment? = nil,
        families: Set<AddressFamily> = [.ipv4, .ipv6],
        prefix: IPPrefix? = nil,
        up: LinkConditions = LinkConditions(delay: .milliseconds(10)),
        down: LinkConditions? = nil
    ) -> SimulatedSegment {
        let outer = outer ?? internet
        lanCount += 1
        var prefixes: [IPPrefix] = []
        if families.contains(.ipv4) {
            prefixes.append(prefix ?? Self.prefix("192.168.\(lanCount % 250).0/24"))
        }
        var outerPrefix: IPPrefix?
        if families.contains(.ipv6) {
            let number = UInt64(lanCount)
            let global = Self.prefix("2001:db8:0:\(String(number, radix: 16))::/64")
            outerPrefix = configuration.outerPrefix ?? global
            let inner = IPPrefix(IPAddress(ipv6: 0xFD00_0000_0000_0000 | number, 0), length: 64)
            prefixes.append(configuration.outerPrefix == nil ? global : inner ?? global)
        }
        let routers = prefixes.map { prefix in
            prefix.base.family == .ipv4
                ? IPAddress(ipv4: prefix.base.ipv4Bits + 1) : IPAddress(ipv6: prefix.base.high, 1)
        }
        let segment = SimulatedSegment(
            name,
            index: segments.count,
            prefixes: prefixes,
            firstHost: 10,
            routers: routers
        )
        segments.append(segment)
        // A NAT64 needs an IPv4 address outside even if there is no IPv4 inside.
        let count = families.contains(.ipv4) || configuration.nat64 != nil ? configuration.addressCount : 0
        var addresses = (0..<count).compactMap { _ in take(.ipv4, on: outer) }
        if families.contains(.ipv6), let own = take(.ipv6, on: outer) { addresses.append(own) }
        let gateway = SimulatedGateway(
            name + "-gateway",
            configuration,
            inside: segment,
            insideAddresses: routers,
            outside: outer,
            outsideAddresses: addresses,
            network: self
        )
        gateways.append(gateway)
        segment.gateway = gateway
        gateway.insideAttachment = attach(
            .insideOf(gateway),
            to: segment,
            up: .ideal,
            down: .ideal,
            gateway.name + "/in"
        )
        for router in routers { segment.places[router] = gateway.insideAttachment }
        gateway.outsideAttachment = attach(.outsideOf(gateway), to: outer, up: up, down: down ?? up, gateway.name)
        for address in addresses { outer.places[address] = gateway.outsideAttachment }
        announce(prefixes, outerPrefix, of: gateway)
        return segment
    }

    /// Tells all outer segments where the segment's addresses lie that are not translated.
    private func announce(_ prefixes: [IPPrefix], _ outerPrefix: IPPrefix?, of gateway: SimulatedGateway) {
        var reachable = outerPrefix.map { [$0] } ?? []
        if gateway.configuration.nat == nil { reachable += prefixes.filter { $0.base.family == .ipv4 } }
        var next: SimulatedGateway? = gateway
        while let gateway = next {
            for prefix in reachable { gateway.outside.routes.append((prefix, gateway.outsideAttachment)) }
            next = gateway.outside.gateway
            if next?.configuration.nat != nil { reachable.removeAll { $0.base.family == .ipv4 } }
        }
    }

    /// Adds a carrier's inner network: customers' gateways are hosts of 100.64.0.0/10 behind one NAT.
    @discardableResult
    public func addCarrier(
        _ name: String,
        _ behavior: NATBehavior = .carrier,
        up: LinkConditions = LinkConditions(delay: .milliseconds(5))
    ) -> SimulatedSegment {
        addLAN(
            name,
            behind: GatewayConfiguration(nat: behavior, statefulFirewall: nil),
            prefix: Self.prefix("100.64.0.0/10"),
            up: up
        )
    }

    /// Adds a host with one interface, `eth0`.
    ///
    /// On the Internet a host's link has the delay given, on a LAN none unless one is given.
    @discardableResult
    public func addHost(
        _ name: String,
        on segment: SimulatedSegment,
        families: Set<AddressFamily> = [.ipv4, .ipv6],
        addresses: AddressChoice = .plain,
        up: LinkConditions? = nil,
        down: LinkConditions? = nil
    ) -> SimulatedHost {
        let host = SimulatedHost(name, index: hosts.count, network: self)
        hosts.append(host)
        connect(host, to: segment, families: families, addresses: addresses, up: up, down: down)
        return host
    }

    /// Adds an interface to a host.
    public func connect(
        _ host: SimulatedHost,
        to segment: SimulatedSegment,
        name: String? = nil,
        kind: InterfaceKind = .ethernet,
        families: Set<AddressFamily> = [.ipv4, .ipv6],
        addresses choice: AddressChoice = .plain,
        addressCount: Int = 1,
        up: LinkConditions? = nil,
        down: LinkConditions? = nil
    ) {
        let standard = segment === internet ? LinkConditions(delay: .milliseconds(10)) : .ideal
        let number = host.interfaces.count
        let name = name ?? "eth\(number)"
        let attachment = attach(
            .host(host, interface: number),
            to: segment,
            up: up ?? standard,
            down: down ?? up ?? standard,
            "\(host.name)/\(name)"
        )
        segment.members.append(attachment)
        var addresses: [HostInterface.Address] = []
        func add(_ address: IPAddress?, _ kind: AddressKind) {
            guard let address else { return }
            segment.places[address] = attachment
            addresses.append(HostInterface.Address(ip: address, kind: kind))
        }
        for family in segment.families where families.contains(family) {
            for _ in 0..<addressCount { add(take(family, on: segment), .stable) }
            guard family == .ipv6, let prefix = segment.prefix(.ipv6)?.base else { continue }
            let identifier = host.entropy.next() | 1
            for kind in AddressKind.allCases where choice.kinds.contains(kind) {
                switch kind {
                case .stable: break
                case .temporary: add(IPAddress(ipv6: prefix.high, identifier), kind)
                case .deprecated: add(IPAddress(ipv6: prefix.high, ~identifier), kind)
                case .uniqueLocal: add(IPAddress(ipv6: 0xFDAA << 48 | UInt64(segment.index), identifier), kind)
                case .linkLocal: add(IPAddress(ipv6: 0xFE80 << 48, identifier), kind)
                }
            }
        }
        host.interfaces.append(
            HostInterface(name: name, kind: kind, segment: segment, addresses: addresses, attachment: attachment)
        )
    }

    /// Adds a host that is the gateway itself, for its services: it has the gateway's inner addresses.
    public func addGatewayHost(_ name: String, on segment: SimulatedSegment) -> SimulatedHost? {
        guard let gateway = segment.gateway else { return nil }
        let host = SimulatedHost(name, index: hosts.count, network: self)
        hosts.append(host)
        connect(host, to: segment, families: [])
        let attachment = host.interfaces[0].attachment
        for address in gateway.insideAddresses {
            segment.places[address] = attachment
            host.interfaces[0].addresses.append(HostInterface.Address(ip: address, kind: .stable))
        }
        return host
    }

    private func take(_ family: AddressFamily, on segment: SimulatedSegment) -> IPAddress? {
        if let address = segment.freshAddress(family) { return address }
        guard segment === internet, family == .ipv4 else { return nil }
        // The Internet has more room than its first prefix.
        var number: UInt32 = 0xC612_0000
        while segment.places[IPAddress(ipv4: number)] != nil { number += 1 }
        segment.places[IPAddress(ipv4: number)] = -1
        return IPAddress(ipv4: number)
    }

    /// Takes an address away from an attachment and gives it another one of the same segment.
    func moveAddress(_ old: IPAddress, of attachment: Int) -> IPAddress {
        let segment = attachments[attachment].segment
        guard let fresh = take(old.family, on: segment) else { return old }
        segment.places[old] = nil
        segment.places[fresh] = attachment
        return fresh
    }

    private func attach(
        _ owner: Attachment.Owner,
        to segment: SimulatedSegment,
        up: LinkConditions,
        down: LinkConditions,
        _ name: String
    ) -> Int {
        let index = attachments.count
        let first = links.count
        links.append(Link(up, index: first, attachment: index, end: .segment, entropy: entropy(name + "/up")))
        links.append(Link(down, index: first + 1, attachment: index, end: .owner, entropy: entropy(name + "/down")))
        attachments.append(Attachment(index: index, segment: segment, owner: owner, up: first, down: first + 1))
        return index
    }

    // MARK: Links

    /// Changes the links of a host's interface.
    public func setLink(of host: SimulatedHost, interface: Int = 0, _ change: (inout LinkConditions) -> Void) {
        alter(attachments[host.interfaces[interface].attachment], change)
    }

    /// Changes only one direction of a host's link: from the host, or to it.
    public func setLink(
        of host: SimulatedHost,
        interface: Int = 0,
        fromHost: Bool,
        _ change: (inout LinkConditions) -> Void
    ) {
        let place = attachments[host.interfaces[interface].attachment]
        change(&links[fromHost ? place.up : place.down].conditions)
    }

    /// Changes the links between a gateway and its outer segment.
    public func setLink(of gateway: SimulatedGateway, _ change: (inout LinkConditions) -> Void) {
        alter(attachments[gateway.outsideAttachment], change)
    }

    private func alter(_ place: Attachment, _ change: (inout LinkConditions) -> Void) {
        change(&links[place.up].conditions)
        change(&links[place.down].conditions)
    }
}
