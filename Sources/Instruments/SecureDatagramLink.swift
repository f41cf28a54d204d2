import Bytes
import Crypto
import EventLoop
import NetTypes
import Transport

/// DTLS to one server.
final class SecureDatagramLink: Link {
    private var connection: DTLSConnection
    private let server: SocketAddress
    /// Messages that wait for the handshake; what comes beyond is lost, and sent again as over UDP.
    private var waiting: [[UInt8]] = []
    let wantsWrite = false

    init(to server: SocketAddress, _ context: DTLSContext, serverName: String) throws(SocketError) {
        var options = UDPSocket.Options()
        options.receiveBufferBytes = 1 << 20
        let socket = try UDPSocket(boundTo: SocketAddress(.unspecified(server.family), port: 0), options: options)
        let session = DTLSSession(client: context, serverName: serverName, at: MonotonicClock.now())
        connection = DTLSConnection(socket, to: server, session: session)
        self.server = server
    }

    deinit { connection.close() }

    var descriptor: Int32 { connection.descriptor }
    var isReady: Bool { connection.isEstablished }
    var nextTimeout: Instant? { connection.nextTimeout }

    var failure: String? {
        if let failure = connection.failure { return "\(failure)" }
        return connection.hasEnded ? "the server ended the association" : nil
    }

    func send(_ message: Span<UInt8>) {
        if connection.isEstablished {
            _ = connection.send(message)
        } else if waiting.count < 16 {
            waiting.append(message.toArray())
        }
    }

    func flush() {
        connection.handleTimeout(at: MonotonicClock.now())
        guard connection.isEstablished, !waiting.isEmpty else { return }
        for message in waiting { _ = connection.send(message.span) }
        waiting = []
    }

    func receive(_ body: (Span<UInt8>, SocketAddress) -> Void) {
        connection.receive(at: MonotonicClock.now()) { body($0, server) }
        flush()
    }
}
