import FastPath

/// What one shard has at hand of a stock that all shards share: it asks for several at once, and keeps few.
struct StockAtHand<Element: Sendable> {
    /// How many are taken and given back together; twice as many may lie idle.
    static var batch: Int { 32 }

    private let shared: SharedStock<Element>?
    private var free: [Element] = []

    init(of shared: SharedStock<Element>?) { self.shared = shared }

    /// The one that was given back last, or another one; `nil` if nobody has more.
    mutating func take() -> Element? {
        if free.isEmpty { shared?.take(Self.batch, into: &free) }
        return free.popLast()
    }

    mutating func putBack(_ elements: some Sequence<Element>) {
        free += elements
        if free.count > 2 * Self.batch { shared?.putBack(free.count - Self.batch, of: &free) }
    }

    /// Leaves all to the others.
    mutating func putBackAll() {
        if !free.isEmpty { shared?.putBack(free.count, of: &free) }
    }
}
