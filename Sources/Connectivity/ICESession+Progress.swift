import Bytes
import ICE
public import MDNS
public import NetTypes
import STUN
import TURN

/// What follows from what: timers, events of the parts, the end of gathering, the end of all.
extension ICESession {
    /// Lets all parts go on after an input.
    mutating func advance(at now: Instant) {
        collectAgent(at: now)
        for handle in dirtyQueries { collect(query: handle, at: now) }
        for handle in dirtyRelays { collect(relay: handle, at: now) }
        collectAgent(at: now)
        startPlans(at: now)
        planKeepalive(at: now)
        refreshClientTimeout()
        reviewGathering(at: now)
        if isClosing, !hasToldClosed, relayHandles.isEmpty {
            hasToldClosed = true
            timers.removeAll()
            for place in hosts.indices { closeProbingSockets(of: place, at: now) }
            for host in hosts {
                for base in [host.base, host.listener].compactMap(\.self) { want(.close(base)) }
            }
            tell(.closed)
        }
    }

    /// Wakes the queries and relays whose time has come.
    mutating func handleClientTimeouts(at now: Instant) {
        for handle in queryHandles {
            let isDue = queries.read(handle) { ($0.client.nextTimeout ?? .distantFuture) <= now }
            guard isDue == true else { continue }
            _ = queries.update(handle) { $0.client.handleTimeout(at: now) }
            mark(query: handle)
        }
        for handle in relayHandles {
            let isDue = relays.read(handle) { ($0.client.nextTimeout ?? .distantFuture) <= now }
            guard isDue == true else { continue }
            _ = relays.update(handle) { $0.client.handleTimeout(at: now) }
            mark(relay: handle)
        }
    }

    mutating func refreshClientTimeout() {
        var next = Instant.distantFuture
        for handle in queryHandles {
            next = min(next, queries.read(handle) { $0.client.nextTimeout ?? .distantFuture } ?? .distantFuture)
        }
        for handle in relayHandles {
            next = min(next, relays.read(handle) { $0.client.nextTimeout ?? .distantFuture } ?? .distantFuture)
        }
        clientTimeout = next
    }

    // MARK: The agent's events

    mutating func collectAgent(at now: Instant) {
        while let event = agent.pollEvent() {
            switch event {
            case .stateChanged(let state):
                if state == .disconnected { askAgain(at: now) }
                tell(.stateChanged(state))
            case .pathChanged(let component, let path):
                if path == nil { selected.remove(component) }
                tell(.pathChanged(component: component, path))
            case .selected(let component, let path):
                selected.insert(component)
                bindChannel(path, at: now)
                tell(.selected(component: component, path))
            case .permissionNeeded(let base, let peer): permit(base, peer, at: now)
            case .connect(let base, let destination, let attempt): connectPeer(base, destination, attempt, at: now)
            case .baseUnused(let base): release(base, at: now)
            case .foundPeerReflexive: break
            case .roleChanged(let role): tell(.roleChanged(role))
            case .restartAdvised: tell(.restartAdvised)
            }
        }
    }

    /// The path does not answer: perhaps a NAT has given us another address, which the peer must hear of (ice 17).
    private mutating func askAgain(at now: Instant) {
        guard configuration.isContinual, !isClosing else { return }
        for handle in queryHandles where !starts.contains(.query(handle)) { starts.append(.query(handle)) }
        startAt = min(startAt, now)
    }

    /// Asks for a permission; the check follows at once, without waiting for the answer (ice 43).
    private mutating func permit(_ base: BaseID, _ peer: SocketAddress, at now: Instant) {
        guard case .relay(let handle)? = kind(of: base), !concealedPeers.contains(peer.ip) else { return }
        let isPermitted = relays.update(handle) { $0.client.permit([peer.ip], at: now) }
        if isPermitted != true { count(.limitReached) }
        mark(relay: handle)
    }

    private mutating func bindChannel(_ path: ICEPath, at now: Instant) {
        guard case .relay(let handle)? = kind(of: path.base) else { return }
        _ = relays.update(handle) { $0.client.bindChannel(to: path.destination, at: now) }
        mark(relay: handle)
    }

    /// Frees what no pair needs any more: relays and connections; sockets stay for candidates that may come.
    private mutating func release(_ base: BaseID, at now: Instant) {
        switch kind(of: base) {
        case .relay(let handle):
            // A second relayed address may be the one in use.
            let others = relays.read(handle) { $0.relayed.map(\.base) } ?? []
            let inUse = (1...configuration.ice.componentCount).compactMap { agent.path(component: UInt16($0))?.base }
            guard !others.contains(where: inUse.contains) else { return }
            closeRelay(handle, at: now)
        case .stream(let handle): dropStream(handle, at: now)
        case .host, .listener, .carrier, nil: break
        }
    }

    // MARK: Names of the peer

    /// Looks up a multicast DNS name of the peer, unless all goes over relays anyway (ice 150, 153).
    mutating func resolvePeer(_ candidate: Candidate, _ text: String, at now: Instant) {
        guard configuration.policy != .relay, let name = MDNSName(text), name.isUUID else { return }
        let waiting = effects.values.count { effect in
            if case .resolvePeer = effect.purpose { return true }
            return false
        }
        guard waiting < configuration.limits.names else { return count(.limitReached) }
        want(.resolvePeer(candidate), within: .seconds(15), holdsGathering: false, at: now) { .resolveName($0, name) }
    }

