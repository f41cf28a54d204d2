import Bytes
public import NetTypes

/// Candidates of both sides and the pairs that they form.
extension ICEAgent {
    /// Takes a candidate that the gatherer has found; returns what to signal, or `nil` if there is nothing new to it.
    ///
    /// It must not be sent to the peer later than its checks are (ice 96): signal it before `pollTransmit` is drained.
    public mutating func addLocalCandidate(_ found: LocalCandidate, base: BaseID, at now: Instant) -> Candidate? {
        journal?.input(.addLocalCandidate(found, base), at: now)
        guard state != .closed, Int(found.component) <= components.count, found.component > 0 else { return nil }
        guard (found.transport == .tcp) == (found.tcpType != nil) else { return nil }
        // The base is bound to its interface: the scope of a link-local address says nothing new.
        let address = SocketAddress(found.address.ip, port: found.address.port)
        // Equal address and base: the one that was there first stays, whatever its priority (ice 23, 94).
        for entry in locals where !entry.isRemoved && entry.transport == found.transport && entry.base == base {
            if entry.address == address, entry.component == found.component, entry.tcpType == found.tcpType {
                return nil
            }
        }
        // A lite agent has host candidates alone, one for each address and transport (ice 24).
        if configuration.isLite {
            let isThere = locals.contains { entry in
                !entry.isRemoved && entry.address.ip == address.ip && entry.component == found.component
                    && entry.transport == found.transport
            }
            guard found.type == .host, !isThere else { return nil }
        }
        // A relay that gives the host's own address is no relay (ice 13).
        if found.type == .relayed, locals.contains(where: { $0.type == .host && $0.address == address }) {
            return nil
        }
        guard let place = placeForLocal() else { return nil }
        let preference = localPreference(of: found)
        var entry = LocalEntry(
            address: address,
            baseAddress: found.baseAddress,
            serverIP: found.server?.ip,
            base: base,
            priority: 0,
            foundation: 0,
            component: found.component,
            localPreference: preference,
            network: found.network,
            cost: found.networkCost,
            type: found.type,
            transport: found.transport,
            tcpType: found.tcpType,
            isConcealed: found.concealedName != nil
        )
        setPriority(&entry)
        entry.foundation = foundation(of: entry)
        store(entry, at: place)
        formPairs(local: place, at: now)
        evaluate(at: now)
        return signalled(entry, found)
    }

    /// Notes that no more candidates of our own will follow in this generation.
    public mutating func localGatheringDone(at now: Instant) {
        journal?.input(.localGatheringDone, at: now)
        guard !isLocalGatheringDone else { return }
        isLocalGatheringDone = true
        evaluate(at: now)
    }

    /// Takes a candidate that the peer has signalled.
    public mutating func addRemoteCandidate(_ candidate: Candidate, at now: Instant) -> RemoteCandidateDisposition {
        journal?.input(.addRemoteCandidate(candidate), at: now)
        return takeRemoteCandidate(candidate, at: now)
    }

    mutating func takeRemoteCandidate(_ candidate: Candidate, at now: Instant) -> RemoteCandidateDisposition {
        guard state != .closed else { return .ignored(.closed) }
        guard (1...components.count).contains(Int(candidate.component)) else { return .ignored(.unknownComponent) }
        let fragment = generations[generations.count - 1].remote?.usernameFragment
        guard let fragment, candidate.usernameFragment == nil || candidate.usernameFragment == fragment else {
            // It may belong to a description that is still on its way (ice 95).
            guard fragment == nil || candidate.usernameFragment != nil else { return .ignored(.otherGeneration) }
            guard earlyCandidates.count < 64 else { return .ignored(.limitReached) }
            earlyCandidates.append(candidate)
            return .early
        }
        guard !hasRemoteEnd else { return .ignored(.afterEndOfCandidates) }
        guard let address = candidate.socketAddress?.unmapped else {
            guard case .name(let name) = candidate.address, candidate.hasMulticastName else {
                return .ignored(.unsupportedName)
            }
            return .needsResolution(name)
        }
        guard isUsable(address, candidate) else { return .ignored(.unusableAddress) }
        return insertRemote(candidate, address, at: now)
    }

