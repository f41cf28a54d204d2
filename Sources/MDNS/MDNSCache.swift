import NetTypes

/// What other hosts' names were heard to stand for, each until its time is over (RFC 6762 §10).
struct MDNSCache {
    struct Entry {
        /// One, or two if the name is ambiguous: then it is not used (ice 151).
        var addresses: [IPAddress]
        var received: Instant
        var expires: Instant
        var lifetime: TimeSpan
        /// Whether somebody here has asked for the name.
        var isWanted: Bool
    }

    /// The longest time for which anything is believed, whatever its sender says.
    static let maximumLifetime = TimeSpan.seconds(4500)

    let limit: Int
    private(set) var entries: [MDNSName: Entry] = [:]

    init(limit: Int) { self.limit = limit }

    var count: Int { entries.count }

    /// What is known of a name now.
    func entry(_ name: MDNSName, at now: Instant) -> Entry? {
        guard let entry = entries[name], now < entry.expires else { return nil }
        return entry
    }

    /// Takes the addresses that one message has for a name; returns `false` without room.
    mutating func store(
        _ name: MDNSName,
        _ addresses: [IPAddress],
        lifetime: TimeSpan,
        flushes: Bool,
        isWanted: Bool,
        at now: Instant
    ) -> Bool {
        let lifetime = min(lifetime, Self.maximumLifetime)
        var addresses = addresses
        if let old = entry(name, at: now) {
            // What came in the last second is part of the same answer (RFC 6762 §10.2).
            if !flushes || now - old.received < .seconds(1) {
                addresses = old.addresses + addresses.filter { !old.addresses.contains($0) }
            }
        } else if entries[name] == nil, entries.count >= limit, !makeRoom(isWanted: isWanted, at: now) {
            return false
        }
        entries[name] = Entry(
            addresses: Array(addresses.prefix(2)),
            received: now,
            expires: now + lifetime,
            lifetime: lifetime,
            isWanted: isWanted || entries[name]?.isWanted == true
        )
        return true
    }

    /// A goodbye: what it takes back is void in a second, so that others may rescue it (RFC 6762 §10.1).
    mutating func sayGoodbye(_ name: MDNSName, _ address: IPAddress, at now: Instant) {
        guard let entry = entry(name, at: now), entry.addresses.contains(address) else { return }
        entries[name]?.expires = min(entry.expires, now + .seconds(1))
    }

    mutating func remove(_ name: MDNSName) { entries[name] = nil }

    private mutating func makeRoom(isWanted: Bool, at now: Instant) -> Bool {
        let expired = entries.filter { $0.value.expires <= now }.map(\.key)
        for name in expired { entries[name] = nil }
        if entries.count < limit { return true }
        // What was asked for is worth more than what merely passed by.
        let unwanted = entries.filter { !$0.value.isWanted }.map { (expires: $0.value.expires, name: $0.key) }
        guard isWanted, let victim = unwanted.min(by: <) else { return false }
        entries[victim.name] = nil
        return true
    }
}
