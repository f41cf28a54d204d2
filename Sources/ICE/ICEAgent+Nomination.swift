import NetTypes

/// Which pair is used (RFC 8445 §8).
extension ICEAgent {
    /// Whether one end of the pair is a TURN server.
    func isRelayed(_ index: Int) -> Bool {
        locals[Int(pairs[index].local)].type == .relayed || remotes[Int(pairs[index].remote)].type == .relayed
    }

    /// What a pair is worth, of a priority that it has or would be valid with: a direct one more than any relayed one.
    ///
    /// Priorities alone do not tell: a relayed candidate that was heard of before it was signalled counts as
    /// peer-reflexive for good (RFC 8838 §11.4), which is more than a server-reflexive one does.
    private func worth(_ index: Int, _ priority: UInt64) -> (Int, UInt64) { (isRelayed(index) ? 0 : 1, priority) }

    private func cost(_ index: Int) -> UInt16 {
        locals[Int(pairs[index].local)].cost &+ remotes[Int(pairs[index].remote)].cost
    }

    /// The controlling agent decides whether to nominate, and when to think again (RFC 8445 §8.1.1; ice 69, 70).
    ///
    /// Data flows already, so that nothing is lost by waiting for a better pair; it is waited for as long as its answer
    /// can still come by what is known of round-trip times, never for a fixed time per type of candidate.
    mutating func review(at now: Instant) {
        reviewAt = .distantFuture
        guard role == .controlling, canCheck else { return }
        for component in components.indices where components[component].nominated == nil {
            guard !components[component].wasSelected || allowsRenomination else { continue }
            guard let best = bestValid(component), !isNominating(component) else { continue }
            if let until = awaitedUntil(best, component, at: now), until > now {
                reviewAt = min(reviewAt, until)
            } else {
                nominate(best)
            }
        }
    }

    private func isNominating(_ component: Int) -> Bool {
        pairs.contains {
            $0.state != .removed && $0.flags.contains(.nominating) && Int($0.component) == component + 1
        }
    }

    private func bestValid(_ component: Int) -> Int? {
        let generation = generations[generations.count - 1].number
        var best: Int?
        for index in pairs.indices
        where pairs[index].state != .removed && pairs[index].flags.contains(.valid)
            && !pairs[index].flags.contains(.suspect) && Int(pairs[index].component) == component + 1
            && pairs[index].generation == generation
        {
            guard let other = best else {
                best = index
                continue
            }
            if worth(index, pairs[index].validPriority) > worth(other, pairs[other].validPriority) { best = index }
        }
        return best
    }

    /// Until when a pair that is better than the best valid one may still show up; `nil` if none can.
    private func awaitedUntil(_ best: Int, _ component: Int, at now: Instant) -> Instant? {
        let sample = TimeSpan.microseconds(UInt64(max(pairs[best].roundTrip, 1000)))
        let start = components[component].firstValid ?? now
        let budgetEnd = start + min(sample * 20 + .milliseconds(100), .seconds(2))
        guard now < budgetEnd else { return nil }
        var until: Instant?
        for index in pairs.indices
        where pairs[index].state.isUnfinished && Int(pairs[index].component) == component + 1
            && worth(index, pairs[index].priority) > worth(best, pairs[best].priority)
            && pairs[index].generation == pairs[best].generation
        {
            guard pairs[index].state == .inProgress else { return budgetEnd }
            // Three round trips: enough for one loss and the check that follows it.
            let expected = pairs[index].firstSent + sample * 3 + .milliseconds(pairs[index].isStream ? 100 : 20)
            if expected > now { until = max(until ?? now, expected) }
        }
        if isRelayed(best), !allowsRenomination, !isLocalGatheringDone || !hasRemoteEnd { return budgetEnd }
        return until.map { min($0, budgetEnd) }
    }

