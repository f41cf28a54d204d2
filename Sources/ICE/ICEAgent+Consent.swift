import Bytes
public import NetTypes

/// Whether the peer still wants our data, and whether a path still answers (RFC 7675, RFC 8445 §11).
extension ICEAgent {
    /// An authenticated answer: consent lasts again, and the next check of it is due in its time (ice 130 to 132).
    mutating func renewConsent(_ index: Int, wasValid: Bool, at now: Instant) {
        guard configuration.asksConsent, !configuration.isLite else {
            if !wasValid { pairs[index].nextConsent = now + configuration.keepaliveInterval }
            return
        }
        pairs[index].consentExpiry = now + configuration.consentLifetime
        if !wasValid { pairs[index].consentDueAt = now + drawConsentInterval(index) }
        pairs[index].nextConsent = isKept(index) ? pairs[index].consentDueAt : .distantFuture
    }

    /// 0.8 to 1.2 times the interval, never below 4 s (ice 130); a backup's turn comes every third time.
    private mutating func drawConsentInterval(_ index: Int) -> TimeSpan {
        let interval = configuration.consentInterval.nanoseconds
        let factor = 800 + entropy.next() % 401
        let span = max(TimeSpan(nanoseconds: interval / 1000 * factor), .seconds(4))
        return pairs[index].flags.contains(.backup) ? span * 3 : span
    }

    /// Whether the pair is one whose consent is kept up: selected, backup, or one of those that may be selected yet.
    func isKept(_ index: Int) -> Bool {
        let component = Int(pairs[index].component) - 1
        if pairs[index].generation != generations[generations.count - 1].number {
            return components[component].carrier == pairs[index].token(index)
        }
        return components[component].nominated == nil || components[component].nominated == index
            || !pairs[index].flags.isDisjoint(with: [.backup, .nominating, .probed])
            || components[component].carrier == pairs[index].token(index)
    }

    /// Starts the timer of a pair that nobody kept up and that is needed now.
    mutating func keepUp(_ index: Int, at now: Instant) {
        guard pairs[index].flags.contains(.valid), pairs[index].nextConsent == .distantFuture else { return }
        let asks = configuration.asksConsent && !configuration.isLite
        pairs[index].nextConsent = asks ? max(now, pairs[index].consentDueAt) : now + configuration.keepaliveInterval
        reschedule(index)
    }

    /// The controlled agent asks for consent on the peer's backups when it is asked itself, and forgets them when it is
    /// not asked any more: so both sides keep the same ones.
    mutating func followBackup(_ index: Int, at now: Instant) {
        guard role == .controlled, configuration.asksConsent, pairs[index].flags.contains(.valid), !isKept(index),
            now >= pairs[index].consentDueAt
        else { return }
        pairs[index].consentDueAt = now + .seconds(4)
        _ = errands.append(Errand(pair: pairs[index].token(index), kind: .consent))
    }

    /// Consent of a pair has run out: of a pair that nobody needs, without further ado.
    mutating func consentExpired(_ index: Int, at now: Instant) {
        guard !isKept(index) else { return endConsent(index, at: now) }
        let base = pairs[index].base
        removePair(index)
        updatePath(Int(pairs[index].component) - 1, at: now)
        if !pairs.contains(where: { $0.state != .removed && $0.base == base }) { emit(.baseUnused(base)) }
    }

    /// A consent check, a probe or a keepalive is due.
    ///
    /// A consent check is sent once, under a new identifier (ice 129). If no answer comes within three round trips, up to
    /// three connectivity checks follow, so that a dead path is known in about ten round trips instead of 30 s; consent
    /// checks themselves keep their distance of 4 s.
    ///
    /// Departure: RFC 7675 §5.1 and RFC 8445 §11 know no requests between two consent checks. A dead path would be known
    /// only after 30 s.
    mutating func consentDue(_ index: Int, at now: Instant) {
        guard isKept(index) else {
            pairs[index].nextConsent = .distantFuture
            return
        }
        let token = pairs[index].token(index)
        guard configuration.asksConsent, !configuration.isLite else {
            _ = errands.append(Errand(pair: token, kind: .keepalive))
            pairs[index].nextConsent = now + configuration.keepaliveInterval
            return
        }
        if pairs[index].unanswered >= 3 { suspect(index, at: now) }
        let isConsent = now >= pairs[index].consentDueAt
        if isConsent { pairs[index].consentDueAt = now + drawConsentInterval(index) }
        _ = errands.append(Errand(pair: token, kind: isConsent ? .consent : .probe))
        if pairs[index].unanswered < 3 {
            let sample = TimeSpan.microseconds(UInt64(pairs[index].roundTrip) * 3)
            let wait = max(sample, .milliseconds(100)) * (1 &<< UInt64(pairs[index].unanswered))
            pairs[index].nextConsent = min(now + wait, pairs[index].consentDueAt)
            pairs[index].unanswered += 1
        } else {
            pairs[index].nextConsent = pairs[index].consentDueAt
        }
    }

