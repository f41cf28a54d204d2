#if canImport(Glibc)
import Glibc
#endif

/// The seeds that a property test runs over; `FLOE_SEED=n` replays one.
public func seeds(_ count: Int) -> [UInt64] {
    if let text = unsafe getenv("FLOE_SEED"), let seed = UInt64(unsafe String(cString: text)) { return [seed] }
    // Not multiples of the generator's own increment: such seeds give one sequence, shifted by one number each.
    return (0..<UInt64(count)).map { $0 &* 0xD134_2543_DE82_EF95 &+ 1 }
}
