import Bytes
public import NetTypes

/// Descriptions, states, restarts and the end.
extension ICEAgent {
    /// Takes what the peer says of itself; other credentials than before mean that it has restarted (ice 114, 117).
    public mutating func setRemoteDescription(
        _ description: ICEDescription,
        at now: Instant
    ) -> RemoteDescriptionDisposition {
        journal?.input(.setRemoteDescription(description), at: now)
        guard state != .closed else { return .unchanged }
        var disposition = RemoteDescriptionDisposition.accepted
        if let old = generations[generations.count - 1].remote {
            guard old.usernameFragment != description.credentials.usernameFragment else { return .unchanged }
            beginGeneration(at: now)
            disposition = .restarted
        }
        generations[generations.count - 1].setRemote(description.credentials)
        takeProperties(description, at: now)
        let early = earlyCandidates
        earlyCandidates = []
        for candidate in early
        where candidate.usernameFragment == nil
            || candidate.usernameFragment == description.credentials.usernameFragment
        {
            _ = takeRemoteCandidate(candidate, at: now)
        }
        if let end = earlyEnd, end == description.credentials.usernameFragment { hasRemoteEnd = true }
        earlyEnd = nil
        // No failure before the peer has had its time, even without a single candidate (ice 137).
        patienceEnds = now + configuration.patience
        for index in remotes.indices where remotes[index].isSignalled && !remotes[index].isRemoved {
            formPairs(remote: index, at: now)
        }
        evaluate(at: now)
        return disposition
    }

    /// What a peer may ask for between two checks at most.
    static var longestPacing: TimeSpan { .milliseconds(500) }

    private mutating func takeProperties(_ description: ICEDescription, at now: Instant) {
        let wasKnown = !remoteOptions.isEmpty || remoteIsLite
        remoteOptions = description.options
        // The higher value of both; who names none wants 50 ms (ice 86).
        //
        // Departure: RFC 8839 §5.5 has no limit. A peer that asked for hours would keep this agent from its other pairs.
        let wanted = min(description.pacing ?? .milliseconds(50), Self.longestPacing)
        pacing = max(configuration.pacing, wanted, .milliseconds(5))
        let becameLite = description.isLite && !remoteIsLite
        remoteIsLite = description.isLite
        // Roles stay over restarts, unless a full peer has become lite (ice 27, 28).
        if !configuration.isLite, remoteIsLite, becameLite || !wasKnown {
            switchRole(to: .controlling, at: now)
        } else if configuration.isLite, !remoteIsLite, !wasKnown {
            switchRole(to: .controlled, at: now)
        }
    }

    /// Begins a new generation: signal the description, then its candidates; the old path carries until then (ice 77).
    ///
    /// Candidates of this host stay; call `localGatheringDone` again when there are no more.
    public mutating func restart(at now: Instant) -> ICEDescription {
        journal?.input(.restart, at: now)
        guard state != .closed else { return localDescription }
        beginGeneration(at: now)
        evaluate(at: now)
        return localDescription
    }

    private mutating func beginGeneration(at now: Instant) {
        endPresumptions(at: now)
        presumptionCount = 0
        for component in components.indices {
            let carrier = components[component].carrier
            for index in pairs.indices
            where Int(pairs[index].component) == component + 1 && pairs[index].token(index) != carrier {
                removePair(index)
            }
            components[component].nominated = nil
            components[component].nominationValue = 0
            components[component].firstValid = nil
            components[component].wasSelected = false
        }
        let number = generations[generations.count - 1].number
        generations = generations.filter { old in
            pairs.contains { $0.state != .removed && $0.generation == old.number }
        }
        for index in remotes.indices
        where !pairs.contains(where: { Int($0.remote) == index && $0.state != .removed }) {
            remotes[index].isRemoved = true
        }
        for index in locals.indices where locals[index].type == .peerReflexive {
            if !pairs.contains(where: { Int($0.validLocal) == index && $0.state != .removed }) {
                locals[index].isRemoved = true
            }
        }
        for index in pairs.indices where pairs[index].state != .removed {
            // A nomination of the old generation ends with it; its path goes on.
            pairs[index].transaction = 0
            setState(index, .succeeded)
            pairs[index].flags.subtract([.nominating, .nominateOnSuccess, .backup])
            reschedule(index)
        }
        generations.append(Generation(number: number &+ 1, local: Self.drawCredentials(&entropy)))
        isLocalGatheringDone = false
        hasRemoteEnd = false
        hasStarted = false
        isEstablished = false
        hasAdvisedRestart = false
        burstCount = 0
        patienceEnds = .distantFuture
        recheckAt = .distantFuture
        freeAt = .distantFuture
        reviewAt = .distantFuture
    }

