import Bytes
import ICE
import NetTypes
import PortMapping
import STUN

/// STUN servers: what is asked of them, and what follows from their answers (RFC 8445 §5.1.1.2; ice 8 to 11, 148).
extension ICESession {
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
        let known = queries.update(handle) { query in
            defer {
                query.mapped = answer.mapped.unmapped
                query.isPending = false
                query.askedAt = nil
            }
            return (
                host: query.host, base: query.base, server: query.client.server, old: query.mapped,
                askedAt: query.askedAt
            )
        }
        guard let known else { return }
        let mapped = answer.mapped.unmapped
        agent.note(.serverAnswered(server: known.server, base: known.base, mapped: mapped))
        // Later than that it may be the answer to a repetition.
        if let askedAt = known.askedAt, now < askedAt + .milliseconds(500) {
            agent.noteServerRoundTrip(now - askedAt, at: now)
        }
        guard known.old != mapped else { return }
        // The NAT has forgotten us and gives another port: the old candidate leads nowhere.
        if known.old != nil { withdraw(.query(handle), at: now) }
        noteVisibility(of: known.host, mapped)
        offerReflexive(known.host, mapped, server: known.server, origin: .query(handle), at: now)
        predict(known.host, known.base, at: now)
    }

    /// Learns whether a host's address is what servers see (ice 148).
    ///
    /// A server beside us sees a private address as it is; and one that sees another address tells of a NAT.
    private mutating func noteVisibility(of place: Int, _ mapped: SocketAddress) {
        guard let local = hosts[place].local, local.family == mapped.family else { return }
        if local.ip != mapped.ip {
            translated.insert(local.ip)
            knownPublic.addresses.remove(local.ip)
        } else if !ExternalAddress.isPrivate(local.ip), !translated.contains(local.ip) {
            knownPublic.addresses.insert(local.ip)
        }
    }

    private mutating func queryFailed(_ handle: SlotHandle, _ failure: STUNClient.Failure, at now: Instant) {
        let state = queries.update(handle) { query in
            defer {
                query.isPending = false
                query.askedAt = nil
            }
            return (name: query.name, wasGood: query.mapped != nil, isNews: query.isPending)
        }
        // What a server has told once stays good while it is silent, and is asked again at the next time.
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
