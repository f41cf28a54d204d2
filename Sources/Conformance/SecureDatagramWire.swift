import Bytes
import Crypto
import EventLoop
import NetTypes
import Transport

/// A DTLS association with the server.
final class SecureDatagramWire: Wire {
    private var connection: DTLSConnection
    private let poller: Poller
    private var events = PollEvents(capacity: 4)
    private var waiting: [Arrival] = []
    private let remote: SocketAddress

    /// Completes the handshake; the certificate is not verified.
    init(
        at local: SocketAddress,
        to remote: SocketAddress,
        serverName: String,
        until deadline: Instant
    ) throws(WireFailure) {
        self.remote = remote
        do {
            let context = try DTLSContext(clientTrust: .anything)
            let session = DTLSSession(client: context, serverName: serverName, at: MonotonicClock.now())
            connection = DTLSConnection(try UDPSocket(boundTo: local), to: remote, session: session)
            poller = try Poller()
            try poller.add(connection.descriptor, token: 0, interest: .read)
        } catch {
            throw WireFailure(reason: "\(error)")
        }
        while !connection.isEstablished {
            turn(until: deadline)
            if let failure = connection.failure { throw WireFailure(reason: "\(failure)") }
            guard MonotonicClock.now() < deadline else { throw WireFailure(reason: "no DTLS handshake in time") }
        }
    }

    deinit { connection.close() }

    var local: SocketAddress { connection.localAddress }
    var isClosed: Bool { connection.hasEnded || connection.failure != nil }

    func send(_ bytes: [UInt8]) { _ = connection.send(bytes.span) }

    func receive(until deadline: Instant) -> Arrival? {
        while waiting.isEmpty {
            turn(until: deadline)
            if waiting.isEmpty, isClosed || MonotonicClock.now() >= deadline { return nil }
        }
        return waiting.removeFirst()
    }

    private func turn(until deadline: Instant) {
        try? poller.wait(until: min(deadline, connection.nextTimeout ?? .distantFuture), into: &events)
        let now = MonotonicClock.now()
        connection.receive(at: now) { waiting.append(Arrival(bytes: $0.toArray(), source: remote)) }
        connection.handleTimeout(at: now)
    }
}
