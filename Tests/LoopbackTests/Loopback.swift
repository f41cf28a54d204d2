import EventLoop
import NetTypes
import Testing

@testable import Transport

/// Addresses of this host, and waiting without sleeping.
enum Loopback {
    static func address(_ text: String, port: UInt16 = 0) -> SocketAddress {
        SocketAddress(IPAddress(text) ?? .unspecified(.ipv4), port: port)
    }

    static let v4 = address("127.0.0.1")
    static let v6 = address("::1")

    /// Waits until a descriptor is ready; ten seconds mean that it never will be.
    static func wait(_ descriptor: Int32, for interest: Interest = .read) throws {
        let poller = try Poller()
        var events = PollEvents(capacity: 1)
        try poller.add(descriptor, token: 0, interest: interest)
        let deadline = MonotonicClock.now() + .seconds(10)
        while events.count == 0, MonotonicClock.now() < deadline { try poller.wait(until: deadline, into: &events) }
        let count = events.count
        try #require(count == 1, "nothing arrived within ten seconds")
    }

    /// Receives until the batch holds `count` datagrams.
    static func receive(_ count: Int, from socket: UDPSocketHandle, into batch: inout DatagramReceiveBatch) throws {
        while batch.count < count {
            try wait(socket.descriptor)
            _ = batch.receive(from: socket)
        }
    }
}

/// Bytes that differ from datagram to datagram and from place to place.
func pattern(_ seed: Int, count: Int) -> [UInt8] {
    (0..<count).map { UInt8(truncatingIfNeeded: seed &* 31 &+ $0 &* 7) }
}
