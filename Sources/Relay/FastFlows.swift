import Bytes
import FastPath
import NetTypes
import TURNServer

/// The flows that the kernel relays for one shard's allocations, with what was counted of them.
struct FastFlows: ~Copyable {
    private struct Entry {
        let flow: RelayedFlow
        var counted = FlowTraffic(packets: 0, bytes: 0)
    }

    private struct Flows {
        var entries: [Entry] = []
        /// What they may spend, if the allocation's bandwidth is limited.
        var allowance: Allowance?
        /// What they had spent when they were last looked at.
        var spent: UInt64 = 0
    }

    /// What must be done about an allocation's allowance.
    struct Need {
        /// Bytes that it has more than it needs; they are taken away already.
        var excess = 0
        /// Bytes that it should be granted.
        var lack = 0
    }

    /// What comes of new flows in the place of old ones.
    struct Change {
        var traffic = RelayedTraffic()
        /// Bytes that were left of an allowance that is not needed any more.
        var unspent = 0
        /// Whether there is a new allowance, which has nothing yet.
        var hasNewAllowance = false
    }

    private let path: FastPath?
    private var flows: [SlotHandle: Flows] = [:]
    private var freeAllowances: [Allowance] = []
    /// How many there are.
    private(set) var count = 0
    /// Datagrams that the kernel has relayed.
    private(set) var packets: UInt64 = 0

    init(_ path: FastPath?) { self.path = path }

    /// The allocations that have flows.
    var handles: [SlotHandle] { Array(flows.keys) }

    /// Puts the flows of these channels in the place of all that the allocation had.
    mutating func replace(
        _ handle: SlotHandle,
        with channels: [ChannelPath],
        isLimited: Bool,
        at now: Instant
    ) -> Change {
        var change = Change()
        guard let path else { return change }
        var wanted = Set(channels.flatMap { Self.flows(of: $0) }.filter { now < $0.expires })
        var held = flows.removeValue(forKey: handle) ?? Flows()
        if isLimited, held.allowance == nil, !wanted.isEmpty {
            held.allowance = freeAllowances.popLast() ?? path.makeAllowance()
            held.spent = held.allowance?.granted ?? 0
            change.hasNewAllowance = held.allowance != nil
            // Nothing may be relayed that no limit has let pass.
            if held.allowance == nil { wanted = [] }
        }
        var kept: [Entry] = []
        for entry in held.entries {
            // A request that changes one channel of many must not cost as much as all of them.
            if wanted.remove(entry.flow) != nil {
                kept.append(entry)
            } else {
                count -= 1
                if let total = path.close(entry.flow) { note(total, of: entry, in: &change.traffic) }
            }
        }
        for flow in wanted where path.open(flow, on: held.allowance) {
            count += 1
            kept.append(Entry(flow: flow))
        }
        held.entries = kept
        if kept.isEmpty { change.unspent = retire(held.allowance) } else { flows[handle] = held }
        return change
    }

    /// What was relayed for an allocation since this was last asked; one system call for each flow.
    mutating func takeTraffic(of handle: SlotHandle) -> RelayedTraffic {
        var traffic = RelayedTraffic()
        guard let path, var held = flows[handle] else { return traffic }
        for index in held.entries.indices {
            let entry = held.entries[index]
            guard let total = path.traffic(of: entry.flow), total != entry.counted else { continue }
            note(total, of: entry, in: &traffic)
            held.entries[index].counted = total
        }
        flows[handle] = held
        return traffic
    }

    // MARK: Allowances

    /// How much an allowance that is not used holds, in bytes: enough to see that it is used again.
    private static let leastAllowance: UInt64 = 3000

    /// What an allocation's allowance needs until it is looked at again: four times what it has spent since the last time.
    mutating func takeNeed(of handle: SlotHandle) -> Need {
        guard let path, let held = flows[handle], var allowance = held.allowance else { return Need() }
        let spent = path.spent(of: allowance)
        // What is added and taken back in the same moment, for a packet that goes up, may be seen here.
        let used = spent > held.spent ? spent &- held.spent : 0
        let goal = max(Self.leastAllowance, 4 &* used)
        flows[handle]?.spent = spent
        let left = allowance.granted > spent ? allowance.granted &- spent : 0
        guard left > goal else { return Need(lack: Int(clamping: goal &- left)) }
        allowance.granted = spent &+ goal
        flows[handle]?.allowance = allowance
        guard path.grant(allowance) else { return Need() }
        // What the kernel has spent meanwhile beyond the new grant is no excess.
        let late = path.spent(of: allowance)
        let excess = left &- goal
        return Need(excess: Int(clamping: excess &- min(excess, late &- min(late, allowance.granted))))
    }

    /// Lets an allocation's flows spend more bytes; `false` if they cannot.
    mutating func grant(_ bytes: Int, to handle: SlotHandle) -> Bool {
        guard let path, var allowance = flows[handle]?.allowance else { return false }
        allowance.granted &+= UInt64(bytes)
        guard path.grant(allowance) else { return false }
        flows[handle]?.allowance = allowance
        return true
    }

    /// Keeps an allowance for another allocation; returns what was left of it.
    private mutating func retire(_ allowance: Allowance?) -> Int {
        guard let path, var allowance else { return 0 }
        let spent = path.spent(of: allowance)
        let left = allowance.granted > spent ? allowance.granted &- spent : 0
        allowance.granted = min(allowance.granted, spent)
        // One whose grant could not be taken back must not come to another allocation.
        if path.grant(allowance) { freeAllowances.append(allowance) }
        return Int(clamping: left)
    }

    // MARK: Counts

    private mutating func note(_ total: FlowTraffic, of entry: Entry, in traffic: inout RelayedTraffic) {
        let (fresh, bytes) = (total.packets &- entry.counted.packets, total.bytes &- entry.counted.bytes)
        packets &+= fresh
        if entry.flow.isToPeer {
            traffic.packetsToPeers &+= fresh
            traffic.bytesToPeers &+= bytes
        } else {
            traffic.packetsToClient &+= fresh
            traffic.bytesToClient &+= bytes
        }
    }

    private static func flows(of path: ChannelPath) -> [RelayedFlow] {
        let toPeer = RelayedFlow.toPeer(
            from: path.client.remote,
            at: path.client.local,
            channel: path.channel,
            relay: path.relay,
            peer: path.peer,
            until: path.toPeerUntil
        )
        let toClient = RelayedFlow.toClient(
            path.client.remote,
            from: path.client.local,
            channel: path.channel,
            relay: path.relay,
            peer: path.peer,
            until: path.toClientUntil
        )
        return [toPeer, toClient]
    }
}