    /// Ends everything; nothing is sent or accepted any more.
    public mutating func close(at now: Instant) {
        journal?.input(.close, at: now)
        guard state != .closed else { return }
        for component in components.indices { components[component] = ComponentState() }
        pairs = []
        pairCount = 0
        unfinishedCount = 0
        inProgressCount = 0
        places = PlaceIndex()
        deadlines.removeAll()
        while responses.popFirst() != nil {}
        while errands.popFirst() != nil {}
        while triggered.popFirst() != nil {}
        patienceEnds = .distantFuture
        recheckAt = .distantFuture
        reviewAt = .distantFuture
        freeAt = .distantFuture
        change(to: .closed)
    }

    /// Notes that the system could not send (ice 49): only hard errors of a connection end a pair.
    public mutating func sendFailed(
        on base: BaseID,
        to destination: SocketAddress?,
        _ failure: SendFailure,
        at now: Instant
    ) {
        journal?.input(.sendFailed(base, destination, failure), at: now)
        evidence.noteSendFailure(failure)
        guard state != .closed else { return }
        if failure == .closed { return dropBase(base, at: now) }
        // An ICMP message may be forged, so that it fails a pair only while nothing has come back over it.
        guard failure == .unreachable || failure == .notPermitted, let destination,
            let index = findPair(base, destination), pairs[index].state == .inProgress,
            !pairs[index].flags.contains(.valid), pairs[index].attempts >= 2
        else { return }
        // A NAT that is not open yet may say so too.
        failPair(index, isSilent: failure == .unreachable, at: now)
    }

    // MARK: State

    mutating func change(to new: ICEConnectionState) {
        guard new != state else { return }
        state = new
        emit(.stateChanged(new))
    }

    /// Works out the state (W3C webrtc-pc §5.6; ice 35, 57, 74, 92, 138, 164 to 166).
    mutating func evaluate(at now: Instant) {
        guard state != .closed else { return }
        concludeBothLite(at: now)
        // What is only presumed to work is no connection yet.
        let isConnected = components.allSatisfy { component in
            component.path != nil && pairIndex(component.carrier).map { !pairs[$0].flags.contains(.presumed) } ?? true
        }
        let isSuspect =
            isConnected
            && components.contains { component in
                pairIndex(component.carrier).map { pairs[$0].flags.contains(.suspect) } ?? false
            }
        let generation = generations[generations.count - 1].number
        if isConnected {
            wasConnected = true
            // The path of the generation before is on loan: its end was answered by the restart that is under way.
            let isOwn = components.allSatisfy { component in
                pairIndex(component.carrier).map { pairs[$0].generation == generation } ?? false
            }
            if isOwn {
                isEstablished = true
                // Patience was for the first connection; the end of this one is told when it is known.
                patienceEnds = .distantFuture
                if !isSuspect { hasAdvisedRestart = false }
            }
            let isDone =
                isLocalGatheringDone && hasRemoteEnd && components.allSatisfy { $0.nominated != nil }
                && unfinishedCount == 0
            return change(to: isSuspect ? .disconnected : isDone ? .completed : .connected)
        }
        let canGrow = !isLocalGatheringDone || !hasRemoteEnd
        let isPatient = patienceEnds != .distantFuture
        let hasRemote = remotes.contains { !$0.isRemoved && $0.generation == generation }
        let isNew = generations[generations.count - 1].remote == nil
        // What is still being checked may succeed, but it was not good enough so far: a restart need not wait for it.
        if isEstablished { adviseRestart() }
        if unfinishedCount > 0 || isNew || canGrow || isPatient {
            if isEstablished, unfinishedCount == 0 { return change(to: .disconnected) }
            return change(to: hasRemote || wasConnected ? .checking : .new)
        }
        if wasConnected { adviseRestart() }
        change(to: .failed)
    }

