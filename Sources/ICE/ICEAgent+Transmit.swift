import Bytes
public import NetTypes
import STUN

extension AttributeType {
    /// The number of a nomination, of which the highest counts (draft-thatcher-ice-renomination §4.2).
    static let nomination = AttributeType(rawValue: 0xC001)
}

/// Time and output.
extension ICEAgent {
    /// Does what is due at `now`; to be called when `nextTimeout` has passed, harmless otherwise.
    public mutating func handleTimeout(at now: Instant) {
        journal?.input(.handleTimeout, at: now)
        while let index = deadlines.due(at: now) { fire(index, at: now) }
        if now >= patienceEnds {
            patienceEnds = .distantFuture
            evaluate(at: now)
        }
        if now >= recheckAt { recheck(at: now) }
        if now >= reviewAt {
            reviewAt = .distantFuture
            review(at: now)
        }
        if now >= quietAt { listen(at: now) }
        if now >= freeAt {
            freeAt = .distantFuture
            freeUnselected(at: now)
        }
    }

    private mutating func fire(_ index: Int, at now: Instant) {
        if now >= pairs[index].retransmitAt, pairs[index].transaction != 0 || pairs[index].state == .inProgress {
            retransmitOrFail(index, at: now)
        }
        if now >= pairs[index].consentExpiry, pairs[index].flags.contains(.presumed) {
            endPresumption(index, at: now)
            evaluate(at: now)
        } else if pairs[index].state != .removed, pairs[index].flags.contains(.valid) {
            if now >= pairs[index].consentExpiry {
                consentExpired(index, at: now)
            } else if now >= pairs[index].nextConsent {
                consentDue(index, at: now)
            }
        }
        if pairs[index].state != .removed { reschedule(index) }
    }

    /// Writes the next message to send into `datagram`, or returns `nil` if there is none for now.
    ///
    /// Answers come first, then triggered checks, then what timers have asked for, then the next ordinary check. New
    /// transactions wait for `pacer`. The output should have 548 bytes of room.
    public mutating func pollTransmit(
        at now: Instant,
        pacer: inout CheckPacer,
        into datagram: inout OutputSpan<UInt8>
    ) -> ICETransmit? {
        journal?.poll(at: now, pacer)
        let start = datagram.count
        let transmit = nextTransmit(at: now, pacer: &pacer, into: &datagram)
        if let transmit { journal?.output(transmit, datagram.span.extracting(start...)) }
        return transmit
    }

    private mutating func nextTransmit(
        at now: Instant,
        pacer: inout CheckPacer,
        into output: inout OutputSpan<UInt8>
    ) -> ICETransmit? {
        while let response = responses.popFirst() {
            if let transmit = write(response, into: &output) { return transmit }
        }
        while let index = takeTriggered(at: now, pacer: &pacer) {
            let transaction = beginCheck(index, at: now)
            if let transmit = write(transaction, for: index, into: &output) { return transmit }
        }
        while let errand = errands.first {
            // A new check is a new transaction: it keeps its distance from the others (ice 87).
            if errand.kind == .fresh, now < pacer.nextUrgent {
                urgentSlot = pacer.nextUrgent
                break
            }
            _ = errands.popFirst()
            if errand.kind == .fresh { _ = pacer.takeUrgent(at: now) }
            guard let index = pairIndex(errand.pair) else { continue }
            if let transmit = run(errand, for: index, at: now, into: &output) { return transmit }
        }
        while let index = takeOrdinary(at: now, pacer: &pacer) {
            let transaction = beginCheck(index, at: now)
            if let transmit = write(transaction, for: index, into: &output) { return transmit }
        }
        return nil
    }

    private mutating func run(
        _ errand: Errand,
        for index: Int,
        at now: Instant,
        into output: inout OutputSpan<UInt8>
    ) -> ICETransmit? {
        switch errand.kind {
        case .retransmit:
            guard pairs[index].transaction != 0 else { return nil }
            let place = transactions.place(of: pairs[index].transaction)
            guard transactions[place].isLive, transactions[place].high == pairs[index].transaction else {
                return write(beginCheck(index, at: now), for: index, into: &output)
            }
            transactions[place].wasRetransmitted = true
            planRetransmission(index, at: now)
            return write(transactions[place], for: index, into: &output)
        case .fresh:
            guard pairs[index].state == .inProgress else { return nil }
            return write(beginCheck(index, at: now), for: index, into: &output)
        case .consent, .probe:
            guard pairs[index].flags.contains(.valid) else { return nil }
            let transaction = draw(errand.kind == .consent ? .consent : .probe, for: index, at: now)
            remember(transaction)
            if errand.kind == .consent { pairs[index].consentRequestsSent &+= 1 }
            return write(transaction, for: index, into: &output)
        case .keepalive:
            guard pairs[index].flags.contains(.valid) else { return nil }
            return writeKeepalive(index, into: &output)
        }
    }

