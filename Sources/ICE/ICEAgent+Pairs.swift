import Bytes
import NetTypes

/// The table of pairs: who is in it, where they are found, in which state they are.
extension ICEAgent {
    private func hash(_ base: BaseID, _ address: SocketAddress) -> UInt64 {
        address.flatHash(seed: hashSeed ^ UInt64(base.rawValue) &* 0x9E37_79B9_7F4A_7C15)
    }

    /// The pair of a base and a remote address in that generation, or in any; O(1).
    func findPair(_ base: BaseID, _ address: SocketAddress, generation: UInt8? = nil) -> Int? {
        var slot = Int(truncatingIfNeeded: hash(base, address)) & places.mask
        var found: Int?
        while places.slots[slot] != PlaceIndex.empty {
            let index = Int(places.slots[slot])
            if pairs[index].base == base, pairs[index].remoteAddress == address, pairs[index].state != .removed {
                if pairs[index].generation == generation { return index }
                // Of two generations on one path, the one that was proven counts.
                if generation == nil, found == nil || pairs[index].flags.contains(.valid) { found = index }
            }
            slot = (slot &+ 1) & places.mask
        }
        return found
    }

    func rebuildIndex() -> PlaceIndex {
        var index = PlaceIndex()
        index.reset(for: pairCount + 1)
        for (place, pair) in pairs.enumerated() where pair.state != .removed {
            index.insert(place, hash: hash(pair.base, pair.remoteAddress))
        }
        return index
    }

    /// Puts a pair into the table, if there is room for it; the least promising one makes room (ice 33, 99).
    mutating func addPair(local: Int, remote: Int, base: BaseID? = nil) -> Int? {
        let priority = pairPriority(local, remote)
        if pairCount >= configuration.pairLimit { guard makeRoom(for: priority) else { return nil } }
        lastSerial &+= 1
        let generation = generations[generations.count - 1].number
        let pair = Pair(
            remoteAddress: remotes[remote].address,
            priority: priority,
            base: base ?? locals[local].base,
            local: UInt16(local),
            validLocal: UInt16(local),
            remote: UInt16(remote),
            component: locals[local].component,
            serial: lastSerial,
            generation: generation,
            isStream: locals[local].transport == .tcp
        )
        let index: Int
        if pairCount < pairs.count, let free = pairs.firstIndex(where: { $0.state == .removed }) {
            pairs[free] = pair
            index = free
        } else {
            index = pairs.count
            pairs.append(pair)
        }
        pairCount += 1
        unfinishedCount += 1
        if places.isCrowded {
            places = rebuildIndex()
        } else {
            places.insert(index, hash: hash(pair.base, pair.remoteAddress))
        }
        if base != nil { pairs[index].flags.formUnion([.hasConnection, .connecting]) }
        // The request for the permission is on its way before the check is, so that the check need not wait for the answer.
        if locals[local].type == .relayed {
            emit(.permissionNeeded(base: pair.base, peer: pair.remoteAddress))
        }
        settleNewPair(index)
        return index
    }

    /// Gives a pair another base: the connection that was opened for it.
    mutating func rebase(_ index: Int, to base: BaseID) {
        pairs[index].base = base
        pairs[index].flags.insert(.hasConnection)
        places = rebuildIndex()
    }

    /// Takes a pair out of the table.
    mutating func removePair(_ index: Int) {
        guard pairs[index].state != .removed else { return }
        setState(index, .removed)
        pairs[index].flags = []
        pairs[index].transaction = 0
        pairCount -= 1
        deadlines.set(index, to: .distantFuture)
        for component in components.indices where components[component].nominated == index {
            components[component].nominated = nil
        }
        places = rebuildIndex()
    }

    /// Sets a pair's state and keeps the counts.
    mutating func setState(_ index: Int, _ state: PairState) {
        let old = pairs[index].state
        guard old != state else { return }
        if old.isUnfinished { unfinishedCount -= 1 }
        if state.isUnfinished { unfinishedCount += 1 }
        if old == .inProgress { inProgressCount -= 1 }
        if state == .inProgress { inProgressCount += 1 }
        pairs[index].state = state
        if state == .waiting { hasWaiting = true }
    }

    /// Sets the pair's timer to whatever comes first.
    mutating func reschedule(_ index: Int) {
        var earliest = Instant.distantFuture
        if pairs[index].transaction != 0 || pairs[index].state == .inProgress {
            earliest = pairs[index].retransmitAt
        }
        // No earlier than what `fire` then does something about.
        if pairs[index].flags.contains(.presumed) {
            earliest = min(earliest, pairs[index].consentExpiry)
        } else if pairs[index].flags.contains(.valid) {
            earliest = min(earliest, min(pairs[index].nextConsent, pairs[index].consentExpiry))
        }
        deadlines.set(index, to: earliest)
    }

    func pairPriority(_ local: Int, _ remote: Int) -> UInt64 {
        let (ours, theirs) = (locals[local].priority, remotes[remote].priority)
        return role == .controlling
            ? CandidatePriority.pair(controlling: ours, controlled: theirs)
            : CandidatePriority.pair(controlling: theirs, controlled: ours)
    }

    /// Works out all priorities again, after a change of role (ice 31, 47).
    mutating func recomputePriorities() {
        for index in pairs.indices where pairs[index].state != .removed {
            pairs[index].priority = pairPriority(Int(pairs[index].local), Int(pairs[index].remote))
            guard pairs[index].flags.contains(.valid) else { continue }
            pairs[index].validPriority = pairPriority(Int(pairs[index].validLocal), Int(pairs[index].remote))
        }
    }

    private mutating func makeRoom(for priority: UInt64) -> Bool {
        var victim: Int?
        for index in pairs.indices where pairs[index].state != .removed {
            let state = pairs[index].state
            if state == .failed, !pairs[index].flags.contains(.valid) {
                victim = index
                break
            }
            guard state == .frozen || state == .waiting,
                pairs[index].flags.isDisjoint(with: [.valid, .triggered, .presumed])
            else { continue }
            guard let other = victim else {
                victim = index
                continue
            }
            if pairs[index].priority < pairs[other].priority { victim = index }
        }
        guard let victim, pairs[victim].state == .failed || pairs[victim].priority < priority else { return false }
        removePair(victim)
        return true
    }
}
