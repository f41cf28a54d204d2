import EventLoop
import FastPath
import NetTypes
import Synchronization

@testable import Relay

/// A kernel's fast path that relays nothing: it keeps what it is told, and counts what would be system calls.
final class CountingKernel: FlowKernel {
    struct Entry: Sendable {
        var flow: RelayedFlow
        var until: Instant
        var from, over: FlowRoute
        var isLimited: Bool
    }

    struct State: Sendable {
        var entries: [FlowSlot: Entry] = [:]
        var looks: Set<PacketLook> = []
        var traffic: [FlowSlot: FlowTraffic] = [:]
        /// Where there was ever a flow.
        var places: Set<FlowSlot> = []
        var granted: [UInt32: UInt64] = [:]
        var spent: [UInt32: UInt64] = [:]
        var route: FlowRoute? = FlowRoute(interface: 7, mtu: 1500)
        var refusal: SystemError?
        var routesAsked = 0
        var opened = 0
        var closed = 0
        var reads = 0
        var ends = 0
    }

    let freeSlots: SharedStock<FlowSlot>
    let freeAllowances: SharedStock<Allowance>
    private let state = Mutex(State())

    init(slots: UInt32 = 4096, allowances: UInt32 = 64) {
        freeSlots = SharedStock(0..<slots) { FlowSlot(index: $0) }
        freeAllowances = SharedStock(1..<allowances + 1) { Allowance(index: $0) }
    }

    func read<Value: Sendable>(_ body: (State) -> Value) -> Value { state.withLock { body($0) } }

    func change(_ body: (inout State) -> Void) { state.withLock { body(&$0) } }

    /// System calls since the last question, with those of each kind.
    func takeCalls() -> (opened: Int, closed: Int, routes: Int) {
        state.withLock { state in
            defer { (state.opened, state.closed, state.routesAsked) = (0, 0, 0) }
            return (state.opened, state.closed, state.routesAsked)
        }
    }

    /// Reads of counters and moves of ends since the last question.
    func takeWork() -> (reads: Int, ends: Int) {
        state.withLock { state in
            defer { (state.reads, state.ends) = (0, 0) }
            return (state.reads, state.ends)
        }
    }

    /// What is relayed now.
    func flows(at now: Instant) -> Set<RelayedFlow> {
        state.withLock { Set($0.entries.values.filter { now < $0.until }.map(\.flow)) }
    }

    /// As if this had been relayed of all open flows.
    func relay(_ packets: UInt64, _ bytes: UInt64) {
        state.withLock { state in
            for slot in state.entries.keys {
                state.traffic[slot, default: FlowTraffic(packets: 0, bytes: 0)].packets += packets
                state.traffic[slot, default: FlowTraffic(packets: 0, bytes: 0)].bytes += bytes
            }
        }
    }

    // MARK: FlowKernel

    func route(from local: IPAddress, to remote: IPAddress) -> FlowRoute? {
        state.withLock { state in
            state.routesAsked += 1
            return state.route
        }
    }

    func open(
        _ flow: RelayedFlow,
        in slot: inout FlowSlot,
        from incoming: FlowRoute,
        over outgoing: FlowRoute,
        until expires: Instant,
        on allowance: Allowance?
    ) throws(SystemError) {
        let refusal = state.withLock { state -> SystemError? in
            state.opened += 1
            if let refusal = state.refusal { return refusal }
            guard state.looks.insert(flow.look).inserted else { return SystemError("open a flow", number: 17) }
            state.places.insert(slot)
            state.entries[slot] = Entry(
                flow: flow,
                until: expires,
                from: incoming,
                over: outgoing,
                isLimited: allowance != nil
            )
            return nil
        }
        if let refusal { throw refusal }
    }

    func close(_ flow: RelayedFlow, in slot: FlowSlot) throws(SystemError) {
        let old = state.withLock { state in
            state.closed += 1
            state.looks.remove(flow.look)
            return state.entries.removeValue(forKey: slot)?.flow
        }
        guard old == flow else { throw SystemError("close a flow", number: 2) }
    }

    func setEnd(of slot: FlowSlot, _ expires: Instant) {
        state.withLock { state in
            state.ends += 1
            state.entries[slot]?.until = expires
        }
    }

    func traffic(in slot: FlowSlot) -> FlowTraffic {
        state.withLock { state in
            state.reads += 1
            return state.traffic[slot] ?? FlowTraffic(packets: 0, bytes: 0)
        }
    }

    func grant(_ allowance: Allowance) { state.withLock { $0.granted[allowance.index] = allowance.granted } }

    func spent(of allowance: Allowance) -> UInt64 { state.withLock { $0.spent[allowance.index] ?? 0 } }
}

/// What packets of a flow look like.
struct PacketLook: Hashable {
    let source, destination: SocketAddress
    let channel: UInt16?
}

extension RelayedFlow {
    fileprivate var look: PacketLook {
        PacketLook(source: source, destination: destination, channel: isToPeer ? channel : nil)
    }
}
