import Bytes
import Diagnostics
import NetTypes
import Testing

@testable import Transport

@Suite struct UDPTests {
    @Test(arguments: [Loopback.v4, Loopback.v6])
    func `a batch of datagrams arrives with its bytes, source and local address`(address: SocketAddress) throws {
        let server = try UDPSocket(boundTo: address)
        let client = try UDPSocket(boundTo: address)
        var sends = DatagramSendBatch()
        for number in 0..<60 {
            let isQueued = sends.enqueue(
                copying: pattern(number, count: number * 20).span,
                on: DatagramRoute(client.handle, to: server.localAddress)
            )
            #expect(isQueued)
        }
        sends.flush()
        let sent = (sends.sentDatagrams, sends.sentBytes)
        #expect(sent == (60, UInt64((0..<60).reduce(0) { $0 + $1 * 20 })))
        var received = DatagramReceiveBatch(capacity: 60)
        try Loopback.receive(60, from: server.handle, into: &received)
        for index in 0..<60 {
            #expect(received.payload(of: index).toArray() == pattern(index, count: index * 20))
            let addresses = (received.source(of: index), received.destination(of: index), received.isTruncated(index))
            #expect(addresses == (client.localAddress, server.localAddress, false))
            #expect(received.payloadRange(of: index) == 64..<64 + index * 20)
        }
    }

    @Test func `every datagram that the kernel took is received or counted as dropped`() throws {
        var options = UDPSocket.Options()
        options.receiveBufferBytes = 8192
        let server = try UDPSocket(boundTo: Loopback.v4, options: options)
        let client = try UDPSocket(boundTo: Loopback.v4)
        #expect(server.handle.droppedDatagrams == 0)
        var sends = DatagramSendBatch(capacity: 50)
        for _ in 0..<4 {
            for number in 0..<50 {
                let route = DatagramRoute(client.handle, to: server.localAddress)
                _ = sends.enqueue(copying: pattern(number, count: 1000).span, on: route)
            }
            sends.flush()
        }
        let sent = sends.sentDatagrams
        var received = DatagramReceiveBatch(capacity: 256)
        while received.receive(from: server.handle).count > 0 {}
        let (arrived, dropped) = (UInt64(received.count), UInt64(server.handle.droppedDatagrams))
        #expect(sent == 200 && arrived > 0 && dropped > 0)
        #expect(arrived + dropped == sent)
    }

    @Test(arguments: [
        ("0.0.0.0", "127.0.0.2", true), ("::", "127.0.0.2", false), ("::", "::1", false), ("::", "::1", true),
    ])
    func `a wildcard socket answers from the address it was asked at`(
        bound: String,
        asked: String,
        isIPv6Only: Bool
    ) throws {
        var options = UDPSocket.Options()
        options.isIPv6Only = isIPv6Only
        let server = try UDPSocket(boundTo: Loopback.address(bound), options: options)
        let port = server.localAddress.port
        let askedAddress = Loopback.address(asked, port: port)
        let client = try UDPSocket(boundTo: askedAddress.family == .ipv4 ? Loopback.v4 : Loopback.v6)
        var sends = DatagramSendBatch()
        var received = DatagramReceiveBatch()
        _ = sends.enqueue(copying: [1, 2, 3].span, on: DatagramRoute(client.handle, to: askedAddress))
        sends.flush()
        try Loopback.receive(1, from: server.handle, into: &received)
        let request = (received.source(of: 0), received.destination(of: 0))
        #expect(request == (client.localAddress, askedAddress))

        let route = DatagramRoute(server.handle, to: request.0, from: request.1.ip)
        _ = sends.enqueue(copying: [4, 5].span, on: route)
        sends.flush()
        var answers = DatagramReceiveBatch()
        try Loopback.receive(1, from: client.handle, into: &answers)
        let answer = (answers.source(of: 0), answers.payload(of: 0).toArray())
        #expect(answer == (askedAddress, [4, 5]))
        let errors = sends.errors.all.reduce(0) { $0 + $1.count }
        #expect(errors == 0)
    }

