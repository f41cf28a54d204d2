import NetTypes
import Testing

@testable import Bench

@Suite struct LatencyHistogramTests {
    @Test func `a quantile is at most 3 % above the time that it stands for, and never below`() throws {
        var histogram = LatencyHistogram()
        for value in 1...10_000 { histogram.record(TimeSpan(nanoseconds: UInt64(value) * 1000)) }
        for (share, exact) in [(0.5, 5_000_000.0), (0.9, 9_000_000), (0.99, 9_900_000), (0.999, 9_990_000)] {
            let found = Double(try #require(histogram.quantile(share)).nanoseconds)
            #expect(found >= exact && found <= exact * 1.032)
        }
        #expect(histogram.quantile(1) == TimeSpan(nanoseconds: 10_000_000))
        #expect(histogram.greatest == TimeSpan(nanoseconds: 10_000_000))
    }

    @Test func `without a time there is no quantile, and the greatest possible time fits`() {
        var histogram = LatencyHistogram()
        #expect(histogram.quantile(0.5) == nil)
        histogram.record(TimeSpan(nanoseconds: .max))
        #expect(histogram.quantile(0.5) == TimeSpan(nanoseconds: .max))
    }
}
