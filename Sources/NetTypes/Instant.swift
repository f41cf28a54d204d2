/// A point on the monotonic clock: nanoseconds since an arbitrary start.
///
/// Never the time of day, so no clock jump moves it.
public struct Instant: Comparable, Hashable, Sendable {
    /// Nanoseconds since the clock's start.
    public let nanoseconds: UInt64

    /// Makes the instant `nanoseconds` after the clock's start.
    @inlinable
    public init(nanoseconds: UInt64) { self.nanoseconds = nanoseconds }

    /// The clock's start.
    public static let zero = Instant(nanoseconds: 0)

    /// The latest instant there is; used as "never".
    public static let distantFuture = Instant(nanoseconds: .max)

    /// Whether the left instant comes first.
    @inlinable
    public static func < (left: Instant, right: Instant) -> Bool { left.nanoseconds < right.nanoseconds }

    /// The instant that much later, at most `distantFuture`.
    @inlinable
    public static func + (start: Instant, span: TimeSpan) -> Instant {
        let (sum, overflow) = start.nanoseconds.addingReportingOverflow(span.nanoseconds)
        return overflow ? .distantFuture : Instant(nanoseconds: sum)
    }

    /// The time from `start` until `end`, zero if `end` comes first.
    @inlinable
    public static func - (end: Instant, start: Instant) -> TimeSpan {
        TimeSpan(nanoseconds: end < start ? 0 : end.nanoseconds &- start.nanoseconds)
    }
}

/// A length of time, never negative, in nanoseconds.
public struct TimeSpan: Comparable, Hashable, Sendable {
    /// The length in nanoseconds.
    public let nanoseconds: UInt64

    /// Makes a length of so many nanoseconds.
    @inlinable
    public init(nanoseconds: UInt64) { self.nanoseconds = nanoseconds }

    /// No time.
    public static let zero = TimeSpan(nanoseconds: 0)

    /// A length of so many microseconds.
    @inlinable
    public static func microseconds(_ count: UInt64) -> TimeSpan { TimeSpan(nanoseconds: count &* 1000) }

    /// A length of so many milliseconds.
    @inlinable
    public static func milliseconds(_ count: UInt64) -> TimeSpan { TimeSpan(nanoseconds: count &* 1_000_000) }

    /// A length of so many seconds.
    @inlinable
    public static func seconds(_ count: UInt64) -> TimeSpan { TimeSpan(nanoseconds: count &* 1_000_000_000) }

    /// The whole milliseconds of the length.
    @inlinable public var milliseconds: UInt64 { nanoseconds / 1_000_000 }

    /// The whole seconds of the length.
    @inlinable public var seconds: UInt64 { nanoseconds / 1_000_000_000 }

    /// Whether the left length is shorter.
    @inlinable
    public static func < (left: TimeSpan, right: TimeSpan) -> Bool { left.nanoseconds < right.nanoseconds }

    /// The length `factor` times as long.
    @inlinable
    public static func * (span: TimeSpan, factor: UInt64) -> TimeSpan {
        TimeSpan(nanoseconds: span.nanoseconds &* factor)
    }
}
