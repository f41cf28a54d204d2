import Bytes
import EventLoop
import NetTypes
import Testing

@testable import Transport

enum RingSystem {
    static let isAllowed: Bool = {
        do throws(SystemError) {
            _ = try DatagramReceiveBatch(ringOf: 8)
            return true
        } catch {
            return false
        }
    }()
}

/// A socket that tells all that it can, in a ring of its own.
struct RingEnd: ~Copyable {
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

/// Sends payloads by the ring, so many with each flush.
func sendByRing(
    _ payloads: [[UInt8]],
    from socket: UDPSocketHandle,
    to destination: SocketAddress,
    atOnce: Int = 256
) {
    var sends = DatagramSendBatch(usesRing: true)
    let usesRing = sends.usesRing
    #expect(usesRing)
    var route = DatagramRoute(socket, to: destination)
    route.trafficClass = 0x2D
    route.hopLimit = 9
    for (index, payload) in payloads.enumerated() {
        if index % atOnce == 0 { sends.flush() }
        let isQueued = sends.enqueue(copying: payload.span, on: route)
        #expect(isQueued)
    }
    sends.flush()
    let sent = (sends.sentDatagrams, sends.sentBytes)
    #expect(sent == (UInt64(payloads.count), payloads.reduce(0) { $0 + UInt64($1.count) }))
}
