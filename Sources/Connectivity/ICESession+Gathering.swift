import Bytes
public import ICE
public import MDNS
public import NetTypes
public import PortMapping
import STUN

/// Addresses of this host: sockets, host candidates, names, mappings (RFC 8445 §5.1.1.1; ice 1 to 7, 17).
extension ICESession {
    /// Takes all interfaces of this host; again when any has changed, from which candidates come and go (ice 17).
    public mutating func updateInterfaces(_ interfaces: [NetworkInterface], at now: Instant) {
        guard !isClosing else { return }
        let selected = AddressSelection.select(
            interfaces,
            onlyDefaultRoute: configuration.policy == .publicInterface,
            loopback: configuration.usesLoopback,
            limit: configuration.limits.addresses
        )
        for index in hosts.indices where !hosts[index].isGone && !selected.contains(hosts[index].selected) {
            removeHost(index, at: now)
        }
        var isLate = false
        for address in selected where !hosts.contains(where: { !$0.isGone && $0.selected == address }) {
            if !networks.contains(address.interface) { networks.append(address.interface) }
            let network = UInt16(truncatingIfNeeded: (networks.firstIndex(of: address.interface) ?? 0) + 1)
            let host = Host(selected: address, network: network)
            // Places of hosts are kept in bases: one that is free is used again, none moves.
            let place = hosts.firstIndex { $0.isGone && isFree($0) } ?? hosts.count
            if place == hosts.count { hosts.append(host) } else { hosts[place] = host }
            guard isGathering || hasGathered && configuration.isContinual else {
                isLate = hasGathered
                continue
            }
            // Another network may know names that the last one did not.
            resolveServers(at: now)
            openHost(place, at: now)
            discoverPrefix(at: now)
        }
        if selected.isEmpty { agent.note(.noInterfaces) }
        // Behind the end of candidates only a restart makes use of what has come.
        if isLate, [.checking, .disconnected, .failed].contains(agent.state) { tell(.restartAdvised) }
        advance(at: now)
    }

    private func isFree(_ host: Host) -> Bool { host.base == nil && host.listener == nil }

    /// Begins to gather; also before anything is known of the peer, so that candidates are there when they are wanted.
    public mutating func gather(at now: Instant) {
        guard !isGathering, !isClosing else { return }
        isGathering = true
        isGoodEnough = false
        hasGraceBegun = false
        generation += 1
        // What had to wait after failures is tried afresh.
        plans.removeAll { $0.attempt > 0 }
        timers.push(.goodEnough(generation: generation), at: now + configuration.deadlines.goodEnough)
        resolveServers(at: now)
        for place in hosts.indices where !hosts[place].isGone {
            if hosts[place].base == nil { openHost(place, at: now) } else { askServers(from: place, at: now) }
        }
        discoverPrefix(at: now)
        advance(at: now)
    }

    private mutating func openHost(_ place: Int, at now: Instant) {
        let address = hosts[place].selected.address
        let span = configuration.deadlines.socket
        want(.bind(host: place), within: span, holdsGathering: true, at: now) { .bindUDP($0, address) }
        guard configuration.usesTCP, configuration.policy == .all || configuration.policy == .publicInterface else {
            return
        }
        want(.listen(host: place), within: span, holdsGathering: true, at: now) { .listenTCP($0, address) }
    }

    // MARK: Sockets

    /// Takes the socket or the listener that an effect has asked for.
    public mutating func bound(_ id: EffectID, base: BaseID, local: SocketAddress, at now: Instant) {
        guard let effect = effects.removeValue(forKey: id) else { return refuse(base) }
        switch effect.purpose {
        case .bind(let place) where !hosts[place].isGone: socketBound(place, base, local, at: now)
        case .listen(let place) where !hosts[place].isGone: listenerBound(place, base, local, at: now)
        case .probe(let place) where !hosts[place].isGone: probingSocketBound(place, base, local, at: now)
        default: refuse(base)
        }
        advance(at: now)
    }

    /// Closes what an effect has brought that is not wanted any more.
    mutating func refuse(_ base: BaseID) {
        count(.unknownEffect)
        want(.close(base))
    }

    private mutating func socketBound(_ place: Int, _ base: BaseID, _ local: SocketAddress, at now: Instant) {
        hosts[place].base = base
        hosts[place].local = SocketAddress(local.ip, port: local.port, scope: hosts[place].selected.address.scope)
        bases.append(BaseEntry(id: base, kind: .host(place)))
        if conceals(local.ip), configuration.policy != .relay, configuration.policy != .noHost {
            let address = ConcealedAddress(local.ip)
            let interface = hosts[place].selected.interface
            let span = configuration.deadlines.publication
            want(.publish(host: place), within: span, holdsGathering: true, at: now) {
                .publishName($0, address, interface: interface)
            }
        } else {
            offerHost(place, at: now)
        }
        mapPort(place, base, local, at: now)
        askServers(from: place, at: now)
    }

