import EventLoop
import FastPath
import NetTypes

/// A program that no interface has, and the places of the flows that are open in it.
final class OpenFlows {
    /// The loopback interface, which every namespace has.
    static let interface: UInt32 = 1

    let path: FastPath
    private var slots: [RelayedFlow: FlowSlot] = [:]

    init() throws { path = try FastPath(interfaces: []) }

    /// Opens a flow, in the place of the one that such packets belonged to.
    func open(
        _ flow: RelayedFlow,
        until end: Instant = .distantFuture,
        from incoming: UInt32 = interface,
        mtu: UInt16 = 1500,
        on allowance: Allowance? = nil
    ) throws {
        var slot: FlowSlot
        if let old = slots[flow] {
            try path.close(flow, in: old)
            slot = old
        } else {
            guard let made = path.freeSlots.takeOne() else { throw SystemError("find a place", number: 28) }
            slot = made
        }
        let ways = (FlowRoute(interface: incoming, mtu: mtu), FlowRoute(interface: Self.interface, mtu: mtu))
        try path.open(flow, in: &slot, from: ways.0, over: ways.1, until: end, on: allowance)
        slots[flow] = slot
    }

    func close(_ flow: RelayedFlow) throws { try path.close(flow, in: slot(of: flow)) }

    func traffic(of flow: RelayedFlow) throws -> FlowTraffic { try path.traffic(in: slot(of: flow)) }

    func slot(of flow: RelayedFlow) throws -> FlowSlot {
        guard let slot = slots[flow] else { throw SystemError("find a flow", number: 2) }
        return slot
    }
}

extension SharedStock {
    /// One of those that nobody has.
    func takeOne() -> Element? {
        var taken: [Element] = []
        take(1, into: &taken)
        return taken.first
    }
}
