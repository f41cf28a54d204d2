import ICE
import MDNS
import NetTypes
import STUN

/// Candidates of this host: how they are made, signalled and taken back.
extension ICESession {
    /// Whether an address is signalled as a name: not if all the world sees it anyway.
    func conceals(_ address: IPAddress) -> Bool {
        configuration.hostAddresses == .concealed && !knownPublic.addresses.contains(address)
    }

    func found(
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

    mutating func offerHost(_ place: Int, at now: Instant) {
        guard let base = hosts[place].base, let local = hosts[place].local else { return }
        guard configuration.policy != .relay, configuration.policy != .noHost else { return }
        var candidate = found(.host, place, local)
        candidate.concealedName = hosts[place].name?.description
        offer(candidate, base: base, origin: .host(place), at: now)
    }

    /// Passive, active and simultaneous-open candidates of an address (RFC 6544 §4.1; ice 118).
    mutating func offerStreams(_ place: Int, _ local: SocketAddress, at now: Instant) {
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
    mutating func offerPublic(_ found: LocalCandidate, base: BaseID, origin: Origin) -> Bool {
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
        // The new generation has selected nothing yet.
        selected = []
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
}
