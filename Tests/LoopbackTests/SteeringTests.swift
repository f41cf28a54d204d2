import Bytes
import NetTypes
import Testing

@testable import Transport

/// Requests and data of one port on sockets of their own.
@Suite struct SteeringTests {
    /// The first bytes of what counts as a request: STUN's, and a DTLS handshake's.
    private static let requests: [[UInt8]] = [
        [0, 1, 0, 0] + cookie, [0, 3, 0, 8] + cookie, [0, 0x11, 0, 0] + cookie, [0, 6, 0, 0] + cookie,
        [0, 0x17, 0, 0] + cookie, [20, 254, 253, 0, 0, 0, 0, 0], [22, 254, 253, 0, 0, 0, 0, 0, 0],
    ]
    /// Those of Send indications.
    private static let sends: [[UInt8]] = [[0, 0x16, 0, 0] + cookie, [0, 0x16, 0, 8] + cookie + [1, 2, 3]]
    private static let cookie: [UInt8] = [0x21, 0x12, 0xA4, 0x42]
    /// ChannelData, DTLS records with data, noise, STUN without the cookie; and what is too short to be anything.
    private static let data: [[UInt8]] = [
        [0x40, 0, 0, 1, 1], [0x4F, 0xFF], [23, 254, 253, 0, 0, 0, 0, 0], [0xFF, 0xFF, 0xFF], [], [1], [0, 1, 0, 0],
        [0x40, 0, 0, 8, 0x21, 0x12, 0xA4, 0x42, 9], [0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x43],
        [0, 0x16, 0, 0, 0x21, 0x12, 0xA4, 0x43], [0, 0x16],
    ]

    @Test(arguments: [Loopback.v4, Loopback.v6])
    func `each client has one thread, with sockets for data, for requests and for Send indications`(
        address: SocketAddress
    ) throws {
        let threads = 3
        var options = UDPSocket.Options()
        options.reusesPort = true
        let first = try UDPSocket(boundTo: address, options: options)
        let isSteered = first.steer(threads: threads, seed: 7)
        #expect(isSteered)
        var others = SlotPool<UDPSocket>(limit: 8)
        var sockets = [first.handle]
        for number in 1..<9 {
            let socket = try UDPSocket(boundTo: first.localAddress, options: options)
            if number % 3 == 0 {
                let isSteeredAgain = socket.steer(threads: threads, seed: 7)
                #expect(isSteeredAgain, "every thread may say so")
            }
            sockets.append(socket.handle)
            _ = others.insert(socket)
        }
        let clients = 40
        // All at once: the system would give the port of one that is closed to another.
        var open = SlotPool<UDPSocket>(limit: clients)
        for _ in 0..<clients {
            let client = try UDPSocket(boundTo: address)
            var sends = DatagramSendBatch()
            for bytes in Self.requests + Self.sends + Self.data {
                let isQueued = sends.enqueue(
                    copying: bytes.span,
                    on: DatagramRoute(client.handle, to: first.localAddress)
                )
                #expect(isQueued)
                // One by one: what leaves as one piece is told by its first datagram.
                sends.flush()
            }
            _ = open.insert(client)
        }
        var threadsOfClients: [SocketAddress: Set<Int>] = [:]
        var isEverywhere: Set<Int> = []
        for (index, socket) in sockets.enumerated() {
            var batch = DatagramReceiveBatch(capacity: 1024)
            while batch.receive(from: socket).count > 0 {}
            for position in 0..<batch.count {
                let bytes = batch.payload(of: position).toArray()
                #expect([Self.data, Self.requests, Self.sends][index % 3].contains(bytes))
                threadsOfClients[batch.source(of: position), default: []].insert(index / 3)
                isEverywhere.insert(index)
            }
        }
        #expect(threadsOfClients.count == clients && threadsOfClients.values.allSatisfy { $0.count == 1 })
        #expect(isEverywhere.count == 9, "forty clients are spread over all threads")
        let (openCount, otherCount) = (open.count, others.count)
        #expect(openCount == clients && otherCount == 8)
    }

    @Test func `a socket that shares its port with nobody cannot be steered`() throws {
        let socket = try UDPSocket(boundTo: Loopback.v4)
        let isSteered = socket.steer(threads: 1, seed: 1)
        #expect(!isSteered)
    }
}
