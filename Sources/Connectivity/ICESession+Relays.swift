import Bytes
import ICE
import NetTypes
import STUN
import TURN

/// TURN clients: allocations, their candidates, their end (RFC 8445 §5.1.1.2, RFC 8656; ice 12, 13, 16, 43).
extension ICESession {
    mutating func startRelay(_ plan: RelayPlan, on base: BaseID, at now: Instant) {
        let server = configuration.turnServers[plan.server]
        var settings = TURNClientConfiguration(
            server: plan.address,
            transport: plan.carrier.transport,
            username: server.username,
            password: server.password
        )
        settings.challenge = challenges[plan.server]
        settings.families = .dual
        settings.software = configuration.software
        // What it takes beside the permissions of an agent with all its pairs.
        settings.limits.permissions = max(settings.limits.permissions, configuration.ice.remoteCandidateLimit)
        guard let client = try? TURNClient(settings, entropy: entropy.forked()) else { return }
        var relay = Relay(
            client: client,
            server: plan.server,
            carrier: plan.carrier,
            name: plan.name,
            host: plan.host,
            base: base
        )
        relay.attempt = plan.attempt
        guard let handle = relays.insert(relay) else {
            if !isShared(plan.carrier) { want(.close(base)) }
            return count(.limitReached)
        }
        relayHandles.append(handle)
        if isShared(plan.carrier) {
            routes.append(ServerRoute(base: base, server: plan.address, client: .relay(handle)))
        } else {
            bases.append(BaseEntry(id: base, kind: .carrier(handle)))
        }
        starts.append(.relay(handle))
        startAt = min(startAt, now)
        timers.push(.relay(handle), at: now + configuration.deadlines.allocation)
    }

    /// Whether a server is reached over the socket of the host candidate, among the messages of peers.
    private func isShared(_ carrier: Carrier) -> Bool { carrier == .udp && !configuration.relaysHaveOwnSockets }

    mutating func startAllocation(_ handle: SlotHandle, at now: Instant) {
        _ = relays.update(handle) { relay in
            relay.hasStarted = true
            relay.client.start(at: now)
        }
        mark(relay: handle)
    }

    /// Takes what a client has to tell.
    mutating func collect(relay handle: SlotHandle, at now: Instant) {
        while let event = relays.update(handle, { $0.client.pollEvent() }) ?? nil {
            switch event {
            case .allocated(let allocation): allocated(handle, allocation, at: now)
            case .permissionFailed(let ip, let failure): permissionFailed(handle, ip, failure, at: now)
            case .peerUnreachable(let peer, _):
                if let base = relayedBase(handle, peer.family) {
                    agent.sendFailed(on: base, to: peer, .unreachable, at: now)
                }
            case .ended(let end): return relayEnded(handle, end, at: now)
            case .refreshed, .moved, .permitted, .channelBound, .channelFailed, .connected, .connectFailed,
                .connectionAttempt:
                break
            }
        }
    }

    func relayedBase(_ handle: SlotHandle, _ family: AddressFamily) -> BaseID? {
        relays.read(handle) { relay in relay.relayed.first { $0.address.family == family }?.base } ?? nil
    }

    private mutating func allocated(_ handle: SlotHandle, _ allocation: TURNAllocation, at now: Instant) {
        var own: [(base: BaseID, address: SocketAddress)] = []
        for address in allocation.relayed { own.append((ownBase(), address)) }
        let known = relays.update(handle) { relay in
            relay.isPending = false
            relay.attempt = 0
            relay.relayed = own
            return (
                host: relay.host, base: relay.base, server: relay.client.configuration.server, carrier: relay.carrier,
                index: relay.server, challenge: relay.client.challenge
            )
        }
        guard let known else { return }
        if let challenge = known.challenge { challenges[known.index] = challenge }
        planners[known.index].noteSuccess()
        if known.carrier == .udp { endSlowerWays(known.index, known.server.family, at: now) }
        for (base, address) in own {
            bases.append(BaseEntry(id: base, kind: .relay(handle)))
            var candidate = LocalCandidate(.relayed, address)
            candidate.server = known.server
            candidate.serverProtocol = known.carrier.transport
            candidate.network = hosts[known.host].network
            candidate.networkCost = hosts[known.host].selected.cost
            candidate.isVPN = hosts[known.host].selected.isVPN
            let isHidden = configuration.policy != .all || configuration.hostAddresses == .concealed
            candidate.related =
                isHidden ? SocketAddress(.unspecified(address.family), port: 9) : allocation.mapped ?? known.server
            // Streams are opened where UDP has given nothing: then more is not to be expected.
            let isLast = configuration.policy == .relay || known.carrier != .udp
            if offer(candidate, base: base, origin: .relay(handle), at: now), isLast { beginGrace(at: now) }
        }
        // Over the host's socket the allocation has told our address too: as good as an answer to a Binding request.
        if isShared(known.carrier), let mapped = allocation.mapped {
            agent.note(.serverAnswered(server: known.server, base: known.base, mapped: mapped))
            offerReflexive(known.host, mapped.unmapped, server: known.server, origin: .relay(handle), at: now)
        }
    }

    private mutating func permissionFailed(
        _ handle: SlotHandle,
        _ ip: IPAddress,
        _ failure: TURNClientFailure,
        at now: Instant
    ) {
        guard case .refused(let code) = failure else { return }
        let name = relays.read(handle) { ($0.name, $0.carrier.transport) }
        if let (server, transport) = name {
            agent.note(.serverRefused(server: server, transport: transport, code: code))
        }
        guard let base = relayedBase(handle, ip.family) else { return }
        for pair in agent.pairSnapshots where pair.base == base && pair.remote?.ip == ip {
            agent.sendFailed(on: base, to: pair.remote, .notPermitted, at: now)
        }
    }

