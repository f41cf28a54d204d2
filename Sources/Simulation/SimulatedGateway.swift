public import NetTypes

/// A box between two segments: router, NAT, firewall, NAT64, or several of these in one.
public final class SimulatedGateway {
    /// The name in traces.
    public let name: String
    /// What it does; may be changed while packets flow.
    public var configuration: GatewayConfiguration {
        didSet { applyConfiguration() }
    }
    /// The segment whose hosts it serves.
    public let inside: SimulatedSegment
    /// The segment that it is a client of.
    public let outside: SimulatedSegment
    /// Its addresses on the inner segment.
    public let insideAddresses: [IPAddress]
    /// Its addresses on the outer segment, those of the NAT among them.
    public private(set) var outsideAddresses: [IPAddress]

    unowned let network: SimulatedNetwork
    var insideAttachment = -1
    var outsideAttachment = -1
    private var nat: NATTable
    private var nat64: NATTable
    private var flows: NATTable
    private var inspected: [Flow: Bool] = [:]

    private struct Flow: Hashable {
        let inside: SocketAddress
        let remote: SocketAddress
    }

    init(
        _ name: String,
        _ configuration: GatewayConfiguration,
        inside: SimulatedSegment,
        insideAddresses: [IPAddress],
        outside: SimulatedSegment,
        outsideAddresses: [IPAddress],
        network: SimulatedNetwork
    ) {
        self.name = name
        self.configuration = configuration
        self.inside = inside
        self.insideAddresses = insideAddresses
        self.outside = outside
        self.outsideAddresses = outsideAddresses
        self.network = network
        let ipv4 = outsideAddresses.filter { $0.family == .ipv4 }
        nat = NATTable(configuration.nat ?? .fullCone, addresses: ipv4, entropy: network.entropy(name + "/nat"))
        nat64 = NATTable(
            configuration.nat64?.behavior ?? .fullCone,
            addresses: ipv4,
            entropy: network.entropy(name + "/nat64")
        )
        flows = NATTable(.fullCone, addresses: [], entropy: network.entropy(name + "/flows"))
        applyConfiguration()
    }

    private func applyConfiguration() {
        if let behavior = configuration.nat { nat.behavior = behavior }
        if let behavior = configuration.nat64?.behavior { nat64.behavior = behavior }
        if var behavior = configuration.statefulFirewall {
            // Nothing is translated: an inner endpoint is its own outer one.
            behavior.mapping = .endpointIndependent
            behavior.mappingsPerHost = .max
            behavior.degradesAfter = nil
            flows.behavior = behavior
        }
    }

    /// How many mappings the NAT holds, with expired ones that nobody has asked for since.
    public var mappingCount: Int { nat.count + nat64.count }

    /// The address that the NAT gives its hosts, if it has one.
    public var outerAddress: IPAddress? { outsideAddresses.first { $0.family == .ipv4 } }

    /// Forgets all mappings and flows, as after a power cut; with `newAddress`, the provider gives it another address.
    public func reboot(newAddress: Bool = false) {
        nat.reset()
        nat64.reset()
        flows.reset()
        inspected = [:]
        guard newAddress else { return }
        let fresh = outsideAddresses.map { old -> IPAddress in
            guard old.family == .ipv4 else { return old }
            return network.moveAddress(old, of: outsideAttachment)
        }
        outsideAddresses = fresh
        nat.addresses = fresh.filter { $0.family == .ipv4 }
        nat64.addresses = nat.addresses
    }

    /// Opens an outer port to everybody for an inner endpoint, as port mapping protocols do.
    ///
    /// The suggestion is followed if it can be. Without NAT, the firewall is opened and the endpoint stays the same.
    ///
    /// - Returns: The outer endpoint, or `nil` if there is none to give.
    public func openPort(
        _ ipProtocol: IPProtocol,
        for inside: SocketAddress,
        suggested: UInt16? = nil,
        lifetime: TimeSpan
    ) -> SocketAddress? {
        let (now, end) = (network.now, network.now + lifetime)
        guard inside.family == .ipv4, configuration.nat != nil else {
            guard case .endpoint(let same) = flows.outbound(ipProtocol, from: inside, to: inside, flags: [], at: now)
            else { return nil }
            flows.makeExplicit(ipProtocol, inside, until: end)
            return same
        }
        return nat.map(ipProtocol, inside, suggested: suggested, until: end, at: now)
    }

    /// Closes a port that `openPort` has opened.
    public func closePort(_ ipProtocol: IPProtocol, for inside: SocketAddress) {
        nat.unmap(ipProtocol, inside)
        flows.unmap(ipProtocol, inside)
    }

    // MARK: Outwards

