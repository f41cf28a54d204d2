import Bytes
import Diagnostics
import EventLoop
import NetTypes
import Testing

@testable import Transport

/// Datagrams by io_uring: the same as by epoll, and what only a ring has.
@Suite(.enabled(if: RingSystem.isAllowed, "this system forbids io_uring")) struct RingTests {
    @Test(arguments: [Loopback.v4, Loopback.v6], [false, true])
    func `a datagram comes with all that the kernel knows of it`(address: SocketAddress, merging: Bool) throws {
        let any = SocketAddress(.unspecified(address.family), port: 0)
        var server = try RingEnd(any, merging: merging)
        let client = try UDPSocket(boundTo: address)
        let destination = SocketAddress(address.ip, port: server.socket.localAddress.port)
        sendByRing([pattern(1, count: 100)], from: client.handle, to: destination)
        try server.receive(1)
        let payload = server.packets.payload(of: 0).toArray()
        #expect(payload == pattern(1, count: 100))
        let ends = (server.packets.source(of: 0), server.packets.destination(of: 0))
        #expect(ends == (client.localAddress, destination))
        let fields = (server.packets.trafficClass(of: 0), server.packets.hopLimit(of: 0), server.packets.isTruncated(0))
        #expect(fields == (0x2D, 9, false))
        let room = server.packets.packet(at: 0).count
        #expect(room == DatagramReceiveBatch.headroom + 100 + DatagramReceiveBatch.tailroom)
    }

    @Test func `what is too long is cut and marked`() throws {
        var server = try RingEnd(Loopback.v4)
        let client = try UDPSocket(boundTo: Loopback.v4)
        sendByRing([pattern(1, count: 3000), []], from: client.handle, to: server.socket.localAddress)
        try server.receive(2)
        let cut = (server.packets.payload(of: 0).count, server.packets.isTruncated(0))
        #expect(cut == (2048, true))
        let empty = (server.packets.payload(of: 1).count, server.packets.isTruncated(1))
        #expect(empty == (0, false))
    }

    @Test func `short of buffers nothing is lost, and buffers come back`() throws {
        var server = try RingEnd(Loopback.v4, buffers: 8)
        let client = try UDPSocket(boundTo: Loopback.v4)
        var next = 0
        for round in 0..<20 {
            sendByRing(
                (0..<30).map { pattern(round * 30 + $0, count: 50 + $0) },
                from: client.handle,
                to: server.socket.localAddress
            )
            while next < (round + 1) * 30 {
                server.packets.removeAll()
                try server.receive(1)
                for index in 0..<server.packets.count {
                    let payload = server.packets.payload(of: index).toArray()
                    #expect(payload == pattern(next, count: 50 + next % 30))
                    next += 1
                }
            }
        }
        let stops = server.stops
        #expect(stops > 0)
    }

    @Test func `a socket that was removed leaves its port at once, and no datagram reaches the ring`() throws {
        var packets = try DatagramReceiveBatch(ringOf: 8)
        // Nobody else's, so that no other test takes the port.
        var address = Loopback.address("127.3.0.1")
        for _ in 0..<50 {
            let socket = try UDPSocket(boundTo: address)
            address = socket.localAddress
            let isAdded = packets.add(socket.handle, token: 3) && packets.watchErrors(of: socket.handle, token: 3)
            #expect(isAdded)
            try packets.wait(until: .zero)
            packets.remove(token: 3)
            sendByRing([[1]], from: socket.handle, to: address)
            try packets.wait(until: .zero)
            while let event = packets.nextEvent() {
                if case .datagrams = event { Issue.record("a datagram of a socket that was removed") }
            }
        }
    }

    @Test func `a ring that ends leaves all ports at once`() throws {
        var sockets: [SocketAddress] = []
        do {
            var packets = try DatagramReceiveBatch(ringOf: 8)
            for number in 0..<100 {
                // Nobody else's, so that no other test takes the port.
                let socket = try UDPSocket(boundTo: Loopback.address("127.3.0.2"))
                sockets.append(socket.localAddress)
                let isAdded = packets.add(socket.handle, token: UInt64(number))
                #expect(isAdded)
                // The ring has it when the socket is closed.
                try packets.wait(until: .zero)
            }
        }
        for address in sockets { _ = try UDPSocket(boundTo: address) }
    }

    @Test func `an ICMP error is told, and receiving goes on after it`() throws {
        var server = try RingEnd(Loopback.v4)
        let dead = try UDPSocket(boundTo: Loopback.v4).localAddress
        let client = try UDPSocket(boundTo: Loopback.v4)
        sendByRing([[1]], from: server.socket.handle, to: dead)
        try server.receive(1)
        let error = try #require(server.socket.handle.nextICMPError())
        #expect(error.destination == dead)
        sendByRing([[2]], from: client.handle, to: server.socket.localAddress)
        try server.receive(1)
        let payload = server.packets.payload(of: 0).toArray()
        #expect(payload == [2])
    }

    @Test(arguments: [false, true])
    func `a socket that was not added is read beside the ring, and takes none of its buffers`(merging: Bool) throws {
        var server = try RingEnd(Loopback.v4, buffers: 128, merging: merging)
        var options = UDPSocket.Options()
        options.receiveBufferBytes = 2 << 20
        options.mergesReceived = merging
        let beside = try UDPSocket(boundTo: Loopback.v4, options: options)
        let client = try UDPSocket(boundTo: Loopback.v4)
        for round in 0..<4 {
            let sent = (0..<100).map { pattern(round + $0, count: 40) }
            let ofRing = (0..<3).map { pattern(round + $0, count: 70) }
            sendByRing(sent, from: client.handle, to: beside.localAddress)
            sendByRing(ofRing, from: client.handle, to: server.socket.localAddress)
            try server.receive(3)
            var (taken, before) = ([[UInt8]](), 3)
            while taken.count < 100 {
                try Loopback.wait(beside.handle.descriptor)
                let range = server.packets.receive(from: beside.handle, separately: merging)
                taken += range.map { server.packets.payload(of: $0).toArray() }
                let ends = range.map { (server.packets.source(of: $0), server.packets.destination(of: $0)) }
                #expect(ends.allSatisfy { $0 == (client.localAddress, beside.localAddress) })
                // What the ring has brought stays as it is.
                let kept = (0..<before).map { server.packets.payload(of: $0).toArray() }
                #expect(kept == ofRing.prefix(before).map(\.self))
                let (isFull, count) = (server.packets.isFull, server.packets.count)
                #expect(merging || isFull == (count - before == DatagramReceiveBatch.besideRing))
                guard isFull else { continue }
                server.packets.removeAll()
                before = 0
            }
            #expect(taken == sent)
            server.packets.removeAll()
        }
        let (stops, supplied) = (server.stops, server.packets.suppliedBuffers)
        #expect(stops == 0 && supplied == 128)
    }
}