    mutating func adviseRestart() {
        guard !hasAdvisedRestart else { return }
        hasAdvisedRestart = true
        emit(.restartAdvised)
    }

    /// Finds the pair that data of a component goes over (RFC 8445 §12.1; ice 77, 81, 83).
    ///
    /// Departure: when the selected pair does not answer, data goes over a warm backup, which the text would reach only
    /// by a restart; the peer accepts data on every valid pair.
    mutating func updatePath(_ component: Int, at now: Instant) {
        let generation = generations[generations.count - 1].number
        let hasNominated = components[component].nominated != nil
        func rank(_ index: Int) -> (UInt8, UInt64) {
            let flags = pairs[index].flags
            guard !flags.contains(.presumed) else { return (0, pairs[index].priority) }
            var rank: UInt8 = flags.contains(.suspect) ? 1 : 5
            if components[component].nominated == index { rank += 2 }
            // The path of the generation before carries until the new one has its own.
            if !hasNominated, pairs[index].generation != generation { rank += 1 }
            return (rank, pairs[index].validPriority)
        }
        var best: Int?
        for index in pairs.indices
        where pairs[index].state != .removed && !pairs[index].flags.isDisjoint(with: [.valid, .presumed])
            && Int(pairs[index].component) == component + 1
        {
            guard let other = best else {
                best = index
                continue
            }
            if rank(index) > rank(other) { best = index }
        }
        // A lite agent sends nothing before each component has its pair (ice 83).
        if configuration.isLite, !components.allSatisfy({ $0.nominated != nil }) { best = nil }
        let path = best.map { index in
            ICEPath(
                base: pairs[index].base,
                destination: pairs[index].remoteAddress,
                isRelayed: locals[Int(pairs[index].local)].type == .relayed
            )
        }
        components[component].carrier = best.map { pairs[$0].token($0) } ?? 0
        if let best { keepUp(best, at: now) }
        guard path != components[component].path else { return }
        components[component].path = path
        statistics.pathChanges &+= 1
        emit(.pathChanged(component: UInt16(component + 1), path))
        if configuration.isLite {
            for other in components.indices where other != component && components[other].path == nil {
                if components.allSatisfy({ $0.nominated != nil }) { updatePath(other, at: now) }
            }
        }
    }

    /// Frees what was not selected, 3 s after it was decided (RFC 8445 §8.3.1; ice 76).
    mutating func freeUnselected(at now: Instant) {
        let generation = generations[generations.count - 1].number
        guard components.allSatisfy({ $0.nominated != nil }) else { return }
        for index in pairs.indices where pairs[index].state != .removed {
            let component = Int(pairs[index].component) - 1
            let isUsed =
                pairs[index].generation == generation
                && (components[component].nominated == index || pairs[index].state.isUnfinished
                    || !pairs[index].flags.isDisjoint(with: [.backup, .nominating])
                    // What the peer keeps warm is kept; the rest goes when its consent runs out.
                    || role == .controlled && configuration.asksConsent && pairs[index].flags.contains(.valid))
            if !isUsed, components[component].carrier != pairs[index].token(index) { removePair(index) }
        }
        generations.removeAll { old in
            old.number != generation && !pairs.contains { $0.state != .removed && $0.generation == old.number }
        }
        var told: [BaseID] = []
        let bases = locals.filter { !$0.isRemoved && $0.tcpType != .active }.map(\.base) + connections.map(\.base)
        for base in bases
        where !told.contains(base) && !pairs.contains(where: { $0.state != .removed && $0.base == base }) {
            told.append(base)
            emit(.baseUnused(base))
        }
        compact(at: now)
    }
}
