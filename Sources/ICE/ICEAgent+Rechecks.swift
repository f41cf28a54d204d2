import NetTypes

/// Silent pairs are checked anew, if that is wanted (`ICEConfiguration.recheckInterval`).
extension ICEAgent {
    /// A pair has failed by silence: the next round is planned, unless there is one.
    mutating func planRecheck(at now: Instant) {
        guard configuration.recheckInterval > .zero, recheckAt == .distantFuture,
            patienceEnds != .distantFuture
        else { return }
        recheckAt = now + configuration.recheckInterval
    }

    /// Lets the silent pairs wait for a check once more; they are paced as others are.
    mutating func recheck(at now: Instant) {
        recheckAt = .distantFuture
        // Patience ends with its time, and with the first connection.
        guard patienceEnds != .distantFuture, canCheck else { return }
        let generation = generations[generations.count - 1].number
        for index in pairs.indices
        where pairs[index].generation == generation && components[Int(pairs[index].component) - 1].firstValid == nil {
            // Frozen pairs would never get their turn behind rounds of their foundation.
            if pairs[index].state == .frozen || pairs[index].state == .failed && pairs[index].attempts > 0 {
                setState(index, .waiting)
            }
        }
    }
}
