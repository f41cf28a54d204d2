import NetTypes
import Testing

@testable import Bench

@Suite struct PacerTests {
    @Test(arguments: [1, 50, 333, 1000, 250_000, 10_000_000])
    func `in a second of small steps as many packets go as the rate says`(rate: Int) {
        var pacer = Pacer(packetsPerSecond: rate, burst: 1)
        let start = Instant(nanoseconds: 12_345)
        var sent = 0
        for step in 0...10_000 as ClosedRange<UInt64> {
            let due = pacer.due(at: start + .microseconds(step * 100))
            pacer.noteSent(due)
            sent += due
        }
        #expect(sent == rate)
    }

    @Test func `after a pause only a fiftieth of a second is made up for`() {
        var pacer = Pacer(packetsPerSecond: 1000, burst: 1)
        #expect(pacer.due(at: .zero + .seconds(1)) == 0)
        let late = pacer.due(at: .zero + .seconds(11))
        #expect(late == 20)
        pacer.noteSent(late)
        #expect(pacer.due(at: .zero + .seconds(11)) == 0)
        #expect(pacer.due(at: .zero + .milliseconds(11_001)) == 1)
    }

    @Test func `a slow rate is made up for by whole bursts`() {
        var pacer = Pacer(packetsPerSecond: 10, burst: 64)
        _ = pacer.due(at: .zero)
        #expect(pacer.due(at: .zero + .seconds(100)) == 64)
    }

    @Test func `what was not sent stays due`() {
        var pacer = Pacer(packetsPerSecond: 100, burst: 1)
        _ = pacer.due(at: .zero)
        #expect(pacer.due(at: .zero + .milliseconds(20)) == 2)
        pacer.noteSent(1)
        #expect(pacer.due(at: .zero + .milliseconds(20)) == 1)
    }
}