    @Test func `head and tail of a packet are left alone`() throws {
        let server = try UDPSocket(boundTo: Loopback.v4)
        let client = try UDPSocket(boundTo: Loopback.v4)
        var sends = DatagramSendBatch()
        var received = DatagramReceiveBatch(capacity: 2)
        func send(_ count: Int) throws {
            let route = DatagramRoute(client.handle, to: server.localAddress)
            _ = sends.enqueue(copying: pattern(1, count: count).span, on: route)
            sends.flush()
            try Loopback.receive(1, from: server.handle, into: &received)
        }
        try send(1)
        var packet = received.packet(at: 0)
        let count = packet.count
        for index in packet.indices { packet[index] = 0xAA }
        #expect(count >= 64 + 1 + 64)
        received.removeAll()
        try send(2048)
        let changed = received.packet(at: 0)
        for index in 0..<count where changed[index] != 0xAA {
            #expect((64..<64 + 2048).contains(index))
        }
        #expect(received.payload(of: 0).toArray() == pattern(1, count: 2048))
    }

    @Test func `a datagram that is too long is cut and marked`() throws {
        let server = try UDPSocket(boundTo: Loopback.v4)
        let client = try UDPSocket(boundTo: Loopback.v4)
        var sends = DatagramSendBatch()
        for count in [2048, 2049, 9000, 0] {
            _ = sends.enqueue(
                copying: pattern(3, count: count).span,
                on: DatagramRoute(client.handle, to: server.localAddress)
            )
        }
        sends.flush()
        var received = DatagramReceiveBatch()
        try Loopback.receive(4, from: server.handle, into: &received)
        let marks = (0..<4).map { received.isTruncated($0) }
        let counts = (0..<4).map { received.payload(of: $0).count }
        #expect(marks == [false, true, true, false])
        #expect(counts == [2048, 2048, 2048, 0])
        #expect(received.payload(of: 2).toArray() == pattern(3, count: 2048))
    }

    @Test func `what cannot be sent is counted by its reason and ends nothing`() throws {
        let server = try UDPSocket(boundTo: Loopback.v4)
        let client = try UDPSocket(boundTo: Loopback.v4)
        let gone = try UDPSocket(boundTo: Loopback.v4).localAddress
        var sends = DatagramSendBatch()
        func enqueue(_ byte: UInt8, to destination: SocketAddress, from source: IPAddress? = nil, count: Int = 1) {
            let bytes = [UInt8](repeating: byte, count: count)
            let route = DatagramRoute(client.handle, to: destination, from: source)
            let isQueued = sends.enqueue(copying: bytes.span, on: route)
            #expect(isQueued)
        }
        enqueue(1, to: server.localAddress)
        enqueue(0, to: gone)
        enqueue(2, to: server.localAddress)
        enqueue(0, to: Loopback.address("255.255.255.255", port: 9))
        enqueue(0, to: Loopback.address("::1", port: 9))
        enqueue(3, to: server.localAddress)
        enqueue(0, to: server.localAddress, count: 65_508)
        enqueue(0, to: server.localAddress, from: IPAddress(ipv4: 0xC000_0201))
        enqueue(4, to: server.localAddress)
        sends.flush()
        enqueue(5, to: server.localAddress)
        sends.flush()

        var received = DatagramReceiveBatch()
        try Loopback.receive(5, from: server.handle, into: &received)
        let bytes = (0..<5).map { received.payload(of: $0)[0] }
        #expect(bytes == [1, 2, 3, 4, 5])
        let errors = sends.errors
        let sent = sends.sentDatagrams
        #expect(sent == 6)
        #expect(errors[.notPermitted] == 1)
        #expect(errors[.wrongFamily] == 1)
        #expect(errors[.messageTooLong] == 1)
        // Kernels differ in what they say about a source that is not theirs.
        #expect(errors[.sourceUnavailable] + errors[.networkUnreachable] == 1)
        #expect(errors.all.reduce(0) { $0 + $1.count } == 4)
    }