    /// Repeats the pair's check with USE-CANDIDATE.
    mutating func nominate(_ index: Int) {
        let component = Int(pairs[index].component) - 1
        if allowsRenomination {
            components[component].nominationValue &+= 1
            pairs[index].nomination = components[component].nominationValue
        }
        pairs[index].flags.insert(.nominating)
        enqueue(index)
    }

    /// A pair was nominated on both sides (RFC 8445 §8.1.1, §8.1.2).
    mutating func select(_ index: Int, nomination: UInt32, at now: Instant) {
        let component = Int(pairs[index].component) - 1
        if let old = components[component].nominated, old != index {
            if nomination > 0, allowsRenomination {
                // The highest number counts (ice 173).
                guard nomination >= components[component].nominationValue else { return }
            } else if role == .controlled, pairs[index].validPriority <= pairs[old].validPriority {
                // Several nominations of an RFC 5245 peer: the highest priority counts (ice 71).
                return
            }
            pairs[old].flags.remove(.nominated)
        } else if components[component].nominated == index {
            components[component].nominationValue = max(components[component].nominationValue, nomination)
            return
        }
        components[component].nominationValue = max(components[component].nominationValue, nomination)
        components[component].nominated = index
        components[component].wasSelected = true
        pairs[index].flags.insert(.nominated)
        pairs[index].betterSamples = 0
        prune(component, keeping: index)
        chooseBackups(component, besides: index, at: now)
        keepUp(index, at: now)
        updatePath(component, at: now)
        emit(
            .selected(
                component: UInt16(component + 1),
                ICEPath(
                    base: pairs[index].base,
                    destination: pairs[index].remoteAddress,
                    isRelayed: locals[Int(pairs[index].local)].type == .relayed
                )
            )
        )
        if components.allSatisfy({ $0.nominated != nil }) { freeAt = now + .seconds(3) }
        evaluate(at: now)
    }

    /// Ends the checks of a component that has its pair (ice 72); with renomination, better pairs may still come.
    private mutating func prune(_ component: Int, keeping selected: Int) {
        let least = worth(selected, pairs[selected].validPriority)
        for index in pairs.indices where index != selected && Int(pairs[index].component) == component + 1 {
            if allowsRenomination, pairs[index].state.isUnfinished, worth(index, pairs[index].priority) > least {
                continue
            }
            switch pairs[index].state {
            case .frozen, .waiting: removePair(index)
            case .inProgress where !pairs[index].flags.contains(.valid):
                setState(index, .cancelled)
                pairs[index].flags.remove(.presumed)
                pairs[index].transaction = 0
                pairs[index].retransmitAt = .distantFuture
                reschedule(index)
            case .inProgress, .succeeded, .failed, .cancelled, .removed: break
            }
            if pairs[index].state != .removed {
                pairs[index].flags.subtract([.nominating, .nominateOnSuccess])
            }
        }
    }

    /// Keeps the best valid pair of each network warm beside the selected one.
    ///
    /// The controlling agent chooses; the controlled one keeps what it is asked over (`followBackup`).
    mutating func chooseBackups(_ component: Int, besides selected: Int, at now: Instant) {
        for index in pairs.indices where Int(pairs[index].component) == component + 1 {
            pairs[index].flags.remove(.backup)
        }
        guard role == .controlling else { return }
        for index in pairs.indices where isBackupCandidate(index, component, besides: selected) {
            let network = locals[Int(pairs[index].local)].network
            let isBest = !pairs.indices.contains { other in
                other != index && isBackupCandidate(other, component, besides: selected)
                    && locals[Int(pairs[other].local)].network == network
                    && backupRank(other, besides: selected) > backupRank(index, besides: selected)
            }
            guard isBest else { continue }
            pairs[index].flags.insert(.backup)
            keepUp(index, at: now)
        }
    }

    /// Another address of the peer is worth more than a higher priority: it is less likely to fail together.
    private func backupRank(_ index: Int, besides selected: Int) -> (Int, UInt64, Int) {
        (pairs[index].remoteAddress.ip == pairs[selected].remoteAddress.ip ? 0 : 1, pairs[index].validPriority, index)
    }

