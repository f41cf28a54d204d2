import Bytes
import Crypto
import EventLoop
import NetTypes
import TURN
import Transport

// The one place of this module that knows sockets and the clock. A tool that asks one question at a time may wait where
// a server must not: everything here blocks, until a deadline.

/// One message that came, and from where.
struct Arrival: Sendable {
    let bytes: [UInt8]
    let source: SocketAddress
}

/// A client's way to the server.
protocol Wire: AnyObject {
    /// Our end.
    var local: SocketAddress { get }
    /// Whether the server has closed it.
    var isClosed: Bool { get }
    /// Sends bytes as they are: one datagram, or a piece of a stream.
    func send(_ bytes: [UInt8])
    /// Waits for the next whole message; `nil` if none came until the deadline.
    func receive(until deadline: Instant) -> Arrival?
}

/// Why a way could not be opened.
struct WireFailure: Error {
    let reason: String
}

/// A UDP socket: of a client, or of a peer.
final class DatagramWire: Wire {
    private let socket: UDPSocket
    private let remote: SocketAddress?
    private let poller: Poller
    private var events = PollEvents(capacity: 4)
    private var received = DatagramReceiveBatch(capacity: 8, payloadCapacity: 4096)
    private var outgoing = DatagramSendBatch(capacity: 8)
    private var waiting: [Arrival] = []

    /// Opens a socket at `local`; a client's sends to `remote`.
    init(at local: SocketAddress, to remote: SocketAddress? = nil) throws(WireFailure) {
        do {
            socket = try UDPSocket(boundTo: local)
            poller = try Poller()
            try poller.add(socket.descriptor, token: 0, interest: .read)
        } catch {
            throw WireFailure(reason: "\(error)")
        }
        self.remote = remote
    }

    var local: SocketAddress { socket.localAddress }
    var isClosed: Bool { false }

    func send(_ bytes: [UInt8]) {
        if let remote { send(bytes, to: remote) }
    }

    func send(_ bytes: [UInt8], to destination: SocketAddress) {
        _ = outgoing.enqueue(copying: bytes.span, on: DatagramRoute(socket.handle, to: destination))
        outgoing.flush()
    }

    func receive(until deadline: Instant) -> Arrival? {
        while waiting.isEmpty {
            guard (try? poller.wait(until: deadline, into: &events)) != nil else { return nil }
            let range = received.receive(from: socket.handle)
            for index in range {
                let bytes = received.payload(of: index).toArray()
                waiting.append(Arrival(bytes: bytes, source: received.source(of: index)))
            }
            received.removeAll()
            if waiting.isEmpty, MonotonicClock.now() >= deadline { return nil }
        }
        return waiting.removeFirst()
    }
}

/// A TCP connection, plain or with TLS.
final class StreamWire: Wire {
    private var connection: StreamConnection
    private let poller: Poller
    private var events = PollEvents(capacity: 4)
    private var buffer: [UInt8] = []
    private(set) var isClosed = false
    let local: SocketAddress
    private let remote: SocketAddress

    /// Connects and, with a context, completes the handshake.
    init(
        at local: SocketAddress?,
        to remote: SocketAddress,
        tls: TLSContext?,
        serverName: String,
        until deadline: Instant
    ) throws(WireFailure) {
        self.remote = remote
        do {
            let socket = try TCPSocket(connectingTo: remote, from: local)
            let descriptor = socket.descriptor
            self.local = socket.localAddress
            if let tls {
                connection = StreamConnection(socket, tls: TLSSession(client: tls, serverName: serverName))
            } else {
                connection = StreamConnection(socket)
            }
            poller = try Poller()
            try poller.add(descriptor, token: 0, interest: [.read, .write])
        } catch {
            throw WireFailure(reason: "\(error)")
        }
        while true {
            connection.flush()
            // Asked before waiting: once it stands, nothing else may come.
            if connection.isEstablished { break }
            wait(until: deadline)
            readSome()
            if let failure = connection.failure { throw WireFailure(reason: "\(failure)") }
            guard !isClosed else { throw WireFailure(reason: "the server closed the connection") }
            guard MonotonicClock.now() < deadline else { throw WireFailure(reason: "no connection in time") }
        }
    }

    func send(_ bytes: [UInt8]) {
        _ = connection.write(bytes.span)
        let deadline = MonotonicClock.now() + .seconds(1)
        while connection.wantsWrite, MonotonicClock.now() < deadline {
            wait(until: deadline)
            connection.flush()
        }
    }

    func receive(until deadline: Instant) -> Arrival? {
        while true {
            switch StreamFraming().frame(at: buffer.span) {
            case .stun(let count), .channelData(let count):
                let frame = Array(buffer.prefix(count))
                buffer.removeFirst(count)
                return Arrival(bytes: frame, source: remote)
            case .broken:
                // What cannot be framed is handed over as it is: the rule finds that it is no message.
                defer { buffer = [] }
                return Arrival(bytes: buffer, source: remote)
            case .needMore: break
            }
            guard !isClosed else { return nil }
            if MonotonicClock.now() >= deadline, !connection.hasUnreadBytes { return nil }
            if !connection.hasUnreadBytes { wait(until: deadline) }
            readSome()
        }
    }

    private func wait(until deadline: Instant) {
        let interest: Interest = connection.wantsWrite ? [.read, .write] : .read
        try? poller.modify(connection.descriptor, token: 0, interest: interest)
        try? poller.wait(until: deadline, into: &events)
    }

    private func readSome() {
        let piece = [UInt8](capacity: 16_384) { output in
            switch connection.read(into: &output) {
            case .bytes, .wouldBlock: break
            case .closed, .failed: isClosed = true
            }
        }
        buffer += piece
        if connection.wantsWrite { connection.flush() }
    }
}
