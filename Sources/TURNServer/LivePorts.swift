import Synchronization

/// Which ports of one relay address are live relays right now; read without a lock by every shard.
struct LivePorts: Sendable {
    /// 1024 ports, one bit each.
    private final class Page: Sendable {
        private let words = InlineArray<16, Atomic<UInt64>> { _ in Atomic(0) }

        func contains(_ port: UInt16) -> Bool {
            words[Self.word(port)].load(ordering: .relaxed) &>> UInt64(port & 63) & 1 == 1
        }

        func insert(_ port: UInt16) {
            words[Self.word(port)].bitwiseOr(1 &<< UInt64(port & 63), ordering: .relaxed)
        }

        func remove(_ port: UInt16) {
            words[Self.word(port)].bitwiseAnd(~(1 &<< UInt64(port & 63)), ordering: .relaxed)
        }

        var count: Int {
            var count = 0
            for index in words.indices { count += words[index].load(ordering: .relaxed).nonzeroBitCount }
            return count
        }

        private static func word(_ port: UInt16) -> Int { Int(port &>> 6 & 15) }
    }

    private let firstPage: Int
    private let pages: [Page]

    /// No port of the range is live; others never are.
    init(range: ClosedRange<UInt16>) {
        firstPage = Int(range.lowerBound &>> 10)
        pages = (firstPage...Int(range.upperBound &>> 10)).map { _ in Page() }
    }

    func contains(_ port: UInt16) -> Bool {
        let page = Int(port &>> 10) &- firstPage
        return pages.indices.contains(page) && pages[page].contains(port)
    }

    /// Marks a port of the range.
    func insert(_ port: UInt16) { pages[Int(port &>> 10) - firstPage].insert(port) }

    /// Forgets a port of the range.
    func remove(_ port: UInt16) { pages[Int(port &>> 10) - firstPage].remove(port) }

    var count: Int { pages.reduce(0) { $0 + $1.count } }
}