    /// The pair does not answer: data goes over another one if there is one that may, else a restart is advised.
    ///
    /// Consent lasts on, and data go on: the path may come back (ice 131). But nobody has to wait for its end to act.
    private mutating func suspect(_ index: Int, at now: Instant) {
        let component = Int(pairs[index].component) - 1
        let isNews = !pairs[index].flags.contains(.suspect)
        let wasCarrier = components[component].carrier == pairs[index].token(index)
        pairs[index].flags.insert(.suspect)
        pairs[index].flags.remove(.probed)
        if isNews {
            updatePath(component, at: now)
            if wasCarrier { seekOthers(component, besides: index, at: now) }
        }
        // Who still hears the peer may have lost no more than a few probes: that needs two rounds of them.
        let isQuiet = now >= components[component].lastHeard + Self.quietSpan
        if components[component].carrier == pairs[index].token(index), isQuiet || !isNews,
            pairs[index].generation == generations[generations.count - 1].number
        {
            adviseRestart()
        }
        evaluate(at: now)
    }

    /// The path does not answer: all others are asked at once, and pairs that were let go are checked once more.
    private mutating func seekOthers(_ component: Int, besides index: Int, at now: Instant) {
        for other in pairs.indices
        where other != index && Int(pairs[other].component) == component + 1
            && !pairs[other].flags.contains(.suspect)
        {
            probe(other, at: now)
        }
        let generation = generations[generations.count - 1].number
        guard components[component].carrier == pairs[index].token(index), pairs[index].generation == generation else {
            return
        }
        for remote in remotes.indices
        where Int(remotes[remote].component) == component + 1 && remotes[remote].generation == generation {
            formPairs(remote: remote, at: now)
        }
        hasWaiting = true
    }

    /// Asks a valid pair how it is, with more questions to follow if the answer does not come.
    private mutating func probe(_ index: Int, at now: Instant) {
        guard canProbe, pairs[index].flags.contains(.valid), pairs[index].state != .removed,
            pairs[index].unanswered == 0
        else { return }
        pairs[index].flags.insert(.probed)
        consentDue(index, at: now)
        reschedule(index)
    }

    // MARK: Silence

    /// How long data may stay away before the path is asked whether it is still there.
    static var quietSpan: TimeSpan { .milliseconds(500) }

    /// Whether this agent asks for consent, and so may ask before it is time.
    var canProbe: Bool { configuration.asksConsent && canCheck }

    /// Data have come and come no more: that is worth one question, while the next consent check may be 6 s away.
    ///
    /// The timer runs only while data come, and is set once for all data of its span.
    ///
    /// Departure: RFC 7675 §5.1 asks at its own pace only. There is one such question a second for each component at most.
    mutating func listen(at now: Instant) {
        quietAt = .distantFuture
        for component in components.indices where components[component].isListening {
            let quiet = components[component].lastHeard + Self.quietSpan
            let due = max(quiet, components[component].silenceProbeAllowedAt)
            guard now >= due else {
                quietAt = min(quietAt, due)
                continue
            }
            components[component].isListening = false
            components[component].silenceProbeAllowedAt = now + .seconds(1)
            if let carrier = pairIndex(components[component].carrier) { probe(carrier, at: now) }
        }
    }

    /// No authenticated answer for 30 s: nothing is sent over the pair any more (ice 131, 133).
    mutating func endConsent(_ index: Int, at now: Instant) {
        evidence.consentLost &+= 1
        pairs[index].flags.insert(.consentEnded)
        pairs[index].flags.subtract([.valid, .nominated, .nominating, .backup, .presumed])
        pairs[index].transaction = 0
        pairs[index].consentExpiry = .distantFuture
        pairs[index].nextConsent = .distantFuture
        setState(index, .failed)
        for component in components.indices where components[component].nominated == index {
            components[component].nominated = nil
        }
        updatePath(Int(pairs[index].component) - 1, at: now)
        promoteBackup(at: now)
        evaluate(at: now)
    }

    /// Ends sending at once because the peer has said, authenticated, that it is gone (RFC 7675 §5.2; ice 135).
    public mutating func revokeConsent(component: UInt16, at now: Instant) {
        journal?.input(.revokeConsent(component), at: now)
        for index in pairs.indices
        where pairs[index].state != .removed && pairs[index].component == component
            && pairs[index].flags.contains(.valid)
        {
            endConsent(index, at: now)
            reschedule(index)
        }
        endPresumptions(component: component, at: now)
    }
}
