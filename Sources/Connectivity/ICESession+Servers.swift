import Bytes
import ICE
public import NetTypes
import STUN
import TURN

/// STUN and TURN servers: names, addresses, who is asked from where and when (RFC 8445 §5.1.1.2; ice 8 to 14).
extension ICESession {
    // MARK: Names

    mutating func resolveServers(at now: Instant) {
        for index in configuration.stunServers.indices {
            let uri = configuration.stunServers[index]
            guard !uri.isSecure else {
                if !hasGathered { tell(.serverFailed(server: uri.host.description, .tls, .unsupportedURI)) }
                continue
            }
            resolve(.stun(index), uri.host, at: now)
        }
        for server in configuration.turnServers.indices {
            for (place, uri) in configuration.turnServers[server].uris.enumerated() {
                resolve(.turn(server: server, uri: place), uri.host, at: now)
            }
        }
    }

    private mutating func resolve(_ name: ServerName, _ host: URIHost, at now: Instant) {
        if let address = host.address { serverAddresses[name] = [address] }
        guard serverAddresses[name] == nil else { return }
        let text = host.name
        // One look-up for several servers of one name.
        let isAsked = effects.values.contains { effect in
            if case .resolveServer(let other) = effect.purpose { return hostName(other) == text }
            return false
        }
        guard !isAsked else { return }
        want(.resolveServer(name), within: configuration.deadlines.resolution, holdsGathering: true, at: now) {
            .resolve($0, name: text)
        }
    }

    func hostName(_ name: ServerName) -> String { host(of: name).name }

    private func host(of name: ServerName) -> URIHost {
        switch name {
        case .stun(let index): configuration.stunServers[index].host
        case .turn(let server, let uri): configuration.turnServers[server].uris[uri].host
        }
    }

    private var allServers: [ServerName] {
        configuration.stunServers.indices.map { .stun($0) }
            + configuration.turnServers.indices.flatMap { server in
                configuration.turnServers[server].uris.indices.map { .turn(server: server, uri: $0) }
            }
    }

    /// Takes the addresses of a name.
    public mutating func resolved(_ id: EffectID, _ addresses: [IPAddress], at now: Instant) {
        guard let effect = effects.removeValue(forKey: id) else { return count(.unknownEffect) }
        switch effect.purpose {
        case .resolveServer(let name):
            // Blockers of advertisements lead names to 0.0.0.0: that is no server.
            let usable = addresses.map(\.unmapped).filter { !$0.isUnspecified }
                .prefix(configuration.limits.addressesPerName)
            guard !usable.isEmpty else {
                serverUnreachable(name, .notFound)
                break
            }
            let text = hostName(name)
            for other in allServers where hostName(other) == text { serverAddresses[other] = Array(usable) }
            for place in hosts.indices where hosts[place].base != nil { askServers(from: place, at: now) }
        case .resolvePrefix:
            nat64 = NAT64Prefix(answers: addresses)
            for place in hosts.indices where hosts[place].base != nil { askServers(from: place, at: now) }
        default: count(.unknownEffect)
        }
        advance(at: now)
    }

    mutating func serverUnreachable(_ name: ServerName, _ failure: EffectFailure) {
        let text = hostName(name)
        for other in allServers where hostName(other) == text {
            let description = host(of: other).description
            let carrier: Carrier
            switch other {
            case .stun: carrier = .udp
            case .turn(let server, let uri): carrier = Carrier(configuration.turnServers[server].uris[uri])
            }
            noteUnreachable(description, carrier, failure)
        }
    }

    mutating func noteUnreachable(_ server: String, _ carrier: Carrier, _ failure: EffectFailure) {
        let trouble: ServerTrouble =
            switch failure {
            case .refused: .connectionRefused
            case .unreachable, .notPermitted, .exhausted: .noRoute
            case .timedOut: .connectionTimedOut
            case .notFound: .nameNotFound
            case .tlsFailed: .tlsFailed
            }
        agent.note(.serverUnreachable(server: server, transport: carrier.transport, trouble))
        tell(.serverFailed(server: server, carrier, .unreachable(failure)))
    }

    // MARK: NAT64

    /// On a host that has only IPv6, asks where the network puts IPv4 (RFC 7050; ice 14).
    mutating func discoverPrefix(at now: Instant) {
        let present = hosts.filter { !$0.isGone && !$0.selected.address.ip.isLinkLocal }
        let isAsked = effects.values.contains { effect in
            if case .resolvePrefix = effect.purpose { return true }
            return false
        }
        guard nat64 == nil, !isAsked, !present.isEmpty, present.allSatisfy({ $0.selected.address.family == .ipv6 })
        else {
            return
        }
        want(.resolvePrefix, within: configuration.deadlines.resolution, holdsGathering: true, at: now) {
            .resolve($0, name: NAT64Prefix.wellKnownName)
        }
    }

