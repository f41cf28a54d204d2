import NetTypes
import TestSupport
import Testing

@testable import Bench

@Suite struct HistogramTests {
    @Test func `a histogram of nothing has no quantiles`() {
        let histogram = LatencyHistogram()
        #expect(histogram.quantile(0.5) == nil && histogram.count == 0 && histogram.greatest == .zero)
    }

    @Test(arguments: [0, 1, 31, 32, 33, 1000, 123_456_789, UInt64.max] as [UInt64])
    func `one time is all of its quantiles, to the nanosecond`(nanoseconds: UInt64) {
        var histogram = LatencyHistogram()
        histogram.record(TimeSpan(nanoseconds: nanoseconds))
        for share in [0, 0.5, 0.999, 1] { #expect(histogram.quantile(share)?.nanoseconds == nanoseconds) }
        #expect(histogram.greatest.nanoseconds == nanoseconds)
    }

    @Test(arguments: seeds(50))
    func `quantiles are at most 3 % above the true ones, and never below`(seed: UInt64) {
        var entropy = Entropy.seeded(seed)
        var histogram = LatencyHistogram()
        // Of all orders of magnitude, so that every width of class is met.
        let times = (0..<500).map { _ in entropy.next() >> (entropy.next() % 63) }
        for time in times { histogram.record(TimeSpan(nanoseconds: time)) }
        let sorted = times.sorted()
        #expect(histogram.count == 500)
        for share in [0.001, 0.1, 0.5, 0.9, 0.99, 0.999, 1] {
            let exact = sorted[max(1, Int((share * 500).rounded(.up))) - 1]
            guard let found = histogram.quantile(share)?.nanoseconds else {
                Issue.record("no quantile")
                return
            }
            #expect(found >= exact && Double(found) <= Double(exact) * 1.032, "\(share): \(found) for \(exact)")
        }
        #expect(histogram.greatest.nanoseconds == sorted.last)
    }

    @Test func `values below 32 ns have a class each`() {
        for number in 0..<32 as Range<UInt64> {
            var histogram = LatencyHistogram()
            histogram.record(TimeSpan(nanoseconds: number))
            histogram.record(.seconds(1))
            #expect(histogram.quantile(0.5)?.nanoseconds == number)
        }
    }
}
