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
        if configuration.hostAddresses == .concealed, configuration.policy != .relay, configuration.policy != .noHost {
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
        guard configuration.hostAddresses == .shown || hosts[place].name != nil else { return }
        offerStreams(place, local, at: now)
    }

    // MARK: Candidates of this host

    private func found(
        _ type: CandidateType,
        _ place: Int,
        _ address: SocketAddress,
        base: SocketAddress? = nil
    )
        -> LocalCandidate
    {
        let host = hosts[place]
        var found = LocalCandidate(type, address, base: base)
        found.network = host.network
        found.networkCost = host.selected.cost
        found.isVPN = host.selected.isVPN
        return found
    }

    private mutating func offerHost(_ place: Int, at now: Instant) {
        guard let base = hosts[place].base, let local = hosts[place].local else { return }
        guard configuration.policy != .relay, configuration.policy != .noHost else { return }
        var candidate = found(.host, place, local)
        candidate.concealedName = hosts[place].name?.description
        offer(candidate, base: base, origin: .host(place), at: now)
    }

    /// Passive, active and simultaneous-open candidates of an address (RFC 6544 §4.1; ice 118).
    private mutating func offerStreams(_ place: Int, _ local: SocketAddress, at now: Instant) {
        guard let listener = hosts[place].listener, let active = hosts[place].active else { return }
        let kinds: [(TCPCandidateType, BaseID, UInt16)] = [
            (.active, active, 9), (.passive, listener, local.port), (.simultaneousOpen, listener, local.port),
        ]
        for (kind, base, port) in kinds {
            var candidate = found(.host, place, SocketAddress(local.ip, port: port, scope: local.scope))
            candidate.transport = .tcp
            candidate.tcpType = kind
            candidate.concealedName = hosts[place].name?.description
            offer(candidate, base: base, origin: .host(place), at: now)
        }
    }

    /// Gives a candidate to the agent and has it signalled, unless it is nothing new.
    @discardableResult
    mutating func offer(_ found: LocalCandidate, base: BaseID, origin: Origin, at now: Instant) -> Bool {
        // What comes behind the end of candidates is of no use to the peer (ice 103).
        guard isGathering || configuration.isContinual else { return false }
        guard let signalled = agent.addLocalCandidate(found, base: base, at: now) else { return false }
        offers.append(Offer(found: found, base: base, signalled: signalled, origin: origin))
        tell(.candidate(signalled))
        return true
    }

    /// A reflexive candidate of a host's socket; its related address tells nothing that is concealed (ice 147).
    mutating func offerReflexive(
        _ place: Int,
        _ mapped: SocketAddress,
        server: SocketAddress,
        origin: Origin,
        at now: Instant
    ) {
        guard configuration.policy != .relay, let base = hosts[place].base, let local = hosts[place].local else {
            return
        }
        guard AddressSelection.isLegal(mapped.ip), mapped.port != 0 else { return }
        // Without NAT it is the host candidate once more, unless that one is not shown (ice 23, 147).
        let isHidden = configuration.hostAddresses == .concealed || configuration.policy == .noHost
        guard isHidden || mapped.ip != local.ip || mapped.port != local.port else { return }
        var candidate = found(.serverReflexive, place, mapped, base: local)
        candidate.server = server
        if isHidden { candidate.related = SocketAddress(.unspecified(mapped.family), port: 9) }
        let isOffered =
            offer(candidate, base: base, origin: origin, at: now)
            || mapped == local && offerPublic(candidate, base: base, origin: origin)
        if isOffered { beginGrace(at: now) }
    }

    /// Signals an address that is concealed and public at once: to the agent it is the host candidate's, to the peer it is
    /// no more than what a server has seen, and never redundant (ice 147).
    private mutating func offerPublic(_ found: LocalCandidate, base: BaseID, origin: Origin) -> Bool {
        guard isGathering || configuration.isContinual,
            let host = offers.first(where: { $0.base == base && $0.found.concealedName != nil }),
            !offers.contains(where: {
                $0.base == base && $0.found.address == found.address && $0.found.type == found.type
            })
        else { return false }
        var signalled = host.signalled
        signalled.foundation = "public\(signalled.foundation)"
        signalled.type = .serverReflexive
        signalled.address = .ip(found.address.ip)
        signalled.related = found.related
        signalled.priority = CandidatePriority.candidate(
            typePreference: CandidatePriority.type(.serverReflexive, .udp),
            localPreference: UInt16(truncatingIfNeeded: signalled.priority &>> 8),
            component: signalled.component
        )
        offers.append(Offer(found: found, base: base, signalled: signalled, origin: origin))
        tell(.candidate(signalled))
        return true
    }

    /// Has all candidates signalled once more, for a new generation; what the agent has let go comes back.
    mutating func offerAgain(at now: Instant) {
        let old = offers
        offers = []
        let fragment = agent.localDescription.credentials.usernameFragment
        for offer in old {
            var offer = offer
            offer.signalled = agent.addLocalCandidate(offer.found, base: offer.base, at: now) ?? offer.signalled
            offer.signalled.usernameFragment = fragment
            offers.append(offer)
        }
        // What is known together is signalled by priority (ice 106).
        for offer in offers.sorted(by: { $0.signalled.priority > $1.signalled.priority }) {
            tell(.candidate(offer.signalled))
        }
        // What servers saw may have changed since nothing was asked any more.
        for handle in queryHandles where !starts.contains(.query(handle)) { starts.append(.query(handle)) }
        startAt = min(startAt, now)
        hasGathered = false
        isGathering = false
        gather(at: now)
    }

    /// Takes back all candidates that came from somewhere.
    mutating func withdraw(_ origin: Origin, at now: Instant) {
        for offer in offers where offer.origin == origin {
            agent.removeLocalCandidate(offer.signalled, at: now)
            tell(.candidateRemoved(offer.signalled))
        }
        offers.removeAll { $0.origin == origin }
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
