import Bytes
import NetTypes

/// Answering for our own names (RFC 6762 §6, §8.3, §10.1).
extension MDNSEngine {
    /// The pause between two multicasts of the same record on a link (RFC 6762 §6).
    private static var multicastPause: TimeSpan { .seconds(1) }
    /// How long ago a record was multicast at most, if an answer by unicast is to do (RFC 6762 §5.4).
    private static var quarterOfLife: TimeSpan { .seconds(UInt64(recordTTLSeconds / 4)) }
    /// The longest TTL in an answer to a simple resolver (RFC 6762 §6.7).
    private static var legacyTTLSeconds: UInt32 { 10 }

    // MARK: Announcements

    mutating func sendAnnouncements(at now: Instant) {
        for name in published.keys.sorted() {
            guard let record = published[name], record.announcementsLeft > 0, record.announceAt <= now else { continue }
            published[name]?.announcementsLeft -= 1
            published[name]?.announceAt = now + .seconds(1)
            for link in links(of: record) { multicast([name], over: link, at: now) }
        }
    }

    mutating func sayGoodbye(_ records: [(name: MDNSName, record: Published)]) {
        for (name, record) in records {
            let answer = DNSWriter.Answer.address(name, record.address.revealed(), ttlSeconds: 0)
            // Who was never told need not be told that it is over.
            for link in links(of: record) where record.multicastAt[link] != nil {
                send(DNSWriter.response([answer]), to: link.group, over: link)
            }
            for index in pending.indices { pending[index].names.removeAll { $0 == name } }
            for index in pending.indices { pending[index].denied.removeAll { $0 == name } }
        }
    }

    private func links(of record: Published) -> [MDNSLink] {
        sortedLinks.filter { $0.interface == record.interface }
    }

    // MARK: Queries

    mutating func receiveQuery(
        _ message: DNSMessage,
        from source: SocketAddress,
        over link: MDNSLink,
        at now: Instant
    ) -> Disposition<MDNSDrop> {
        let known = message.records
        noteKnownAnswers(known, from: source, over: link)
        var names: [MDNSName] = []
        var denied: [MDNSName] = []
        var wantsUnicast = true
        var asked: [DNSMessage.Question] = []
        for question in message.questions {
            guard let record = published[question.name], record.interface == link.interface else { continue }
            let type = DNSType.of(record.address.family)
            if question.type == type || question.type == DNSType.any {
                // Who knows it for half of its time yet is not told again (RFC 6762 §7.1).
                guard !known.contains(where: { isKnown($0, question.name, record) }) else { continue }
                if !names.contains(question.name) { names.append(question.name) }
            } else {
                if !denied.contains(question.name) { denied.append(question.name) }
            }
            wantsUnicast = wantsUnicast && question.wantsUnicast
            asked.append(question)
        }
        guard !names.isEmpty || !denied.isEmpty else { return .accepted }
        let isLegacy = source.port != MDNSLink.port
        let answer = PendingAnswer(
            link: link,
            destination: isLegacy || wantsUnicast ? source : link.group,
            source: source,
            legacy: isLegacy ? (message.id, asked) : nil,
            names: names,
            denied: denied,
            // More known answers come within half a second if the query said so (RFC 6762 §7.2).
            deadline: message.isTruncated && !isLegacy
                ? now + .milliseconds(UInt64.random(in: 400...500, using: &entropy)) : now
        )
        guard answer.deadline > now else {
            answerNow(answer, at: now)
            return .accepted
        }
        return hold(answer) ? .accepted : ignore(.rateLimited)
    }

    private func isKnown(_ answer: DNSMessage.Record, _ name: MDNSName, _ record: Published) -> Bool {
        answer.name == name && answer.address == record.address.revealed()
            && answer.ttlSeconds >= Self.recordTTLSeconds / 2
    }

    private mutating func noteKnownAnswers(
        _ known: [DNSMessage.Record],
        from source: SocketAddress,
        over link: MDNSLink
    ) {
        guard !known.isEmpty else { return }
        for index in pending.indices where pending[index].source == source && pending[index].link == link {
            let names = pending[index].names
            pending[index].names = names.filter { name in
                guard let record = published[name] else { return false }
                return !known.contains { isKnown($0, name, record) }
            }
        }
    }

    private mutating func hold(_ answer: PendingAnswer) -> Bool {
        guard pending.count < limits.pendingAnswers else { return false }
        pending.append(answer)
        return true
    }

