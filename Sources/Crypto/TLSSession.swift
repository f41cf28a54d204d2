import COpenSSL
import NetTypes

/// What a read from a TLS session brought.
public enum TLSReadResult: Equatable, Sendable {
    /// So many bytes of plaintext were appended, at least one unless there was no room.
    case bytes(Int)
    /// Nothing until more is received.
    case wouldBlock
    /// The peer has closed its direction with `close_notify`: the data was complete.
    case closed
    /// The session is over; what is still to be transmitted is the alert for the peer.
    case failed(TLSFailure)
}

/// One TLS connection without socket and thread: ciphertext and plaintext in, plaintext and ciphertext out.
///
/// After every `receive`, `write` or `close` (and after `init` of a client) drain `pollTransmit`; after every `receive`
/// also `read` until `.wouldBlock`. A driver that cannot take plaintext stops receiving. When the transport ends before
/// `.closed` was read, the data was cut off (RFC 8446 §6.1). The time that a handshake may take is the driver's affair.
///
/// An idle session holds no buffers. May move between threads; only one may use it at a time.
@safe public struct TLSSession: ~Copyable {
    /// How many bytes a peer may send before the handshake is complete.
    public static let handshakeLimit = 65_536
    /// How many received bytes may wait for `read` when more are received.
    public static let unreadLimit = 65_536
    /// How many bytes may wait for transmission for `write` to accept more, with those it is given.
    public static let pendingOutputLimit = 4 << 20

    // OpenSSL's session, owned; nil if there was no memory. The channel is the session's, freed with it.
    private let session: OpaquePointer?
    private let channel: UnsafeMutablePointer<floe_channel>?
    private let context: TLSContext
    private var handshakeByteCount = 0
    private var recordCount = 0
    /// How many records one key of TLS 1.3 may encrypt: a little less than the 2^24.5 of RFC 8446 §5.5.
    var recordsPerKey = 1 << 24

    /// Whether the handshake is complete: `write` works from now on.
    public private(set) var isEstablished = false
    /// Why the session is over, if it failed.
    public private(set) var failure: TLSFailure?
    /// Whether `close` was called.
    public private(set) var isClosed = false

    /// Makes the server's end of a connection, which waits for the client; the context must be a server's.
    public init(server context: TLSContext) {
        precondition(context.role == .server, "a TLS server's session needs a context with identities")
        self.init(context)
        if let session = unsafe session { unsafe SSL_set_accept_state(session) }
    }

    /// Makes the client's end of a connection to `serverName`, a host name or an IP address, and starts the handshake.
    ///
    /// The server's certificate must be for that name, and valid at `unixTime` (seconds since 1970; now if `nil`). A
    /// name that is neither makes a session that has failed. The context must be a client's.
    public init(client context: TLSContext, serverName: String, verifyingAt unixTime: Int64? = nil) {
        precondition(context.role == .client, "a TLS client's session needs a context with trust")
        self.init(context)
        guard let session = unsafe session else { return }
        unsafe SSL_set_connect_state(session)
        guard unsafe expectServer(serverName, at: unixTime, session) else {
            failure = .invalidServerName
            return
        }
        advanceHandshake()
    }

    private init(_ context: TLSContext) {
        OpenSSLErrors.clear()
        self.context = context
        // A peer that lets us answer into a full socket without reading must fail, not fill the memory.
        let session = unsafe SSL_new(context.context)
        unsafe self.session = session
        unsafe channel = session.flatMap { unsafe floe_open_channel($0, Self.method, 65_536) }
        if unsafe channel == nil { failure = .outOfMemory }
    }

    deinit { unsafe SSL_free(session) }

    // MARK: Bytes from and to the transport

    /// Takes ciphertext, in pieces of any size.
    ///
    /// `read` may return plaintext and `pollTransmit` bytes afterwards.
    public mutating func receive(_ ciphertext: Span<UInt8>) {
        guard let channel = unsafe channel, failure == nil else { return }
        guard unsafe floe_queue_count(&channel.pointee.input) <= Self.unreadLimit else {
            return fail(.inputNotRead(limitBytes: Self.unreadLimit))
        }
        // The bytes are copied during the call.
        let isTaken = unsafe ciphertext.withUnsafeBufferPointer {
            unsafe floe_queue_append(&channel.pointee.input, $0.baseAddress, $0.count) == 1
        }
        guard isTaken else { return fail(.outOfMemory) }
        guard !isEstablished else { return }
        handshakeByteCount += ciphertext.count
        advanceHandshake()
        if !isEstablished, failure == nil, handshakeByteCount > Self.handshakeLimit {
            fail(.handshakeTooLarge(limitBytes: Self.handshakeLimit))
        }
    }

