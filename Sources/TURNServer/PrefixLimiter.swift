import Bytes
import NetTypes

/// A token bucket for each source prefix (/32 of IPv4, /64 of IPv6) in a table of fixed size.
///
/// Four buckets share a set. A new prefix takes the fullest bucket of its set and inherits its tokens: an idle prefix
/// leaves a full bucket behind, so ordinary newcomers start full, while a flood from more prefixes than the table has
/// places drains the sets and is limited as a whole.
struct PrefixLimiter: Sendable {
    private struct Bucket {
        var key: UInt64 = 0
        var tokens: Double
        var updated: Instant = .zero
    }

    private static let ways = 4
    private var buckets: [Bucket]
    private let mask: Int
    private let seed: UInt64
    private let rate: Double
    private let burst: Double

    init(_ limit: RateLimit, places: Int, seed: UInt64) {
        var sets = 1
        while sets * Self.ways < places { sets *= 2 }
        rate = Double(limit.perSecond)
        burst = Double(limit.burst)
        buckets = Array(repeating: Bucket(tokens: Double(limit.burst)), count: sets * Self.ways)
        mask = sets - 1
        self.seed = seed
    }

    /// Takes a token from the bucket of the address's prefix, or returns `false` if it is empty.
    mutating func take(_ address: IPAddress, at now: Instant) -> Bool { take(key: Self.key(address), at: now) }

    /// The same for whatever else has a key of 64 bits.
    mutating func take(key: UInt64, at now: Instant) -> Bool {
        let first = firstIndex(key)
        var chosen = first
        for index in first..<first &+ Self.ways {
            refill(index, at: now)
            if buckets[index].key == key {
                chosen = index
                break
            }
            if buckets[index].tokens > buckets[chosen].tokens { chosen = index }
        }
        buckets[chosen].key = key
        guard buckets[chosen].tokens >= 1 else { return false }
        buckets[chosen].tokens -= 1
        return true
    }

    /// Gives back a token that was taken for something that has turned out well.
    mutating func giveBack(_ address: IPAddress) { giveBack(key: Self.key(address)) }

    mutating func giveBack(key: UInt64) {
        let first = firstIndex(key)
        for index in first..<first &+ Self.ways where buckets[index].key == key {
            buckets[index].tokens = min(burst, buckets[index].tokens + 1)
            return
        }
    }

    // No global unicast prefix has the highest bit set, so IPv4 cannot collide with IPv6.
    private static func key(_ address: IPAddress) -> UInt64 {
        address.family == .ipv4 ? address.low | 1 &<< 63 : address.high
    }

    private func firstIndex(_ key: UInt64) -> Int {
        (Int(truncatingIfNeeded: key.flatHash(seed: seed)) & mask) &* Self.ways
    }

    private mutating func refill(_ index: Int, at now: Instant) {
        guard now > buckets[index].updated else { return }
        let gained = Double((now - buckets[index].updated).nanoseconds) * rate / 1e9
        buckets[index].tokens = min(burst, buckets[index].tokens + gained)
        buckets[index].updated = now
    }
}
