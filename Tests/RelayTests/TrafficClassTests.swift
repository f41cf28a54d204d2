import Bytes
import Diagnostics
import EventLoop
import NetTypes
import TURNServer
import Testing
import Transport

@testable import Relay

@Suite(.eachBackEnd) struct TrafficClassTests {
    /// Expedited Forwarding with ECT(1); congestion experienced; network control, which is not for clients.
    @Test(arguments: [(0xB9, 0xB9), (0x03, 0x03), (0xC2, 0x02), (0, 0)] as [(UInt8, UInt8)])
    func `turn 147: DSCP and ECN are copied, both ways`(sent: UInt8, expected: UInt8) throws {
        var shard = try TestShard()
        var options = UDPSocket.Options()
        options.reportsTrafficClass = true
        let peer = try UDPSocket(boundTo: SocketAddress(TestShard.loopback, port: 0), options: options)
        let client = try UDPClient(shard.address(.udp), options: options)
        let relayed = try client.allocate(&shard)
        try client.bind(0x4000, to: peer.localAddress, &shard)
        var batch = DatagramSendBatch(capacity: 4)
        var received = DatagramReceiveBatch(capacity: 4)
        var route = DatagramRoute(client.socket.handle, to: try shard.address(.udp))
        route.trafficClass = sent
        let first: [UInt8] = [0x40, 0, 0, 1, 7]
        _ = batch.enqueue(copying: first.span, on: route)
        batch.flush()
        try shard.work { _ in
            _ = received.receive(from: peer.handle)
            return received.count == 1
        }
        let toPeer = received.trafficClass(of: 0)
        #expect(toPeer == expected)
        received.removeAll()
        route = DatagramRoute(peer.handle, to: relayed)
        route.trafficClass = sent
        let second: [UInt8] = [9]
        _ = batch.enqueue(copying: second.span, on: route)
        batch.flush()
        try shard.work { _ in
            _ = received.receive(from: client.socket.handle)
            return received.count == 1
        }
        let toClient = received.trafficClass(of: 0)
        #expect(toClient == expected)
    }
}