    /// Where a server is reached from a host's address: at its first address of that family, and through NAT64.
    ///
    /// Through NAT64 a server sees an address of IPv4, the one that peers of IPv4 can reach.
    private func reachable(_ addresses: [IPAddress], from place: Int) -> [IPAddress] {
        let own = hosts[place].selected.address
        guard !own.ip.isLinkLocal else { return [] }
        var found = addresses.first { $0.family == own.family }.map { [$0] } ?? []
        if own.family == .ipv6, let nat64, let old = addresses.first(where: { $0.family == .ipv4 }) {
            found.append(nat64.synthesized(old))
        }
        return found
    }

    // MARK: Asking

    /// Asks all servers whose addresses are known and that were not asked from this address yet.
    mutating func askServers(from place: Int, at now: Instant) {
        guard isGathering || configuration.isContinual, let base = hosts[place].base else { return }
        // A lite agent has host candidates alone (ice 24).
        guard !configuration.ice.isLite else { return }
        var count = 0
        if configuration.policy != .relay {
            for index in configuration.stunServers.indices {
                guard let known = serverAddresses[.stun(index)] else { continue }
                let uri = configuration.stunServers[index]
                for address in reachable(known, from: place) where count < configuration.limits.stunServersPerAddress {
                    count += 1
                    query(SocketAddress(address, port: uri.port), uri.host.description, place, base, at: now)
                }
            }
        }
        for server in configuration.turnServers.indices { planRelays(server, from: place, at: now) }
    }

    /// Plans all ways to a TURN server: by UDP at once, by streams a little later if UDP has given nothing by then.
    private mutating func planRelays(_ server: Int, from place: Int, at now: Instant) {
        let uris = configuration.turnServers[server].uris
        let hasUDP = uris.contains { Carrier($0) == .udp }
        for (index, uri) in uris.enumerated() {
            guard let known = serverAddresses[.turn(server: server, uri: index)],
                let address = reachable(known, from: place).first
            else { continue }
            let carrier = Carrier(uri)
            let delay = carrier == .udp || !hasUDP ? TimeSpan.zero : configuration.deadlines.streamDelay
            let plan = RelayPlan(
                server: server,
                carrier: carrier,
                name: uri.description,
                tlsName: uri.host.name,
                address: SocketAddress(address, port: uri.port),
                host: place,
                startAt: now + delay
            )
            guard !isPlanned(plan) else { continue }
            plans.append(plan)
            timers.push(.plans, at: plan.startAt)
        }
    }

    /// Whether the same way is tried already, from here or from enough other addresses.
    private func isPlanned(_ plan: RelayPlan) -> Bool {
        var others = 0
        func same(_ server: Int, _ carrier: Carrier, _ address: SocketAddress, _ host: Int) -> Bool {
            guard server == plan.server, carrier == plan.carrier, address == plan.address else { return false }
            others += 1
            return host == plan.host
        }
        var isThere = plans.contains { same($0.server, $0.carrier, $0.address, $0.host) }
        for handle in relayHandles {
            // A connection that is being closed bars no other; over UDP the 5-tuple would be the same.
            let hit = relays.read(handle) { relay in
                (!relay.isClosing || relay.carrier == .udp)
                    && same(relay.server, relay.carrier, relay.client.configuration.server, relay.host)
            }
            isThere = isThere || hit == true
        }
        for effect in effects.values {
            guard case .connectRelay(let other) = effect.purpose else { continue }
            isThere = isThere || same(other.server, other.carrier, other.address, other.host)
        }
        return isThere || others >= configuration.limits.addressesPerRelay
    }

    /// Starts the plans whose time has come.
    mutating func startPlans(at now: Instant) {
        let due = plans.filter { $0.startAt <= now }
        plans.removeAll { $0.startAt <= now }
        for plan in due {
            if plan.carrier == .udp, !configuration.relaysHaveOwnSockets {
                if let base = hosts[plan.host].base { startRelay(plan, on: base, at: now) }
                continue
            }
            if plan.carrier != .udp {
                // UDP was fast enough: a stream would only be slower.
                guard !hasRelay(of: plan), isGathering || configuration.isContinual else { continue }
                if putOff(plan, at: now) { continue }
            }
            let kind: StreamKind =
                switch plan.carrier {
                case .tls: .tls(serverName: plan.tlsName)
                case .dtls: .dtls(serverName: plan.tlsName)
                case .tcp: .tcp
                case .udp: .udp
                }
            let local = hosts[plan.host].selected.address
            let span = configuration.deadlines.connection
            want(.connectRelay(plan), within: span, holdsGathering: plan.attempt == 0, at: now) {
                .connect($0, kind, from: local, to: plan.address)
            }
        }
    }

