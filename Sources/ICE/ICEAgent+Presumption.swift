import NetTypes

/// Paths that carry data before they are proven, where the owner wants it (`ICEConfiguration.presumesPaths`; ice 175).
///
/// What a forged source can draw to itself is bounded: each pair has its time once in a generation, counted from the first
/// request, and only so many pairs have one.
extension ICEAgent {
    /// How long a pair may carry data without proof.
    static var presumptionSpan: TimeSpan { .seconds(2) }
    /// How many pairs of one generation are presumed to work at most, those that are gone again among them.
    static var presumptionLimit: UInt8 { 8 }

    /// Lets data go over a pair on which an authenticated request came, until the agent's own check or time decides.
    mutating func presume(_ index: Int, at now: Instant) {
        guard configuration.presumesPaths, canCheck, presumptionCount < Self.presumptionLimit,
            pairs[index].state.isUnfinished,
            pairs[index].flags.isDisjoint(with: [.valid, .presumed, .wasPresumed, .consentEnded])
        else { return }
        presumptionCount += 1
        pairs[index].flags.formUnion([.presumed, .wasPresumed])
        pairs[index].consentExpiry = now + Self.presumptionSpan
        reschedule(index)
        updatePath(Int(pairs[index].component) - 1, at: now)
    }

    mutating func endPresumption(_ index: Int, at now: Instant) {
        guard pairs[index].flags.contains(.presumed) else { return }
        pairs[index].flags.remove(.presumed)
        pairs[index].consentExpiry = .distantFuture
        reschedule(index)
        updatePath(Int(pairs[index].component) - 1, at: now)
    }

    /// Ends those of one component, or all; a new generation may presume as many again.
    mutating func endPresumptions(component: UInt16? = nil, at now: Instant) {
        guard presumptionCount > 0 else { return }
        for index in pairs.indices where component == nil || pairs[index].component == component {
            endPresumption(index, at: now)
        }
    }
}
