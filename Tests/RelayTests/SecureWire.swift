import Bytes
import Crypto
import EventLoop
import NetTypes
import ServiceTestSupport
import Testing
import Transport

/// A client's DTLS association.
final class SecureWire: Wire {
    private var connection: DTLSConnection
    private let poller: Poller
    private var events = PollEvents(capacity: 1)
    private var messages: [[UInt8]] = []

    /// Completes the handshake.
    init(to server: SocketAddress, _ context: DTLSContext, serverName: String = "localhost") throws {
        let session = DTLSSession(client: context, serverName: serverName, at: MonotonicClock.now())
        let socket = try UDPSocket(boundTo: SocketAddress(.loopback(server.family), port: 0))
        connection = DTLSConnection(socket, to: server, session: session)
        poller = try Poller()
        try poller.add(connection.descriptor, token: 0, interest: .read)
        let deadline = MonotonicClock.now() + StreamClient.patience
        while !connection.isEstablished {
            if let failure = connection.failure { throw failure }
            guard MonotonicClock.now() < deadline else { throw ClientError.timeout }
            try turn(until: deadline)
        }
    }

    deinit { connection.close() }

    var localAddress: SocketAddress { connection.localAddress }

    func send(_ bytes: [UInt8]) {
        let isSent = connection.send(bytes.span)
        #expect(isSent)
    }

    /// The next message; `nil` when the server has ended the association.
    func receive() throws -> [UInt8]? {
        let deadline = MonotonicClock.now() + StreamClient.patience
        while messages.isEmpty {
            if connection.hasEnded { return nil }
            guard MonotonicClock.now() < deadline else { throw ClientError.timeout }
            try turn(until: deadline)
        }
        return messages.removeFirst()
    }

    func close() { connection.close() }

    private func turn(until deadline: Instant) throws {
        try poller.wait(until: min(deadline, connection.nextTimeout ?? .distantFuture), into: &events)
        connection.receive(at: MonotonicClock.now()) { messages.append($0.toArray()) }
        connection.handleTimeout(at: MonotonicClock.now())
    }
}
