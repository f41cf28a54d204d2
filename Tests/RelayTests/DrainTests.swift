import Diagnostics
import EventLoop
import NetTypes
import STUN
import ServiceTestSupport
import TURNServer
import Testing
import Transport

@testable import Relay

/// A relay that is to end: nobody new, and no harm to those who are there.
@Suite struct DrainTests {
    @Test(arguments: [TestRelay.Path.udp, .tcp, .dtls])
    func `turn 214: while a relay drains new allocations get 508 and old ones live until the last has ended`(
        path: TestRelay.Path
    ) throws {
        let relay = try TestRelay { $0.threads = 2 }
        let (client, peer) = (try relay.client(path), try DatagramEnd(on: IPAddress(ipv4: 0x7F00_0003)))
        let relayed = try client.allocate()
        try client.bindChannel(0x4000, to: peer.localAddress)
        #expect(!relay.service.isDrained && !relay.service.snapshot.isDraining)
        relay.service.drain()
        let other = try relay.client(path)
        #expect(eventually { (try? other.request(.allocate, [.requestedTransport]).code) == 508 })
        #expect(try other.bind().code == 0)
        for number in 0..<50 as Range<UInt8> {
            try client.send([number], on: 0x4000)
            let (bytes, source) = try peer.receive()
            #expect(bytes == [number] && source == relayed)
            peer.send([number, 1], to: relayed)
            #expect(try client.nextArrival() == .channel(0x4000, [number, 1]))
        }
        #expect(try client.request(.refresh, [.lifetime(600)]).code == 0)
        // A reload does not end it.
        try relay.service.reload(relay.configuration)
        #expect(try other.request(.allocate, [.requestedTransport]).code == 508)
        #expect(!relay.service.isDrained)
        #expect(try client.request(.refresh, [.lifetime(0)]).code == 0)
        #expect(eventually { relay.service.isDrained })
    }

    @Test func `turn 214: while a relay drains clients are sent to the alternate server if there is one`() throws {
        let relay = try TestRelay {
            $0.server.redirection = TURNServerRedirection(to: [SocketAddress(IPAddress(ipv4: 0xC633_6409), port: 3478)])
        }
        relay.service.drain()
        #expect(eventually { relay.service.isDrained })
        #expect(try relay.client().request(.allocate, [.requestedTransport]).code == 300)
    }

    @Test func `turn 214: a shard whose mailbox is full of streams is told all the same`() throws {
        var shard = try TestShard()
        let listener = try shard.address(.tcp)
        func parcel() throws -> StreamParcel {
            let socket = try TCPSocket(connectingTo: listener)
            return StreamParcel(RelayStream(StreamConnection(socket, outputLimit: 1 << 16), at: MonotonicClock.now()))
        }
        while shard.shard.mailbox.push(.welcome(try parcel())) {}
        shard.shard.mailbox.order { $0.drains = true }
        try shard.work { $0.report.snapshot.isDraining }
        let accepts = shard.shard.engine.acceptsAllocations
        #expect(!accepts)
    }

    @Test func `metrics tell that a relay drains, and what sockets told when they were read`() throws {
        var shard = try TestShard()
        shard.shard.mailbox.order { $0.drains = true }
        try shard.work { $0.report.snapshot.isDraining }
        var snapshot = shard.shard.report.snapshot
        // Datagrams that were merged beyond the room for them are lost: they are drops, and only that.
        let reasons = Set(DatagramError.allCases.map(\.rawValue)).subtracting(["mergedBeyondRoom"])
        #expect(Set(snapshot.receiveErrors.keys) == reasons)
        #expect(snapshot.drops["mergedBeyondRoom"] == 0)
        snapshot.receiveErrors["connectionRefused"] = 3
        snapshot.add(snapshot)
        var page = MetricsText()
        snapshot.write(to: &page)
        #expect(page.text.contains("floe_turn_draining 1\n"))
        #expect(page.text.contains("floe_turn_receive_errors_total{reason=\"connectionRefused\"} 6\n"))
    }
}
