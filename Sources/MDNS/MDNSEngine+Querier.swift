import Bytes
import NetTypes

/// Finding the addresses of others' names (RFC 6762 §5, §10).
///
/// Queries never list known answers: a name is asked for only while no more than half of its time is left, and then its
/// record would not be one (RFC 6762 §7.1).
extension MDNSEngine {
    /// How many names one query asks for.
    private static var namesPerQuery: Int { DNSWriter.maximumByteCount / (2 * DNSWriter.questionRoom) }
    /// The longest pause between two queries for a name that is kept (RFC 6762 §5.2).
    private static var longestPause: TimeSpan { .seconds(3600) }

    mutating func sendQueries(at now: Instant) {
        var first: [MDNSName] = []
        var again: [MDNSName] = []
        for name in lookups.keys.sorted() {
            guard let lookup = lookups[name] else { continue }
            if let deadline = lookup.deadline, deadline <= now {
                lookups[name] = nil
                tell(.failed(name, cache.entry(name, at: now) == nil ? .timedOut : .ambiguous))
                continue
            }
            guard lookup.queryAt <= now else { continue }
            noteExpiry(name, at: now)
            // A first query lets the answer come by unicast, which disturbs nobody (RFC 6762 §5.4, ice 150).
            if lookup.sentCount == 0 { first.append(name) } else { again.append(name) }
            scheduleNextQuery(name, at: now)
        }
        for (names, wantsUnicast) in [(first, true), (again, false)] {
            var rest = names[...]
            while !rest.isEmpty {
                let bytes = DNSWriter.query(Array(rest.prefix(Self.namesPerQuery)), wantsUnicast: wantsUnicast)
                for link in sortedLinks { send(bytes, to: link.group, over: link) }
                rest = rest.dropFirst(Self.namesPerQuery)
            }
        }
    }

    /// Waits one second, then twice as long each time; at 80, 85, 90 and 95 % of what is known (RFC 6762 §5.2).
    private mutating func scheduleNextQuery(_ name: MDNSName, at now: Instant) {
        guard let lookup = lookups[name] else { return }
        lookups[name]?.sentCount += 1
        if let entry = cache.entry(name, at: now) {
            lookups[name]?.queryAt = Self.refreshTime(entry, after: now, using: &entropy) ?? entry.expires
            return
        }
        let pause = TimeSpan.seconds(1 << UInt64(min(lookup.sentCount, 12)))
        lookups[name]?.queryAt = now + min(pause, Self.longestPause)
    }

    /// The next of the four times at which a record is asked for again, up to 2 % later by chance.
    private static func refreshTime(
        _ entry: MDNSCache.Entry,
        after now: Instant,
        using entropy: inout Entropy
    ) -> Instant? {
        let percent = entry.lifetime.nanoseconds / 100
        for step: UInt64 in [80, 85, 90, 95] {
            let time = entry.received + TimeSpan(nanoseconds: percent * step)
            if time > now { return time + TimeSpan(nanoseconds: UInt64.random(in: 0...2 * percent, using: &entropy)) }
        }
        return nil
    }

    /// A name that is kept and whose record has run out stands for nothing.
    private mutating func noteExpiry(_ name: MDNSName, at now: Instant) {
        guard cache.entry(name, at: now) == nil, lookups[name]?.told != nil else { return }
        lookups[name]?.told = nil
        lookups[name]?.sentCount = 0
        tell(.lost(name))
    }

    // MARK: Answers

    mutating func receiveResponse(_ message: DNSMessage, at now: Instant) -> Disposition<MDNSDrop> {
        var fresh: [MDNSName: [DNSMessage.Record]] = [:]
        for record in message.records {
            if let own = published[record.name] {
                if own.address.revealed() != record.address { count(.conflict) }
                continue
            }
            // What no candidate would have is not remembered.
            guard record.name.isUUID else { continue }
            if record.ttlSeconds == 0 {
                cache.sayGoodbye(record.name, record.address, at: now)
                if lookups[record.name] != nil { lookups[record.name]?.queryAt = now + .seconds(1) }
            } else {
                fresh[record.name, default: []].append(record)
            }
        }
        for name in fresh.keys.sorted() {
            let records = fresh[name, default: []]
            let isStored = cache.store(
                name,
                records.reduce(into: []) { if !$0.contains($1.address) { $0.append($1.address) } },
                lifetime: .seconds(UInt64(records.map(\.ttlSeconds).min() ?? 0)),
                flushes: records.contains(where: \.flushesCache),
                isWanted: lookups[name] != nil,
                at: now
            )
            if isStored { noteAnswer(name, at: now) } else { count(.cacheFull) }
        }
        return .accepted
    }

    /// Tells what the cache has for a name that is looked up.
    mutating func noteAnswer(_ name: MDNSName, at now: Instant) {
        guard let lookup = lookups[name], let entry = cache.entry(name, at: now) else { return }
        guard entry.addresses.count == 1 else {
            // Two addresses under one name: nobody but an attacker says so, and who asks gets neither (ice 151).
            if lookup.told != nil { tell(.lost(name)) }
            lookups[name] = nil
            return tell(.failed(name, .ambiguous))
        }
        let address = ConcealedAddress(entry.addresses[0])
        if lookup.told != address { tell(.resolved(name, address)) }
        guard lookup.isKept else {
            lookups[name] = nil
            return
        }
        lookups[name]?.told = address
        lookups[name]?.queryAt = Self.refreshTime(entry, after: now, using: &entropy) ?? entry.expires
    }
}
