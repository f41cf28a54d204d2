import Bytes
import Diagnostics
import EventLoop
import FastPath
import NetTypes
import TURNServer

/// The flows that the kernel relays for one shard's allocations, with what was counted of them.
///
/// Whoever may bind channels can make work here with every request. So work waits in a queue, each allocation once, and is
/// done within a budget; what waits is relayed by user space, or as before.
struct FastFlows<Kernel: FlowKernel>: ~Copyable {
    private struct Allocation {
        var channels: [UInt16: ChannelFlows] = [:]
        /// How often it was updated.
        var round: UInt32 = 0
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

    /// What comes of an update.
    struct Change {
        var traffic = RelayedTraffic()
        /// Bytes that were left of an allowance that is not needed any more.
        var unspent = 0
        /// Whether there is a new allowance, which has nothing yet.
        var hasNewAllowance = false
    }

    private let kernel: Kernel?
    private var allocations: [SlotHandle: Allocation] = [:]
    private var freeAllowances: StockAtHand<Allowance>
    private var routes = KnownRoutes()
    /// Places for flows: free ones, those that were closed lately, and since the last report.
    ///
    /// A run of the program that has begun with a flow may count a packet after its end, which must not be another flow's.
    private var freeSlots: StockAtHand<FlowSlot>
    private var restedSlots: [FlowSlot] = []
    private var closedSlots: [FlowSlot] = []
    /// The allocations that wait for an update, in turn.
    private var pending = RingBuffer<SlotHandle>(limit: .max)
    private var isPending: Set<SlotHandle> = []
    /// Tenths of a microsecond, more or less: a twentieth of the thread's time.
    private var budget = TokenBucket(ratePerSecond: 500_000, burst: 5000, at: .zero)
    private var resumesAt = Instant.zero
    /// What the update that goes on has cost.
    private var cost = 0.0
    /// How many there are.
    private(set) var count = 0
    /// Datagrams that the kernel has relayed.
    private(set) var packets: UInt64 = 0
    /// How often it could not, by reason.
    private(set) var refusals = DropCounters<FlowRefusal>()

    init(_ kernel: Kernel?) {
        self.kernel = kernel
        freeSlots = StockAtHand(of: kernel?.freeSlots)
        freeAllowances = StockAtHand(of: kernel?.freeAllowances)
    }

    /// The allocations that have flows.
    var handles: [SlotHandle] { Array(allocations.keys) }

    // MARK: What is to be done

    /// The allocation's channels may say more than before.
    mutating func extend(_ handle: SlotHandle) {
        guard kernel != nil, isPending.insert(handle).inserted else { return }
        _ = pending.append(handle)
    }

    /// The allocation's channels are not believed any longer: none is relayed by the kernel until the update.
    mutating func suspend(_ handle: SlotHandle) {
        guard let kernel else { return }
        extend(handle)
        guard let place = allocations.index(forKey: handle) else { return }
        func suspend(_ flow: inout ChannelFlows.Open?) {
            guard let slot = flow?.slot else { return }
            kernel.setEnd(of: slot, .zero)
            flow?.until = .zero
        }
        func suspendAll(_ channels: inout [UInt16: ChannelFlows]) {
            for index in channels.values.indices {
                suspend(&channels.values[index].toPeer)
                suspend(&channels.values[index].toClient)
            }
        }
        suspendAll(&allocations.values[place].channels)
    }

    /// The next allocation whose channels are to be told to `update`, if there is time for it.
    mutating func next(at now: Instant) -> SlotHandle? {
        guard now >= resumesAt, let handle = pending.popFirst() else { return nil }
        isPending.remove(handle)
        return handle
    }

    /// When `next` has something, at the earliest.
    var nextTimeout: Instant? { pending.isEmpty ? nil : resumesAt }

    // MARK: Update

    // What a system call costs, and what asking for a route does, in the unit of the budget.
    private static var callCost: Double { 10 }
    private static var routeCost: Double { 80 }
    /// What one update may open before it waits for the others.
    private static var updateCost: Double { 2000 }
    private static var retryTime: TimeSpan { .seconds(10) }

    /// Lets the kernel relay these channels of the allocation, and no others.
    mutating func update(_ handle: SlotHandle, to paths: [ChannelPath], isLimited: Bool, at now: Instant) -> Change {
        var change = Change()
        var held = allocations.removeValue(forKey: handle) ?? Allocation()
        cost = 2 + Double(paths.count)
        held.round &+= 1
        if isLimited, held.allowance == nil { limit(&held, &change, isNeeded: !paths.isEmpty) }
        for path in paths {
            if let index = held.channels.index(forKey: path.channel) {
                keep(&held.channels.values[index], path, &change, at: now)
                held.channels.values[index].round = held.round
            } else {
                held.channels[path.channel] = ChannelFlows(path, round: held.round)
            }
        }
        // First what is gone: a new channel's packets may look like those of an old one.
        if held.channels.count > paths.count {
            for (number, channel) in held.channels where channel.round != held.round {
                held.channels[number] = nil
                var gone = channel
                close(&gone, &change)
            }
        }
        if !isLimited || held.allowance != nil { openMissing(&held, paths, handle, at: now) }
        if held.channels.isEmpty { change.unspent = retire(held.allowance) } else { allocations[handle] = held }
        let pause = budget.takeOnCredit(cost, at: now)
        resumesAt = now + pause
        return change
    }

    /// What was opened when there was no limit must not go on without one.
    private mutating func limit(_ held: inout Allocation, _ change: inout Change, isNeeded: Bool) {
        for index in held.channels.values.indices { close(&held.channels.values[index], &change) }
        guard isNeeded else { return }
        held.allowance = freeAllowances.take()
        held.spent = held.allowance?.granted ?? 0
        change.hasNewAllowance = held.allowance != nil
        if held.allowance == nil { refusals.count(.noAllowance) }
    }

