import Bytes
public import Crypto
import NetTypes
import STUN
import TURN
import Transport

/// How a server's certificate is judged.
public struct TLSChoice: Sendable {
    /// The context for the connection.
    public enum Context: Sendable {
        /// TLS over TCP.
        case tls(TLSContext)
        /// DTLS over UDP.
        case dtls(DTLSContext)
    }

    /// The context for the connection.
    public let context: Context
    /// The name that the certificate must be for.
    public let serverName: String

    /// Makes a choice.
    public init(_ context: Context, serverName: String) {
        self.context = context
        self.serverName = serverName
    }
}

/// A way to a server that carries whole STUN and ChannelData messages, over whatever transport.
protocol Link: AnyObject {
    var descriptor: Int32 { get }
    /// Whether the poller should tell when more can be written.
    var wantsWrite: Bool { get }
    /// Whether messages leave at once: connected, and TLS agreed upon.
    var isReady: Bool { get }
    /// When `flush` has something to do though nothing has come.
    var nextTimeout: Instant? { get }
    /// Why nothing comes any more.
    var failure: String? { get }
    /// Sends a message, or keeps it until the connection stands.
    func send(_ message: Span<UInt8>)
    /// Gives the kernel what waits.
    func flush()
    /// Hands over what has come: whole messages with their source.
    func receive(_ body: (Span<UInt8>, SocketAddress) -> Void)
    /// Ends a connection that does not work any more, at once and with RST (RFC 8489 §6.2.2).
    func reset()
}

extension Link {
    var nextTimeout: Instant? { nil }
    func reset() {}
}

/// Datagrams to one server.
final class DatagramLink: Link {
    private let socket: UDPSocket
    private let server: SocketAddress
    private var incoming = DatagramReceiveBatch(capacity: 64, payloadCapacity: 4096)
    private var outgoing = DatagramSendBatch(capacity: 256)
    let failure: String? = nil
    let wantsWrite = false
    let isReady = true

    init(to server: SocketAddress) throws(SocketError) {
        var options = UDPSocket.Options()
        options.receiveBufferBytes = 1 << 20
        socket = try UDPSocket(boundTo: SocketAddress(.unspecified(server.family), port: 0), options: options)
        self.server = server
    }

    var descriptor: Int32 { socket.descriptor }

    func send(_ message: Span<UInt8>) {
        let route = DatagramRoute(socket.handle, to: server)
        if outgoing.enqueue(copying: message, on: route) { return }
        outgoing.flush()
        _ = outgoing.enqueue(copying: message, on: route)
    }

    func flush() { outgoing.flush() }

    func receive(_ body: (Span<UInt8>, SocketAddress) -> Void) {
        for index in incoming.receive(from: socket.handle) where !incoming.isTruncated(index) {
            body(incoming.payload(of: index), incoming.source(of: index))
        }
        incoming.removeAll()
    }
}

/// A TCP or TLS connection to one server.
final class StreamLink: Link {
    private var connection: StreamConnection
    private let server: SocketAddress
    private let framing = StreamFraming()
    private var waiting: [UInt8] = []
    private var unread: [UInt8] = []
    private(set) var failure: String?
    /// Whether what comes is no STUN any more, but a peer's bytes (RFC 6062 §4.5).
    var isRaw = false

    init(
        to server: SocketAddress,
        tls: (context: TLSContext, serverName: String)? = nil,
        from source: SocketAddress? = nil
    ) throws(SocketError) {
        let socket = try TCPSocket(connectingTo: server, from: source)
        if let tls {
            let session = TLSSession(client: tls.context, serverName: tls.serverName)
            connection = StreamConnection(socket, tls: session, outputLimit: 1 << 20)
        } else {
            connection = StreamConnection(socket, outputLimit: 1 << 20)
        }
        self.server = server
    }

    var descriptor: Int32 { connection.descriptor }
    var isReady: Bool { connection.isEstablished }
    var wantsWrite: Bool { failure == nil && (connection.wantsWrite || (connection.isEstablished && !waiting.isEmpty)) }

    func send(_ message: Span<UInt8>) {
        // A queue that grows means a peer that does not read: more data would only wait behind it.
        guard waiting.count < 1 << 20 else { return }
        for index in message.indices { waiting.append(message[index]) }
    }

    func flush() {
        guard failure == nil else { return }
        note(connection.flush())
        guard failure == nil, connection.isEstablished, !waiting.isEmpty else { return }
        let result = connection.write(waiting.span)
        if result == .full { return }
        waiting.removeAll(keepingCapacity: true)
        note(result)
    }

    func receive(_ body: (Span<UInt8>, SocketAddress) -> Void) {
        while failure == nil {
            var result = StreamReadResult.wouldBlock
            unread += buildBytes(capacity: 16_384) { output in result = connection.read(into: &output) }
            deliver(body)
            switch result {
            case .bytes: continue
            case .wouldBlock: return
            case .closed: failure = "the server closed the connection"
            case .failed(let reason): failure = "\(reason)"
            }
        }
    }

    private func deliver(_ body: (Span<UInt8>, SocketAddress) -> Void) {
        var start = 0
        while start < unread.count, failure == nil {
            if isRaw {
                let rest = Array(unread[start...])
                body(rest.span, server)
                break
            }
            switch framing.frame(at: unread.span.extracting(droppingFirst: start)) {
            case .needMore:
                unread.removeFirst(start)
                return
            case .stun(let count), .channelData(let count):
                let message = Array(unread[start..<start + count])
                body(message.span, server)
                start += count
            case .broken: failure = "the server sends something else than STUN"
            }
        }
        if isRaw { start = unread.count }
        unread.removeFirst(start)
    }

    func reset() {
        connection.reset()
        failure = "the connection did not work any more"
    }

    private func note(_ result: StreamWriteResult) {
        if case .failed(let reason) = result { failure = "\(reason)" }
    }
}