    /// Lets a stream wait once more if the server has been heard over UDP: it is far away, not blocked.
    private mutating func putOff(_ plan: RelayPlan, at now: Instant) -> Bool {
        guard !plan.isPutOff, plan.attempt == 0 else { return false }
        let isHeard = relayHandles.contains { handle in
            relays.read(handle) { relay in
                relay.server == plan.server && relay.carrier == .udp && relay.isPending && relay.hasAnswered
                    && relay.client.configuration.server.family == plan.address.family
            } == true
        }
        guard isHeard else { return false }
        var later = plan
        later.isPutOff = true
        later.startAt = now + configuration.deadlines.streamDelay * 4
        plans.append(later)
        timers.push(.plans, at: later.startAt)
        return true
    }

    /// Streams to these servers need not wait for UDP any longer.
    mutating func hastenStreams(at now: Instant, to isMeant: (RelayPlan) -> Bool) {
        for index in plans.indices where plans[index].attempt == 0 && isMeant(plans[index]) {
            plans[index].startAt = min(plans[index].startAt, now)
            plans[index].isPutOff = true
        }
        timers.push(.plans, at: now)
    }

    /// A datagram to a server cannot be sent, or ICMP says so: that is no proof, but reason enough not to wait for more.
    mutating func noteServerTrouble(_ base: BaseID, _ server: SocketAddress, at now: Instant) {
        guard routes.contains(where: { $0.base == base && $0.server == server.unmapped }) else { return }
        hastenStreams(at: now) { $0.address.ip == server.ip.unmapped }
    }

    /// UDP has given what streams to the same server were to give: what is still under way is ended.
    mutating func endSlowerWays(_ server: Int, _ family: AddressFamily, at now: Instant) {
        func isSlower(_ plan: RelayPlan) -> Bool {
            plan.server == server && plan.carrier != .udp && plan.address.family == family
        }
        plans.removeAll(where: isSlower)
        for (id, effect) in effects.sorted(by: { $0.key.rawValue < $1.key.rawValue }) {
            guard case .connectRelay(let plan) = effect.purpose, isSlower(plan) else { continue }
            effects[id] = nil
            want(.cancel(id))
        }
        for handle in relayHandles {
            let isSlow = relays.read(handle) { relay in
                relay.server == server && relay.carrier != .udp && relay.isPending
                    && relay.client.configuration.server.family == family
            }
            if isSlow == true { closeRelay(handle, at: now) }
        }
    }

    private func hasRelay(of plan: RelayPlan) -> Bool {
        relayHandles.contains { handle in
            relays.read(handle) { relay in
                relay.server == plan.server && !relay.relayed.isEmpty
                    && relay.client.configuration.server.family == plan.address.family
            } == true
        }
    }

    /// Plans a connection that has failed once more, unless it has failed often enough.
    mutating func reconnect(_ plan: RelayPlan, at now: Instant) {
        guard !isClosing, !hosts[plan.host].isGone, isGathering || configuration.isContinual,
            plan.attempt + 1 < configuration.limits.connectionAttempts
        else { return }
        var next = plan
        next.attempt += 1
        let wait = configuration.deadlines.reconnectionDelay * (1 &<< UInt64(min(plan.attempt, 16)))
        // Clients of a server that went down do not come back all at once.
        next.startAt = now + TimeSpan(nanoseconds: wait.nanoseconds / 256 * (192 + entropy.next() % 129))
        plans.append(next)
        timers.push(.plans, at: next.startAt)
    }

    // MARK: STUN

    /// Asks a server for the address of a socket, once for each socket and server.
    mutating func query(
        _ server: SocketAddress,
        _ name: String,
        _ place: Int,
        _ base: BaseID,
        at now: Instant
    ) {
        let isAsked = routes.contains { route in
            guard case .query = route.client else { return false }
            return route.base == base && route.server == server
        }
        guard !isAsked else { return }
        // One wait for all that go out at the same time (RFC 8445 §14.3; ice 88).
        var policy = RetransmissionPolicy()
        let spread = TimeSpan.milliseconds(5) * UInt64(queryHandles.count + relayHandles.count)
        policy.initialTimeout = max(policy.initialTimeout, spread)
        let query = Query(
            client: STUNClient(server: server, policy: policy, entropy: entropy.forked()),
            host: place,
            base: base,
            name: name
        )
        guard let handle = queries.insert(query) else { return count(.limitReached) }
        queryHandles.append(handle)
        routes.append(ServerRoute(base: base, server: server, client: .query(handle)))
        starts.append(.query(handle))
        startAt = min(startAt, now)
        timers.push(.query(handle), at: now + configuration.deadlines.query)
    }

