import Bytes
import Diagnostics
import EventLoop
import Glibc
import NetTypes
import Testing

@testable import Transport

/// Many sockets, few buffers and short queues with io_uring.
@Suite(.enabled(if: RingSystem.isAllowed, "this system forbids io_uring")) struct RingLimitsTests {
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
                sendByRing([[1]], from: client.handle, to: socket.localAddress)
                // Now it stands in a buffer, and nobody has looked at it.
                try packets.wait(until: .zero)
                packets.remove(token: round * 2)
            }
            let socket = try UDPSocket(boundTo: Loopback.v4)
            if socket.handle.descriptor == number { reused += 1 }
            let isAdded = packets.add(socket.handle, token: round * 2 + 1)
            #expect(isAdded)
            sendByRing([[2]], from: client.handle, to: socket.localAddress)
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
        var server = try RingEnd(Loopback.v4, buffers: 1024)
        let client = try UDPSocket(boundTo: Loopback.v4)
        let first = server.packets.suppliedBuffers
        var most = first
        // A rush that nobody looks at before it is over, then calm.
        for (bursts, length) in [(20, 30), (2300, 30)] {
            for burst in 0..<bursts {
                sendByRing(Array(repeating: [7], count: length), from: client.handle, to: server.socket.localAddress)
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
        var server = try RingEnd(Loopback.v4)
        let client = try UDPSocket(boundTo: Loopback.v4)
        sendByRing(
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

    @Test func `what is watched anew in each turn ends no rest`() throws {
        var packets = try DatagramReceiveBatch(ringOf: 8)
        let socket = try UDPSocket(boundTo: Loopback.v4)
        sendByRing([[1]], from: socket.handle, to: socket.localAddress)
        try Loopback.wait(socket.handle.descriptor)
        // A wait may be cut short, by a signal or a ring that this thread has closed.
        var rests = 0
        for _ in 0..<10 {
            packets.pace = .busy(resting: .milliseconds(20))
            let isWatched = packets.watch(socket.handle.descriptor, token: 3)
            #expect(isWatched)
            let start = MonotonicClock.now()
            try packets.wait(until: start + .seconds(10))
            if MonotonicClock.now() - start >= .milliseconds(20) { rests += 1 }
            let event = packets.nextEvent()
            #expect(event == .ready(3, isLast: true))
        }
        #expect(rests > 0)
    }
}
