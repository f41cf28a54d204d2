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

    private let path: FastPath?
    private var entries: [SlotHandle: [Entry]] = [:]
    /// How many there are.
    private(set) var count = 0
    /// Datagrams that the kernel has relayed.
    private(set) var packets: UInt64 = 0

    init(_ path: FastPath?) { self.path = path }

    /// Puts the flows of these channels in the place of all that the allocation had; returns what those have relayed.
    mutating func replace(_ handle: SlotHandle, with channels: [ChannelPath], at now: Instant) -> RelayedTraffic {
        guard let path else { return RelayedTraffic() }
        var traffic = RelayedTraffic()
        var wanted = Set(channels.flatMap { Self.flows(of: $0) }.filter { now < $0.expires })
        var kept: [Entry] = []
        for entry in entries.removeValue(forKey: handle) ?? [] {
            if wanted.remove(entry.flow) != nil {
                kept.append(entry)
            } else {
                count -= 1
                if let total = path.close(entry.flow) { note(total, of: entry, in: &traffic) }
            }
        }
        // A request that changes one channel of many must not cost as much as all of them.
        for flow in wanted where path.open(flow) {
            count += 1
            kept.append(Entry(flow: flow))
        }
        if !kept.isEmpty { entries[handle] = kept }
        return traffic
    }

    /// What was relayed for each allocation since this was last asked; one system call for each flow.
    mutating func takeTraffic() -> [(SlotHandle, RelayedTraffic)] {
        guard let path else { return [] }
        var all: [(SlotHandle, RelayedTraffic)] = []
        for handle in Array(entries.keys) {
            var traffic = RelayedTraffic()
            var list = entries[handle] ?? []
            for index in list.indices {
                guard let total = path.traffic(of: list[index].flow), total != list[index].counted else { continue }
                note(total, of: list[index], in: &traffic)
                list[index].counted = total
            }
            entries[handle] = list
            if traffic != RelayedTraffic() { all.append((handle, traffic)) }
        }
        return all
    }

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

extension RelayShard {
    /// Lets the kernel relay what the engine would relay now, and nothing else of that allocation.
    mutating func updateFastFlows(of handle: SlotHandle, at now: Instant) {
        let traffic = fastFlows.replace(handle, with: engine.channelPaths(of: handle, at: now), at: now)
        engine.countRelayed(traffic, of: handle)
    }

    /// Counts what the kernel has relayed.
    mutating func countFastFlows() {
        for (handle, traffic) in fastFlows.takeTraffic() { engine.countRelayed(traffic, of: handle) }
    }
}