    /// Writes a Binding request (RFC 8445 §7.1, §7.2.2, §7.2.4; ice 40 to 42, 44, 46).
    ///
    /// RFC 8445 is the outside knowledge of RFC 8489 §9.1.2: both agents take MESSAGE-INTEGRITY, so no other is sent.
    private mutating func write(
        _ transaction: Transaction,
        for index: Int,
        into output: inout OutputSpan<UInt8>
    ) -> ICETransmit? {
        guard let place = generationIndex(pairs[index].generation), let key = generations[place].remoteKey else {
            return nil
        }
        let local = Int(pairs[index].local)
        var builder = STUNMessageBuilder(
            .binding,
            .request,
            TransactionID(high: transaction.high, low: transaction.low),
            into: &output
        )
        let username = generations[place].username
        builder.append(.username, username.span, into: &output)
        let priority = CandidatePriority.candidate(
            typePreference: CandidatePriority.type(.peerReflexive, locals[local].transport),
            localPreference: locals[local].localPreference,
            component: pairs[index].component
        )
        builder.append(.priority, priority, into: &output)
        switch transaction.role {
        case .controlling:
            builder.append(.iceControlling, tiebreaker, into: &output)
            if transaction.usesCandidate { builder.append(.useCandidate, into: &output) }
            if transaction.nomination > 0 { builder.append(.nomination, transaction.nomination, into: &output) }
        case .controlled: builder.append(.iceControlled, tiebreaker, into: &output)
        }
        guard let count = try? builder.finish(protectedBy: .sha1(key), fingerprint: true, into: &output) else {
            return nil
        }
        pairs[index].requestsSent &+= 1
        statistics.requestsSent &+= 1
        return ICETransmit(base: pairs[index].base, destination: pairs[index].remoteAddress, byteCount: count)
    }

    /// Writes an answer (RFC 8445 §7.3; ice 44, 60).
    private mutating func write(_ response: PendingResponse, into output: inout OutputSpan<UInt8>) -> ICETransmit? {
        let isSuccess = response.code == 0
        var builder = STUNMessageBuilder(.binding, isSuccess ? .success : .error, response.id, into: &output)
        if isSuccess {
            builder.append(.xorMappedAddress, xored: response.destination, into: &output)
        } else {
            builder.append(ErrorCode(rawValue: response.code), into: &output)
            if response.unknownAttributes != 0 {
                let type = AttributeType(rawValue: response.unknownAttributes)
                builder.append(unknownAttributes: AttributeTypeList([type]), into: &output)
            }
        }
        let count: Int?
        if let number = response.generation {
            guard let place = generationIndex(number) else { return nil }
            count = try? builder.finish(
                protectedBy: response.integrity.protection(generations[place].localKey),
                fingerprint: true,
                into: &output
            )
        } else {
            count = try? builder.finish(fingerprint: true, into: &output)
        }
        guard let count else { return nil }
        statistics.responsesSent &+= 1
        return ICETransmit(base: response.base, destination: response.destination, byteCount: count)
    }

    /// Writes a Binding indication: FINGERPRINT and nothing else (RFC 8445 §11; ice 79).
    private mutating func writeKeepalive(_ index: Int, into output: inout OutputSpan<UInt8>) -> ICETransmit? {
        let id = TransactionID(high: entropy.next(), low: UInt32(truncatingIfNeeded: entropy.next()))
        let builder = STUNMessageBuilder(.binding, .indication, id, into: &output)
        guard let count = try? builder.finish(fingerprint: true, into: &output) else { return nil }
        statistics.keepalivesSent &+= 1
        return ICETransmit(base: pairs[index].base, destination: pairs[index].remoteAddress, byteCount: count)
    }
}
