#if canImport(Glibc)
import Glibc
#endif

/// The seeds that a property test runs over; `FLOE_SEED=n` replays one.
public func seeds(_ count: Int) -> [UInt64] {
    if let text = unsafe getenv("FLOE_SEED"), let seed = UInt64(unsafe String(cString: text)) { return [seed] }
    return (0..<UInt64(count)).map { $0 &* 0x9E37_79B9_7F4A_7C15 &+ 1 }
}
