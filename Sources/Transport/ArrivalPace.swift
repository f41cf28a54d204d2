import NetTypes

/// Whether so many datagrams come that it pays to let them wait for each other.
///
/// At less load a rest costs more than the wake-ups that it saves; at full load there is always enough to do.
struct ArrivalPace {
    /// How many at once leave nothing to be gained by waiting for more.
    static let enough = 64
    private static let busyRate: UInt64 = 30_000
    private static let window = TimeSpan.milliseconds(5)

    /// The longest rest; zero for none.
    var limit = TimeSpan.zero
    private var start = Instant.zero
    private var datagrams: UInt64 = 0
    private var latest = 0
    private var isBusy = false
    /// Whether something is known to wait that does not count.
    var hasMore = false

    mutating func count(_ count: Int) { latest += count }

    /// How long to rest at most from now on, after a turn whose datagrams were counted.
    mutating func rest(at now: Instant) -> TimeSpan {
        let hadEnough = latest >= Self.enough || hasMore
        hasMore = false
        datagrams &+= UInt64(latest)
        latest = 0
        let elapsed = now - start
        if elapsed >= Self.window {
            isBusy = datagrams * 1_000_000_000 / UInt64(elapsed.nanoseconds) >= Self.busyRate
            datagrams = 0
            start = now
        }
        return isBusy && !hadEnough ? limit : .zero
    }
}
