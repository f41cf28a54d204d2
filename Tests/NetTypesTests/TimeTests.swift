import NetTypes
import TestSupport
import Testing

@Suite struct TimeTests {
    @Test func `instants never wrap around`() {
        let start = Instant(nanoseconds: 10)
        #expect(start + .seconds(2) - start == .seconds(2))
        #expect(start - (start + .seconds(1)) == .zero)
        #expect(Instant.distantFuture + .seconds(1) == .distantFuture)
    }

    @Test func `a bucket gives its burst and then its rate`() {
        var now = Instant.zero
        var bucket = TokenBucket(ratePerSecond: 10, burst: 5, at: now)
        let burst = (0..<10).count { _ in bucket.take(at: now) }
        #expect(burst == 5)
        now = now + .milliseconds(250)
        let later = (0..<10).count { _ in bucket.take(at: now) }
        #expect(later == 2)
        now = now + .seconds(100)
        let capped = (0..<10).count { _ in bucket.take(at: now) }
        #expect(capped == 5)
        let isFull = bucket.isFull(at: now + .milliseconds(500))
        #expect(isFull)
    }

    @Test(arguments: seeds(20))
    func `a deadline queue gives tokens in the order of time`(seed: UInt64) {
        var entropy = Entropy.seeded(seed)
        var queue = DeadlineQueue<UInt64>()
        var model: [UInt64] = []
        for _ in 0..<300 {
            if entropy.next() % 3 > 0 {
                let time = entropy.next() % 1000
                queue.push(time, at: Instant(nanoseconds: time))
                model.append(time)
                model.sort()
            } else {
                let now = entropy.next() % 1000
                let due = model.first.flatMap { $0 <= now ? $0 : nil }
                #expect(queue.pop(at: Instant(nanoseconds: now)) == due)
                if due != nil { model.removeFirst() }
            }
            #expect(queue.earliest?.nanoseconds == model.first)
            #expect(queue.count == model.count)
        }
    }

    @Test func `seeded entropy repeats and the system's does not`() {
        var (one, two) = (Entropy.seeded(7), Entropy.seeded(7))
        #expect(one.bytes(33) == two.bytes(33))
        var (three, four) = (Entropy.system, Entropy.system)
        #expect(three.bytes(16) != four.bytes(16))
    }
}