    /// Appends ciphertext that is to be sent, as much as there is room for; call until nothing is appended.
    public mutating func pollTransmit(into output: inout OutputSpan<UInt8>) {
        guard let channel = unsafe channel else { return }
        // The take writes at most the free capacity, behind what the span has already.
        unsafe output.withUnsafeMutableBufferPointer { buffer, count in
            guard let start = buffer.baseAddress else { return }
            count += unsafe floe_channel_take(channel, start + count, buffer.count - count)
        }
    }

    /// Whether `pollTransmit` has something to append; also after a failure, when it is the alert.
    public var hasPendingOutput: Bool { pendingOutputByteCount > 0 }

    /// How many bytes wait for `pollTransmit`.
    public var pendingOutputByteCount: Int {
        guard let channel = unsafe channel else { return 0 }
        return unsafe floe_queue_count(&channel.pointee.output)
    }

    // MARK: Bytes from and to the application

    /// Appends plaintext, at most one record's; call until it returns `.wouldBlock`, with room for at least one byte.
    public mutating func read(into output: inout OutputSpan<UInt8>) -> TLSReadResult {
        if let failure { return .failed(failure) }
        guard isEstablished, let session = unsafe session else { return .wouldBlock }
        if let result = unsafe readPlaintext(session, into: &output) { return result }
        fail()
        return failure.map { .failed($0) } ?? .wouldBlock
    }

    /// Encrypts all of `plaintext`, or nothing.
    ///
    /// Returns `false` before the handshake is complete, after `close` or a failure, and when more than
    /// `pendingOutputLimit` bytes would wait: drain `pollTransmit` first.
    public mutating func write(_ plaintext: Span<UInt8>) -> Bool {
        guard isEstablished, !isClosed, failure == nil, let session = unsafe session, let channel = unsafe channel
        else {
            return false
        }
        guard plaintext.count <= Self.pendingOutputLimit - pendingOutputByteCount else { return false }
        guard !plaintext.isEmpty else { return true }
        OpenSSLErrors.clear()
        unsafe changeKeys(beforeRecords: (plaintext.count + 16_383) / 16_384, session)
        unsafe channel.pointee.isWriting = 1
        var written = 0
        // OpenSSL reads the bytes during the call only: the channel takes every record at once.
        let result = unsafe plaintext.withUnsafeBufferPointer {
            unsafe SSL_write_ex(session, $0.baseAddress, $0.count, &written)
        }
        unsafe channel.pointee.isWriting = 0
        guard result == 1, written == plaintext.count else {
            fail()
            return false
        }
        return true
    }

    /// Closes our direction with `close_notify`; what the peer sends can be read until it closes its own.
    public mutating func close() {
        guard !isClosed else { return }
        isClosed = true
        guard isEstablished, failure == nil, let session = unsafe session else { return }
        unsafe sayClosed(session)
    }

    // MARK: What was agreed

    /// The application protocol that was agreed on (ALPN), one of the context's.
    public var applicationProtocol: String? {
        isEstablished ? unsafe selectedProtocol(session, of: context) : nil
    }

    /// The server name that the client asked for, in lower case; `nil` if it asked for none or not for a host name.
    public var serverName: String? { unsafe requestedServerName(session) }

    /// The version that was agreed on.
    public var version: TLSVersion? {
        isEstablished ? unsafe TLSVersion(rawValue: Int(SSL_version(session))) : nil
    }

    /// The registered name of the cipher suite that was agreed on.
    public var cipherSuite: String? { isEstablished ? unsafe agreedCipherSuite(session) : nil }

    // MARK: Inside

    // Made once, never freed, never changed.
    nonisolated(unsafe) private static let method = unsafe floe_bio_method()

    private mutating func advanceHandshake() {
        guard let session = unsafe session else { return }
        switch unsafe continueHandshake(session) {
        case .waits: break
        case .isComplete: isEstablished = true
        case .hasFailed: fail()
        }
    }

    /// Lets the next record be preceded by a KeyUpdate when the key has encrypted enough.
    private mutating func changeKeys(beforeRecords count: Int, _ session: OpaquePointer) {
        recordCount += count
        guard recordCount > recordsPerKey, version == .tls13 else { return }
        recordCount = count
        unsafe SSL_key_update(session, SSL_KEY_UPDATE_NOT_REQUESTED)
    }

    /// Ends the session for what OpenSSL's error queue tells.
    private mutating func fail() {
        guard let session = unsafe session, let channel = unsafe channel else { return }
        let failure = unsafe TLSFailure(takingErrorsOf: session, isEstablished: isEstablished)
        fail(unsafe channel.pointee.hasOverflowed == 0 ? failure : .outputOverflow)
    }

    private mutating func fail(_ reason: TLSFailure) {
        failure = reason
        if let channel = unsafe channel { unsafe floe_queue_clear(&channel.pointee.input) }
    }
}

// Uniquely owned, and OpenSSL binds a session to no thread: only the error queue is a thread's, and it is read at once.
extension TLSSession: @unchecked Sendable {}
