public import NetTypes

/// Counts dropped messages, one number for each reason; a plain value that an engine owns.
public struct DropCounters<Reason: DropReason>: Sendable {
    @usableFromInline var counts: [UInt64]

    /// Makes counters that are all zero.
    public init() {
        precondition(MemoryLayout<Reason>.size <= 1, "a reason is one of at most 256 cases without payload")
        counts = Array(repeating: 0, count: (Reason.allCases.map(Self.slot).max() ?? 0) + 1)
    }

    /// Counts one drop; allocates nothing.
    @inlinable public mutating func count(_ reason: Reason) { counts[Self.slot(reason)] &+= 1 }

    /// How often the reason occurred.
    @inlinable public subscript(reason: Reason) -> UInt64 { counts[Self.slot(reason)] }

    /// All names with their counts, in the order of the enum.
    public var all: [(name: String, count: UInt64)] {
        Reason.allCases.map { ($0.rawValue, self[$0]) }
    }

    /// The one byte of a case without payload; its raw value would have to be hashed, on a path that a flood takes.
    @inlinable static func slot(_ reason: Reason) -> Int {
        // Read within the closure only; the only case of an enum has no byte at all.
        unsafe withUnsafeBytes(of: reason) { bytes in unsafe bytes.isEmpty ? 0 : Int(bytes[0]) }
    }
}
