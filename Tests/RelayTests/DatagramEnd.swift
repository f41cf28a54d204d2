import Bytes
import EventLoop
import NetTypes
import ServiceTestSupport
import Testing
import Transport

/// A UDP socket on a loopback address: a peer, or what a client speaks through.
final class DatagramEnd {
    private let socket: UDPSocket
    private let poller: Poller
    private var incoming = DatagramReceiveBatch(capacity: 1, payloadCapacity: 65536)
    private var outgoing = DatagramSendBatch(capacity: 1, copyBytes: 65536)

    init(on address: IPAddress = .loopback(.ipv4)) throws {
        socket = try UDPSocket(boundTo: SocketAddress(address, port: 0))
        poller = try Poller()
        try poller.add(socket.descriptor, token: 0, interest: .read)
    }

    var localAddress: SocketAddress { socket.localAddress }

    func send(_ bytes: [UInt8], to destination: SocketAddress) {
        let isTaken = outgoing.enqueue(copying: bytes.span, on: DatagramRoute(socket.handle, to: destination))
        #expect(isTaken, "the datagram is longer than any")
        outgoing.flush()
    }

    func receive() throws -> (bytes: [UInt8], source: SocketAddress) {
        let deadline = MonotonicClock.now() + StreamClient.patience
        var events = PollEvents(capacity: 1)
        while true {
            incoming.removeAll()
            if !incoming.receive(from: socket.handle).isEmpty {
                return (incoming.payload(of: 0).toArray(), incoming.source(of: 0))
            }
            guard MonotonicClock.now() < deadline else { throw ClientError.timeout }
            try poller.wait(until: deadline, into: &events)
        }
    }
}

/// What a client's messages travel by.
protocol Wire: AnyObject {
    var localAddress: SocketAddress { get }
    func send(_ bytes: [UInt8]) throws
    /// The next whole message; `nil` at the end.
    func receive() throws -> [UInt8]?
}

final class DatagramWire: Wire {
    private let end: DatagramEnd
    private let server: SocketAddress

    init(to server: SocketAddress) throws {
        self.server = server
        end = try DatagramEnd(on: .loopback(server.family))
    }

    var localAddress: SocketAddress { end.localAddress }

    func send(_ bytes: [UInt8]) { end.send(bytes, to: server) }

    func receive() throws -> [UInt8]? {
        let (bytes, source) = try end.receive()
        #expect(source == server, "the answer comes from where the request went")
        return bytes
    }
}

/// Cuts messages out of a stream (RFC 8656 §12.5), by itself and not by the code under test.
final class StreamWire: Wire {
    let stream: StreamClient
    private var unread: [UInt8] = []

    init(_ stream: StreamClient) { self.stream = stream }

    var localAddress: SocketAddress { stream.localAddress }

    func send(_ bytes: [UInt8]) throws {
        try stream.send(bytes + Array(repeating: 0, count: -bytes.count & 3))
    }

    func receive() throws -> [UInt8]? {
        while true {
            if let message = cut() { return message }
            guard let more = try stream.receive() else { return nil }
            unread += more
        }
    }

    private func cut() -> [UInt8]? {
        guard unread.count >= 4 else { return nil }
        let length = Int(unread[2]) << 8 | Int(unread[3])
        let count = unread[0] < 0x40 ? 20 + length : 4 + length
        let padded = (count + 3) & ~3
        guard unread.count >= padded else { return nil }
        defer { unread.removeFirst(padded) }
        return Array(unread[..<count])
    }
}