    mutating func sendPending(at now: Instant) {
        guard pending.contains(where: { $0.deadline <= now }) else { return }
        let due = pending.filter { $0.deadline <= now }
        pending.removeAll { $0.deadline <= now }
        for answer in due { answerNow(answer, at: now) }
    }

    // MARK: Answers

    private mutating func answerNow(_ answer: PendingAnswer, at now: Instant) {
        let names = answer.names.filter { published[$0] != nil }
        let denied = answer.denied.filter { published[$0] != nil }
        guard !names.isEmpty || !denied.isEmpty else { return }
        if let legacy = answer.legacy {
            return unicast(names, denied, to: answer, legacy: legacy, at: now)
        }
        guard answer.destination == answer.link.group else {
            // An answer that the group has not heard lately is for all of it (RFC 6762 §5.4).
            let isStale = names.contains { name in
                guard let last = published[name]?.multicastAt[answer.link] else { return true }
                return now - last > Self.quarterOfLife
            }
            if isStale { return multicast(names, denied: denied, over: answer.link, at: now) }
            return unicast(names, denied, to: answer, legacy: nil, at: now)
        }
        multicastOrWait(names, denied, answer, at: now)
    }

    private mutating func unicast(
        _ names: [MDNSName],
        _ denied: [MDNSName],
        to answer: PendingAnswer,
        legacy: (id: UInt16, questions: [DNSMessage.Question])?,
        at now: Instant
    ) {
        guard isOnLink(answer.source.ip, answer.link) else { return count(.offLink) }
        guard answerBudget.take(at: now) else { return count(.rateLimited) }
        let ttl = legacy == nil ? Self.recordTTLSeconds : Self.legacyTTLSeconds
        let bytes = response(names, denied, ttlSeconds: ttl, legacy: legacy)
        send(bytes, to: answer.source, over: answer.link)
    }

    /// Sends to the group, each record at most once in a second; what was just sent is sent again when that is over.
    private mutating func multicastOrWait(
        _ names: [MDNSName],
        _ denied: [MDNSName],
        _ answer: PendingAnswer,
        at now: Instant
    ) {
        func readyAt(_ name: MDNSName) -> Instant {
            (published[name]?.multicastAt[answer.link]).map { $0 + Self.multicastPause } ?? now
        }
        let ready = names.filter { readyAt($0) <= now }
        let later = names.filter { readyAt($0) > now }
        let deniedNow = denied.filter { readyAt($0) <= now }
        if !ready.isEmpty || !deniedNow.isEmpty {
            multicast(ready, denied: deniedNow, over: answer.link, at: now)
        }
        guard let deadline = later.map(readyAt).max() else { return }
        let isWaiting = pending.contains { waiting in
            waiting.link == answer.link && waiting.destination == answer.link.group
                && later.allSatisfy(waiting.names.contains)
        }
        if isWaiting { return }
        let rest = PendingAnswer(
            link: answer.link,
            destination: answer.link.group,
            source: answer.source,
            legacy: nil,
            names: later,
            denied: [],
            deadline: deadline
        )
        if !hold(rest) { count(.rateLimited) }
    }

    private mutating func multicast(
        _ names: [MDNSName],
        denied: [MDNSName] = [],
        over link: MDNSLink,
        at now: Instant
    ) {
        for name in names { published[name]?.multicastAt[link] = now }
        send(
            response(names, denied, ttlSeconds: Self.recordTTLSeconds, legacy: nil),
            to: link.group,
            over: link
        )
    }

    /// Addresses are answers; that there are no others stands behind them, or alone if only those were asked for (§6.1).
    private func response(
        _ names: [MDNSName],
        _ denied: [MDNSName],
        ttlSeconds: UInt32,
        legacy: (id: UInt16, questions: [DNSMessage.Question])?
    ) -> [UInt8] {
        let addresses = names.compactMap { name in
            published[name].map { DNSWriter.Answer.address(name, $0.address.revealed(), ttlSeconds: ttlSeconds) }
        }
        let negatives = denied.compactMap { name in
            published[name].map { DNSWriter.Answer.onlyFamily(name, $0.address.family, ttlSeconds: ttlSeconds) }
        }
        return addresses.isEmpty
            ? DNSWriter.response(negatives, legacy: legacy)
            : DNSWriter.response(addresses, additional: negatives, legacy: legacy)
    }
}
