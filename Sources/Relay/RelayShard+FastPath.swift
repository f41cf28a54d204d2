import Bytes
import NetTypes
import TURNServer

/// What the kernel relays of a shard's allocations.
extension RelayShard {
    /// Lets the kernel relay what the engine would relay now, and nothing else, of the allocations whose turn it is, and goes
    /// on counting.
    mutating func updateFastFlows(at now: Instant) {
        while let handle = fastFlows.next(at: now) {
            let channels = engine.channelPaths(of: handle, at: now)
            let isLimited = engine.limitsBandwidth(of: handle)
            let change = fastFlows.update(handle, to: channels, isLimited: isLimited, at: now)
            engine.countRelayed(change.traffic, of: handle)
            engine.giveBack(change.unspent, of: handle)
            if change.hasNewAllowance { fundFastFlows(of: handle, at: now) }
        }
        countMoreFastFlows(at: now)
    }

    /// Begins to count what the kernel has relayed; of many flows the rest is counted in the turns that follow.
    mutating func countFastFlows(at now: Instant) {
        fastFlows.beginCount(at: now)
        countMoreFastFlows(at: now)
        // A report out of turn must not cut a rest short.
        guard now >= fastFlows.restEnds else { return }
        fastFlows.restEnds = now + .milliseconds(400)
        fastFlows.freeRestedSlots()
    }

    /// Goes on counting, and lets the kernel spend anew what limits on bandwidth have earned.
    private mutating func countMoreFastFlows(at now: Instant) {
        while let handle = fastFlows.nextToCount(at: now, isLast: stopsAt != nil) {
            let traffic = fastFlows.takeTraffic(of: handle)
            if traffic != RelayedTraffic() { engine.countRelayed(traffic, of: handle) }
            fundFastFlows(of: handle, at: now)
        }
    }

    private mutating func fundFastFlows(of handle: SlotHandle, at now: Instant) {
        let need = fastFlows.takeNeed(of: handle)
        engine.giveBack(need.excess, of: handle)
        guard need.lack > 0 else { return }
        let bytes = engine.takeAhead(need.lack, of: handle, at: now)
        if bytes > 0, !fastFlows.grant(bytes, to: handle) { engine.giveBack(bytes, of: handle) }
    }
}
