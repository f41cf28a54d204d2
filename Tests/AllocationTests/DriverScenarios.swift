import Bytes
import EventLoop
import Glibc
import NetTypes
import Transport

// What the drivers cost over real sockets on the loopback interface.
let driverScenarios = [
    Scenario("Poller: a wait that brings an event, and one that does not") {
        let poller = try Poller()
        let mailbox = try Mailbox<UInt64>(limit: 64)
        try poller.add(mailbox.descriptor, token: 1, interest: .read)
        var events = PollEvents(capacity: 8)
        var batch: [UInt64] = []
        return try blocksPerOperation { index in
            _ = mailbox.push(UInt64(index))
            try poller.wait(until: nil, into: &events)
            guard events.count == 1, events[0].isReadable else { throw SetupError("An event is missing.") }
            batch.removeAll(keepingCapacity: true)
            mailbox.receive(into: &batch)
            try poller.wait(until: .zero, into: &events)
        }
    },
    Scenario("datagram batches: 16 datagrams sent, received and sent back") {
        var first = try DatagramEnd()
        var second = try DatagramEnd()
        let payload = [UInt8](repeating: 7, count: 200)
        return try blocksPerOperation(500) { _ in
            first.send(payload, count: 16, to: second.address)
            second.sendBack(try second.receive(atLeast: 16))
            _ = try first.receive(atLeast: 16)
        }
    },
    // The shard publishes a snapshot twice a second, and its thread and the clock are not ours: not exactly 0.
    Scenario("relay service over UDP: a datagram relayed, with sockets", budget: 0.05) {
        var world = try ServiceWorld()
        return try world.blocksPerDatagram()
    },
    Scenario("relay service over UDP with io_uring where it is allowed: a datagram relayed", budget: 0.05) {
        var world = try ServiceWorld(backEnd: .automatic)
        return try world.blocksPerDatagram()
    },
    Scenario("relay service over UDP with sk_lookup, as root: a datagram relayed", budget: 0.05) {
        var world = try ServiceWorld(backEnd: geteuid() == 0 ? .socketLookup : .epoll)
        return try world.blocksPerDatagram()
    },
    // OpenSSL's blocks and those of the client's own session, which is in this process, are counted too.
    Scenario("relay service over DTLS: a datagram relayed, with sockets and the client's session", budget: 0.05) {
        var world = try ServiceWorld(isSecure: true)
        return try world.blocksPerDatagram()
    },
]

/// A UDP socket on the loopback interface with its batches.
struct DatagramEnd: ~Copyable {
    private let socket: UDPSocket
    private let poller: Poller
    private var events: PollEvents
    private(set) var packets: DatagramReceiveBatch
    private var sends: DatagramSendBatch

    init() throws {
        var options = UDPSocket.Options()
        options.receiveBufferBytes = 1 << 20
        let socket = try UDPSocket(boundTo: SocketAddress(.loopback(.ipv4), port: 0), options: options)
        let poller = try Poller()
        try poller.add(socket.descriptor, token: 1, interest: .read)
        self.socket = socket
        self.poller = poller
        events = PollEvents(capacity: 4)
        packets = DatagramReceiveBatch(capacity: 64)
        sends = DatagramSendBatch(capacity: 64)
    }

    var address: SocketAddress { socket.localAddress }

    mutating func send(_ bytes: [UInt8], count: Int = 1, to destination: SocketAddress) {
        let route = DatagramRoute(socket.handle, to: destination)
        for _ in 0..<count { _ = sends.enqueue(copying: bytes.span, on: route) }
        sends.flush()
    }

    /// Receives until so many datagrams have come; empties the batch of what was there before.
    ///
    /// - Throws: `SetupError` if they do not come within two seconds.
    mutating func receive(atLeast count: Int) throws -> Range<Int> {
        packets.removeAll()
        let deadline = MonotonicClock.now() + .seconds(2)
        while packets.count < count {
            try poller.wait(until: deadline, into: &events)
            _ = packets.receive(from: socket.handle)
            if MonotonicClock.now() > deadline {
                throw SetupError("Only \(packets.count) of \(count) datagrams came.")
            }
        }
        return 0..<packets.count
    }

    /// Sends received datagrams to where they came from.
    mutating func sendBack(_ indices: Range<Int>) {
        for index in indices {
            let route = DatagramRoute(socket.handle, to: packets.source(of: index))
            _ = sends.enqueue(packet: index, bytes: packets.payloadRange(of: index), of: packets, on: route)
        }
        sends.flush(referringTo: packets)
    }
}
