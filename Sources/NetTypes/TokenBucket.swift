/// A rate limit with a burst: `ratePerSecond` tokens come in steadily, at most `burst` are kept.
public struct TokenBucket: Sendable {
    /// Tokens that come in each second.
    public let ratePerSecond: Double
    /// The most that may be saved up.
    public let burst: Double
    private var tokens: Double
    private var updated: Instant

    /// Makes a full bucket.
    public init(ratePerSecond: Double, burst: Double, at now: Instant) {
        self.ratePerSecond = ratePerSecond
        self.burst = burst
        tokens = burst
        updated = now
    }

    /// Takes `count` tokens, or none and returns `false` if there are fewer.
    public mutating func take(_ count: Double = 1, at now: Instant) -> Bool {
        refill(at: now)
        guard tokens >= count else { return false }
        tokens -= count
        return true
    }

    /// Takes `count` tokens even if there are fewer; returns how long it lasts until the debt is paid.
    ///
    /// For what has already happened, such as bytes read from a stream: wait that long before the next.
    public mutating func takeOnCredit(_ count: Double, at now: Instant) -> TimeSpan {
        refill(at: now)
        tokens -= count
        guard tokens < 0 else { return .zero }
        return TimeSpan(nanoseconds: UInt64(min(-tokens / ratePerSecond * 1e9, 1e18)))
    }

    /// Gives back tokens that were taken and not used.
    public mutating func giveBack(_ count: Double) { tokens = min(burst, tokens + count) }

    /// Whether nothing has been taken that has not come back: such a bucket can be forgotten.
    public mutating func isFull(at now: Instant) -> Bool {
        refill(at: now)
        return tokens >= burst
    }

    private mutating func refill(at now: Instant) {
        guard now > updated else { return }
        tokens = min(burst, tokens + Double((now - updated).nanoseconds) * ratePerSecond / 1e9)
        updated = now
    }
}
