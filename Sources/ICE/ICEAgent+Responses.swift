import Bytes
import NetTypes
import STUN

/// Answers to our checks (RFC 8445 §7.2.5).
extension ICEAgent {
    mutating func takeResponse(
        _ view: borrowing STUNMessageView,
        on base: BaseID,
        from source: SocketAddress,
        at now: Instant
    ) -> ICEDisposition {
        guard view.checkFingerprint() != .invalid else { return .refused(.badFingerprint) }
        guard let place = transactions.find(view.transactionID) else { return .refused(.unknownTransaction) }
        let transaction = transactions[place]
        guard let index = pairIndex(transaction.pair), let number = generationIndex(pairs[index].generation),
            let key = generations[number].remoteKey
        else {
            transactions.remove(place)
            return .refused(.unknownTransaction)
        }
        guard view.checkMessageIntegrity(key) == .valid else {
            // Whoever sent it does not know the password: the true answer may still come (ice 51).
            evidence.noteUnproven(view.messageClass == .error ? (try? view.errorCode()) ?? nil : nil)
            return .refused(.badIntegrity)
        }
        transactions.remove(place)
        guard pairs[index].base == base, pairs[index].remoteAddress == source else {
            evidence.asymmetricResponses &+= 1
            if transaction.kind == .check { failIfRunning(index, transaction, at: now) }
            return .refused(.asymmetricResponse)
        }
        pairs[index].responsesReceived &+= 1
        statistics.responsesReceived &+= 1
        evidence.hasHeardPeer = true
        guard view.messageClass == .success else {
            return takeError((try? view.errorCode()) ?? nil, transaction, index, at: now)
        }
        guard view.unknownRequiredAttributes(known: .ice).isEmpty,
            let mapped = (try? view.xorMappedAddress()) ?? nil
        else {
            failIfRunning(index, transaction, at: now)
            return .refused(.malformedResponse)
        }
        guard !pairs[index].flags.contains(.consentEnded) else { return .refused(.consentEnded) }
        succeed(index, transaction, mapped, at: now)
        return .consumed
    }

    private mutating func failIfRunning(_ index: Int, _ transaction: Transaction, at now: Instant) {
        if pairs[index].transaction == transaction.high { failPair(index, at: now) }
    }

    private mutating func takeError(
        _ code: ErrorCode?,
        _ transaction: Transaction,
        _ index: Int,
        at now: Instant
    ) -> ICEDisposition {
        guard let code else {
            failIfRunning(index, transaction, at: now)
            return .refused(.malformedResponse)
        }
        guard code == .roleConflict else {
            evidence.lastError = code.rawValue
            failIfRunning(index, transaction, at: now)
            return .consumed
        }
        // Only the first of several counts: the others were asked under a role that is over (ice 47).
        if transaction.role == role {
            tiebreaker = entropy.next()
            switchRole(to: role.opposite, at: now)
        }
        if transaction.kind == .check, pairs[index].state == .inProgress {
            pairs[index].transaction = 0
            pairs[index].retransmitAt = .distantFuture
            setState(index, pairs[index].flags.contains(.valid) ? .succeeded : .waiting)
            pairs[index].flags.remove(.nominating)
            if pairs[index].state == .waiting { enqueue(index) }
            reschedule(index)
        }
        review(at: now)
        return .consumed
    }

    /// A check, a consent check or a probe was answered (RFC 8445 §7.2.5.3).
    private mutating func succeed(
        _ index: Int,
        _ transaction: Transaction,
        _ mapped: SocketAddress,
        at now: Instant
    ) {
        takeSample(index, transaction, at: now)
        evidence.noteMapping(pairs[index].base, source: pairs[index].remoteAddress, mapped: mapped)
        let wasValid = pairs[index].flags.contains(.valid)
        let wasSuspect = pairs[index].flags.contains(.suspect)
        noteMapped(index, mapped)
        pairs[index].flags.insert(.valid)
        pairs[index].flags.subtract([.suspect, .probed, .presumed])
        if !wasValid { pairs[index].consentExpiry = .distantFuture }
        pairs[index].unanswered = 0
        renewConsent(index, wasValid: wasValid, at: now)
        // A nomination that is under way goes on until its own answer comes.
        let runsNomination =
            pairs[index].transaction != 0 && pairs[index].transaction != transaction.high
            && pairs[index].flags.contains(.nominating)
        if !runsNomination, transaction.kind == .check {
            pairs[index].transaction = 0
            pairs[index].retransmitAt = .distantFuture
            setState(index, .succeeded)
        }
        if !wasValid {
            pairs[index].validSince = now
            let component = Int(pairs[index].component) - 1
            if components[component].firstValid == nil { components[component].firstValid = now }
            unfreeze(like: index)
            if let selected = components[component].nominated, selected != index {
                chooseBackups(component, besides: selected, at: now)
                freeAt = min(freeAt, now + .seconds(3))
            }
        }
        reschedule(index)
        conclude(index, transaction, at: now)
        guard !wasValid || wasSuspect || transaction.kind == .check else {
            considerSwitch(to: index, at: now)
            return
        }
        updatePath(Int(pairs[index].component) - 1, at: now)
        considerSwitch(to: index, at: now)
        review(at: now)
        evaluate(at: now)
    }

    /// Nominates the pair if that was what the check was for (ice 55, 56, 67).
    private mutating func conclude(_ index: Int, _ transaction: Transaction, at now: Instant) {
        if transaction.usesCandidate, role == .controlling, transaction.role == .controlling {
            pairs[index].flags.remove(.nominating)
            select(index, nomination: transaction.nomination, at: now)
        } else if pairs[index].flags.contains(.nominateOnSuccess), role == .controlled {
            pairs[index].flags.remove(.nominateOnSuccess)
            select(index, nomination: pairs[index].nomination, at: now)
        }
    }

    private mutating func takeSample(_ index: Int, _ transaction: Transaction, at now: Instant) {
        // The answer to one of several equal requests says nothing (Karn's rule, turn 13).
        guard !transaction.wasRetransmitted else { return }
        let micros = UInt32(min(max((now - transaction.sentAt).nanoseconds / 1000, 1), 60_000_000))
        pairs[index].lastRoundTrip = micros
        pairs[index].totalRoundTrip &+= UInt64(micros)
        let old = pairs[index].roundTrip
        pairs[index].roundTrip = old == 0 ? micros : old - old / 4 + micros / 4
        let isFirst = roundTrip == 0
        roundTrip = micros
        if isFirst { hastenChecks(at: now) }
    }

    /// Finds the candidate whose address the peer saw (RFC 8445 §7.2.5.3.1, §7.2.5.3.2; ice 52, 53).
    ///
    /// Departure: the valid pair of the text may have another base than the checked one. Data follows the base that was
    /// checked, because that is the path that was proven.
    private mutating func noteMapped(_ index: Int, _ mapped: SocketAddress) {
        let mapped = mapped.unmapped
        let current = Int(pairs[index].validLocal)
        if locals[current].address != mapped || locals[current].isRemoved {
            let component = pairs[index].component
            let transport = locals[Int(pairs[index].local)].transport
            let known = locals.indices.first {
                !locals[$0].isRemoved && locals[$0].address == mapped && locals[$0].component == component
                    && locals[$0].transport == transport
            }
            if let place = known ?? addPeerReflexive(mapped, of: index) { pairs[index].validLocal = UInt16(place) }
        }
        pairs[index].validPriority = pairPriority(Int(pairs[index].validLocal), Int(pairs[index].remote))
    }
}
