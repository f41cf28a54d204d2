import Bytes
import Crypto
import Diagnostics
import EventLoop
import NetTypes
import TURNServer
import Testing
import Transport

@testable import Relay

@Suite(.eachBackEnd) struct HopLimitTests {
    /// A client with a channel to a peer, both of which see and choose hop limits.
    private struct Scene: ~Copyable {
        var shard: TestShard
        let peer: UDPSocket
        let client: UDPClient
        let relayed: SocketAddress
        var batch: DatagramSendBatch
        var received: DatagramReceiveBatch

        init(_ change: (inout RelayConfiguration) -> Void = { _ in }) throws {
            var shard = try TestShard(change)
            var options = UDPSocket.Options()
            options.reportsHopLimit = true
            let peer = try UDPSocket(boundTo: SocketAddress(TestShard.loopback, port: 0), options: options)
            let client = try UDPClient(shard.address(.udp), options: options)
            let relayed = try client.allocate(&shard)
            try client.bind(0x4000, to: peer.localAddress, &shard)
            self.client = client
            self.relayed = relayed
            self.shard = shard
            self.peer = peer
            batch = DatagramSendBatch(capacity: 4)
            received = DatagramReceiveBatch(capacity: 4)
        }

        mutating func toPeer(_ hops: UInt8) throws {
            var route = DatagramRoute(client.socket.handle, to: try shard.address(.udp))
            route.hopLimit = hops
            let message: [UInt8] = [0x40, 0, 0, 1, hops]
            _ = batch.enqueue(copying: message.span, on: route)
            batch.flush()
        }

        mutating func toClient(_ hops: UInt8) {
            var route = DatagramRoute(peer.handle, to: relayed)
            route.hopLimit = hops
            let message: [UInt8] = [hops]
            _ = batch.enqueue(copying: message.span, on: route)
            batch.flush()
        }

        /// The hop limit of the next datagram at a socket, and its last byte.
        mutating func next(_ socket: UDPSocketHandle) throws -> [UInt8] {
            received.removeAll()
            try shard.work { _ in
                _ = received.receive(from: socket)
                return received.count >= 1
            }
            return [received.hopLimit(of: 0), received.payload(of: 0).toArray().last ?? 0]
        }
    }

    @Test func `turn 150: a relayed datagram has one hop less to go, both ways`() throws {
        var scene = try Scene()
        for hops: UInt8 in [2, 64, 255] {
            try scene.toPeer(hops)
            #expect(try scene.next(scene.peer.handle) == [hops - 1, hops])
            scene.toClient(hops)
            #expect(try scene.next(scene.client.socket.handle) == [hops - 1, hops])
        }
    }

    @Test func `turn 150, 155: a datagram that has come its last hop goes no further`() throws {
        var scene = try Scene()
        try scene.toPeer(1)
        try scene.toPeer(9)
        #expect(try scene.next(scene.peer.handle) == [8, 9])
        scene.toClient(1)
        scene.toClient(9)
        #expect(try scene.next(scene.client.socket.handle) == [8, 9])
        let drops = scene.shard.shard.drops.all.first { $0.name == RelayDrop.hopLimitReached.rawValue }?.count
        #expect(drops == 2)
    }

    @Test func `turn 149: without the option the hop limit is that of the system`() throws {
        var scene = try Scene { $0.decrementsHopLimit = false }
        try scene.toPeer(1)
        let arrival = try scene.next(scene.peer.handle)
        #expect(arrival[0] >= 32 && arrival[1] == 1)
    }

    @Test func `turn 150, 155: datagrams to and from clients of DTLS have one hop less to go as well`() throws {
        let relay = try TestRelay()
        let context = try DTLSContext(clientTrust: .roots(pem: relay.identity.certificatePEM))
        let client = try RelayClient(SecureWire(to: relay.address(.dtls), context))
        let relayed = try client.allocate()
        var options = UDPSocket.Options()
        options.reportsHopLimit = true
        let peer = try UDPSocket(boundTo: SocketAddress(.loopback(.ipv4), port: 0), options: options)
        try client.bindChannel(0x4000, to: peer.localAddress)
        try client.send([1], on: 0x4000)
        var received = DatagramReceiveBatch(capacity: 4)
        let poller = try Poller()
        var events = PollEvents(capacity: 1)
        try poller.add(peer.descriptor, token: 0, interest: .read)
        try poller.wait(until: MonotonicClock.now() + .seconds(10), into: &events)
        _ = received.receive(from: peer.handle)
        let hops = received.count > 0 ? received.hopLimit(of: 0) : 0
        // The client's own datagram has the system's.
        #expect(hops == 63)
        var batch = DatagramSendBatch(capacity: 4)
        for left: UInt8 in [1, 9] {
            var route = DatagramRoute(peer.handle, to: relayed)
            route.hopLimit = left
            _ = batch.enqueue(copying: [left].span, on: route)
        }
        batch.flush()
        #expect(try client.nextArrival() == .channel(0x4000, [9]))
    }
}