    /// Goes on with a channel for as long as is said now; ends what leads elsewhere.
    private mutating func keep(
        _ channel: inout ChannelFlows,
        _ path: ChannelPath,
        _ change: inout Change,
        at now: Instant
    ) {
        if !channel.leads(like: path) {
            close(&channel, &change)
            channel = ChannelFlows(path, round: channel.round)
            return
        }
        channel.path = path
        guard channel.isOpen else { return }
        if now >= channel.routesUntil {
            if routes(of: path, at: now) == channel.routes {
                channel.routesUntil = now + KnownRoutes.time
            } else {
                close(&channel, &change)
            }
        }
        if path.toPeerUntil <= now { close(&channel.toPeer, path.flowToPeer, &change) }
        if path.toClientUntil <= now { close(&channel.toClient, path.flowToClient, &change) }
        prolong(&channel.toPeer, path.toPeerUntil)
        prolong(&channel.toClient, path.toClientUntil)
    }

    private func prolong(_ flow: inout ChannelFlows.Open?, _ end: Instant) {
        guard let open = flow, open.until != end else { return }
        kernel?.setEnd(of: open.slot, end)
        flow?.until = end
    }

    private mutating func openMissing(
        _ held: inout Allocation,
        _ paths: [ChannelPath],
        _ handle: SlotHandle,
        at now: Instant
    ) {
        let most = cost + Self.updateCost
        for path in paths {
            guard let index = held.channels.index(forKey: path.channel),
                held.channels.values[index].lacksFlow(at: now)
            else { continue }
            guard cost < most else { return extend(handle) }
            open(&held.channels.values[index], on: held.allowance, at: now)
        }
    }

    private mutating func open(_ channel: inout ChannelFlows, on allowance: Allowance?, at now: Instant) {
        let path = channel.path
        if !channel.isOpen {
            channel.routes = routes(of: path, at: now)
            channel.routesUntil = now + KnownRoutes.time
        }
        channel.retriesAt = now + Self.retryTime
        guard let routes = channel.routes else { return refusals.count(.noRoute) }
        if channel.toPeer == nil, path.toPeerUntil > now {
            let ways = (routes.toClient, routes.toPeer)
            channel.toPeer = open(path.flowToPeer, ways, until: path.toPeerUntil, on: allowance)
        }
        if channel.toClient == nil, path.toClientUntil > now {
            let ways = (routes.toPeer, routes.toClient)
            channel.toClient = open(path.flowToClient, ways, until: path.toClientUntil, on: allowance)
        }
        // A permission may end and come back: what is not refused does not wait.
        if channel.toPeer != nil, channel.toClient != nil || path.toClientUntil <= now { channel.retriesAt = .zero }
    }

    private mutating func open(
        _ flow: RelayedFlow,
        _ ways: (in: FlowRoute, out: FlowRoute),
        until end: Instant,
        on allowance: Allowance?
    ) -> ChannelFlows.Open? {
        guard let kernel, var slot = freeSlots.take() else {
            refusals.count(.noRoom)
            return nil
        }
        cost += Self.callCost
        do throws(SystemError) {
            try kernel.open(flow, in: &slot, from: ways.in, over: ways.out, until: end, on: allowance)
        } catch {
            freeSlots.putBack(CollectionOfOne(slot))
            refusals.count(FlowRefusal(error))
            return nil
        }
        count += 1
        return ChannelFlows.Open(slot: slot, until: end, counted: kernel.traffic(in: slot))
    }

    private mutating func routes(of path: ChannelPath, at now: Instant) -> ChannelFlows.Routes? {
        guard let toClient = route(from: path.client.local.ip, to: path.client.remote.ip, at: now),
            let toPeer = route(from: path.relay.ip, to: path.peer.ip, at: now)
        else { return nil }
        return ChannelFlows.Routes(toClient: toClient, toPeer: toPeer)
    }

    private mutating func route(from local: IPAddress, to remote: IPAddress, at now: Instant) -> FlowRoute? {
        var asked = 0.0
        defer { cost += asked }
        return routes.route(from: local, to: remote, at: now) { [kernel] local, remote in
            asked += Self.routeCost
            return kernel?.route(from: local, to: remote)
        }
    }

    private mutating func close(_ channel: inout ChannelFlows, _ change: inout Change) {
        close(&channel.toPeer, channel.path.flowToPeer, &change)
        close(&channel.toClient, channel.path.flowToClient, &change)
    }

    private mutating func close(_ open: inout ChannelFlows.Open?, _ flow: RelayedFlow, _ change: inout Change) {
        guard let kernel, let closed = open else { return }
        open = nil
        cost += Self.callCost
        do throws(SystemError) { try kernel.close(flow, in: closed.slot) } catch { refusals.count(.failed) }
        note(closed, isToPeer: flow.isToPeer, kernel.traffic(in: closed.slot), in: &change.traffic)
        closedSlots.append(closed.slot)
        count -= 1
    }

    // MARK: Counts

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

    private mutating func note(
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
    private mutating func retire(_ allowance: Allowance?) -> Int {
        guard let kernel, var allowance else { return 0 }
        let spent = kernel.spent(of: allowance)
        let left = allowance.granted > spent ? allowance.granted &- spent : 0
        allowance.granted = min(allowance.granted, spent)
        kernel.grant(allowance)
        freeAllowances.putBack(CollectionOfOne(allowance))
        return Int(clamping: left)
    }
}
