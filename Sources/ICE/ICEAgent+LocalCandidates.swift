import NetTypes

/// Places, preferences, priorities and foundations of our own candidates (RFC 8445 §5.1).
extension ICEAgent {
    func placeForLocal() -> Int? {
        if let free = locals.indices.first(where: { place in
            locals[place].isRemoved && !pairs.contains { Int($0.local) == place || Int($0.validLocal) == place }
        }) {
            return free
        }
        return locals.count < configuration.localCandidateLimit ? locals.count : nil
    }

    mutating func store(_ entry: LocalEntry, at place: Int) {
        if place == locals.count {
            locals.reserveCapacity(place + 1)
            locals.append(entry)
        } else {
            locals[place] = entry
        }
    }

    func localPreference(of found: LocalCandidate) -> UInt16 {
        let family = found.address.family
        if configuration.isLite, found.tcpType == nil {
            // RFC 8445 §5.2 (ice 24).
            let isAlone = family == .ipv4 && !configuration.isDualStack
            return isAlone ? 65_535 : CandidatePriority.precedence(of: found.address.ip)
        }
        let rank = locals.count { entry in
            !entry.isRemoved && entry.type == found.type && entry.component == found.component
                && entry.transport == found.transport && entry.address.family == family
                && entry.tcpType == found.tcpType
        }
        let step: UInt16 =
            switch (found.type, found.serverProtocol) {
            case (.relayed, .tcp): 2
            case (.relayed, .tls): 3
            default: 0
            }
        let preference = CandidatePriority.local(
            rank: rank,
            isIPv6: family == .ipv6,
            isDualStack: configuration.isDualStack,
            cost: found.networkCost,
            isVPN: found.isVPN,
            relayStep: step
        )
        guard let tcpType = found.tcpType else { return preference }
        return CandidatePriority.direction(tcpType, found.type) &<< 13 | preference &>> 3
    }

    /// Works out the priority, and lowers the local preference until the priority is unique (ice 18, 21).
    func setPriority(_ entry: inout LocalEntry) {
        let type = CandidatePriority.type(entry.type, entry.transport)
        while true {
            let priority = CandidatePriority.candidate(
                typePreference: type,
                localPreference: entry.localPreference,
                component: entry.component
            )
            entry.priority = priority
            let isTaken = locals.contains { !$0.isRemoved && $0.priority == priority }
            guard isTaken, entry.localPreference > 0 else { return }
            entry.localPreference -= 1
        }
    }

    /// The number of all candidates of that type, base address, server and transport (ice 15).
    mutating func foundation(of entry: LocalEntry) -> UInt16 {
        for other in locals
        where !other.isRemoved && other.type == entry.type && other.baseAddress.ip == entry.baseAddress.ip
            && other.serverIP == entry.serverIP && other.transport == entry.transport
        {
            return other.foundation
        }
        lastFoundation &+= 1
        return lastFoundation
    }

    /// Notes the address at which the peer saw a check (ice 52).
    mutating func addPeerReflexive(_ mapped: SocketAddress, of index: Int) -> Int? {
        guard let place = placeForLocal() else { return nil }
        let sender = locals[Int(pairs[index].local)]
        var entry = sender
        entry.address = mapped
        entry.type = .peerReflexive
        entry.serverIP = nil
        entry.isRemoved = false
        entry.priority = CandidatePriority.candidate(
            typePreference: CandidatePriority.type(.peerReflexive, sender.transport),
            localPreference: sender.localPreference,
            component: sender.component
        )
        entry.foundation = foundation(of: entry)
        store(entry, at: place)
        emit(.foundPeerReflexive(base: pairs[index].base, address: mapped))
        return place
    }

    func signalled(_ entry: LocalEntry, _ found: LocalCandidate) -> Candidate {
        var candidate = Candidate(
            foundation: String(entry.foundation),
            component: entry.component,
            transport: entry.transport,
            tcpType: entry.tcpType,
            priority: entry.priority,
            address: found.concealedName.map { .name($0) } ?? .ip(entry.address.ip),
            // An active candidate has no port that anybody could send to (ice 118).
            port: entry.tcpType == .active ? 9 : entry.address.port,
            type: entry.type,
            related: entry.type == .host ? nil : found.related ?? found.baseAddress
        )
        candidate.usernameFragment = generations[generations.count - 1].local.usernameFragment
        if found.network != 0 { candidate.networkID = found.network }
        if found.networkCost != 0 { candidate.networkCost = found.networkCost }
        return candidate
    }
}
