public import NetTypes

/// The time of day, as a pair of a Unix time and the instant at which it was read; engines have no clock of their own.
public struct WallClock: Sendable {
    private let unixSeconds: UInt64
    private let instant: Instant

    /// Says that it was `unixSeconds` (seconds since 1970, UTC) at `instant`.
    public init(unixSeconds: UInt64, at instant: Instant) {
        self.unixSeconds = unixSeconds
        self.instant = instant
    }

    /// The Unix time at `now`.
    public func unixSeconds(at now: Instant) -> UInt64 { unixSeconds &+ (now - instant).seconds }
}
