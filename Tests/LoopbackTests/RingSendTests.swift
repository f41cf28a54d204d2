import Bytes
import Diagnostics
import EventLoop
import NetTypes
import Testing

@testable import Transport

/// Datagrams that leave by io_uring, and by calls of their own beside it.
@Suite(.enabled(if: RingSystem.isAllowed, "this system forbids io_uring")) struct RingSendTests {
    /// What goes to one receiver leaves by the ring, with each flush in as few messages as the kernel can cut.
    @Test(arguments: [false, true], [7, 256])
    func `a burst arrives as the datagrams that were sent, in order`(separately: Bool, atOnce: Int) throws {
        var server = try RingEnd(Loopback.v4, merging: true)
        let client = try UDPSocket(boundTo: Loopback.v4)
        let lengths = Array(repeating: 1200, count: 10) + [700] + Array(repeating: 40, count: 30) + [41, 40, 0, 40]
        let payloads = lengths.enumerated().map { pattern($0, count: $1) }
        sendByRing(payloads, from: client.handle, to: server.socket.localAddress, atOnce: atOnce)
        try server.receive(lengths.count, separately: separately)
        let count = server.packets.count
        #expect(count == lengths.count)
        for index in 0..<count {
            let payload = server.packets.payload(of: index).toArray()
            #expect(payload == payloads[index])
        }
    }

    @Test func `a datagram that cannot be sent is counted, and those of other sockets go out`() throws {
        var sends = DatagramSendBatch(usesRing: true)
        var servers: [SocketAddress] = []
        var server = try RingEnd(Loopback.v4)
        let first = try UDPSocket(boundTo: Loopback.v4)
        let second = try UDPSocket(boundTo: Loopback.v4)
        servers.append(server.socket.localAddress)
        for index in 0..<10 {
            var route = DatagramRoute(index % 2 == 0 ? first.handle : second.handle, to: servers[0])
            if index == 4 { route.destination = Loopback.v6 }
            if index == 5 { route.source = IPAddress("192.0.2.1") }
            let isQueued = sends.enqueue(copying: [UInt8(index)].span, on: route)
            #expect(isQueued)
        }
        sends.flush()
        let sent = sends.sentDatagrams
        #expect(sent == 8)
        let errors = sends.errors.all.reduce(0) { $0 + $1.count }
        #expect(errors == 2)
        try server.receive(8)
        let received = (0..<server.packets.count).map { server.packets.payload(of: $0)[0] }
        #expect(Set(received) == Set([0, 1, 2, 3, 6, 7, 8, 9]))
        // One with many goes another way, in the same flush.
        var other = try RingEnd(Loopback.v4)
        servers.append(other.socket.localAddress)
        for index in UInt8(0)..<24 {
            let receiver = servers[Int(index / 2) % 2]
            var route = DatagramRoute(index % 12 == 0 ? second.handle : first.handle, to: receiver)
            if index == 5 || index == 12 { route.destination = Loopback.v6 }
            let isQueued = sends.enqueue(copying: [index].span, on: route)
            #expect(isQueued)
        }
        sends.flush()
        let all = (sends.sentDatagrams, sends.errors.all.reduce(0) { $0 + $1.count })
        #expect(all == (30, 4))
        server.packets.removeAll()
        try server.receive(10)
        try other.receive(12)
        let next = (0..<server.packets.count).map { server.packets.payload(of: $0)[0] }
        let others = (0..<other.packets.count).map { other.packets.payload(of: $0)[0] }
        #expect(next.filter { $0 != 0 } == [1, 4, 8, 9, 13, 16, 17, 20, 21] && next.contains(0))
        #expect(others == [2, 3, 6, 7, 10, 11, 14, 15, 18, 19, 22, 23])
    }

    @Test(arguments: [false, true])
    func `many that cannot be sent do not keep the others`(byRing: Bool) throws {
        var sends = DatagramSendBatch(capacity: 1024, usesRing: byRing)
        var server = try RingEnd(Loopback.v4, buffers: 1024)
        let client = try UDPSocket(boundTo: Loopback.v4)
        for index in 0..<1000 {
            let destination = index % 2 == 0 ? server.socket.localAddress : Loopback.address("255.255.255.255", port: 9)
            let payload = pattern(index, count: 8)
            let isQueued = sends.enqueue(copying: payload.span, on: DatagramRoute(client.handle, to: destination))
            #expect(isQueued)
        }
        sends.flush()
        let counts = (sends.sentDatagrams, sends.errors.all.reduce(0) { $0 + $1.count })
        #expect(counts == (500, 500))
        try server.receive(500)
        let payloads = (0..<server.packets.count).map { server.packets.payload(of: $0).toArray() }
        #expect(payloads == (0..<500).map { pattern(2 * $0, count: 8) })
    }
}
