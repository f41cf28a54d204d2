/// Which packets of a flow have come, as far as the last 64 of them say.
struct ArrivalWindow {
    /// What the number of a packet that has come says.
    enum Arrival: Equatable {
        /// Above all that came before; so many between them have not come, or not yet.
        case next(skipped: UInt32)
        /// Below one that came before.
        case late
        /// It has come before.
        case again
    }

    /// The number above all that have come.
    private var next: UInt32 = 0
    /// Bit n: whether `next - 1 - n` has come.
    private var seen: UInt64 = 0

    mutating func take(_ number: UInt32) -> Arrival {
        guard number < next else {
            let step = number - next
            seen = step >= 63 ? 1 : seen << UInt64(step + 1) | 1
            next = number &+ 1
            return .next(skipped: step)
        }
        let age = next - 1 - number
        // Who comes that late cannot be told from one that comes again.
        guard age < 64 else { return .late }
        let bit = UInt64(1) << UInt64(age)
        guard seen & bit == 0 else { return .again }
        seen |= bit
        return .late
    }
}
