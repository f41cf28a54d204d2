import CLinux
public import NetTypes

/// The clock that no time setting moves: what every deadline is measured with.
public enum MonotonicClock {
    /// The present instant; a loop reads it once per wake-up.
    public static func now() -> Instant { Instant(nanoseconds: floe_monotonic_nanoseconds()) }
}

/// The time of day, for certificates, credentials and logs; it may jump.
public enum WallClock {
    /// Seconds since 1970-01-01 00:00 UTC.
    public static func unixSeconds() -> UInt64 { floe_unix_seconds() }
}
