import NetTypes

/// Counts times in classes that are each at most 3 % wide: bounded memory, whatever comes.
struct LatencyHistogram: Sendable {
    private static let bitsPerOctave = 5
    private static let classesPerOctave = 1 << bitsPerOctave

    private var counts = [UInt64](repeating: 0, count: 64 << bitsPerOctave)
    private(set) var count: UInt64 = 0
    private(set) var greatest = TimeSpan.zero

    mutating func record(_ span: TimeSpan) {
        counts[Self.index(span.nanoseconds)] &+= 1
        count &+= 1
        if span > greatest { greatest = span }
    }

    /// The time that this share of all times, from 0 to 1, did not exceed, give or take 3 %; `nil` without any.
    func quantile(_ share: Double) -> TimeSpan? {
        guard count > 0 else { return nil }
        let rank = max(1, UInt64((share * Double(count)).rounded(.up)))
        var seen: UInt64 = 0
        for (index, number) in counts.enumerated() {
            seen &+= number
            if seen >= rank { return min(TimeSpan(nanoseconds: Self.highest(of: index)), greatest) }
        }
        return greatest
    }

    /// Values below 32 have a class each; above, each doubling is cut into 32.
    private static func index(_ value: UInt64) -> Int {
        let octave = 63 - (value | 1).leadingZeroBitCount
        guard octave >= bitsPerOctave else { return Int(value) }
        let shift = octave - bitsPerOctave
        return (shift + 1) << bitsPerOctave + Int(value >> UInt64(shift)) & (classesPerOctave - 1)
    }

    private static func highest(of index: Int) -> UInt64 {
        let shift = index >> bitsPerOctave - 1
        guard shift >= 0 else { return UInt64(index) }
        let first = UInt64(classesPerOctave + index & (classesPerOctave - 1)) << UInt64(shift)
        return first + ((1 << UInt64(shift)) - 1)
    }
}
