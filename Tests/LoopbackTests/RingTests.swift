import Bytes
import Diagnostics
import EventLoop
import Glibc
import NetTypes
import Testing

@testable import Transport

private enum RingSystem {
    static let isAllowed: Bool = {
        do throws(SystemError) {
            _ = try DatagramReceiveBatch(ringOf: 8)
            return true
        } catch {
            return false
        }
    }()
}

/// Datagrams by io_uring: the same as by epoll, and what only a ring has.
@Suite(.enabled(if: RingSystem.isAllowed, "this system forbids io_uring")) struct RingTests {
    /// A socket that tells all that it can, in a ring of its own.
    private struct End: ~Copyable {
        let socket: UDPSocket
        var packets: DatagramReceiveBatch
        private(set) var stops = 0
        private(set) var errors = 0

        init(_ address: SocketAddress, buffers: Int = 64, merging: Bool = false) throws {
            var options = UDPSocket.Options()
            options.receiveBufferBytes = 2 << 20
            options.reportsTrafficClass = true
            options.reportsHopLimit = true
            options.reportsErrors = true
            options.mergesReceived = merging
            let socket = try UDPSocket(boundTo: address, options: options)
            let packets = try DatagramReceiveBatch(ringOf: buffers, merging: merging)
            let isAdded = packets.add(socket.handle, token: 7)
            let isWatched = packets.watchErrors(of: socket.handle, token: 7)
            try #require(isAdded && isWatched)
            self.socket = socket
            self.packets = packets
        }

        /// Takes what comes until there are `count` more datagrams in the batch, or an error.
        mutating func receive(_ count: Int, separately: Bool = false) throws {
            let wanted = packets.count + count
            let deadline = MonotonicClock.now() + .seconds(10)
            let errorsBefore = errors
            while packets.count < wanted, errors == errorsBefore {
                try #require(MonotonicClock.now() < deadline, "nothing arrived within ten seconds")
                try packets.wait(until: deadline)
                while let event = packets.nextEvent() {
                    switch event {
                    case .datagrams:
                        _ = packets.receive(from: socket.handle, token: 7, separately: separately)
                        if packets.isFull { return }
                    case .stopped:
                        stops += 1
                        _ = packets.add(socket.handle, token: 7)
                    case .ready: errors += 1
                    }
                }
            }
        }
    }

    private static func send(_ payloads: [[UInt8]], from socket: UDPSocketHandle, to destination: SocketAddress) {
        var sends = DatagramSendBatch(usesRing: true)
        let usesRing = sends.usesRing
        #expect(usesRing)
        var route = DatagramRoute(socket, to: destination)
        route.trafficClass = 0x2D
        route.hopLimit = 9
        for payload in payloads {
            let isQueued = sends.enqueue(copying: payload.span, on: route)
            #expect(isQueued)
        }
        sends.flush()
        let sent = (sends.sentDatagrams, sends.sentBytes)
        #expect(sent == (UInt64(payloads.count), payloads.reduce(0) { $0 + UInt64($1.count) }))
    }

    @Test(arguments: [Loopback.v4, Loopback.v6], [false, true])
    func `a datagram comes with all that the kernel knows of it`(address: SocketAddress, merging: Bool) throws {
        let any = SocketAddress(.unspecified(address.family), port: 0)
        var server = try End(any, merging: merging)
        let client = try UDPSocket(boundTo: address)
        let destination = SocketAddress(address.ip, port: server.socket.localAddress.port)
        Self.send([pattern(1, count: 100)], from: client.handle, to: destination)
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
        var server = try End(Loopback.v4)
        let client = try UDPSocket(boundTo: Loopback.v4)
        Self.send([pattern(1, count: 3000), []], from: client.handle, to: server.socket.localAddress)
        try server.receive(2)
        let cut = (server.packets.payload(of: 0).count, server.packets.isTruncated(0))
        #expect(cut == (2048, true))
        let empty = (server.packets.payload(of: 1).count, server.packets.isTruncated(1))
        #expect(empty == (0, false))
    }

    @Test(arguments: [false, true])
    func `a burst arrives as the datagrams that were sent, in order`(separately: Bool) throws {
        var server = try End(Loopback.v4, merging: true)
        let client = try UDPSocket(boundTo: Loopback.v4)
        let lengths = Array(repeating: 1200, count: 10) + [700] + Array(repeating: 40, count: 30) + [41, 40, 0, 40]
        let payloads = lengths.enumerated().map { pattern($0, count: $1) }
        Self.send(payloads, from: client.handle, to: server.socket.localAddress)
        try server.receive(lengths.count, separately: separately)
        for index in 0..<server.packets.count {
            let payload = server.packets.payload(of: index).toArray()
            #expect(payload == payloads[index])
        }
    }

    @Test func `short of buffers nothing is lost, and buffers come back`() throws {
        var server = try End(Loopback.v4, buffers: 8)
        let client = try UDPSocket(boundTo: Loopback.v4)
        var next = 0
        for round in 0..<20 {
            Self.send(
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
            Self.send([[1]], from: socket.handle, to: address)
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
        var server = try End(Loopback.v4)
        let dead = try UDPSocket(boundTo: Loopback.v4).localAddress
        let client = try UDPSocket(boundTo: Loopback.v4)
        Self.send([[1]], from: server.socket.handle, to: dead)
        try server.receive(1)
        let error = try #require(server.socket.handle.nextICMPError())
        #expect(error.destination == dead)
        Self.send([[2]], from: client.handle, to: server.socket.localAddress)
        try server.receive(1)
        let payload = server.packets.payload(of: 0).toArray()
        #expect(payload == [2])
    }

    @Test func `a datagram that cannot be sent is counted, and those of other sockets go out`() throws {
        var sends = DatagramSendBatch(usesRing: true)
        var servers: [SocketAddress] = []
        var server = try End(Loopback.v4)
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
    }

    /// Sends one datagram to each of many sockets, and counts what comes of it by socket.
    private static func exchange(
        sockets count: Int,
        buffers: Int,
        completions: Int
    ) throws -> (counts: [Int], stops: Int) {
        var sockets = SlotPool<UDPSocket>(limit: count)
        var names: [UDPSocketHandle] = []
        var packets = try DatagramReceiveBatch(ringOf: buffers, completions: completions)
        for number in 0..<count {
            let socket = try UDPSocket(boundTo: Loopback.address("127.3.0.3"))
            names.append(socket.handle)
            let isKept = sockets.insert(socket) != nil
            let isWatched = packets.watchErrors(of: names[number], token: UInt64(number))
            let isAdded = packets.add(names[number], token: UInt64(number))
            try #require(isKept && isAdded && isWatched)
        }
        try packets.wait(until: .zero)
        let client = try UDPSocket(boundTo: Loopback.v4)
        for number in 0..<count {
            let payload = [UInt8(number >> 8), UInt8(number & 255)]
            var sends = DatagramSendBatch(capacity: 1, copyBytes: 2)
            let isQueued = sends.enqueue(
                copying: payload.span,
                on: DatagramRoute(client.handle, to: names[number].localAddress)
            )
            #expect(isQueued)
            sends.flush()
        }
        var counts = Array(repeating: 0, count: count)
        var (received, stops) = (0, 0)
        let deadline = MonotonicClock.now() + .seconds(20)
        while received < count {
            try #require(MonotonicClock.now() < deadline, "a datagram is missing")
            try packets.wait(until: deadline)
            var stopped: [UInt64] = []
            while let event = packets.nextEvent() {
                switch event {
                case .datagrams(let token):
                    if packets.isFull { packets.removeAll() }
                    for index in packets.receive(from: names[Int(token)], token: token) {
                        let payload = packets.payload(of: index).toArray()
                        #expect(payload == [UInt8(token >> 8), UInt8(token & 255)])
                        counts[Int(token)] += 1
                        received += 1
                    }
                case .stopped(let token, _): stopped.append(token)
                case .ready: Issue.record("an error at a socket that has sent nothing")
                }
            }
            packets.removeAll()
            stops += stopped.count
            for token in stopped {
                let isAdded = packets.add(names[Int(token)], token: token)
                #expect(isAdded)
            }
        }
        return (counts, stops)
    }

    @Test func `thousands of sockets share few buffers, and nothing is lost`() throws {
        // A shell often allows 1024 descriptors only, and more to who asks.
        var limit = rlimit(rlim_cur: 0, rlim_max: 0)
        _ = unsafe getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        limit.rlim_cur = max(limit.rlim_cur, min(limit.rlim_max, 8192))
        _ = unsafe setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        let count = min(5000, Int(clamping: limit.rlim_cur) - 512)
        let (counts, _) = try Self.exchange(sockets: count, buffers: 256, completions: 8192)
        #expect(counts.allSatisfy { $0 == 1 })
    }

    @Test func `what has happened and does not fit into the queue is not lost`() throws {
        let (counts, stops) = try Self.exchange(sockets: 300, buffers: 8, completions: 16)
        #expect(counts.allSatisfy { $0 == 1 })
        #expect(stops > 16)
    }

    @Test func `what came for a socket that was closed does not come to the one that got its number`() throws {
        var packets = try DatagramReceiveBatch(ringOf: 8)
        let client = try UDPSocket(boundTo: Loopback.v4)
        var (late, reused, round) = (0, 0, UInt64(0))
        // Other tests take numbers as well: most, but not all, are given again.
        while reused < 20, round < 500 {
            round += 1
            var number: Int32 = -1
            do {
                let socket = try UDPSocket(boundTo: Loopback.v4)
                number = socket.handle.descriptor
                let isAdded = packets.add(socket.handle, token: round * 2)
                #expect(isAdded)
                try packets.wait(until: .zero)
                Self.send([[1]], from: client.handle, to: socket.localAddress)
                // Now it stands in a buffer, and nobody has looked at it.
                try packets.wait(until: .zero)
                packets.remove(token: round * 2)
            }
            let socket = try UDPSocket(boundTo: Loopback.v4)
            if socket.handle.descriptor == number { reused += 1 }
            let isAdded = packets.add(socket.handle, token: round * 2 + 1)
            #expect(isAdded)
            Self.send([[2]], from: client.handle, to: socket.localAddress)
            let deadline = MonotonicClock.now() + .seconds(10)
            while packets.count == 0 {
                try #require(MonotonicClock.now() < deadline, "nothing arrived within ten seconds")
                try packets.wait(until: deadline)
                while let event = packets.nextEvent() {
                    guard case .datagrams(let token) = event else { continue }
                    if token == round * 2 + 1 {
                        _ = packets.receive(from: socket.handle, token: token)
                    } else {
                        packets.discard()
                        late += 1
                    }
                }
            }
            let payload = packets.payload(of: 0).toArray()
            #expect(payload == [2])
            packets.removeAll()
            packets.remove(token: round * 2 + 1)
        }
        #expect(reused == 20 && late == Int(round))
    }

    @Test func `buffers for a rush go out of use when it is over`() throws {
        var server = try End(Loopback.v4, buffers: 1024)
        let client = try UDPSocket(boundTo: Loopback.v4)
        let first = server.packets.suppliedBuffers
        var most = first
        // A rush that nobody looks at before it is over, then calm.
        for (bursts, length) in [(20, 30), (2300, 30)] {
            for burst in 0..<bursts {
                Self.send(Array(repeating: [7], count: length), from: client.handle, to: server.socket.localAddress)
                guard bursts > 20 || burst == bursts - 1 else { continue }
                var missing = bursts > 20 ? length : length * bursts
                while missing > 0 {
                    let before = server.packets.count
                    try server.receive(1)
                    missing -= server.packets.count - before
                    most = max(most, server.packets.suppliedBuffers)
                }
                server.packets.removeAll()
            }
        }
        #expect(most >= first * 4)
        let last = server.packets.suppliedBuffers
        #expect(last < most)
    }

    @Test func `empty datagrams end receiving, and whoever sends many of them wins no rest with each`() throws {
        var server = try End(Loopback.v4)
        let client = try UDPSocket(boundTo: Loopback.v4)
        Self.send(
            Array(repeating: [], count: 50) + [[1]],
            from: client.handle,
            to: server.socket.localAddress
        )
        let deadline = MonotonicClock.now() + .seconds(10)
        while server.packets.count < 51 {
            try #require(MonotonicClock.now() < deadline, "a rest held up what came")
            server.packets.pace = .busy(resting: .seconds(20))
            try server.receive(1)
        }
        let stops = server.stops
        #expect(stops >= 50)
        let payload = server.packets.payload(of: 50).toArray()
        #expect(payload == [1])
    }
}
