public import NetTypes

/// Names a timer of a `TimerWheel`; a handle whose timer has fired or was cancelled finds nothing.
public struct TimerHandle: Hashable, Sendable {
    fileprivate let index: Int32
    fileprivate let generation: UInt32
}

/// Timers in a hierarchy of wheels: scheduling and cancelling are O(1), however many timers there are.
///
/// A wheel has 64 slots; a slot of the first lasts one tick, of the next 64 ticks, and so on. Deadlines are rounded up to
/// ticks: no timer fires early, and none more than a tick late. Time is an argument, so a simulation can drive it.
public struct TimerWheel: Sendable {
    private struct Entry {
        var tick: UInt64
        var token: UInt64
        /// Odd while the timer is pending.
        var generation: UInt32
        var next: Int32
        var previous: Int32
        var slot: Int32
    }

    /// Eleven wheels of 6 bits cover 64 bits of ticks, so that no deadline is too far away.
    private static let levels = 11

    private let tickNanoseconds: UInt64
    private var elapsed: UInt64
    private var entries: [Entry] = []
    private var firstFree: Int32 = -1
    private var heads: [Int32]
    private var occupied: [11 of UInt64] = .init(repeating: 0)

    /// How many timers are pending.
    public private(set) var count = 0

    /// Makes an empty wheel that begins at `start`, with ticks of the given length.
    public init(start: Instant, tick: TimeSpan = .milliseconds(1)) {
        precondition(tick > .zero, "a tick has a length")
        tickNanoseconds = tick.nanoseconds
        elapsed = start.nanoseconds / tick.nanoseconds
        heads = Array(repeating: -1, count: Self.levels * 64)
    }

    /// Schedules a timer; a deadline that has passed is due at the next call of `popExpired`.
    ///
    /// `token` comes back when it fires. `distantFuture` is a legal deadline.
    public mutating func schedule(_ token: UInt64, at deadline: Instant) -> TimerHandle {
        let (quotient, remainder) = deadline.nanoseconds.quotientAndRemainder(dividingBy: tickNanoseconds)
        let tick = max(elapsed, quotient &+ (remainder > 0 ? 1 : 0))
        let index: Int32
        if firstFree >= 0 {
            index = firstFree
            firstFree = entries[Int(index)].next
            entries[Int(index)].generation &+= 1
        } else {
            index = Int32(entries.count)
            entries.append(Entry(tick: 0, token: 0, generation: 1, next: -1, previous: -1, slot: -1))
        }
        entries[Int(index)].token = token
        link(index, tick: tick)
        count += 1
        return TimerHandle(index: index, generation: entries[Int(index)].generation)
    }

    /// Cancels a timer; returns `false` if it has fired or was cancelled before.
    @discardableResult
    public mutating func cancel(_ handle: TimerHandle) -> Bool {
        let index = Int(handle.index)
        guard index < entries.count, entries[index].generation == handle.generation, handle.generation & 1 == 1 else {
            return false
        }
        unlink(handle.index)
        release(handle.index)
        return true
    }

    /// When `popExpired` must be called next, or `nil` if no timer is pending.
    ///
    /// For a timer far away this is when it must be sorted anew, which may be earlier than its deadline; at most ten such
    /// wake-ups happen to a timer of any length.
    public var nextDeadline: Instant? {
        guard let slot = nextSlot else { return nil }
        let (nanoseconds, overflow) = startTick(of: slot).multipliedReportingOverflow(by: tickNanoseconds)
        return overflow ? .distantFuture : Instant(nanoseconds: nanoseconds)
    }

    /// Takes the token of a timer that is due at `now`, those of earlier ticks first; `nil` when none is left.
    ///
    /// Timers may be scheduled and cancelled between two calls; one that is scheduled for `now` or before is due at once.
    public mutating func popExpired(at now: Instant) -> UInt64? {
        let nowTick = now.nanoseconds / tickNanoseconds
        while let slot = nextSlot, startTick(of: slot) <= nowTick {
            elapsed = max(elapsed, startTick(of: slot))
            guard slot < 64 else {
                sortAnew(slot)
                continue
            }
            let index = heads[slot]
            let token = entries[Int(index)].token
            unlink(index)
            release(index)
            return token
        }
        elapsed = max(elapsed, nowTick)
        return nil
    }

    /// Spreads a slot whose time has come over the wheels below, at once: what is left behind would fire out of order.
    private mutating func sortAnew(_ slot: Int) {
        while heads[slot] >= 0 {
            let index = heads[slot]
            unlink(index)
            link(index, tick: entries[Int(index)].tick)
        }
    }

    /// The occupied slot that begins first.
    ///
    /// Lower levels always do: a timer stands on the level of the highest digit
    /// (base 64) in which its tick differs from the present one.
    private var nextSlot: Int? {
        for level in 0..<Self.levels where occupied[level] != 0 {
            return level * 64 + occupied[level].trailingZeroBitCount
        }
        return nil
    }

    private func startTick(of slot: Int) -> UInt64 {
        let shift = UInt64(slot / 64 * 6)
        let digit = UInt64(slot % 64) << shift
        let above = shift + 6 >= 64 ? 0 : (elapsed >> (shift + 6)) << (shift + 6)
        return above | digit
    }

    private mutating func link(_ index: Int32, tick: UInt64) {
        let difference = elapsed ^ tick
        let level = difference == 0 ? 0 : (63 - difference.leadingZeroBitCount) / 6
        let slot = level * 64 + Int(tick >> UInt64(level * 6) & 63)
        let head = heads[slot]
        entries[Int(index)].tick = tick
        entries[Int(index)].slot = Int32(slot)
        entries[Int(index)].previous = -1
        entries[Int(index)].next = head
        if head >= 0 { entries[Int(head)].previous = index }
        heads[slot] = index
        occupied[level] |= 1 << UInt64(slot % 64)
    }

    private mutating func unlink(_ index: Int32) {
        let entry = entries[Int(index)]
        if entry.next >= 0 { entries[Int(entry.next)].previous = entry.previous }
        if entry.previous >= 0 {
            entries[Int(entry.previous)].next = entry.next
        } else {
            heads[Int(entry.slot)] = entry.next
            if entry.next < 0 { occupied[Int(entry.slot) / 64] &= ~(1 << UInt64(entry.slot % 64)) }
        }
    }

    private mutating func release(_ index: Int32) {
        entries[Int(index)].generation &+= 1
        entries[Int(index)].next = firstFree
        firstFree = index
        count -= 1
    }
}
