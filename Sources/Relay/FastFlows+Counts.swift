import Bytes
import EventLoop
import FastPath
import NetTypes
import TURNServer

/// What the kernel has relayed, and what it may relay of allocations with a limit.
extension FastFlows {
    // MARK: Counts

    /// What is read in one turn of the loop, in flows, an allocation counting as two; the next turn to do so is this later.
    ///
    /// So all that there may be takes half a second, in the end.
    static var sliceSize: Int { 512 }
    static var sliceTime: TimeSpan { .milliseconds(1) }

    /// Lets everything be counted once, unless it still is from the last time.
    mutating func beginCount(at now: Instant) {
        guard uncounted == 0 else { return }
        (uncounted, countsAt, slice) = (counted.count, now, 0)
    }

    /// The next allocation to be counted, if this turn may count another one; `isLast` means that there is no other turn.
    mutating func nextToCount(at now: Instant, isLast: Bool = false) -> SlotHandle? {
        while uncounted > 0, now >= countsAt || isLast, let first = counted.first {
            let channels = allocations[first]?.channels.count
            let size = 2 * (channels ?? 0) + 2
            guard slice == 0 || slice + size <= Self.sliceSize || isLast else {
                (slice, countsAt) = (0, now + Self.sliceTime)
                return nil
            }
            slice += size
            uncounted -= 1
            _ = counted.popFirst()
            guard channels != nil else { continue }
            counted.append(first)
            return first
        }
        return nil
    }

    /// What was relayed for an allocation since this was last asked.
    mutating func takeTraffic(of handle: SlotHandle) -> RelayedTraffic {
        var traffic = RelayedTraffic()
        guard let kernel, var held = allocations.removeValue(forKey: handle) else { return traffic }
        func take(_ flow: inout ChannelFlows.Open?, isToPeer: Bool) {
            guard let open = flow else { return }
            let total = kernel.traffic(in: open.slot)
            guard total != open.counted else { return }
            note(open, isToPeer: isToPeer, total, in: &traffic)
            flow?.counted = total
        }
        for index in held.channels.values.indices {
            take(&held.channels.values[index].toPeer, isToPeer: true)
            take(&held.channels.values[index].toClient, isToPeer: false)
        }
        allocations[handle] = held
        return traffic
    }

    /// Frees the places of flows that were closed before the last time that this was said.
    ///
    /// Who has no flows leaves all places and allowances to the other shards.
    mutating func freeRestedSlots() {
        freeSlots.putBack(restedSlots)
        restedSlots = closedSlots
        closedSlots = []
        guard count == 0 else { return }
        freeSlots.putBackAll()
        freeAllowances.putBackAll()
    }

    mutating func note(
        _ flow: ChannelFlows.Open,
        isToPeer: Bool,
        _ total: FlowTraffic,
        in traffic: inout RelayedTraffic
    ) {
        let (fresh, bytes) = (total.packets &- flow.counted.packets, total.bytes &- flow.counted.bytes)
        packets &+= fresh
        if isToPeer {
            traffic.packetsToPeers &+= fresh
            traffic.bytesToPeers &+= bytes
        } else {
            traffic.packetsToClient &+= fresh
            traffic.bytesToClient &+= bytes
        }
    }
}

// MARK: - Allowances

extension FastFlows {
    /// How much an allowance that is not used holds, in bytes: enough to see that it is used again.
    private static var leastAllowance: UInt64 { 3000 }

    /// What an allocation's allowance needs until it is looked at again: four times what it has spent since the last time.
    mutating func takeNeed(of handle: SlotHandle) -> Need {
        guard let kernel, let last = allocations[handle]?.spent, var allowance = allocations[handle]?.allowance else {
            return Need()
        }
        let spent = kernel.spent(of: allowance)
        // What is added and taken back in the same moment, for a packet that goes up, may be seen here.
        let used = spent > last ? spent &- last : 0
        let goal = max(Self.leastAllowance, 4 &* used)
        allocations[handle]?.spent = spent
        let left = allowance.granted > spent ? allowance.granted &- spent : 0
        guard left > goal else { return Need(lack: Int(clamping: goal &- left)) }
        allowance.granted = spent &+ goal
        allocations[handle]?.allowance = allowance
        kernel.grant(allowance)
        // What the kernel has spent meanwhile beyond the new grant is no excess.
        let late = kernel.spent(of: allowance)
        let excess = left &- goal
        return Need(excess: Int(clamping: excess &- min(excess, late &- min(late, allowance.granted))))
    }

    /// Lets an allocation's flows spend more bytes; `false` if they cannot.
    mutating func grant(_ bytes: Int, to handle: SlotHandle) -> Bool {
        guard let kernel, var allowance = allocations[handle]?.allowance else { return false }
        allowance.granted &+= UInt64(bytes)
        kernel.grant(allowance)
        allocations[handle]?.allowance = allowance
        return true
    }

    /// Whether an allocation has an allowance.
    func hasAllowance(_ handle: SlotHandle) -> Bool { allocations[handle]?.allowance != nil }

    /// Ends an allocation's allowance, whose flows are suspended; returns what was left of it.
    mutating func takeAllowance(of handle: SlotHandle) -> Int {
        let allowance = allocations[handle]?.allowance
        allocations[handle]?.allowance = nil
        return retire(allowance)
    }

    /// Keeps an allowance for another allocation; returns what was left of it.
    mutating func retire(_ allowance: Allowance?) -> Int {
        guard let kernel, var allowance else { return 0 }
        let spent = kernel.spent(of: allowance)
        let left = allowance.granted > spent ? allowance.granted &- spent : 0
        allowance.granted = min(allowance.granted, spent)
        kernel.grant(allowance)
        freeAllowances.putBack(CollectionOfOne(allowance))
        return Int(clamping: left)
    }
}