    mutating func startQuery(_ handle: SlotHandle, at now: Instant) {
        _ = queries.update(handle) { query in
            query.hasStarted = true
            query.refreshAt = .distantFuture
            query.askedAt = now
            _ = query.client.query(at: now)
        }
        mark(query: handle)
    }

    /// Takes what a query has to tell.
    mutating func collect(query handle: SlotHandle, at now: Instant) {
        while let event = queries.update(handle, { $0.client.pollEvent() }) ?? nil {
            switch event {
            case .answered(let answer): answered(handle, answer, at: now)
            case .failed(let failure): queryFailed(handle, failure, at: now)
            }
        }
    }

    private mutating func answered(_ handle: SlotHandle, _ answer: STUNClient.Answer, at now: Instant) {
        let refresh = now + configuration.deadlines.bindingRefresh
        let known = queries.update(handle) { query in
            defer {
                query.mapped = answer.mapped.unmapped
                query.isPending = false
                query.refreshAt = refresh
                query.askedAt = nil
            }
            return (
                host: query.host, base: query.base, server: query.client.server, old: query.mapped,
                askedAt: query.askedAt
            )
        }
        guard let known else { return }
        timers.push(.refresh(handle), at: refresh)
        let mapped = answer.mapped.unmapped
        agent.note(.serverAnswered(server: known.server, base: known.base, mapped: mapped))
        // Later than that it may be the answer to a repetition.
        if let askedAt = known.askedAt, now < askedAt + .milliseconds(500) {
            agent.noteServerRoundTrip(now - askedAt, at: now)
        }
        guard known.old != mapped else { return }
        // The NAT has forgotten us and gives another port: the old candidate leads nowhere.
        if known.old != nil { withdraw(.query(handle), at: now) }
        offerReflexive(known.host, mapped, server: known.server, origin: .query(handle), at: now)
        predict(known.host, known.base, at: now)
    }

    private mutating func queryFailed(_ handle: SlotHandle, _ failure: STUNClient.Failure, at now: Instant) {
        let state = queries.update(handle) { query in
            defer { query.isPending = false }
            return (name: query.name, wasGood: query.mapped != nil, isNews: query.isPending)
        }
        guard let state, !state.wasGood else { return }
        switch failure {
        case .refused(let code):
            agent.note(.serverRefused(server: state.name, transport: .udp, code: code))
            tell(.serverFailed(server: state.name, .udp, .refused(code: code.rawValue)))
        case .transaction(.timedOut): if state.isNews { tellSilence(state.name) }
        case .transaction: tell(.serverFailed(server: state.name, .udp, .unusableAnswer))
        }
        dropQuery(handle, at: now)
    }

    /// Gathering waits no longer for a server, whose answer would still be welcome.
    mutating func queryLate(_ handle: SlotHandle) {
        let name = queries.update(handle) { query -> String? in
            defer { query.isPending = false }
            return query.isPending ? query.name : nil
        }
        if let name = name ?? nil { tellSilence(name) }
    }

    private mutating func tellSilence(_ server: String) {
        agent.note(.serverSilent(server: server, transport: .udp))
        tell(.serverFailed(server: server, .udp, .silent))
    }

    mutating func dropQuery(_ handle: SlotHandle, at now: Instant) {
        withdraw(.query(handle), at: now)
        routes.removeAll { route in
            if case .query(let other) = route.client { return other == handle }
            return false
        }
        starts.removeAll { $0 == .query(handle) }
        dirtyQueries.removeAll { $0 == handle }
        queryHandles.removeAll { $0 == handle }
        _ = queries.remove(handle)
    }

    // MARK: Prediction

    /// Offers the ports that a NAT will probably use next, if two servers saw ports at a small distance (opt-in).
    private mutating func predict(_ place: Int, _ base: BaseID, at now: Instant) {
        guard case .contiguous(let wanted) = configuration.prediction, wanted > 0 else { return }
        var seen: [(server: SocketAddress, mapped: SocketAddress)] = []
        for handle in queryHandles {
            let pair = queries.read(handle) { query in
                query.base == base ? query.mapped.map { (query.client.server, $0) } : nil
            }
            if let pair = pair ?? nil { seen.append(pair) }
        }
        guard seen.count >= 2, let last = seen.last, seen[0].mapped.ip == last.mapped.ip else { return }
        let distance = Int(last.mapped.port) - Int(seen[seen.count - 2].mapped.port)
        guard distance != 0, abs(distance) <= 16 else { return }
        for step in 1...min(wanted, 8) {
            guard let port = UInt16(exactly: Int(last.mapped.port) + distance * step) else { return }
            let guess = SocketAddress(last.mapped.ip, port: port)
            offerReflexive(place, guess, server: last.server, origin: .host(place), at: now)
        }
    }
}
