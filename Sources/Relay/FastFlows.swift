import Bytes
import Diagnostics
import EventLoop
import FastPath
import NetTypes
import TURNServer

/// The flows that the kernel relays for one shard's allocations, with what was counted of them.
///
/// Whoever may bind channels can make work here with every request. So work waits in a queue, each allocation once, and is
/// done within a budget; what waits is relayed by user space, or as before. What the kernel has counted is read in slices.
struct FastFlows<Kernel: FlowKernel>: ~Copyable {
    struct Allocation {
        var channels: [UInt16: ChannelFlows] = [:]
        /// Whether none of them is relayed by the kernel before the next update.
        var isSuspended = false
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

    let kernel: Kernel?
    var allocations: [SlotHandle: Allocation] = [:]
    var freeAllowances: StockAtHand<Allowance>
    private var routes = KnownRoutes()
    /// Places for flows: free ones, those that were closed lately, and since the last report.
    ///
    /// A run of the program that has begun with a flow may count a packet after its end, which must not be another flow's.
    var freeSlots: StockAtHand<FlowSlot>
    var restedSlots: [FlowSlot] = []
    var closedSlots: [FlowSlot] = []
    /// When those that rest may be free at the earliest.
    var restEnds = Instant.zero
    /// The allocations that wait for an update.
    private var pending = AllocationQueue()
    /// Tenths of a microsecond, more or less: a twentieth of the thread's time.
    private var budget = TokenBucket(ratePerSecond: 500_000, burst: 5000, at: .zero)
    private var resumesAt = Instant.zero
    /// What the update that goes on has cost.
    private var cost = 0.0
    /// All allocations that have flows, and perhaps others, in the order in which they are counted.
    var counted = AllocationQueue()
    /// How many of them are to be counted still, when, and what the slice that goes on has counted.
    var uncounted = 0
    var countsAt = Instant.zero
    var slice = 0
    /// How many there are.
    private(set) var count = 0
    /// Datagrams that the kernel has relayed.
    var packets: UInt64 = 0
    /// How often it could not, by reason.
    private(set) var refusals = DropCounters<FlowRefusal>()

    init(_ kernel: Kernel?) {
        self.kernel = kernel
        freeSlots = StockAtHand(of: kernel?.freeSlots)
        freeAllowances = StockAtHand(of: kernel?.freeAllowances)
    }

    // MARK: What is to be done

    /// The allocation's channels may say more than before.
    mutating func extend(_ handle: SlotHandle) {
        if kernel != nil { pending.append(handle) }
    }

    /// The allocation's channels are not believed any longer: none is relayed by the kernel until the update.
    mutating func suspend(_ handle: SlotHandle) {
        guard let kernel else { return }
        extend(handle)
        guard let place = allocations.index(forKey: handle), !allocations.values[place].isSuspended else { return }
        allocations.values[place].isSuspended = true
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
        now >= resumesAt ? pending.popFirst() : nil
    }

    /// When `next` or `nextToCount` has something, at the earliest.
    var nextTimeout: Instant? {
        guard pending.count > 0 else { return uncounted > 0 ? countsAt : nil }
        return uncounted > 0 ? min(resumesAt, countsAt) : resumesAt
    }

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
        // With what it took to suspend them, which did not wait.
        cost = 2 + Double(paths.count) + (held.isSuspended ? Double(held.channels.count) : 0)
        held.isSuspended = false
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
        if held.channels.isEmpty {
            change.unspent = retire(held.allowance)
        } else {
            allocations[handle] = held
            counted.append(handle)
        }
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
}
