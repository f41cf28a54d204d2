public import NetTypes

/// Counts dropped messages, one number for each reason; a plain value that an engine owns.
public struct DropCounters<Reason: DropReason>: Sendable {
    private var counts: [UInt64]
    private let indices: [Reason: Int]

    /// Makes counters that are all zero.
    public init() {
        counts = Array(repeating: 0, count: Reason.allCases.count)
        indices = Dictionary(uniqueKeysWithValues: Reason.allCases.enumerated().map { ($1, $0) })
    }

    /// Counts one drop; allocates nothing.
    public mutating func count(_ reason: Reason) {
        if let index = indices[reason] { counts[index] &+= 1 }
    }

    /// How often the reason occurred.
    public subscript(reason: Reason) -> UInt64 { indices[reason].map { counts[$0] } ?? 0 }

    /// All names with their counts, in the order of the enum.
    public var all: [(name: String, count: UInt64)] {
        Reason.allCases.map { ($0.rawValue, self[$0]) }
    }
}
