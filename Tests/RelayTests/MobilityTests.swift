import EventLoop
import NetTypes
import STUN
import ServiceTestSupport
import TURN
import TURNServer
import Testing

@testable import Relay

/// RFC 8016 over real sockets and more than one shard: the kernel gives a moved client to whichever it likes.
@Suite(.eachBackEnd) struct MobilityServiceTests {
    @Test func `a client keeps its allocation over a dozen addresses, transports and shards`() throws {
        let relay = try TestRelay {
            $0.threads = 3
            $0.server.allowsMobility = true
            $0.server.limits.allocationsPerUser = 1
        }
        let peer = try DatagramEnd()
        let first = try relay.client()
        let response = try first.request(.allocate, [.requestedTransport, .family(.ipv4), .ticket([])])
        var ticket = try #require(response.ticket)
        let relayed = try #require(response.relayed)
        try first.bindChannel(0x4000, to: peer.localAddress)
        let paths: [TestRelay.Path] = [.udp, .udp, .udp, .udp, .udp, .tcp, .udp, .tls, .udp, .tcp, .udp, .udp]
        var last = first
        for (index, path) in paths.enumerated() {
            let client = try relay.client(path)
            let moved = try client.request(.refresh, [.ticket(ticket)])
            #expect(moved.code == 0, "move \(index) over \(path.transport)")
            ticket = try #require(moved.ticket)
            let payload: [UInt8] = [UInt8(index), 1, 2, 3]
            // The old way works until the new one is used.
            try last.send(payload, on: 0x4000)
            #expect(try peer.receive().bytes == payload)
            peer.send([100], to: relayed)
            #expect(try last.nextArrival() == .channel(0x4000, [100]))
            try client.send(payload, on: 0x4000)
            #expect(try peer.receive() == (payload, relayed))
            peer.send([UInt8(index)], to: relayed)
            #expect(try client.nextArrival() == .channel(0x4000, [UInt8(index)]))
            last = client
        }
        #expect(eventually { relay.service.snapshot.engines.reduce(0) { $0 + $1.allocationsMoved } == 12 })
        #expect(relay.service.snapshot.allocations == 1)
        #expect(try last.request(.refresh, [.lifetime(0)]).code == 0)
        #expect(eventually { relay.service.snapshot.allocations == 0 })
    }

    @Test func `a stolen ticket moves nothing on any shard`() throws {
        let relay = try TestRelay {
            $0.threads = 2
            $0.server.allowsMobility = true
        }
        let owner = try relay.client()
        let ticket = try #require(try owner.request(.allocate, [.requestedTransport, .ticket([])]).ticket)
        for _ in 0..<8 {
            #expect(try relay.client(user: "bob").request(.refresh, [.ticket(ticket)]).code == 441)
            #expect(try relay.client(.tcp, user: "bob").request(.refresh, [.ticket(ticket)]).code == 441)
        }
        #expect(try owner.request(.refresh).code == 0)
    }
}
