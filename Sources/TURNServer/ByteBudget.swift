import NetTypes
import Synchronization

/// Bytes that all shards together may relay in each second, for one user or in all: a token bucket in one atomic word.
///
/// Shards do not come here for each packet but take portions ahead (`LeasedBytes`), so that they share nothing between.
final class ByteBudget: Sendable {
    let bytesPerSecond: UInt64
    /// The time at which all that was taken will have been earned; a second ahead of now is as far as it may get.
    private let earned = Atomic<UInt64>(0)

    private static let burst: UInt64 = 1_000_000_000

    init(bytesPerSecond: UInt64) { self.bytesPerSecond = max(1, bytesPerSecond) }

    /// Takes so many bytes, or none and returns `false` if there are fewer.
    func take(_ bytes: Int, at now: Instant) -> Bool {
        let cost = cost(of: bytes)
        var old = earned.load(ordering: .relaxed)
        while true {
            let new = max(old, now.nanoseconds) &+ cost
            guard new <= now.nanoseconds &+ Self.burst else { return false }
            let exchange = earned.weakCompareExchange(expected: old, desired: new, ordering: .relaxed)
            if exchange.exchanged { return true }
            old = exchange.original
        }
    }

    /// Takes bytes that have been relayed already; returns how long it lasts until they are earned.
    func takeOnCredit(_ bytes: Int, at now: Instant) -> TimeSpan {
        let cost = cost(of: bytes)
        var old = earned.load(ordering: .relaxed)
        while true {
            let new = max(old, now.nanoseconds) &+ cost
            let exchange = earned.weakCompareExchange(expected: old, desired: new, ordering: .relaxed)
            guard !exchange.exchanged else {
                let limit = now.nanoseconds &+ Self.burst
                return new > limit ? TimeSpan(nanoseconds: new &- limit) : .zero
            }
            old = exchange.original
        }
    }

    /// Gives back bytes that were taken and not relayed.
    func giveBack(_ bytes: Int) {
        let cost = cost(of: bytes)
        var old = earned.load(ordering: .relaxed)
        while true {
            let exchange = earned.weakCompareExchange(
                expected: old,
                desired: old - min(old, cost),
                ordering: .relaxed
            )
            if exchange.exchanged { return }
            old = exchange.original
        }
    }

    /// Whether all that was taken has been earned: such a budget can be forgotten and made anew.
    func isFull(at now: Instant) -> Bool { earned.load(ordering: .relaxed) <= now.nanoseconds }

    private func cost(of bytes: Int) -> UInt64 {
        // A datagram at one byte in a second is 18 hours; the product stays far below 2^64.
        UInt64(bytes) &* 1_000_000_000 / bytesPerSecond
    }
}

/// What one shard holds of a budget: a portion taken ahead, spent without anything shared.
struct LeasedBytes {
    let budget: ByteBudget
    private let portion: Int
    fileprivate var left = 0

    init(_ budget: ByteBudget) {
        self.budget = budget
        // A fiftieth of a second, but no less than a packet and no more than what another shard would miss.
        portion = Int(clamping: min(max(budget.bytesPerSecond / 50, 1500), 65_536))
    }

    /// Takes so many bytes, or none and returns `false`.
    mutating func take(_ bytes: Int, at now: Instant) -> Bool {
        if left < bytes {
            // What is left of the budget may be less than a portion.
            if budget.take(portion, at: now) { left &+= portion }
            if left < bytes, budget.take(bytes &- left, at: now) { left = bytes }
        }
        guard left >= bytes else { return false }
        left &-= bytes
        return true
    }
}

extension LeasedBytes {
    /// Gives back what was taken ahead; there must be no use of it afterwards.
    func close() { budget.giveBack(left) }
}

/// What one user's allocations on one shard may relay together.
struct UserBytes {
    let user: String
    var bytes: LeasedBytes
    var allocations = 1
}