    @Test func `packets are relayed from where they were received, with a header in front`() throws {
        let server = try UDPSocket(boundTo: Loopback.v4)
        let relay = try UDPSocket(boundTo: Loopback.v4)
        let peer = try UDPSocket(boundTo: Loopback.v4)
        var sends = DatagramSendBatch()
        var received = DatagramReceiveBatch(capacity: 8)
        for number in 0..<4 {
            for socket in [server.handle, relay.handle] {
                let route = DatagramRoute(peer.handle, to: socket.localAddress)
                _ = sends.enqueue(copying: pattern(number, count: 100).span, on: route)
            }
        }
        sends.flush()
        // One batch takes the datagrams of several sockets in one turn.
        try Loopback.receive(4, from: server.handle, into: &received)
        try Loopback.receive(8, from: relay.handle, into: &received)
        let more = received.receive(from: relay.handle)
        #expect(more.isEmpty)
        for index in 0..<8 {
            let payload = received.payloadRange(of: index)
            var packet = received.packet(at: index)
            packet.store(bigEndian: UInt32(index), at: payload.lowerBound - 4)
            let isQueued = sends.enqueue(
                packet: index,
                bytes: payload.lowerBound - 4..<payload.upperBound,
                of: received,
                on: DatagramRoute(index % 2 == 0 ? server.handle : relay.handle, to: peer.localAddress)
            )
            #expect(isQueued)
        }
        sends.flush(referringTo: received)
        received.removeAll()
        var answers = DatagramReceiveBatch()
        try Loopback.receive(8, from: peer.handle, into: &answers)
        // Those of one socket go out together, in order.
        for (position, index) in [0, 2, 4, 6, 1, 3, 5, 7].enumerated() {
            let answer = answers.payload(of: position).toArray()
            #expect(answer == [0, 0, 0, UInt8(index)] + pattern(index % 4, count: 100))
            let source = answers.source(of: position)
            #expect(source == (index % 2 == 0 ? server.localAddress : relay.localAddress))
        }
    }

