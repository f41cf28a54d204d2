import ICE
public import NetTypes
import STUN
import TURN

/// The names of STUN and TURN servers, and where they are reached from each address of this host (ice 8, 14).
extension ICESession {
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
    func reachable(_ addresses: [IPAddress], from place: Int) -> [IPAddress] {
        let own = hosts[place].selected.address
        guard !own.ip.isLinkLocal else { return [] }
        var found = addresses.first { $0.family == own.family }.map { [$0] } ?? []
        if own.family == .ipv6, let nat64, let old = addresses.first(where: { $0.family == .ipv4 }) {
            found.append(nat64.synthesized(old))
        }
        return found
    }

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
}
