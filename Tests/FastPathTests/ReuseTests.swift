import EventLoop
import FastPath
import NetTypes
import Synchronization
import Testing

/// Flows that end and begin while the program runs: it must never take one for another, nor half of one.
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
        var slot = try #require(path.makeSlot())
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
        var slot = try #require(table.path.makeSlot())
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

    @Test func `what the kernel does not run is an error`() throws {
        #expect(throws: SystemError("run the fast path", number: 22)) {
            try table.path.process([1, 2, 3], from: OpenFlows.interface)
        }
    }

    /// Two flows of one key take turns in one place, as fast as they can, while packets of that key come in.
    @Test(arguments: Channel.all) func `no packet is relayed as half of one flow and half of another`(
        channel: Channel
    ) async throws {
        let path = table.path
        let frame = channel.framed([1, 2, 3, 4])
        let flows = [other(channel, 1), other(channel, 2)]
        let wanted = flows.map {
            var frame = Frame(source: $0.newSource, destination: $0.newDestination, payload: [1, 2, 3, 4])
            frame.hops -= 1
            return frame.bytes
        }
        let end = End()
        var slot = try #require(path.makeSlot())
        let (route, interface) = (route, OpenFlows.interface)
        async let found = Self.run(path, frame.bytes, interface, until: end)
        for index in 0..<15_000 {
            let flow = flows[index & 1]
            try path.open(flow, in: &slot, from: route, over: route, until: .distantFuture, on: nil)
            try path.close(flow, in: slot)
        }
        end.isReached.store(true, ordering: .relaxed)
        for out in try await found {
            let isWhole = wanted.contains { Self.isSame(out, $0) }
            #expect(isWhole, "\(out)")
        }
    }

    private final class End: Sendable {
        let isReached = Atomic(false)
    }

    /// All different packets that come out.
    @concurrent private static func run(
        _ path: FastPath,
        _ frame: [UInt8],
        _ interface: UInt32,
        until end: End
    ) async throws -> Set<[UInt8]> {
        var found: Set<[UInt8]> = []
        while !end.isReached.load(ordering: .relaxed) {
            guard var out = try path.process(frame, from: interface) else { continue }
            // Each has its own identification, and so its own checksum, which ProgramTests looks at.
            if out[12] == 8 { for place in [18, 19, 24, 25] { out[place] = 0 } }
            found.insert(out)
        }
        return found
    }

    private static func isSame(_ out: [UInt8], _ wanted: [UInt8]) -> Bool {
        var wanted = wanted
        if wanted[12] == 8 { for place in [18, 19, 24, 25] { wanted[place] = 0 } }
        return out == wanted
    }
}
