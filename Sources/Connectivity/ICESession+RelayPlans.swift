import Bytes
import ICE
import NetTypes
import STUN
import TURN

/// Which ways to TURN servers are tried when: UDP at once, streams a little later if it has given nothing by then (ice 143).
extension ICESession {
    /// Plans all ways to a TURN server: by UDP at once, by streams a little later if UDP has given nothing by then.
    mutating func planRelays(_ server: Int, from place: Int, at now: Instant) {
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
}