    private func isBackupCandidate(_ index: Int, _ component: Int, besides selected: Int) -> Bool {
        index != selected && pairs[index].state != .removed && pairs[index].flags.contains(.valid)
            && Int(pairs[index].component) == component + 1 && pairs[index].generation == pairs[selected].generation
    }

    /// Nominates again if both sides can and another valid pair is better: direct, of higher priority, or faster.
    mutating func considerSwitch(to index: Int, at now: Instant) {
        let component = Int(pairs[index].component) - 1
        guard role == .controlling, allowsRenomination, let selected = components[component].nominated,
            selected != index, pairs[index].flags.contains(.valid), !isNominating(component),
            pairs[index].generation == generations[generations.count - 1].number
        else { return }
        // The selected pair does not answer, this one does.
        if pairs[selected].flags.contains(.suspect) { return nominate(index) }
        // Whatever it takes: a pair whose requests were sent again has no round-trip time yet (Karn's rule).
        if isRelayed(selected), !isRelayed(index) { return nominate(index) }
        let (old, new) = (UInt64(pairs[selected].roundTrip), UInt64(pairs[index].roundTrip))
        guard old > 0, new > 0 else { return }
        if pairs[index].validPriority > pairs[selected].validPriority, new <= old + old / 4 + 5000 {
            return nominate(index)
        }
        // Faster by 10 ms and a quarter, three times in a row; never from a direct path to a relayed one.
        let isFaster =
            new + max(10_000, old / 4) < old && cost(index) <= cost(selected)
            && (isRelayed(selected) || !isRelayed(index))
        pairs[index].betterSamples = isFaster ? pairs[index].betterSamples &+ 1 : 0
        if pairs[index].betterSamples >= 3 {
            nominate(index)
        } else if isFaster {
            // The other samples come sooner than the pair's turn would.
            pairs[index].nextConsent = min(pairs[index].nextConsent, now + .seconds(1))
            reschedule(index)
        }
    }

    /// The selected pair was lost: its best substitute is nominated, if both sides can.
    mutating func promoteBackup(at now: Instant) {
        guard role == .controlling, allowsRenomination, canCheck else { return }
        for component in components.indices
        where components[component].wasSelected && components[component].nominated == nil {
            if let best = bestValid(component), !isNominating(component) { nominate(best) }
        }
    }

    /// A lite agent takes the nomination as it comes (RFC 8445 §7.3.2, §8.2; ice 68).
    mutating func acceptNominationLite(_ index: Int, _ nomination: UInt32, at now: Instant) {
        // A request that comes late takes no consent back that the peer has revoked (RFC 7675 §5.2).
        guard !pairs[index].flags.contains(.consentEnded) else { return }
        if !pairs[index].flags.contains(.valid) {
            pairs[index].flags.insert(.valid)
            pairs[index].validSince = now
            pairs[index].validPriority = pairs[index].priority
            setState(index, .succeeded)
            pairs[index].nextConsent = now + configuration.keepaliveInterval
            reschedule(index)
        }
        select(index, nomination: nomination, at: now)
    }

    /// Two lite agents use one pair per component, without checks (RFC 8445 §8.2; ice 75).
    mutating func concludeBothLite(at now: Instant) {
        guard configuration.isLite, remoteIsLite, isLocalGatheringDone, hasRemoteEnd else { return }
        for component in components.indices where components[component].nominated == nil {
            var best: Int?
            for index in pairs.indices
            where pairs[index].state == .frozen && Int(pairs[index].component) == component + 1 {
                if let other = best, pairs[other].priority >= pairs[index].priority { continue }
                best = index
            }
            if let best {
                pairs[best].flags.insert(.heardRequest)
                acceptNominationLite(best, 0, at: now)
            }
        }
    }
}