    /// Takes a packet of an inner host that is for somewhere else.
    func receiveInside(_ packet: Packet) {
        var packet = packet
        guard packet.timeToLive > 1 else { return answerInside(packet, .timeExceeded, drop: .timeExceeded) }
        packet.timeToLive -= 1
        switch configuration.firewall.judgeOutbound(packet) {
        case .allow: break
        case .drop: return network.drop(packet, .firewallOutbound, name)
        case .reject:
            if let reset = packet.resetAnswer() { network.send(reset, on: insideAttachment) }
            guard packet.ipProtocol != .tcp else { return network.drop(packet, .firewallOutbound, name) }
            return answerInside(packet, .prohibited, drop: .firewallOutbound)
        }
        guard !configuration.firewall.requiresTLS || passesInspection(packet) else {
            if let reset = packet.resetAnswer() { network.send(reset, on: insideAttachment) }
            return network.drop(packet, .notTLS, name)
        }
        if packet.destination.family == .ipv4, configuration.nat != nil {
            outsideAddresses.contains(packet.destination.ip) ? turnRound(packet) : translateOut(packet)
        } else if let prefix = configuration.nat64?.prefix, prefix.contains(packet.destination.ip) {
            translateOut64(packet)
        } else {
            passOut(packet)
        }
    }

    /// Whether the first bytes of a connection are a TLS handshake record.
    private func passesInspection(_ packet: Packet) -> Bool {
        guard packet.ipProtocol == .tcp, let first = packet.payload.first else { return true }
        let flow = Flow(inside: packet.source, remote: packet.destination)
        if let verdict = inspected[flow] { return verdict }
        if inspected.count > 10_000 { inspected = [:] }
        let isTLS = first == 0x16
        inspected[flow] = isTLS
        return isTLS
    }

    private func translateOut(_ packet: Packet) {
        var packet = packet
        if case .icmp(var message) = packet.body {
            guard
                let outer = nat.existing(message.quotedProtocol, message.quotedDestination, message.quotedSource)
            else { return network.drop(packet, .unmatchedICMP, name) }
            message.quotedDestination = outer
            packet.body = .icmp(message)
            packet.source = SocketAddress(outer.ip, port: 0)
            return sendOutside(packet)
        }
        switch nat.outbound(
            packet.ipProtocol,
            from: packet.source,
            to: packet.destination,
            flags: packet.tcpFlags,
            at: network.now
        ) {
        case .drop(let reason): answerInside(packet, .prohibited, drop: reason)
        case .endpoint(let outer):
            if configuration.nat?.rewritesPayloads == true { packet.replace(packet.source.ip, with: outer.ip) }
            packet.source = outer
            sendOutside(packet)
        }
    }

    /// Hairpinning (RFC 4787 §6).
    private func turnRound(_ packet: Packet) {
        guard let behavior = configuration.nat, behavior.hairpin != .none, packet.ipProtocol != .icmp else {
            return network.drop(packet, .noHairpin, name)
        }
        let (kind, flags, now) = (packet.ipProtocol, packet.tcpFlags, network.now)
        guard
            case .endpoint(let outer) = nat.outbound(
                kind,
                from: packet.source,
                to: packet.destination,
                flags: flags,
                at: now
            )
        else { return network.drop(packet, .mappingsExhausted, name) }
        switch nat.inbound(kind, to: packet.destination, from: outer, flags: flags, at: now) {
        case .drop(let reason): network.drop(packet, reason, name)
        case .endpoint(let inner):
            var packet = packet
            if behavior.hairpin == .externalSource { packet.source = outer }
            packet.destination = inner
            network.send(packet, on: insideAttachment)
        }
    }

    private func passOut(_ packet: Packet) {
        if configuration.statefulFirewall != nil, packet.ipProtocol != .icmp {
            _ = flows.outbound(
                packet.ipProtocol,
                from: packet.source,
                to: packet.destination,
                flags: packet.tcpFlags,
                at: network.now
            )
        }
        guard let outer = configuration.outerPrefix, let inner = inside.prefix(.ipv6), packet.source.family == .ipv6
        else { return sendOutside(packet) }
        sendOutside(packet.replacingSource(of: inner, with: outer))
    }

    private func translateOut64(_ packet: Packet) {
        guard packet.ipProtocol != .icmp else { return network.drop(packet, .untranslatable, name) }
        let remote = SocketAddress(IPAddress(ipv4: packet.destination.ip.ipv4Bits), port: packet.destination.port)
        switch nat64.outbound(
            packet.ipProtocol,
            from: packet.source,
            to: remote,
            flags: packet.tcpFlags,
            at: network.now
        ) {
        case .drop(let reason): answerInside(packet, .prohibited, drop: reason)
        case .endpoint(let outer):
            var packet = packet
            packet.source = outer
            packet.destination = remote
            packet.dontFragment = false
            sendOutside(packet)
        }
    }

    // MARK: Inwards

    /// Takes a packet from the outer segment.
    func receiveOutside(_ packet: Packet) {
        var packet = packet
        guard packet.timeToLive > 1 else { return answerOutside(packet, .timeExceeded, drop: .timeExceeded) }
        packet.timeToLive -= 1
        switch configuration.firewall.judgeInbound(packet) {
        case .allow: break
        case .drop: return network.drop(packet, .firewallInbound, name)
        case .reject: return refuse(packet, .reset, .firewallInbound)
        }
        if packet.destination.family == .ipv4, outsideAddresses.contains(packet.destination.ip) {
            translateIn(packet)
        } else {
            passIn(packet)
        }
    }

