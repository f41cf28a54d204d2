import EventLoop
import FastPath
import NetTypes
import Testing

/// Places that have another flow, or another opening, than a run of the program was led there for.
@Suite struct ReuseTests {
    typealias Channel = ProgramTests.Channel

    let table: OpenFlows
    private let route = FlowRoute(interface: OpenFlows.interface, mtu: 1500)

    init() throws { table = try OpenFlows() }

    private func process(_ frame: Frame) throws -> [UInt8]? {
        try table.path.process(frame.bytes, from: OpenFlows.interface)
    }

    /// The same channel towards another peer.
    private func other(_ channel: Channel, _ number: UInt8) -> RelayedFlow {
        let texts = ["198.51.100.\(100 + number):70\(number)", "[2001:db8:77::\(100 + number)]:70\(number)"]
        return .toPeer(
            from: channel.client,
            at: channel.server,
            channel: channel.number,
            relay: SocketAddress(channel.relay.ip, port: 50000 + UInt16(number)),
            peer: Frame.address(texts[channel.client.family == .ipv4 ? 0 : 1])
        )
    }

    @Test(arguments: Channel.all) func `an end that is moved holds at once, both ways`(channel: Channel) throws {
        try table.open(channel.toPeer)
        let slot = try table.slot(of: channel.toPeer)
        table.path.setEnd(of: slot, .zero)
        #expect(try process(channel.framed([1])) == nil)
        table.path.setEnd(of: slot, MonotonicClock.now() + .seconds(60))
        #expect(try process(channel.framed([1])) != nil)
    }

    /// As it looks to a run that has found an element of the hash just before that was removed and used again.
    @Test(arguments: Channel.all) func `packets that are led to another flow's place go up`(channel: Channel) throws {
        try table.open(channel.toPeer)
        let stranger = RelayedFlow.toPeer(
            from: SocketAddress(channel.client.ip, port: 4001),
            at: channel.server,
            channel: channel.number,
            relay: channel.relay,
            peer: channel.peer
        )
        try table.path.lead(stranger, to: table.slot(of: channel.toPeer))
        var frame = channel.framed([1])
        #expect(try process(frame) != nil)
        frame.source = SocketAddress(channel.client.ip, port: 4001)
        #expect(try process(frame) == nil, "the flow there has another key")
    }

    @Test(arguments: Channel.all) func `packets that are led to an earlier opening of a place go up`(
        channel: Channel
    ) throws {
        let path = table.path
        let (first, second) = (other(channel, 1), other(channel, 2))
        var slot = try #require(path.freeSlots.takeOne())
        try path.open(first, in: &slot, from: route, over: route, until: .distantFuture, on: nil)
        let old = slot
        #expect(try process(channel.framed([1])) != nil)
        try path.close(first, in: slot)
        #expect(try process(channel.framed([1])) == nil)
        try path.open(second, in: &slot, from: route, over: route, until: .distantFuture, on: nil)
        try path.close(second, in: slot)
        // The same key, the same place, another opening: what it is now was not what it was found for.
        try path.open(second, in: &slot, from: route, over: route, until: .distantFuture, on: nil)
        #expect(try process(channel.framed([1])) != nil)
        #expect(throws: SystemError("open a flow of the fast path", number: 17)) { try path.lead(first, to: old) }
        try path.close(second, in: slot)
        try path.lead(first, to: old)
        #expect(try process(channel.framed([1])) == nil)
    }

    @Test func `a key belongs to the flow that had it first`() throws {
        let channel = Channel.all[0]
        try table.open(channel.toPeer)
        var slot = try #require(table.path.freeSlots.takeOne())
        #expect(throws: SystemError("open a flow of the fast path", number: 17)) {
            try table.path.open(
                other(channel, 1),
                in: &slot,
                from: route,
                over: route,
                until: .distantFuture,
                on: nil
            )
        }
        let out = try #require(try process(channel.framed([1])))
        #expect(Array(out[30..<34]) == [203, 0, 113, 9], "still to the first one's peer")
    }

    @Test func `all places and allowances go from hand to hand`() throws {
        let path = table.path
        for _ in 0..<2 {
            var (slots, others, allowances): ([FlowSlot], [FlowSlot], [Allowance]) = ([], [], [])
            path.freeSlots.take(100_000, into: &slots)
            path.freeSlots.take(100_000, into: &others)
            path.freeAllowances.take(100_000, into: &allowances)
            #expect(Set(slots + others).count == Int(FastPath.capacity) && others.count == 31_072)
            #expect(Set(allowances.map(\.index)) == Set(1..<65_536))
            path.freeSlots.putBack(slots.count, of: &slots)
            path.freeSlots.putBack(others.count, of: &others)
            path.freeAllowances.putBack(allowances.count, of: &allowances)
        }
    }

    @Test func `what the kernel does not run is an error`() throws {
        #expect(throws: SystemError("run the fast path", number: 22)) {
            try table.path.process([1, 2, 3], from: OpenFlows.interface)
        }
    }
}
