import Bytes
import Diagnostics
import Glibc
import NetTypes
import Testing

@testable import Transport

/// Bursts that the kernel carries as one piece: cut on the way out, told apart on the way in.
@Suite struct MergedDatagramTests {
    private static func mergingSocket(_ address: SocketAddress) throws -> UDPSocket {
        var options = UDPSocket.Options()
        options.receiveBufferBytes = 2 << 20
        options.mergesReceived = true
        options.reportsTrafficClass = true
        return try UDPSocket(boundTo: address, options: options)
    }

    private static func bytes(_ number: Int, _ count: Int) -> [UInt8] {
        (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ number) }
    }

    /// Sends datagrams of these lengths at once and reads them again.
    private static func exchange(
        _ lengths: [Int],
        at address: SocketAddress,
        capacity: Int = 64,
        separately: Bool = false
    ) throws -> DatagramReceiveBatch {
        let server = try mergingSocket(address)
        let client = try UDPSocket(boundTo: address)
        var sends = DatagramSendBatch()
        for (number, length) in lengths.enumerated() {
            let route = DatagramRoute(client.handle, to: server.localAddress)
            let isQueued = sends.enqueue(copying: bytes(number, length).span, on: route)
            #expect(isQueued)
        }
        sends.flush()
        var received = DatagramReceiveBatch(capacity: capacity, merging: true)
        while !received.receive(from: server.handle, separately: separately).isEmpty {}
        for index in 0..<received.count {
            let source = received.source(of: index)
            #expect(source == client.localAddress)
            let destination = received.destination(of: index)
            #expect(destination == server.localAddress)
        }
        let sent = sends.sentDatagrams
        #expect(sent == UInt64(lengths.count))
        return received
    }

    @Test(arguments: [Loopback.v4, Loopback.v6], [false, true])
    func `a burst arrives as the datagrams that were sent, in order`(address: SocketAddress, separately: Bool) throws {
        let lengths = Array(repeating: 1200, count: 10) + [700] + Array(repeating: 40, count: 30) + [41, 40, 0, 40]
        let received = try Self.exchange(lengths, at: address, separately: separately)
        let count = received.count
        #expect(count == lengths.count)
        for index in 0..<received.count {
            let payload = received.payload(of: index).toArray()
            #expect(payload == Self.bytes(index, lengths[index]))
            let isTruncated = received.isTruncated(index)
            #expect(!isTruncated)
        }
    }

    @Test func `a burst is really merged: many datagrams take one place of the kernel`() throws {
        let received = try Self.exchange(Array(repeating: 100, count: 60), at: Loopback.v4, capacity: 1)
        let (count, isFull) = (received.count, received.isFull)
        #expect(count == 60)
        #expect(isFull)
    }

    @Test func `datagrams that were moved apart can be changed in place without touching their neighbours`() throws {
        var received = try Self.exchange(Array(repeating: 333, count: 20), at: Loopback.v4, separately: true)
        for index in 0..<received.count {
            let payload = received.payloadRange(of: index)
            var packet = received.packet(at: index)
            for place in packet.indices where !payload.contains(place) && place >= payload.upperBound - 333 - 36 {
                if place < payload.upperBound + 4 { packet[place] = 0xEE }
            }
        }
        for index in 0..<received.count {
            let payload = received.payload(of: index).toArray()
            #expect(payload == Self.bytes(index, 333))
        }
    }

    @Test func `the longest burst finds room to be moved apart, and what does not fit waits`() throws {
        let server = try Self.mergingSocket(Loopback.v4)
        let client = try UDPSocket(boundTo: Loopback.v4)
        var sends = DatagramSendBatch(capacity: 1024, copyBytes: 1 << 20)
        for number in 0..<256 {
            let route = DatagramRoute(client.handle, to: server.localAddress)
            let isQueued = sends.enqueue(copying: Self.bytes(number, 1000).span, on: route)
            #expect(isQueued)
        }
        sends.flush()
        var received = DatagramReceiveBatch(capacity: 2, merging: true)
        var next = 0
        for _ in 0..<64 where next < 256 {
            for index in received.receive(from: server.handle, separately: true) {
                let payload = received.payload(of: index).toArray()
                #expect(payload == Self.bytes(next, 1000))
                next += 1
            }
            received.removeAll()
        }
        #expect(next == 256)
    }

    /// Sends `count` datagrams of a length as one message that the kernel need not cut before it is received.
    private static func sendSegments(
        _ count: Int,
        of length: Int,
        from client: borrowing UDPSocket,
        to server: SocketAddress
    ) -> Int {
        // UDP_SEGMENT at SOL_UDP.
        var segment = Int32(length)
        guard unsafe setsockopt(client.descriptor, 17, 103, &segment, 4) == 0 else { return -1 }
        var target = sockaddr_in()
        target.sin_family = sa_family_t(AF_INET)
        target.sin_port = server.port.bigEndian
        target.sin_addr.s_addr = server.ip.ipv4Bits.bigEndian
        let payload = [UInt8](repeating: 7, count: count * length)
        return unsafe withUnsafePointer(to: &target) { target in
            unsafe target.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe sendto(client.descriptor, payload, payload.count, 0, $0, 16)
            }
        }
    }

    /// Kernels since 6.9 carry 128 datagrams as one, and a neighbour on the same host chooses how long they are.
    @Test(arguments: [false, true], [1, 500])
    func `the most that any kernel merges finds room`(separately: Bool, length: Int) throws {
        let server = try Self.mergingSocket(Loopback.v4)
        let client = try UDPSocket(boundTo: Loopback.v4)
        let isNew = Self.sendSegments(128, of: length, from: client, to: server.localAddress) > 0
        let each = isNew ? 128 : 64
        for _ in 0..<(isNew ? 1 : 2) {
            let sent = Self.sendSegments(each, of: length, from: client, to: server.localAddress)
            #expect(sent == each * length)
        }
        var received = DatagramReceiveBatch(capacity: 2, merging: true)
        while !received.receive(from: server.handle, separately: separately).isEmpty {}
        let count = received.count
        #expect(count == 2 * each)
        for index in 0..<count {
            let payload = received.payload(of: index).toArray()
            #expect(payload == [UInt8](repeating: 7, count: length))
        }
        let lost = received.errors[.mergedBeyondRoom]
        #expect(lost == 0)
    }

    @Test(arguments: [false, true])
    func `what is merged beyond all room is dropped and counted`(separately: Bool) throws {
        let server = try Self.mergingSocket(Loopback.v4)
        let client = try UDPSocket(boundTo: Loopback.v4)
        let sent = Self.sendSegments(64, of: 300, from: client, to: server.localAddress)
        #expect(sent == 64 * 300)
        var received = DatagramReceiveBatch(capacity: 2, merging: true, mergedLimit: 20)
        while !received.receive(from: server.handle, separately: separately).isEmpty {}
        let (count, lost) = (received.count, received.errors[.mergedBeyondRoom])
        #expect(count == 40 && lost == 24)
    }

    @Test func `datagrams of different ways and lengths are not put together`() throws {
        let one = try UDPSocket(boundTo: Loopback.v4)
        let other = try UDPSocket(boundTo: Loopback.v4)
        let client = try UDPSocket(boundTo: Loopback.v4)
        var sends = DatagramSendBatch()
        for number in 0..<40 {
            var route = DatagramRoute(client.handle, to: number % 3 == 0 ? one.localAddress : other.localAddress)
            route.trafficClass = number % 5 == 0 ? 0x88 : 0
            let isQueued = sends.enqueue(copying: Self.bytes(number, 50 + number % 2).span, on: route)
            #expect(isQueued)
        }
        sends.flush()
        let sent = sends.sentDatagrams
        #expect(sent == 40)
        var received = DatagramReceiveBatch()
        try Loopback.receive(14, from: one.handle, into: &received)
        try Loopback.receive(26, from: other.handle, into: &received)
        let expected = (0..<40).filter { $0 % 3 == 0 } + (0..<40).filter { $0 % 3 != 0 }
        for (index, number) in expected.enumerated() {
            let payload = received.payload(of: index).toArray()
            #expect(payload == Self.bytes(number, 50 + number % 2))
        }
    }

    @Test func `what a path does not take in segments leaves one by one`() throws {
        // Longer than the MTU of loopback would be as one datagram is cut; a segment longer than it is refused.
        let server = try UDPSocket(boundTo: Loopback.v4)
        let client = try UDPSocket(boundTo: Loopback.v4)
        try client.setPathMTUDiscovery(.fragment)
        var sends = DatagramSendBatch()
        var received = DatagramReceiveBatch(capacity: 16, payloadCapacity: 65536)
        for _ in 0..<2 {
            for number in 0..<2 {
                let route = DatagramRoute(client.handle, to: server.localAddress)
                let isQueued = sends.enqueue(copying: Self.bytes(number, 32_000).span, on: route)
                #expect(isQueued)
            }
            sends.flush()
        }
        let sent = sends.sentDatagrams
        #expect(sent == 4)
        let errors = sends.errors.all.filter { $0.count > 0 }.count
        #expect(errors == 0)
        try Loopback.receive(4, from: server.handle, into: &received)
        for index in 0..<4 { #expect(received.payload(of: index).toArray() == Self.bytes(index % 2, 32_000)) }
    }
}
