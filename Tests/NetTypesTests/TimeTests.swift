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

    @Test func `a deadline queue that was emptied gives only what came later`() {
        var queue = DeadlineQueue<UInt64>()
        for token in 0..<10 as Range<UInt64> { queue.push(token, at: Instant(nanoseconds: token)) }
        queue.removeAll()
        #expect(queue.count == 0)
        #expect(queue.earliest == nil)
        queue.push(99, at: Instant(nanoseconds: 5))
        #expect(queue.pop(at: .distantFuture) == 99)
        #expect(queue.pop(at: .distantFuture) == nil)
    }

    @Test func `seeded entropy repeats and the system's does not`() {
        var (one, two) = (Entropy.seeded(7), Entropy.seeded(7))
        #expect(one.bytes(33) == two.bytes(33))
        var (three, four) = (Entropy.system, Entropy.system)
        #expect(three.bytes(16) != four.bytes(16))
    }
}

@Suite struct CivilTimeTests {
    @Test(arguments: [
        (0, "1970-01-01T00:00:00Z", "Thu, 01 Jan 1970 00:00:00 GMT"),
        (784_111_777, "1994-11-06T08:49:37Z", "Sun, 06 Nov 1994 08:49:37 GMT"),
        (951_782_400, "2000-02-29T00:00:00Z", "Tue, 29 Feb 2000 00:00:00 GMT"),
        (1_709_251_199, "2024-02-29T23:59:59Z", "Thu, 29 Feb 2024 23:59:59 GMT"),
        (4_107_542_400, "2100-03-01T00:00:00Z", "Mon, 01 Mar 2100 00:00:00 GMT"),
    ])
    func `moments are written as calendars have them`(seconds: UInt64, rfc3339: String, http: String) {
        let time = CivilTime(unixSeconds: seconds)
        #expect(time.rfc3339 == rfc3339)
        #expect(time.imfFixdate == http)
    }
}