    /// Notes that the peer will not signal more candidates of a generation (ice 102).
    ///
    /// Without a fragment the present generation is meant. An end that comes before its description waits for it; that of
    /// a generation that is over changes nothing.
    public mutating func endOfRemoteCandidates(usernameFragment: String? = nil, at now: Instant) {
        journal?.input(.endOfRemoteCandidates(usernameFragment), at: now)
        let current = generations[generations.count - 1].remote?.usernameFragment
        guard usernameFragment == nil || usernameFragment == current else {
            earlyEnd = usernameFragment
            return
        }
        guard !hasRemoteEnd else { return }
        hasRemoteEnd = true
        evaluate(at: now)
    }

    /// Forgets a candidate of the peer and its pairs, because the peer has said so.
    public mutating func removeRemoteCandidate(_ candidate: Candidate, at now: Instant) {
        journal?.input(.removeRemoteCandidate(candidate), at: now)
        guard let address = candidate.socketAddress?.unmapped else { return }
        let generation = generations[generations.count - 1].number
        for index in remotes.indices
        where remotes[index].address == address && remotes[index].component == candidate.component
            && remotes[index].transport == candidate.transport && remotes[index].generation == generation
        {
            remotes[index].isRemoved = true
            for pair in pairs.indices where Int(pairs[pair].remote) == index { removePair(pair) }
        }
        afterLoss(at: now)
    }

    /// Forgets a candidate of our own, as `addLocalCandidate` returned it, and its pairs.
    public mutating func removeLocalCandidate(_ candidate: Candidate, at now: Instant) {
        journal?.input(.removeLocalCandidate(candidate), at: now)
        // No two candidates of a stream have one priority (ice 18).
        for index in locals.indices where !locals[index].isRemoved && locals[index].priority == candidate.priority {
            locals[index].isRemoved = true
            for pair in pairs.indices where Int(pairs[pair].local) == index { removePair(pair) }
        }
        afterLoss(at: now)
    }

    /// Forgets a base with all that depends on it: the socket was closed, its interface is gone, a connection has ended.
    public mutating func removeBase(_ base: BaseID, at now: Instant) {
        journal?.input(.removeBase(base), at: now)
        dropBase(base, at: now)
    }

    mutating func dropBase(_ base: BaseID, at now: Instant) {
        connections.removeAll { $0.base == base }
        for index in locals.indices where locals[index].base == base { locals[index].isRemoved = true }
        for pair in pairs.indices where pairs[pair].base == base { removePair(pair) }
        afterLoss(at: now)
    }

    private mutating func afterLoss(at now: Instant) {
        for component in components.indices { updatePath(component, at: now) }
        promoteBackup(at: now)
        review(at: now)
        evaluate(at: now)
    }

    // MARK: The peer's candidates

    private func isUsable(_ address: SocketAddress, _ candidate: Candidate) -> Bool {
        guard !address.ip.isUnspecified else { return false }
        let isMulticast = address.family == .ipv4 ? address.ip.ipv4Bits &>> 28 == 14 : address.ip.high &>> 56 == 0xFF
        return !isMulticast && (address.port != 0 || candidate.tcpType == .active)
    }