    private mutating func listenerBound(_ place: Int, _ base: BaseID, _ local: SocketAddress, at now: Instant) {
        hosts[place].listener = base
        bases.append(BaseEntry(id: base, kind: .listener(place)))
        let active = ownBase()
        hosts[place].active = active
        guard !conceals(local.ip) || hosts[place].name != nil else { return }
        offerStreams(place, local, at: now)
    }

    // MARK: Names of our own

    /// Takes the name that an effect has asked for (ice 145, 146).
    public mutating func published(_ id: EffectID, _ name: MDNSName, at now: Instant) {
        guard let effect = effects.removeValue(forKey: id), case .publish(let place) = effect.purpose,
            !hosts[place].isGone
        else { return count(.unknownEffect) }
        hosts[place].name = name
        offerHost(place, at: now)
        if let local = hosts[place].local, hosts[place].listener != nil { offerStreams(place, local, at: now) }
        advance(at: now)
    }

    // MARK: Mappings by the gateway

    private mutating func mapPort(_ place: Int, _ base: BaseID, _ local: SocketAddress, at now: Instant) {
        let selected = hosts[place].selected
        guard configuration.usesPortMapping, !configuration.ice.isLite, configuration.policy != .relay, !selected.isVPN,
            !selected.address.ip.isLinkLocal
        else { return }
        lastEffect &+= 1
        let id = EffectID(rawValue: lastEffect)
        effects[id] = PendingEffect(purpose: .map(host: place, base: base), holdsGathering: true)
        timers.push(.effect(id), at: now + configuration.deadlines.mapping)
        want(.mapPort(id, .udp, local: local, interface: selected.interface))
    }

    /// Takes a mapping of a gateway, or what has become of one: a candidate like that of a STUN server (ice 180, 182).
    public mutating func mapped(_ id: EffectID, _ mapping: PortMapping, at now: Instant) {
        guard let effect = effects[id], case .map(let place, let base) = effect.purpose,
            !hosts[place].isGone, hosts[place].base == base
        else {
            count(.unknownEffect)
            return want(.unmapPort(id))
        }
        effects[id]?.holdsGathering = false
        withdraw(.mapping(id), at: now)
        let gateway = SocketAddress(.unspecified(mapping.external.family), port: UInt16(mapping.via.rawValue) + 1)
        offerReflexive(place, mapping.external, server: gateway, origin: .mapping(id), at: now)
        advance(at: now)
    }

    /// Notes that a mapping is no more.
    public mutating func mappingLost(_ id: EffectID, at now: Instant) {
        guard effects[id] != nil else { return count(.unknownEffect) }
        withdraw(.mapping(id), at: now)
        advance(at: now)
    }

    // MARK: The end of an address

    /// Closes the sockets of an address and takes back all that came of it.
    mutating func removeHost(_ place: Int, at now: Instant) {
        hosts[place].isGone = true
        for handle in relayHandles where relays.read(handle, { $0.host }) == place { dropRelay(handle, at: now) }
        for handle in queryHandles where queries.read(handle, { $0.host }) == place { dropQuery(handle, at: now) }
        plans.removeAll { $0.host == place }
        for handle in streams.handles where streams.read(handle, { $0.host }) == place { dropStream(handle, at: now) }
        for (id, effect) in effects.sorted(by: { $0.key.rawValue < $1.key.rawValue }) {
            guard hostPlace(of: effect.purpose) == place else { continue }
            effects[id] = nil
            if case .map = effect.purpose {
                withdraw(.mapping(id), at: now)
                want(.unmapPort(id))
            } else {
                want(.cancel(id))
            }
        }
        closeProbingSockets(of: place, at: now)
        withdraw(.host(place), at: now)
        for base in [hosts[place].base, hosts[place].listener].compactMap(\.self) {
            agent.removeBase(base, at: now)
            bases.removeAll { $0.id == base }
            want(.close(base))
        }
        if let active = hosts[place].active { agent.removeBase(active, at: now) }
        hosts[place].base = nil
        hosts[place].listener = nil
        hosts[place].active = nil
    }

    private func hostPlace(of purpose: Purpose) -> Int? {
        switch purpose {
        case .bind(let host), .listen(let host), .publish(let host), .probe(let host): host
        case .map(let host, _): host
        case .connectPeer(_, let host, _): host
        case .connectRelay(let plan): plan.host
        case .resolveServer, .resolvePrefix, .resolvePeer: nil
        }
    }
}
