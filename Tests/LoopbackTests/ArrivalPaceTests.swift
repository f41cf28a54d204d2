import EventLoop
import NetTypes
import Testing

@testable import Transport

extension ArrivalPace {
    /// One that has seen more than 30 000 datagrams in the last second, few in each turn.
    static func busy(resting limit: TimeSpan) -> ArrivalPace {
        var pace = ArrivalPace()
        pace.limit = limit
        let start = Instant(nanoseconds: MonotonicClock.now().nanoseconds - 1_000_000_000)
        for _ in 0..<4000 {
            _ = pace.rest(at: start)
            pace.count(10)
        }
        return pace
    }
}

/// Whether datagrams wait for each other.
@Suite struct ArrivalPaceTests {
    @Test func `datagrams wait for each other only while many come`() {
        var pace = ArrivalPace()
        pace.limit = .microseconds(100)
        var now = Instant.zero + .seconds(1)
        var rests: [TimeSpan] = []
        for rate in [10, 10, 40, 40, 10, 10] {
            // So many in a millisecond, for ten.
            for _ in 0..<10 {
                pace.count(rate)
                now = now + .milliseconds(1)
                _ = pace.rest(at: now)
            }
            rests.append(pace.rest(at: now))
        }
        #expect(rests == [0, 0, 100, 100, 0, 0].map { .microseconds($0) })
    }

    @Test func `a turn that had enough is followed by another at once`() {
        var pace = ArrivalPace.busy(resting: .microseconds(100))
        let now = MonotonicClock.now()
        pace.count(ArrivalPace.enough)
        #expect(pace.rest(at: now) == .zero)
        pace.count(ArrivalPace.enough - 1)
        #expect(pace.rest(at: now) == .microseconds(100))
        pace.hasMore = true
        #expect(pace.rest(at: now) == .zero)
        #expect(pace.rest(at: now) == .microseconds(100))
    }

    @Test func `what is not gathered counts for no rest, and none is made while more of it waits`() throws {
        var packets = DatagramReceiveBatch(capacity: 4)
        let client = try UDPSocket(boundTo: Loopback.v4)
        let server = try UDPSocket(boundTo: Loopback.v4)
        var sends = DatagramSendBatch(capacity: 8)
        for number in UInt8(0)..<6 {
            let route = DatagramRoute(client.handle, to: server.localAddress)
            let isQueued = sends.enqueue(copying: [number].span, on: route)
            #expect(isQueued)
        }
        sends.flush()
        for (expected, hasMore) in [(4, true), (2, false)] {
            try Loopback.wait(server.descriptor)
            packets.removeAll()
            let count = packets.receive(from: server.handle, gathered: false).count
            let found = packets.pace.hasMore
            #expect(count == expected && found == hasMore)
            packets.pace.hasMore = false
        }
    }

    @Test func `a batch without a ring sleeps as long, and not past its deadline`() {
        var packets = DatagramReceiveBatch()
        packets.pace = .busy(resting: .milliseconds(2))
        let start = MonotonicClock.now()
        packets.rest(until: .distantFuture)
        let end = MonotonicClock.now()
        #expect(end - start >= .milliseconds(2))
        // With a rest this test would not end.
        packets.pace = .busy(resting: .seconds(3600))
        packets.rest(until: MonotonicClock.now() + .milliseconds(1))
        packets.pace = .busy(resting: .seconds(3600))
        packets.rest(until: .zero)
    }
}
