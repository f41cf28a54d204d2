import Bytes
import Diagnostics
import EventLoop
import NetTypes
import STUN
import TURN
import TURNServer
import Testing
import Transport

@testable import Relay

/// ICMP about relayed datagrams (RFC 8656 §11.5), from the kernel's error queue.
@Suite(.eachBackEnd) struct RelayICMPTests {
    /// Port unreachable, from this very host.
    private func unreachable(_ message: [UInt8], _ peer: SocketAddress) throws -> Bool {
        let view = try STUNMessageView(message.span)
        let report = try view.icmp()
        let address = try view.xorPeerAddress()
        return view.method == .data && view.data() == nil && report == ICMPReport(type: 3, code: 3) && address == peer
    }

    @Test func `turn 132: a closed port of a peer is told to the client`() throws {
        var shard = try TestShard()
        let client = try UDPClient(shard.address(.udp))
        _ = try client.allocate(&shard)
        let closed = try UDPClient(shard.address(.udp)).address
        try client.permit(closed, &shard)
        try client.sendIndication([1], to: closed)
        let message = try client.next(&shard)
        #expect(try unreachable(message, closed))
    }

    @Test func `turn 132: a closed port of an IPv6 peer is told to the client`() throws {
        let relay = try TestRelay()
        let client = try relay.client()
        _ = try client.allocate(.ipv6)
        let closed = try DatagramEnd(on: .loopback(.ipv6)).localAddress
        try client.permit(closed)
        try client.send([1], to: closed)
        let message = try #require(try client.wire.receive())
        let view = try STUNMessageView(message.span)
        let report = try view.icmp()
        #expect(report == ICMPReport(type: 1, code: 4))
        let address = try view.xorAddress(.xorPeerAddress)
        #expect(address == closed)
    }

    @Test func `one peer's closed port costs another peer no datagram, and ends nothing`() throws {
        var shard = try TestShard()
        let (client, peer) = (try UDPClient(shard.address(.udp)), try UDPClient(shard.address(.udp)))
        let relayed = try client.allocate(&shard)
        let closed = try UDPClient(shard.address(.udp)).address
        try client.permit(closed, &shard)
        for number in 0..<20 as Range<UInt8> {
            try client.sendIndication([number], to: closed)
            try client.sendIndication([number], to: peer.address)
            #expect(try peer.next(&shard) == [number])
            peer.send([number], to: relayed)
            // The report may come before or after the datagram.
            var hasData = false
            while !hasData {
                let message = try decode(client.next(&shard))
                hasData = message.attributes.first { $0.type == .data }?.value == [number]
            }
        }
        let allocations = shard.shard.engine.statistics.allocations
        #expect(allocations == 1)
    }
}