    // MARK: The end of a relay

    private mutating func relayEnded(_ handle: SlotHandle, _ end: TURNClientEnd, at now: Instant) {
        let state = relays.read(handle) { relay in
            (
                server: relay.server, carrier: relay.carrier, name: relay.name, host: relay.host, base: relay.base,
                address: relay.client.configuration.server, wasUsed: !relay.relayed.isEmpty,
                attempt: relay.attempt, challenge: relay.client.challenge
            )
        }
        guard let state else { return }
        if let challenge = state.challenge { challenges[state.server] = challenge }
        forgetRelay(handle, at: now)
        guard case .failed(let failure) = end, !isClosing else { return }
        tellFailure(failure, state.name, state.carrier)
        let host = hosts[state.host]
        // Who has no room for an allocation can still tell our address (ice 12).
        if case .refused(let code) = failure, code == .allocationQuotaReached || code == .insufficientCapacity,
            isShared(state.carrier), configuration.policy != .relay
        {
            query(state.address, state.name, state.host, state.base, at: now)
        }
        let advice = planners[state.server].plan(after: failure, at: state.address, port: .any, now: now)
        guard !host.isGone, isGathering || configuration.isContinual else { return }
        switch advice {
        case .again where state.wasUsed:
            start(plan(state.server, state.carrier, state.name, state.address, state.host, at: now))
        case .otherServer(let other, let domain):
            start(plan(state.server, state.carrier, state.name, other, state.host, domain: domain, at: now))
        case .otherTransport:
            hastenStreams(at: now) { $0.server == state.server }
            if state.carrier != .udp {
                let way = plan(state.server, state.carrier, state.name, state.address, state.host, at: now)
                reconnect(way.after(state.attempt), at: now)
            }
        case .again, .giveUp, .fromOtherAddress, .withoutPortRequest, .wait: break
        }
    }

    private func plan(
        _ server: Int,
        _ carrier: Carrier,
        _ name: String,
        _ address: SocketAddress,
        _ host: Int,
        domain: String? = nil,
        at now: Instant
    ) -> RelayPlan {
        let tlsName = domain ?? configuration.turnServers[server].uris.first { $0.description == name }?.host.name
        return RelayPlan(
            server: server,
            carrier: carrier,
            name: name,
            tlsName: tlsName ?? "",
            address: address,
            host: host,
            startAt: now
        )
    }

    private mutating func start(_ plan: RelayPlan) {
        plans.append(plan)
        timers.push(.plans, at: plan.startAt)
    }

    private mutating func tellFailure(_ failure: TURNClientFailure, _ name: String, _ carrier: Carrier) {
        switch failure {
        case .refused(let code):
            agent.note(.serverRefused(server: name, transport: carrier.transport, code: code))
            tell(.serverFailed(server: name, carrier, .refused(code: code.rawValue)))
        case .transaction(.wrongCredentials):
            agent.note(.serverRefused(server: name, transport: carrier.transport, code: .unauthenticated))
            tell(.serverFailed(server: name, carrier, .refused(code: ErrorCode.unauthenticated.rawValue)))
        case .transaction(.timedOut):
            agent.note(.serverSilent(server: name, transport: carrier.transport))
            tell(.serverFailed(server: name, carrier, .silent))
        case .transaction(.transportFailed), .connectionDead:
            agent.note(.serverUnreachable(server: name, transport: carrier.transport, .connectionLost))
            tell(.serverFailed(server: name, carrier, .unreachable(.unreachable)))
        case .transaction, .redirected, .unprotectedRedirect, .unusableAddressFamily, .allocationLost, .expired,
            .outOfSync, .notRedirected, .streamNeeded:
            tell(.serverFailed(server: name, carrier, .unusableAnswer))
        }
    }

    /// Throws a relay away with what it has given; the server forgets it by itself.
    mutating func dropRelay(_ handle: SlotHandle, at now: Instant) { forgetRelay(handle, at: now) }

    /// Asks the server to delete an allocation that nothing needs.
    mutating func closeRelay(_ handle: SlotHandle, at now: Instant) {
        let wasStarted = relays.update(handle) { relay in
            relay.isClosing = true
            relay.isPending = false
            relay.client.close(at: now)
            return relay.hasStarted
        }
        guard wasStarted == true else { return forgetRelay(handle, at: now) }
        mark(relay: handle)
    }

    private mutating func forgetRelay(_ handle: SlotHandle, at now: Instant) {
        withdraw(.relay(handle), at: now)
        guard let relay = relays.remove(handle) else { return }
        for (base, _) in relay.relayed {
            agent.removeBase(base, at: now)
            bases.removeAll { $0.id == base }
        }
        if !isShared(relay.carrier) {
            let base = relay.base
            bases.removeAll { $0.id == base }
            want(.close(base))
        }
        routes.removeAll { route in
            if case .relay(let other) = route.client { return other == handle }
            return false
        }
        starts.removeAll { $0 == .relay(handle) }
        dirtyRelays.removeAll { $0 == handle }
        relayHandles.removeAll { $0 == handle }
    }
}

extension RelayPlan {
    /// The same way, after so many failures of it.
    func after(_ failures: Int) -> RelayPlan {
        var plan = self
        plan.attempt = failures
        return plan
    }
}
