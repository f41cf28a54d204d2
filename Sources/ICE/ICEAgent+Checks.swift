import Bytes
public import NetTypes
import STUN

/// The life of one check: its transaction, its timer, its failure (RFC 8445 §7.2, §14.3).
extension ICEAgent {
    /// Begins a check of the pair and returns its transaction.
    mutating func beginCheck(_ index: Int, at now: Instant) -> Transaction {
        let isFresh = pairs[index].state == .inProgress
        let nominates = role == .controlling && pairs[index].flags.contains(.nominating)
        setState(index, .inProgress)
        var transaction = draw(.check, for: index, at: now)
        transaction.usesCandidate = nominates
        if nominates, allowsRenomination { transaction.nomination = pairs[index].nomination }
        remember(transaction)
        if !isFresh {
            pairs[index].firstSent = now
            pairs[index].freshChecks = 0
        }
        pairs[index].flags.remove(.stale)
        pairs[index].transaction = transaction.high
        pairs[index].attempts = 1
        // The number of checks to come counts once, not squared as §14.3 suggests, which it permits: at 100 pairs the
        // formula gives minutes.
        let load = UInt64(max(1, unfinishedCount)) * pacing.milliseconds
        let timeout = max(configuration.retransmission.initialTimeout.milliseconds, min(load, 5000))
        pairs[index].timeoutMilliseconds = UInt32(timeout)
        planRetransmission(index, at: now)
        return transaction
    }

    /// Draws an identifier whose place in the table is free.
    mutating func draw(_ kind: Transaction.Kind, for index: Int, at now: Instant) -> Transaction {
        var high: UInt64 = 0
        for attempt in 1...64 {
            high = entropy.next()
            if high != 0, transactions.isFree(transactions.place(of: high), at: now, lifetime: answerLifetime) { break }
            if attempt % 8 == 0, !transactions.grow() { break }
        }
        var transaction = Transaction()
        transaction.high = high
        transaction.low = tag.identifier(high: high, randomLow: UInt32(truncatingIfNeeded: entropy.next())).low
        transaction.pair = pairs[index].token(index)
        transaction.sentAt = now
        transaction.kind = kind
        transaction.role = role
        transaction.isLive = true
        return transaction
    }

    mutating func remember(_ transaction: Transaction) {
        transactions[transactions.place(of: transaction.high)] = transaction
    }

    /// How long an answer is still welcome.
    var answerLifetime: TimeSpan { max(configuration.retransmission.reliableTimeout, configuration.consentLifetime) }

    /// When the running request is to be sent again, or a fresh one instead.
    ///
    /// Departure: RFC 8489 §6.2.1 only repeats a request, after 500 ms at least. Once a round-trip time is known, of the
    /// path or of a server, a lost check is followed by a new one, a transaction of its own, after 2.5 and 5 of them; the
    /// old one's answer still counts. Requests are repeated as the text says.
    mutating func planRetransmission(_ index: Int, at now: Instant) {
        let policy = configuration.retransmission
        let pair = pairs[index]
        if pair.isStream {
            pairs[index].retransmitAt = pair.firstSent + policy.reliableTimeout
        } else {
            let timeout = TimeSpan.milliseconds(UInt64(pair.timeoutMilliseconds))
            let attempts = Int(pair.attempts)
            let wait =
                attempts >= policy.requestCount
                ? timeout * policy.lastWaitFactor : timeout * (1 &<< UInt64(min(max(attempts, 1) - 1, 16)))
            pairs[index].retransmitAt = now + wait
            if attempts == 1, pair.freshChecks < 2, let expected = expectedWait(index) {
                let span = expected * (pair.freshChecks == 0 ? 1 : 2)
                pairs[index].retransmitAt = min(pairs[index].retransmitAt, now + .microseconds(span))
            }
        }
        pairs[index].lastSent = now
        reschedule(index)
    }