    private mutating func insertRemote(
        _ candidate: Candidate,
        _ address: SocketAddress,
        at now: Instant
    ) -> RemoteCandidateDisposition {
        let generation = generations[generations.count - 1].number
        for index in remotes.indices
        where remotes[index].address == address && remotes[index].component == candidate.component
            && remotes[index].transport == candidate.transport && remotes[index].generation == generation
            && !remotes[index].isRemoved && remotes[index].tcpType == candidate.tcpType
        {
            guard !remotes[index].isSignalled else { return .merged }
            // The peer-reflexive pair goes on with its priority, under what the peer calls the candidate (ice 100).
            remotes[index].isSignalled = true
            remotes[index].isConcealed = candidate.isResolved
            remotes[index].type = candidate.type
            remotes[index].foundation = Self.foundationHash(candidate.foundation)
            remotes[index].cost = candidate.networkCost ?? 0
            formPairs(remote: index, at: now)
            evaluate(at: now)
            return .merged
        }
        let entry = RemoteEntry(
            address: address,
            foundation: Self.foundationHash(candidate.foundation),
            priority: candidate.priority,
            component: candidate.component,
            cost: candidate.networkCost ?? 0,
            type: candidate.type,
            transport: candidate.transport,
            tcpType: candidate.tcpType,
            generation: generation,
            isSignalled: true,
            isConcealed: candidate.isResolved
        )
        guard let place = storeRemote(entry) else { return .ignored(.limitReached) }
        formPairs(remote: place, at: now)
        evaluate(at: now)
        return .added
    }

    mutating func storeRemote(_ entry: RemoteEntry) -> Int? {
        if let free = remotes.indices.first(where: { place in
            remotes[place].isRemoved && !pairs.contains { Int($0.remote) == place && $0.state != .removed }
        }) {
            remotes[free] = entry
            return free
        }
        guard remotes.count < configuration.remoteCandidateLimit else { return nil }
        remotes.append(entry)
        return remotes.count - 1
    }

    /// FNV-1a; the highest bit is left to peer-reflexive candidates, whose foundations are their own (ice 64).
    static func foundationHash(_ text: String) -> UInt64 {
        text.utf8.reduce(0xCBF2_9CE4_8422_2325) { ($0 ^ UInt64($1)) &* 0x100_0000_01B3 } & (.max &>> 1)
    }

    // MARK: Pairs

    private mutating func formPairs(local: Int, at now: Instant) {
        let generation = generations[generations.count - 1].number
        for remote in remotes.indices where remotes[remote].generation == generation {
            formPair(local, remote)
        }
    }

    mutating func formPairs(remote: Int, at now: Instant) {
        for local in locals.indices { formPair(local, remote) }
    }

    /// Pairs two candidates if the text permits it and the pair is new (RFC 8445 §6.1.2.2, §6.1.2.4; ice 29, 30, 32, 97).
    private mutating func formPair(_ local: Int, _ remote: Int) {
        guard !configuration.isLite || remoteIsLite else { return }
        let (ours, theirs) = (locals[local], remotes[remote])
        guard !ours.isRemoved, !theirs.isRemoved, theirs.isSignalled, ours.type != .peerReflexive,
            ours.component == theirs.component, ours.transport == theirs.transport,
            ours.address.family == theirs.address.family,
            ours.baseAddress.ip.isLinkLocal == theirs.address.ip.isLinkLocal || ours.address.family == .ipv4
        else { return }
        // What a relay's owner could see must not tell which address a name stands for (ice 153).
        guard ours.type != .relayed || !theirs.isConcealed else { return }
        // Pairs of passive candidates come to be when the peer connects (RFC 6544 §6.2; ice 123).
        if let kind = ours.tcpType { guard theirs.tcpType == kind.counterpart, kind != .passive else { return } }
        let generation = generations[generations.count - 1].number
        // A reflexive candidate checks as its base does: if the base is a candidate, its pairs stand for both.
        if let existing = findPair(ours.base, theirs.address, generation: generation) {
            let old = pairs[existing]
            guard old.state == .frozen || old.state == .waiting, ours.type != .serverReflexive,
                pairPriority(local, remote) > old.priority
            else { return }
            pairs[existing].local = UInt16(local)
            pairs[existing].validLocal = UInt16(local)
            pairs[existing].priority = pairPriority(local, remote)
            return
        }
        if ours.transport == .tcp {
            // Its pair may stand under the connection by now.
            let isThere = pairs.contains {
                Int($0.local) == local && Int($0.remote) == remote && $0.state != .removed
                    && $0.generation == generation
            }
            if isThere { return }
        }
        _ = addPair(local: local, remote: remote)
    }
}
