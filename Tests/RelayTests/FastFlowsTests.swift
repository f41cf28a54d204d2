import Bytes
import Diagnostics
import EventLoop
import FastPath
import NetTypes
import Testing

@testable import Relay
@testable import TURNServer

/// The flows of a shard, of which there may be several in an array.
private final class FastFlowsBox {
    var flows: FastFlows<CountingKernel>

    init(_ flows: consuming FastFlows<CountingKernel>) { self.flows = flows }
}

/// What the kernel is asked for the channels of allocations: little, and only once.
@Suite struct FastFlowsTests {
    static let handle = SlotHandle(index: 1, generation: 1)
    let kernel = CountingKernel()
    let start = Instant(nanoseconds: 1_000_000_000_000)

    private func address(_ text: String) throws -> SocketAddress { try #require(SocketAddress(text)) }

    private func paths(
        _ count: Int = 256,
        client: String = "198.51.100.1:4000",
        relayPort: UInt16 = 50_000,
        toPeer: Instant,
        toClient: Instant? = nil
    ) throws -> [ChannelPath] {
        let (remote, local) = (try address(client), try address("192.0.2.1:3478"))
        let (relay, peer) = (try address("192.0.2.1:\(relayPort)"), try address("203.0.113.9:1"))
        return (0..<count).map { index in
            ChannelPath(
                client: ClientTuple(transport: .udp, remote: remote, local: local),
                channel: 0x4000 + UInt16(index),
                relay: relay,
                peer: SocketAddress(peer.ip, port: 1000 + UInt16(index)),
                toPeerUntil: toPeer,
                toClientUntil: toClient ?? toPeer
            )
        }
    }

    /// What a shard does in turns a millisecond apart, until nothing waits; returns how many there were.
    @discardableResult
    private func settle(
        _ flows: inout FastFlows<CountingKernel>,
        _ paths: [SlotHandle: [ChannelPath]],
        isLimited: Bool = false,
        at now: inout Instant
    ) -> Int {
        var turns = 0
        while flows.nextTimeout != nil {
            while let handle = flows.next(at: now) {
                _ = flows.update(handle, to: paths[handle] ?? [], isLimited: isLimited, at: now)
            }
            turns += 1
            if flows.nextTimeout != nil { now = now + .milliseconds(1) }
        }
        return turns
    }

    @Test func `a permission that is prolonged costs the flows of 256 channels no system call`() throws {
        var flows = FastFlows(kernel)
        var now = start
        let (first, later) = (start + .seconds(300), start + .seconds(400))
        flows.extend(Self.handle)
        settle(&flows, [Self.handle: try paths(toPeer: first)], at: &now)
        let opened = kernel.takeCalls()
        #expect(opened == (512, 0, 2), "one for each flow; the routes to the client and to the peer are asked for once")
        // A user of ill will.
        for step in 0..<100 {
            flows.extend(Self.handle)
            let end = later + .milliseconds(UInt64(step))
            settle(&flows, [Self.handle: try paths(toPeer: end)], at: &now)
            #expect(kernel.flows(at: Instant(nanoseconds: end.nanoseconds - 1)).count == 512)
            #expect(kernel.flows(at: end).isEmpty)
        }
        let prolonged = kernel.takeCalls()
        #expect(prolonged == (0, 0, 0))
    }

    @Test func `requests of one turn are one update`() throws {
        var flows = FastFlows(kernel)
        var now = start
        for _ in 0..<50 { flows.extend(Self.handle) }
        flows.suspend(Self.handle)
        var updates = 0
        let all = try paths(1, toPeer: start + .seconds(300))
        while let handle = flows.next(at: now) {
            updates += 1
            _ = flows.update(handle, to: all, isLimited: false, at: now)
        }
        #expect(updates == 1)
        now = now + .seconds(1)
        let none = flows.next(at: now)
        #expect(none == nil)
    }

    @Test func `opening is spread over turns, and everybody has his turn`() throws {
        var flows = FastFlows(kernel)
        var now = start
        let many = SlotHandle(index: 2, generation: 1)
        let end = start + .seconds(300)
        let told = [
            many: try paths(1000, client: "198.51.100.2:4000", relayPort: 50_001, toPeer: end),
            Self.handle: try paths(1, toPeer: end),
        ]
        flows.extend(many)
        flows.extend(Self.handle)
        var (mostOpened, turns) = (0, 0)
        while flows.nextTimeout != nil {
            while let handle = flows.next(at: now) {
                _ = flows.update(handle, to: told[handle] ?? [], isLimited: false, at: now)
            }
            mostOpened = max(mostOpened, kernel.takeCalls().opened)
            if turns == 5 {
                let clients = kernel.flows(at: now).map(\.newDestination.description)
                let isThere = clients.contains("198.51.100.1:4000")
                #expect(isThere, "not behind the other's 1000 channels")
            }
            turns += 1
            now = now + .milliseconds(1)
        }
        #expect(kernel.flows(at: now).count == 2002)
        #expect(mostOpened <= 500, "in the first turn, on what was saved up")
        #expect(now - start > .milliseconds(40), "a twentieth of the time")
    }

    @Test func `what is not believed any longer is relayed no more, without a system call`() throws {
        var flows = FastFlows(kernel)
        var now = start
        let all = try paths(toPeer: start + .seconds(300))
        flows.extend(Self.handle)
        settle(&flows, [Self.handle: all], at: &now)
        _ = kernel.takeCalls()
        flows.suspend(Self.handle)
        #expect(kernel.flows(at: now).isEmpty)
        #expect(kernel.takeCalls() == (0, 0, 0))
        settle(&flows, [Self.handle: Array(all.dropFirst(2))], at: &now)
        #expect(kernel.flows(at: now).count == 508)
        #expect(kernel.takeCalls() == (0, 4, 0), "what is still there goes on")
        flows.suspend(Self.handle)
        settle(&flows, [:], at: &now)
        #expect(kernel.takeCalls() == (0, 508, 0))
        let (count, hasNone) = (flows.count, flows.allocations.isEmpty)
        #expect(count == 0 && hasNone)
    }

    @Test func `a client that moves is relayed at its new address only`() throws {
        var flows = FastFlows(kernel)
        var now = start
        let end = start + .seconds(300)
        flows.extend(Self.handle)
        settle(&flows, [Self.handle: try paths(3, toPeer: end)], at: &now)
        flows.suspend(Self.handle)
        settle(&flows, [Self.handle: try paths(3, client: "198.51.100.77:1", toPeer: end)], at: &now)
        let relayed = kernel.flows(at: now)
        #expect(relayed.count == 6)
        let theirs = relayed.allSatisfy {
            [$0.source.description, $0.newDestination.description].contains("198.51.100.77:1")
        }
        #expect(theirs)
    }

    @Test func `a permission that has ended and comes back is opened anew, the other direction goes on`() throws {
        var flows = FastFlows(kernel)
        var now = start
        let end = start + .seconds(600)
        flows.extend(Self.handle)
        settle(&flows, [Self.handle: try paths(1, toPeer: end, toClient: start)], at: &now)
        #expect(kernel.takeCalls() == (1, 0, 2))
        flows.extend(Self.handle)
        settle(&flows, [Self.handle: try paths(1, toPeer: end, toClient: end)], at: &now)
        #expect(kernel.takeCalls() == (1, 0, 0))
        #expect(kernel.flows(at: now).count == 2)
    }

    // MARK: Refusals

    @Test func `a refused flow is not tried again with every request`() throws {
        var flows = FastFlows(kernel)
        var now = start
        let all = [Self.handle: try paths(10, toPeer: start + .seconds(300))]
        kernel.change { $0.refusal = SystemError("open a flow", number: 7) }
        for _ in 0..<50 {
            flows.extend(Self.handle)
            settle(&flows, all, at: &now)
        }
        #expect(kernel.takeCalls() == (20, 0, 2))
        let refused = flows.refusals[.noRoom]
        #expect(refused == 20)
        kernel.change { $0.refusal = nil }
        now = now + .seconds(11)
        flows.extend(Self.handle)
        settle(&flows, all, at: &now)
        #expect(kernel.takeCalls() == (20, 0, 0))
        #expect(kernel.flows(at: now).count == 20)
    }

    @Test(arguments: [1, 7, 12, 17, 22] as [Int32])
    func `every error of the kernel's has its name`(number: Int32) throws {
        let names: [Int32: FlowRefusal] = [7: .noRoom, 12: .noRoom, 17: .isTaken]
        var flows = FastFlows(kernel)
        var now = start
        kernel.change { $0.refusal = SystemError("open a flow", number: number) }
        flows.extend(Self.handle)
        settle(&flows, [Self.handle: try paths(1, toPeer: start + .seconds(300))], at: &now)
        let (refused, count) = (flows.refusals[names[number] ?? .failed], flows.count)
        #expect(refused == 2 && count == 0)
    }

    @Test func `without a route, a place or an allowance user space relays`() throws {
        let kernel = CountingKernel(slots: 4, allowances: 0)
        var flows = FastFlows(kernel)
        var now = start
        let all = [Self.handle: try paths(10, toPeer: start + .seconds(300))]
        kernel.change { $0.route = nil }
        flows.extend(Self.handle)
        settle(&flows, all, at: &now)
        kernel.change { $0.route = FlowRoute(interface: 3, mtu: 1500) }
        now = now + .seconds(61)
        flows.extend(Self.handle)
        settle(&flows, all, at: &now)
        now = now + .seconds(61)
        flows.extend(Self.handle)
        settle(&flows, all, isLimited: true, at: &now)
        #expect(kernel.flows(at: now).isEmpty, "nor what was opened before there was a limit")
        let (routes, room, allowances) = (
            flows.refusals[.noRoute], flows.refusals[.noRoom], flows.refusals[.noAllowance]
        )
        #expect(routes == 10 && room == 16 && allowances == 1)
    }

    @Test func `what was opened without a limit is opened anew under one`() throws {
        var flows = FastFlows(kernel)
        var now = start
        let all = [Self.handle: try paths(2, toPeer: start + .seconds(300))]
        flows.extend(Self.handle)
        settle(&flows, all, at: &now)
        flows.suspend(Self.handle)
        settle(&flows, all, isLimited: true, at: &now)
        #expect(kernel.flows(at: now).count == 4)
        let areLimited = kernel.read { $0.entries }.values.allSatisfy(\.isLimited)
        #expect(areLimited)
    }

    @Test func `what an ended allocation may still spend is taken back at once, though its flows wait to be closed`()
        throws
    {
        var flows = FastFlows(kernel)
        var now = start
        let all = [Self.handle: try paths(2, toPeer: start + .seconds(300))]
        flows.extend(Self.handle)
        settle(&flows, all, isLimited: true, at: &now)
        let isGranted = flows.grant(5000, to: Self.handle)
        kernel.change { $0.spent = [1: 1200] }
        flows.suspend(Self.handle)
        let (had, left) = (flows.hasAllowance(Self.handle), flows.takeAllowance(of: Self.handle))
        #expect(isGranted && had && left == 3800)
        let (has, again) = (flows.hasAllowance(Self.handle), flows.takeAllowance(of: Self.handle))
        #expect(!has && again == 0)
        #expect(kernel.read { $0.granted[1] } == 1200, "a packet that is on its way finds nothing to spend")
        #expect(kernel.flows(at: now).isEmpty)
        let next = flows.next(at: now)
        let change = flows.update(try #require(next), to: [], isLimited: true, at: now)
        let count = flows.count
        #expect(change.unspent == 0 && count == 0, "nothing is given back twice")
    }

    @Test func `a changed route is seen a minute later`() throws {
        var flows = FastFlows(kernel)
        var now = start
        let all = [Self.handle: try paths(2, toPeer: start + .seconds(300))]
        flows.extend(Self.handle)
        settle(&flows, all, at: &now)
        kernel.change { $0.route = FlowRoute(interface: 8, mtu: 1400) }
        for (seconds, interface) in [(30, 7), (40, 8)] as [(UInt64, UInt32)] {
            now = now + .seconds(seconds)
            flows.extend(Self.handle)
            settle(&flows, all, at: &now)
            let interfaces = Set(kernel.read { $0.entries }.values.flatMap { [$0.from.interface, $0.over.interface] })
            #expect(interfaces == [interface])
        }
    }

    // MARK: Shards

    @Test(arguments: [false, true])
    func `what one shard has had and given back another one can have, all of it`(isLimited: Bool) throws {
        let kernel = CountingKernel(slots: 512, allowances: 256)
        let shards = [FastFlowsBox(FastFlows(kernel)), FastFlowsBox(FastFlows(kernel))]
        let end = start + .seconds(3000)
        // So many clients of one channel each.
        let clients = try (0..<256 as Range<UInt32>).map { number in
            let path = try paths(
                1,
                client: "198.51.100.1:\(4000 + number)",
                relayPort: 50_000 + UInt16(number),
                toPeer: end
            )
            return (SlotHandle(index: number, generation: 1), path)
        }
        let all = Dictionary(uniqueKeysWithValues: clients)
        var now = start
        for turn in 0..<4 {
            for handle in all.keys { shards[turn % 2].flows.extend(handle) }
            settle(&shards[turn % 2].flows, all, isLimited: isLimited, at: &now)
            #expect(kernel.flows(at: now).count == 512)
            for handle in all.keys { shards[turn % 2].flows.extend(handle) }
            settle(&shards[turn % 2].flows, [:], isLimited: isLimited, at: &now)
            #expect(kernel.flows(at: now).isEmpty)
            for _ in 0..<2 { shards[turn % 2].flows.freeRestedSlots() }
        }
        let refused = shards.map { $0.flows.refusals.all.map(\.count).reduce(0, +) }
        #expect(refused == [0, 0])
    }

    @Test func `a shard keeps few places that it does not use`() throws {
        let kernel = CountingKernel(slots: 512)
        let shards = [FastFlowsBox(FastFlows(kernel)), FastFlowsBox(FastFlows(kernel))]
        var now = start
        let end = start + .seconds(300)
        let other = SlotHandle(index: 2, generation: 1)
        let theirs = try paths(210, client: "198.51.100.2:4000", relayPort: 50_001, toPeer: end)
        shards[0].flows.extend(Self.handle)
        settle(&shards[0].flows, [Self.handle: try paths(256, toPeer: end)], at: &now)
        // All but one channel.
        shards[0].flows.extend(Self.handle)
        settle(&shards[0].flows, [Self.handle: try paths(1, toPeer: end)], at: &now)
        for _ in 0..<2 { shards[0].flows.freeRestedSlots() }
        shards[1].flows.extend(other)
        settle(&shards[1].flows, [other: theirs], at: &now)
        #expect(shards[1].flows.count == 420)
        #expect(shards[1].flows.refusals.all.allSatisfy { $0.count == 0 })
    }

    // MARK: Counts

    @Test func `what is relayed is counted once, by direction, until the end`() throws {
        var flows = FastFlows(kernel)
        var now = start
        let all = try paths(3, toPeer: start + .seconds(300))
        flows.extend(Self.handle)
        settle(&flows, [Self.handle: all], at: &now)
        kernel.relay(5, 500)
        let taken = (flows.takeTraffic(of: Self.handle), flows.takeTraffic(of: Self.handle))
        #expect(taken.0.packetsToPeers == 15 && taken.0.bytesToClient == 1500)
        #expect(taken.1 == RelayedTraffic())
        kernel.relay(1, 10)
        flows.suspend(Self.handle)
        var last = RelayedTraffic()
        while let handle = flows.next(at: now) {
            last = flows.update(handle, to: [], isLimited: false, at: now).traffic
        }
        #expect(last.packetsToPeers == 3 && last.packetsToClient == 3 && last.bytesToPeers == 30)
        let packets = flows.packets
        #expect(packets == 36)
    }

    /// Allocations of ten channels each, all opened.
    private func many(
        _ count: Int,
        _ flows: inout FastFlows<CountingKernel>,
        at now: inout Instant
    ) throws
        -> [SlotHandle: [ChannelPath]]
    {
        var all: [SlotHandle: [ChannelPath]] = [:]
        for number in 0..<count {
            let handle = SlotHandle(index: UInt32(number), generation: 1)
            let client = "198.51.100.1:\(4000 + number)"
            let port = 50_000 + UInt16(number)
            all[handle] = try paths(10, client: client, relayPort: port, toPeer: start + .seconds(300))
            flows.extend(handle)
        }
        settle(&flows, all, at: &now)
        return all
    }

    @Test func `of many flows a turn counts few, and all are counted once`() throws {
        let kernel = CountingKernel(slots: 8192)
        var flows = FastFlows(kernel)
        var now = start
        let all = try many(400, &flows, at: &now)
        for _ in 0..<3 {
            kernel.relay(3, 300)
            _ = kernel.takeWork()
            flows.beginCount(at: now)
            var (turns, sum, seen) = (0, RelayedTraffic(), Set<SlotHandle>())
            while let next = flows.nextTimeout {
                #expect(next <= now)
                while let handle = flows.nextToCount(at: now) {
                    sum += flows.takeTraffic(of: handle)
                    let isNew = seen.insert(handle).inserted
                    #expect(isNew)
                }
                let reads = kernel.takeWork().reads
                #expect(reads <= 512)
                turns += 1
                now = now + .milliseconds(1)
            }
            #expect(seen.count == all.count && sum.packetsToPeers == 12_000 && sum.bytesToClient == 1_200_000)
            #expect(turns == 18, "23 allocations each")
        }
        let none = flows.nextToCount(at: now)
        #expect(none == nil, "before it is begun again")
    }

    @Test func `an allocation that ends, or another that begins, while others are counted is counted to the end`()
        throws
    {
        let kernel = CountingKernel(slots: 8192)
        var flows = FastFlows(kernel)
        var now = start
        let all = try many(100, &flows, at: &now)
        kernel.relay(3, 300)
        flows.beginCount(at: now)
        var sum = RelayedTraffic()
        while let handle = flows.nextToCount(at: now) { sum += flows.takeTraffic(of: handle) }
        #expect(sum.packetsToPeers < 3000)
        kernel.relay(1, 100)
        for handle in all.keys where handle.index % 2 == 0 { flows.suspend(handle) }
        while flows.nextTimeout != nil {
            while let handle = flows.next(at: now) {
                let told = handle.index % 2 == 0 ? [] : all[handle] ?? []
                sum += flows.update(handle, to: told, isLimited: false, at: now).traffic
            }
            while let handle = flows.nextToCount(at: now) { sum += flows.takeTraffic(of: handle) }
            now = now + .milliseconds(1)
        }
        flows.beginCount(at: now)
        while let handle = flows.nextToCount(at: now, isLast: true) { sum += flows.takeTraffic(of: handle) }
        #expect(sum.packetsToPeers == 4000 && sum.packetsToClient == 4000 && sum.bytesToPeers == 400_000)
        let (count, uncounted) = (flows.count, flows.uncounted)
        #expect(count == 1000 && uncounted == 0)
    }

    @Test func `what is suspended already costs nothing, and goes on with the update`() throws {
        var flows = FastFlows(kernel)
        var now = start
        let all = [Self.handle: try paths(toPeer: start + .seconds(300))]
        flows.extend(Self.handle)
        settle(&flows, all, at: &now)
        _ = kernel.takeWork()
        for step in 0..<50 {
            flows.suspend(Self.handle)
            #expect(kernel.takeWork().ends == (step == 0 ? 512 : 0))
        }
        settle(&flows, all, at: &now)
        #expect(kernel.takeWork().ends == 512)
        #expect(kernel.flows(at: now).count == 512)
        flows.suspend(Self.handle)
        #expect(kernel.flows(at: now).isEmpty)
    }

    @Test func `a place rests before it is used again`() throws {
        var flows = FastFlows(kernel)
        var now = start
        let all = [Self.handle: try paths(1, toPeer: start + .seconds(300))]
        func openAndClose(_ flows: inout FastFlows<CountingKernel>) {
            flows.extend(Self.handle)
            settle(&flows, all, at: &now)
            flows.extend(Self.handle)
            settle(&flows, [:], at: &now)
        }
        openAndClose(&flows)
        flows.freeRestedSlots()
        openAndClose(&flows)
        #expect(kernel.read { $0.places.count } == 4)
        flows.freeRestedSlots()
        openAndClose(&flows)
        #expect(kernel.read { $0.places.count } == 4, "the first two have rested")
    }
}

extension RelayedTraffic {
    fileprivate static func += (sum: inout Self, more: Self) {
        sum.packetsToPeers += more.packetsToPeers
        sum.bytesToPeers += more.bytesToPeers
        sum.packetsToClient += more.packetsToClient
        sum.bytesToClient += more.bytesToClient
    }
}