    /// After how many microseconds an answer that has not come is likely lost; `nil` if nothing is known of the distance.
    ///
    /// A server's distance stands for the peer's until the peer has answered anything.
    private func expectedWait(_ index: Int) -> UInt64? {
        let sample = pairs[index].roundTrip != 0 ? pairs[index].roundTrip : roundTrip
        if sample != 0 { return max(UInt64(sample) * 5 / 2, 20_000) }
        return serverRoundTrip == 0 ? nil : max(UInt64(serverRoundTrip) * 5 / 2, 50_000)
    }

    /// Takes the time that a server's answer took, from whose distance the peer's is guessed until it is known.
    public mutating func noteServerRoundTrip(_ span: TimeSpan, at now: Instant) {
        journal?.input(.noteServerRoundTrip(span), at: now)
        let micros = UInt32(min(max(span.nanoseconds / 1000, 1), 60_000_000))
        let isFirst = serverRoundTrip == 0
        serverRoundTrip = isFirst ? micros : min(serverRoundTrip, micros)
        if isFirst, roundTrip == 0 { hastenChecks(at: now) }
    }

    /// What is to be done when the running request's timer has fired.
    mutating func retransmitOrFail(_ index: Int, at now: Instant) {
        let policy = configuration.retransmission
        let pair = pairs[index]
        if pair.isStream {
            failPair(index, at: now)
        } else if pair.flags.contains(.stale) {
            _ = errands.append(Errand(pair: pair.token(index), kind: .fresh))
        } else if pair.attempts == 1, pair.freshChecks < 2,
            now < pair.lastSent + .milliseconds(UInt64(pair.timeoutMilliseconds))
        {
            pairs[index].freshChecks += 1
            _ = errands.append(Errand(pair: pair.token(index), kind: .fresh))
        } else if Int(pair.attempts) >= policy.requestCount {
            failPair(index, isSilent: true, at: now)
            return
        } else {
            pairs[index].attempts += 1
            _ = errands.append(Errand(pair: pair.token(index), kind: .retransmit))
        }
        // The errand sets the timer when it is done.
        pairs[index].retransmitAt = .distantFuture
    }

    /// The first answer of all has come: checks that are under way need not wait for 500 ms any more.
    mutating func hastenChecks(at now: Instant) {
        for index in pairs.indices
        where pairs[index].state == .inProgress && pairs[index].transaction != 0 && pairs[index].attempts == 1
            && !pairs[index].isStream && pairs[index].freshChecks == 0
        {
            guard let expected = expectedWait(index) else { continue }
            let due = max(pairs[index].lastSent + .microseconds(expected), now)
            guard due < pairs[index].retransmitAt, pairs[index].retransmitAt != .distantFuture else { continue }
            pairs[index].retransmitAt = due
            reschedule(index)
        }
    }

    /// A check has found nothing (ice 50, 55): nobody, if datagrams met silence, else what another check would not mend.
    mutating func failPair(_ index: Int, isSilent: Bool = false, at now: Instant) {
        guard pairs[index].state != .removed else { return }
        let wasNominating = pairs[index].flags.contains(.nominating)
        pairs[index].transaction = 0
        pairs[index].retransmitAt = .distantFuture
        endPresumption(index, at: now)
        if pairs[index].flags.contains(.valid), !wasNominating {
            // It has carried, so that it is consent that ends it.
            setState(index, .succeeded)
        } else {
            setState(index, .failed)
            // Departure: RFC 8445 §7.2.5.3.4 fails the whole checklist when a nomination fails; another valid pair is
            // nominated instead, as long as there is one.
            pairs[index].flags.subtract([.valid, .nominating, .nominateOnSuccess])
            pairs[index].nextConsent = .distantFuture
            pairs[index].consentExpiry = .distantFuture
            if isSilent { planRecheck(at: now) } else { pairs[index].attempts = 0 }
        }
        reschedule(index)
        // Pairs of its foundation may be worth a check of their own (ice 37).
        hasWaiting = true
        if unfinishedCount == 0, components.allSatisfy({ $0.nominated != nil }) {
            freeAt = min(freeAt, now + .seconds(3))
        }
        updatePath(Int(pairs[index].component) - 1, at: now)
        review(at: now)
        evaluate(at: now)
    }
}