    private func translateIn(_ packet: Packet) {
        if case .icmp(let message) = packet.body { return translateIn(packet, message) }
        let (kind, flags, now) = (packet.ipProtocol, packet.tcpFlags, network.now)
        var reason = NetworkDrop.noMapping
        if let behavior = configuration.nat {
            switch nat.inbound(kind, to: packet.destination, from: packet.source, flags: flags, at: now) {
            case .drop(let why): reason = why
            case .endpoint(let inner):
                var packet = packet
                if behavior.rewritesPayloads { packet.replace(packet.destination.ip, with: inner.ip) }
                packet.destination = inner
                return network.send(packet, on: insideAttachment)
            }
        }
        if let prefix = configuration.nat64?.prefix {
            switch nat64.inbound(kind, to: packet.destination, from: packet.source, flags: flags, at: now) {
            case .drop(let why): reason = why
            case .endpoint(let inner):
                var packet = packet
                packet.source = SocketAddress(packet.source.ip.embedded(in: prefix), port: packet.source.port)
                packet.destination = inner
                return network.send(packet, on: insideAttachment)
            }
        }
        let behavior = configuration.nat ?? configuration.nat64?.behavior
        refuse(packet, (kind == .tcp ? behavior?.tcpRefusal : behavior?.refusal) ?? .drop, reason)
    }

    /// An ICMP error about something that an inner host has sent.
    private func translateIn(_ packet: Packet, _ message: ICMPMessage) {
        var (packet, message) = (packet, message)
        let now = network.now
        let (kind, outer, remote) = (message.quotedProtocol, message.quotedSource, message.quotedDestination)
        if configuration.nat != nil, let inner = nat.inside(kind, outer, remote, at: now) {
            message.quotedSource = inner
            packet.destination = inner
        } else if let prefix = configuration.nat64?.prefix, let inner = nat64.inside(kind, outer, remote, at: now) {
            message.quotedSource = inner
            message.quotedDestination = SocketAddress(remote.ip.embedded(in: prefix), port: remote.port)
            if case .packetTooBig(let mtu) = message.reason { message.reason = .packetTooBig(mtu: mtu + 20) }
            packet.source = SocketAddress(packet.source.ip.embedded(in: prefix), port: 0)
            packet.destination = inner
        } else {
            return network.drop(packet, .unmatchedICMP, name)
        }
        packet.body = .icmp(message)
        network.send(packet, on: insideAttachment)
    }

    private func passIn(_ packet: Packet) {
        var packet = packet
        if let outer = configuration.outerPrefix, let inner = inside.prefix(.ipv6), packet.destination.family == .ipv6 {
            packet = packet.replacingDestination(of: outer, with: inner)
        }
        guard let behavior = configuration.statefulFirewall else { return network.send(packet, on: insideAttachment) }
        if case .icmp(let message) = packet.body {
            let known = flows.inside(
                message.quotedProtocol,
                message.quotedSource,
                message.quotedDestination,
                at: network.now
            )
            guard known != nil else { return network.drop(packet, .unmatchedICMP, name) }
            return network.send(packet, on: insideAttachment)
        }
        switch flows.inbound(
            packet.ipProtocol,
            to: packet.destination,
            from: packet.source,
            flags: packet.tcpFlags,
            at: network.now
        ) {
        case .endpoint: network.send(packet, on: insideAttachment)
        case .drop:
            refuse(packet, packet.ipProtocol == .tcp ? behavior.tcpRefusal : behavior.refusal, .firewallInbound)
        }
    }

    // MARK: Errors

    private func refuse(_ packet: Packet, _ answer: RefusalAnswer, _ reason: NetworkDrop) {
        switch answer {
        case .drop: network.drop(packet, reason, name)
        case .reset:
            if let reset = packet.resetAnswer() {
                network.send(reset, on: outsideAttachment)
                return network.drop(packet, reason, name)
            }
            answerOutside(packet, .portUnreachable, drop: reason)
        case .unreachable: answerOutside(packet, .hostUnreachable, drop: reason)
        }
    }

    private func answerInside(_ packet: Packet, _ reason: ICMPReason, drop: NetworkDrop) {
        network.drop(packet, drop, name)
        guard let router = insideAddresses.first(where: { $0.family == packet.source.family }),
            let error = packet.error(reason, from: router)
        else { return }
        network.send(error, on: insideAttachment)
    }

    private func answerOutside(_ packet: Packet, _ reason: ICMPReason, drop: NetworkDrop) {
        network.drop(packet, drop, name)
        guard let router = outsideAddresses.first(where: { $0.family == packet.source.family }),
            let error = packet.error(reason, from: router)
        else { return }
        network.send(error, on: outsideAttachment)
    }

    private func sendOutside(_ packet: Packet) { network.send(packet, on: outsideAttachment) }
}