    @Test func `references to an emptied batch stop the program before they send other people's bytes`() async {
        await #expect(processExitsWith: .failure) {
            let socket = try UDPSocket(boundTo: Loopback.v4)
            var sends = DatagramSendBatch()
            var received = DatagramReceiveBatch()
            _ = sends.enqueue(copying: [1].span, on: DatagramRoute(socket.handle, to: socket.localAddress))
            sends.flush()
            try Loopback.receive(1, from: socket.handle, into: &received)
            _ = sends.enqueue(
                packet: 0,
                bytes: received.payloadRange(of: 0),
                of: received,
                on: DatagramRoute(socket.handle, to: socket.localAddress)
            )
            received.removeAll()
            sends.flush(referringTo: received)
        }
    }

    @Test func `a full batch takes nothing until it is flushed`() throws {
        let socket = try UDPSocket(boundTo: Loopback.v4)
        let route = DatagramRoute(socket.handle, to: socket.localAddress)
        var few = DatagramSendBatch(capacity: 2, copyBytes: 1000)
        let outcomes = (0..<3).map { _ in few.enqueue(copying: [1].span, on: route) }
        #expect(outcomes == [true, true, false])
        var small = DatagramSendBatch(capacity: 100, copyBytes: 1000)
        var calls = 0
        var results: [EnqueueResult] = []
        for writes in [true, false, true, true] {
            results.append(
                small.enqueue(maximumCount: 600) { output in
                    calls += 1
                    for byte in 0..<300 { output.append(UInt8(truncatingIfNeeded: byte)) }
                    return writes ? route : nil
                }
            )
        }
        #expect(results == [.queued, .nothing, .queued, .full])
        #expect(calls == 3)
        small.flush()
        let (sent, hasRoom) = (small.sentDatagrams, small.hasRoom(for: 1000))
        #expect(sent == 2)
        #expect(hasRoom)
    }

    @Test func `an engine writes straight into the batch until it has nothing more`() throws {
        let client = try UDPSocket(boundTo: Loopback.v4)
        let server = try UDPSocket(boundTo: Loopback.v4)
        var service = CountingService(socket: client.handle, destination: server.localAddress, left: 5)
        service.drain()
        var received = DatagramReceiveBatch()
        try Loopback.receive(5, from: server.handle, into: &received)
        let payloads = (0..<5).map { received.payload(of: $0).toArray() }
        #expect(payloads == [[5], [4], [3], [2], [1]])
    }

    @Test(arguments: [Loopback.v4, Loopback.v6])
    func `the traffic class travels with a datagram`(address: SocketAddress) throws {
        var options = UDPSocket.Options()
        options.reportsTrafficClass = true
        let server = try UDPSocket(boundTo: address, options: options)
        let client = try UDPSocket(boundTo: address)
        var sends = DatagramSendBatch()
        var route = DatagramRoute(client.handle, to: server.localAddress)
        for value: UInt8 in [0, 0xB8, 0x02] {
            route.trafficClass = value
            _ = sends.enqueue(copying: [1].span, on: route)
        }
        sends.flush()
        var received = DatagramReceiveBatch()
        try Loopback.receive(3, from: server.handle, into: &received)
        let classes = (0..<3).map { received.trafficClass(of: $0) }
        #expect(classes == [0, 0xB8, 0x02])
    }

    @Test(arguments: [Loopback.v4, Loopback.v6])
    func `the hop limit travels with a datagram`(address: SocketAddress) throws {
        var options = UDPSocket.Options()
        options.reportsHopLimit = true
        options.reportsTrafficClass = true
        options.reportsLocalAddress = true
        let server = try UDPSocket(boundTo: address, options: options)
        let client = try UDPSocket(boundTo: address)
        var sends = DatagramSendBatch()
        var route = DatagramRoute(client.handle, to: server.localAddress, from: address.ip)
        for value: UInt8 in [1, 37, 255] {
            route.hopLimit = value
            route.trafficClass = value & 0xFC
            _ = sends.enqueue(copying: [1].span, on: route)
        }
        sends.flush()
        var received = DatagramReceiveBatch()
        try Loopback.receive(3, from: server.handle, into: &received)
        let hops = (0..<3).map { received.hopLimit(of: $0) }
        let classes = (0..<3).map { received.trafficClass(of: $0) }
        let destinations = (0..<3).map { received.destination(of: $0).ip }
        #expect(hops == [1, 37, 255] && classes == [0, 36, 252])
        #expect(destinations == Array(repeating: address.ip, count: 3))
    }

    @Test func `a port in use is named in the error, with advice`() throws {
        let socket = try UDPSocket(boundTo: Loopback.v4)
        let port = socket.localAddress.port
        let expected = SocketError(.listen(.udp), at: socket.localAddress, number: 98)
        #expect(throws: expected) { _ = try UDPSocket(boundTo: socket.localAddress) }
        #expect(expected.isAddressInUse)
        #expect("\(expected)" == "cannot listen on UDP 127.0.0.1:\(port): address already in use")
        #expect(expected.advice?.contains("choose another port") == true)
        #expect(throws: SocketError.self) { try UDPSocket.checkAvailable(socket.localAddress) }
        let missing = Loopback.address("192.0.2.1", port: 4000)
        #expect(throws: SocketError(.listen(.udp), at: missing, number: 99)) { _ = try UDPSocket(boundTo: missing) }
        var options = UDPSocket.Options()
        options.allowsMissingAddress = true
        #expect(throws: Never.self) { _ = try UDPSocket(boundTo: missing, options: options) }
    }

    @Test func `sockets that reuse a port share it, and an exclusive one does not`() throws {
        var options = UDPSocket.Options()
        options.reusesPort = true
        let first = try UDPSocket(boundTo: Loopback.v4, options: options)
        let second = try UDPSocket(boundTo: first.localAddress, options: options)
        let (one, two) = (first.localAddress, second.localAddress)
        #expect(one == two)
        #expect(throws: SocketError.self) { try UDPSocket.checkAvailable(one) }
    }

    @Test func `granted buffer sizes are told and path MTU discovery can change`() throws {
        var options = UDPSocket.Options()
        options.receiveBufferBytes = 65_536
        options.sendBufferBytes = 32_768
        options.pathMTUDiscovery = .fragment
        let socket = try UDPSocket(boundTo: Loopback.v6, options: options)
        let sizes = (socket.receiveBufferBytes, socket.sendBufferBytes)
        #expect(sizes == (65_536, 32_768))
        try socket.setPathMTUDiscovery(.probe)
    }

    @Test func `the interfaces include the loopback`() throws {
        let interfaces = try NetworkInterfaces.list()
        let loopback = try #require(interfaces.first { $0.address == .loopback(.ipv4) })
        #expect(loopback.isLoopback && loopback.isUp && loopback.prefixLength == 8 && loopback.name == "lo")
        #expect(loopback.index > 0)
    }
}

/// A service as drivers are written: engine and batch side by side in one struct.
private struct CountingService: ~Copyable {
    var socket: UDPSocketHandle
    var destination: SocketAddress
    var left: UInt8
    var sends = DatagramSendBatch(capacity: 2)

    init(socket: UDPSocketHandle, destination: SocketAddress, left: UInt8) {
        self.socket = socket
        self.destination = destination
        self.left = left
    }

    mutating func drain() {
        while true {
            let result = sends.enqueue(maximumCount: 1500) { output in
                guard left > 0 else { return nil }
                output.append(left)
                left -= 1
                return DatagramRoute(socket, to: destination)
            }
            if result == .nothing { break }
            if result == .full { sends.flush() }
        }
        sends.flush()
    }
}
