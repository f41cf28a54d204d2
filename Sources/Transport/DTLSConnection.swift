public import Crypto
public import NetTypes

/// The client's end of a DTLS association, with the UDP socket that it has to itself; never blocks.
///
/// The owner watches `descriptor` for reading and calls `receive` when it is readable, `handleTimeout` at `nextTimeout`.
/// Datagrams from elsewhere than the server are dropped. `close` says goodbye; the socket closes when its life ends.
public struct DTLSConnection: ~Copyable {
    private let socket: UDPSocket
    private let route: DatagramRoute
    private var session: DTLSSession
    private var incoming = DatagramReceiveBatch(
        capacity: 32,
        payloadCapacity: DTLSSession.maximumMessageByteCount + DTLSSession.overheadByteCount
    )
    private var outgoing = DatagramSendBatch(capacity: 64, copyBytes: 128 * 1024)
    private var plaintext: [UInt8] = []
    private var isClosed = false

    /// Begins a handshake through a socket.
    public init(_ socket: consuming UDPSocket, to server: SocketAddress, session: consuming DTLSSession) {
        route = DatagramRoute(socket.handle, to: server)
        self.socket = socket
        self.session = session
        plaintext.reserveCapacity(DTLSSession.maximumMessageByteCount)
        transmit()
    }

    /// The file descriptor, for a poller; valid while the connection lives.
    public var descriptor: Int32 { socket.descriptor }
    /// Our end.
    public var localAddress: SocketAddress { socket.localAddress }
    /// Whether messages can be sent.
    public var isEstablished: Bool { session.isEstablished && !isClosed && session.failure == nil }
    /// Why the association is over, if it failed.
    public var failure: TLSFailure? { session.failure }
    /// Whether the server has ended the association.
    public private(set) var hasEnded = false
    /// The application protocol that was agreed on (ALPN).
    public var applicationProtocol: String? { session.applicationProtocol }
    /// When `handleTimeout` must be called, `nil` if nothing waits for time to pass.
    public var nextTimeout: Instant? { session.nextTimeout }

    /// Sends a message; `false` before the handshake is complete, at the end, and for one that is too long.
    public mutating func send(_ message: Span<UInt8>) -> Bool {
        guard isEstablished else { return false }
        let isSent = Self.encrypt(message, &session, &outgoing, route)
        outgoing.flush()
        return isSent
    }

    /// Reads what waits, and hands over the messages.
    public mutating func receive(at now: Instant, _ body: (Span<UInt8>) -> Void) {
        let range = incoming.receive(from: socket.handle)
        for index in range where !incoming.isTruncated(index) && incoming.source(of: index) == route.destination {
            var result = Self.decrypt(incoming, index, &session, &plaintext, at: now)
            while case .bytes = result {
                body(plaintext.span)
                plaintext.removeAll(keepingCapacity: true)
                plaintext.append(addingCapacity: DTLSSession.maximumMessageByteCount) {
                    result = session.read(into: &$0)
                }
            }
            if result == .closed { hasEnded = true }
        }
        incoming.removeAll()
        transmit()
    }

    /// Sends again what was lost, or gives up; harmless before `nextTimeout`.
    public mutating func handleTimeout(at now: Instant) {
        session.handleTimeout(at: now)
        transmit()
    }

    /// Tells the server that the association is over.
    public mutating func close() {
        isClosed = true
        session.close()
        transmit()
    }

    private mutating func transmit() {
        while session.hasPendingOutput, Self.transmit(&session, &outgoing, route) == .queued {}
        if !outgoing.isEmpty { outgoing.flush() }
    }

    // These take the parts one by one: a span of one part would otherwise bar access to all others.

    private static func transmit(
        _ session: inout DTLSSession,
        _ outgoing: inout DatagramSendBatch,
        _ route: DatagramRoute
    ) -> EnqueueResult {
        outgoing.enqueue(maximumCount: 2048) { session.pollTransmit(into: &$0) ? route : nil }
    }

    private static func encrypt(
        _ message: Span<UInt8>,
        _ session: inout DTLSSession,
        _ outgoing: inout DatagramSendBatch,
        _ route: DatagramRoute
    ) -> Bool {
        outgoing.enqueue(maximumCount: message.count + DTLSSession.overheadByteCount) {
            session.write(message, into: &$0) ? route : nil
        } == .queued
    }

    private static func decrypt(
        _ incoming: borrowing DatagramReceiveBatch,
        _ index: Int,
        _ session: inout DTLSSession,
        _ plaintext: inout [UInt8],
        at now: Instant
    ) -> TLSReadResult {
        let payload = incoming.payload(of: index)
        var result = TLSReadResult.wouldBlock
        plaintext.removeAll(keepingCapacity: true)
        plaintext.append(addingCapacity: DTLSSession.maximumMessageByteCount) {
            result = session.receive(payload, at: now, into: &$0)
        }
        return result
    }
}
