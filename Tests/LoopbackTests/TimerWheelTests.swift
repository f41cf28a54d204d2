import EventLoop
import NetTypes
import TestSupport
import Testing

@Suite struct TimerWheelTests {
    /// The same timers in the simplest possible way.
    private struct Model {
        var timers: [(handle: TimerHandle, token: UInt64, tick: UInt64)] = []

        mutating func popExpired(atTick tick: UInt64) -> [UInt64: UInt64] {
            let due = timers.filter { $0.tick <= tick }
            timers.removeAll { $0.tick <= tick }
            return Dictionary(uniqueKeysWithValues: due.map { ($0.token, $0.tick) })
        }
    }

    @Test(arguments: seeds(40))
    func `timers fire like those of a list, in order, whatever their length`(seed: UInt64) {
        var random = Entropy.seeded(seed)
        let tick: UInt64 = [1, 1000, 1_000_000].randomElement(using: &random) ?? 1
        var now = UInt64.random(in: 0...(1 << 50), using: &random)
        var wheel = TimerWheel(start: Instant(nanoseconds: now), tick: TimeSpan(nanoseconds: tick))
        var model = Model()
        var stale: [TimerHandle] = []
        var lastToken: UInt64 = 0
        for _ in 0..<1000 {
            switch Int.random(in: 0..<10, using: &random) {
            case 0..<5:
                lastToken += 1
                let reach = UInt64(1) << UInt64.random(in: 0...44, using: &random)
                let deadline = now &+ UInt64.random(in: 0...reach, using: &random)
                let handle = wheel.schedule(lastToken, at: Instant(nanoseconds: deadline))
                model.timers.append((handle, lastToken, (deadline + tick - 1) / tick))
            case 5, 6:
                if let index = model.timers.indices.randomElement(using: &random) {
                    let removed = model.timers.remove(at: index)
                    #expect(wheel.cancel(removed.handle) == true)
                    stale.append(removed.handle)
                }
                if let handle = stale.randomElement(using: &random) { #expect(wheel.cancel(handle) == false) }
            default:
                // To the next deadline, or just before it, or anywhere.
                let next = wheel.nextDeadline?.nanoseconds ?? now
                let target = [next, next &- 1, now + (UInt64(1) << UInt64.random(in: 0...45, using: &random))]
                now = max(now, target.randomElement(using: &random) ?? now)
                let expected = model.popExpired(atTick: now / tick)
                var fired: [UInt64] = []
                while let token = wheel.popExpired(at: Instant(nanoseconds: now)) { fired.append(token) }
                #expect(Set(fired) == Set(expected.keys) && fired.count == expected.count)
                let ticks = fired.compactMap { expected[$0] }
                #expect(ticks == ticks.sorted())
            }
            #expect(wheel.count == model.timers.count)
            let earliest = model.timers.map(\.tick).min()
            #expect((wheel.nextDeadline == nil) == (earliest == nil))
            if let earliest, let next = wheel.nextDeadline { #expect(next.nanoseconds <= earliest * tick) }
        }
    }

    @Test(arguments: [1, 63, 64, 4095, 4096, 262_144, 86_400_000, 31_536_000_000] as [UInt64])
    func `sleeping until the next deadline fires a timer on time with at most ten early wake-ups`(milliseconds: UInt64)
    {
        let start = Instant(nanoseconds: 123_456_789_012)
        let deadline = start + .milliseconds(milliseconds)
        var wheel = TimerWheel(start: start)
        _ = wheel.schedule(7, at: deadline)
        var wakeUps = 0
        var now = start
        while let next = wheel.nextDeadline {
            #expect(next > now)
            now = next
            wakeUps += 1
            if let token = wheel.popExpired(at: now) { #expect(token == 7) }
        }
        #expect(now >= deadline && now - deadline < .milliseconds(1))
        #expect(wakeUps <= 11)
    }

    @Test func `a timer may be cancelled and another scheduled while timers fire`() {
        var wheel = TimerWheel(start: .zero)
        let now = Instant.zero + .milliseconds(500)
        _ = wheel.schedule(1, at: .zero + .milliseconds(100))
        let second = wheel.schedule(2, at: .zero + .milliseconds(200))
        #expect(wheel.popExpired(at: now) == 1)
        #expect(wheel.cancel(second) == true)
        _ = wheel.schedule(3, at: .zero)
        _ = wheel.schedule(4, at: .distantFuture)
        #expect(wheel.popExpired(at: now) == 3)
        #expect(wheel.popExpired(at: now) == nil)
        #expect(wheel.count == 1)
    }

    @Test func `a handle of a fired timer does not cancel the one that took its place`() {
        var wheel = TimerWheel(start: .zero)
        let first = wheel.schedule(1, at: .zero)
        #expect(wheel.popExpired(at: .zero) == 1)
        let second = wheel.schedule(2, at: .zero + .seconds(1))
        #expect(wheel.cancel(first) == false)
        #expect(wheel.cancel(second) == true)
        #expect(wheel.nextDeadline == nil)
    }
}