    /// Takes the address of a peer's name.
    public mutating func nameResolved(_ id: EffectID, _ address: ConcealedAddress, at now: Instant) {
        guard let effect = effects.removeValue(forKey: id), case .resolvePeer(let candidate) = effect.purpose else {
            return count(.unknownEffect)
        }
        let ip = address.revealed().unmapped
        if concealedPeers.count < configuration.limits.names { concealedPeers.insert(ip) }
        _ = agent.addRemoteCandidate(candidate.resolved(to: ip), at: now)
        tellRemoteEnd(at: now)
        advance(at: now)
    }

    /// Tells the agent of the peer's end of candidates, unless names of the peer are still being resolved.
    mutating func tellRemoteEnd(at now: Instant) {
        let isResolving = effects.values.contains { effect in
            if case .resolvePeer = effect.purpose { return true }
            return false
        }
        if hasRemoteEnd, !isResolving { agent.endOfRemoteCandidates(usernameFragment: remoteEndFragment, at: now) }
    }

    // MARK: Effects that fail

    /// Notes that the driver could not do what an effect wanted.
    public mutating func failed(_ id: EffectID, _ failure: EffectFailure, at now: Instant) {
        guard let effect = effects.removeValue(forKey: id) else { return count(.unknownEffect) }
        fail(effect.purpose, failure, at: now)
        advance(at: now)
    }

    private mutating func fail(_ purpose: Purpose, _ failure: EffectFailure, at now: Instant) {
        switch purpose {
        case .bind(let place): if hosts[place].listener == nil { hosts[place].isGone = true }
        case .connectRelay(let plan):
            if plan.attempt == 0 { noteUnreachable(plan.name, plan.carrier, failure) }
            reconnect(plan, at: now)
        case .connectPeer(let attempt, _, _): agent.connectFailed(attempt: attempt, at: now)
        case .resolveServer(let name): serverUnreachable(name, failure)
        case .resolvePeer:
            agent.note(.nameNotResolved)
            tellRemoteEnd(at: now)
        // Without a name the address stays concealed: reflexive candidates alone (ice 146).
        case .listen, .resolvePrefix, .publish, .map, .probe: break
        }
    }

    // MARK: Time

    mutating func fire(_ timer: SessionTimer, at now: Instant) {
        switch timer {
        case .effect(let id): effectLate(id, at: now)
        case .query(let handle): queryLate(handle)
        case .keepalive: keepBindings(at: now)
        case .relay(let handle): relayLate(handle, at: now)
        case .plans: break
        case .probing: probingDue(at: now)
        // What the servers hold for us they forget by themselves.
        case .closing: for handle in relayHandles { dropRelay(handle, at: now) }
        case .goodEnough(let number), .grace(let number):
            if number == generation { beGoodEnough() }
        }
    }

    private mutating func effectLate(_ id: EffectID, at now: Instant) {
        guard let effect = effects[id] else { return }
        if case .map = effect.purpose {
            // A gateway may still be found; gathering does not wait for it any longer.
            effects[id]?.holdsGathering = false
            return
        }
        effects[id] = nil
        want(.cancel(id))
        fail(effect.purpose, .timedOut, at: now)
    }

    private mutating func relayLate(_ handle: SlotHandle, at now: Instant) {
        let state = relays.update(handle) { relay in
            defer { relay.isPending = false }
            let isAbandoned = relay.isClosing && relay.relayed.isEmpty
            return (isPending: relay.isPending, isAbandoned: isAbandoned, name: relay.name, carrier: relay.carrier)
        }
        guard let state, state.isPending || state.isAbandoned else { return }
        if state.isPending {
            agent.note(.serverSilent(server: state.name, transport: state.carrier.transport))
            tell(.serverFailed(server: state.name, state.carrier, .silent))
        }
        // Its answer may still come: then the server is told that the allocation is not wanted any more.
        if state.isPending { closeRelay(handle, at: now) } else { dropRelay(handle, at: now) }
    }

    // MARK: The end of gathering

    /// Begins the short wait for more after the first candidate that others can reach.
    mutating func beginGrace(at now: Instant) {
        guard !isGoodEnough, !hasGraceBegun else { return }
        hasGraceBegun = true
        timers.push(.grace(generation: generation), at: now + configuration.deadlines.grace)
    }

    private mutating func beGoodEnough() {
        guard isGathering || hasGathered, !isGoodEnough else { return }
        isGoodEnough = true
        tell(.goodEnough)
    }

    private mutating func reviewGathering(at now: Instant) {
        guard isGathering, starts.isEmpty, !plans.contains(where: { $0.attempt == 0 }),
            !effects.values.contains(where: \.holdsGathering)
        else {
            return
        }
        for handle in queryHandles where queries.read(handle, { $0.isPending }) == true { return }
        for handle in relayHandles where relays.read(handle, { $0.isPending && $0.attempt == 0 }) == true { return }
        isGathering = false
        hasGathered = true
        agent.localGatheringDone(at: now)
        beGoodEnough()
        tell(.gatheringDone(signalEnd: !configuration.isContinual))
        collectAgent(at: now)
    }

    // MARK: The end

    /// Ends the session: allocations and mappings are deleted, sockets closed; `.closed` follows.
    public mutating func close(at now: Instant) {
        guard !isClosing else { return }
        isClosing = true
        isGathering = false
        for handle in queryHandles { dropQuery(handle, at: now) }
        agent.close(at: now)
        offers = []
        plans = []
        for (id, effect) in effects.sorted(by: { $0.key.rawValue < $1.key.rawValue }) {
            if case .map = effect.purpose { want(.unmapPort(id)) } else { want(.cancel(id)) }
        }
        effects = [:]
        for handle in streams.handles { dropStream(handle, at: now) }
        for handle in relayHandles { closeRelay(handle, at: now) }
        timers.push(.closing, at: now + configuration.deadlines.closing)
        advance(at: now)
    }
}
