import Synchronization

/// Which ports of one relay address are live relays right now; read without a lock by every shard.
final class LivePorts: Sendable {
    private let words: InlineArray<1024, Atomic<UInt64>>

    init() { words = InlineArray { _ in Atomic(0) } }

    func contains(_ port: UInt16) -> Bool {
        words[Int(port &>> 6)].load(ordering: .relaxed) &>> UInt64(port & 63) & 1 == 1
    }

    func insert(_ port: UInt16) {
        words[Int(port &>> 6)].bitwiseOr(1 &<< UInt64(port & 63), ordering: .relaxed)
    }

    func remove(_ port: UInt16) {
        words[Int(port &>> 6)].bitwiseAnd(~(1 &<< UInt64(port & 63)), ordering: .relaxed)
    }

    var count: Int {
        var count = 0
        for index in words.indices { count += words[index].load(ordering: .relaxed).nonzeroBitCount }
        return count
    }
}
