import Bytes
import COpenSSL
public import NetTypes

/// One DTLS association without socket, thread and clock: datagrams and time in, messages and datagrams out (RFC 6347).
///
/// After every call that takes `now`, and after `close`, drain `pollTransmit`; after a `receive` that returned bytes also
/// `read` until `.wouldBlock`. Call `handleTimeout` at `nextTimeout`: lost flights are sent again after 1 s, 2 s, 4 s and
/// so on, until the handshake's time is over. Damaged, repeated and foreign records are dropped without a word.
///
/// May move between threads; only one may use it at a time. A session holds about 60 KiB, and until its handshake is
/// complete at most half a MiB, whatever the peer sends.
@safe public struct DTLSSession: ~Copyable {
    /// How many bytes an encrypted datagram has at most on top of its message.
    public static let overheadByteCount = 64
    /// The longest message that a record carries, and so a datagram in either direction, in bytes (RFC 6347 §4.1).
    public static let maximumMessageByteCount = 16_384
    /// How many bytes a peer may send before the handshake is complete.
    public static let handshakeLimit = 65_536
    /// How many encrypted records OpenSSL may have to keep until there are keys for them: it takes 17 KiB for each.
    private static let earlyRecordLimit = 16
    private static let outputLimit = 65_536
    private static let firstTimeout = TimeSpan.seconds(1)
    private static let lastTimeout = TimeSpan.seconds(60)

    /// How a session behaves on its path.
    public struct Options: Sendable {
        /// How many bytes a datagram of the handshake has at most: what every path of IPv6 carries, less its headers.
        public var maximumDatagramByteCount = 1200
        /// How long the handshake may take.
        public var handshakeTime = TimeSpan.seconds(30)

        /// Makes the default options.
        public init() {}
    }

    // OpenSSL's session, owned; nil if there was no memory. The channel is the session's, freed with it.
    private let session: OpaquePointer?
    private let channel: UnsafeMutablePointer<floe_datagram_channel>?
    private let context: DTLSContext
    private let handshakeDeadline: Instant
    private var handshakeByteCount = 0
    private var earlyRecords = 0
    private var starts: UInt32 = 0
    private var stops: UInt32 = 0
    private var retransmissionTime = DTLSSession.firstTimeout
    private var retransmission: Instant?
    private var isClosed = false

    /// Whether the handshake is complete: `write` works from now on.
    public private(set) var isEstablished = false
    /// Why the session is over, if it failed.
    public private(set) var failure: TLSFailure?

    /// Makes the server's end of an association from the ClientHello with which `DTLSCookies` found its address proven.
    public init(
        server context: DTLSContext,
        provenHello datagram: Span<UInt8>,
        at now: Instant,
        options: Options = Options()
    ) {
        precondition(context.role == .server, "a DTLS server's session needs a context with identities")
        self.init(context, at: now, options)
        guard let session = unsafe session, let channel = unsafe channel else { return }
        unsafe SSL_set_accept_state(session)
        handshakeByteCount = datagram.count
        let first = DTLSRecords.firstByteCount(datagram)
        OpenSSLErrors.clear()
        // The bytes stay where they are while the span is borrowed; they are read before the call returns.
        unsafe offer(datagram.extracting(..<first), channel)
        let isHello = unsafe floe_listen(session) == 1
        unsafe channel.pointee.input = nil
        guard isHello else {
            fail()
            return
        }
        advanceHandshake(at: now)
        if first < datagram.count, failure == nil { takeHandshake(datagram.extracting(first...), at: now) }
    }

    /// Makes the client's end of an association with `serverName`, a host name or an address, and starts the handshake.
    ///
    /// The server's certificate must be for that name, and valid at `unixTime` (seconds since 1970; now if `nil`). A
    /// name that is neither makes a session that has failed. The context must be a client's.
    public init(
        client context: DTLSContext,
        serverName: String,
        at now: Instant,
        verifyingAt unixTime: Int64? = nil,
        options: Options = Options()
    ) {
        precondition(context.role == .client, "a DTLS client's session needs a context with trust")
        self.init(context, at: now, options)
        guard let session = unsafe session else { return }
        unsafe SSL_set_connect_state(session)
        guard unsafe expectServer(serverName, at: unixTime, session) else {
            failure = .invalidServerName
            return
        }
        advanceHandshake(at: now)
    }

    private init(_ context: DTLSContext, at now: Instant, _ options: Options) {
        OpenSSLErrors.clear()
        self.context = context
        handshakeDeadline = now + options.handshakeTime
        let session = unsafe SSL_new(context.base.context)
        unsafe self.session = session
        unsafe channel = session.flatMap {
            unsafe floe_open_datagrams(
                $0,
                Self.method,
                options.maximumDatagramByteCount,
                context.role == .server ? 1 : 0,
                Self.outputLimit
            )
        }
        if unsafe channel == nil { failure = .outOfMemory }
    }

    deinit { unsafe SSL_free(session) }

    // MARK: Datagrams

    /// Takes a datagram and appends the message of its first record to `output`, if there is one.
    ///
    /// `output` must have room for a message as long as the datagram; `maximumMessageByteCount` always suffices. The
    /// handshake may be complete afterwards, and there may be datagrams to transmit.
    public mutating func receive(
        _ datagram: Span<UInt8>,
        at now: Instant,
        into output: inout OutputSpan<UInt8>
    ) -> TLSReadResult {
        if let failure { return .failed(failure) }
        guard datagram.count >= 13, let channel = unsafe channel else { return .wouldBlock }
        guard isEstablished else {
            takeHandshake(datagram, at: now)
            if let failure { return .failed(failure) }
            return isEstablished ? read(into: &output) : .wouldBlock
        }
        // The bytes stay where they are while the span is borrowed; they are read before the call returns.
        unsafe offer(datagram, channel)
        let result = read(into: &output)
        unsafe channel.pointee.input = nil
        return result
    }

    /// Appends the next message of the datagram that was received; `.wouldBlock` if there is none.
    public mutating func read(into output: inout OutputSpan<UInt8>) -> TLSReadResult {
        if let failure { return .failed(failure) }
        guard isEstablished, let session = unsafe session else { return .wouldBlock }
        if let result = unsafe readPlaintext(session, into: &output) { return result }
        fail()
        return failure.map { .failed($0) } ?? .wouldBlock
    }

    /// Appends the datagram that carries `message`, encrypted.
    ///
    /// Returns `false`, with nothing appended, before the handshake is complete, after `close` or a failure, for a message
    /// that is empty or longer than `longestMessageByteCount`, and without room for it and `overheadByteCount`.
    public mutating func write(_ message: Span<UInt8>, into output: inout OutputSpan<UInt8>) -> Bool {
        guard isEstablished, !isClosed, failure == nil, let session = unsafe session, let channel = unsafe channel,
            !message.isEmpty, message.count <= longestMessageByteCount,
            output.freeCapacity >= message.count + Self.overheadByteCount
        else { return false }
        OpenSSLErrors.clear()
        // OpenSSL reads the message, and writes within the free capacity, during the call only.
        let isWritten = unsafe output.withUnsafeMutableBufferPointer { buffer, count in
            unsafe channel.pointee.sink = buffer.baseAddress.map { unsafe $0 + count }
            unsafe channel.pointee.sinkRoom = buffer.count - count
            unsafe channel.pointee.sinkCount = 0
            var written = 0
            let result = unsafe message.withUnsafeBufferPointer {
                unsafe SSL_write_ex(session, $0.baseAddress, $0.count, &written)
            }
            unsafe channel.pointee.sink = nil
            count += unsafe channel.pointee.sinkCount
            return unsafe result == 1 && channel.pointee.sinkCount > 0
        }
        if !isWritten { fail() }
        return isWritten
    }

    /// Writes the next datagram of a handshake or an alert into `output`, which is empty; `false` if there is none.
    ///
    /// The capacity must be at least `Options.maximumDatagramByteCount`: what does not fit is lost.
    public mutating func pollTransmit(into output: inout OutputSpan<UInt8>) -> Bool {
        guard let channel = unsafe channel else { return false }
        let size = unsafe floe_next_datagram(channel)
        guard size > 0 else { return false }
        guard output.freeCapacity >= size else {
            unsafe floe_queue_clear(&channel.pointee.output)
            return false
        }
        // The datagram's length is at most the free capacity.
        unsafe output.withUnsafeMutableBufferPointer { buffer, count in
            guard let start = buffer.baseAddress else { return }
            unsafe floe_take_datagram(channel, start + count)
            count += size
        }
        return true
    }

    /// Whether `pollTransmit` has something to write.
    public var hasPendingOutput: Bool {
        guard let channel = unsafe channel else { return false }
        return unsafe floe_next_datagram(channel) > 0
    }

    /// Tells the peer that no more messages follow, with `close_notify`; as every datagram it may be lost.
    public mutating func close() {
        guard !isClosed else { return }
        isClosed = true
        guard isEstablished, failure == nil, let session = unsafe session else { return }
        unsafe sayClosed(session)
    }

    // MARK: Time

    /// When `handleTimeout` must be called; `nil` once the handshake is complete or has failed.
    public var nextTimeout: Instant? {
        guard !isEstablished, failure == nil else { return nil }
        return min(retransmission ?? .distantFuture, handshakeDeadline)
    }

    /// Sends the last flight again if it is time, or gives up; to be called at `nextTimeout`, harmless otherwise.
    public mutating func handleTimeout(at now: Instant) {
        guard let due = nextTimeout, due <= now, let session = unsafe session, let channel = unsafe channel else {
            return
        }
        guard now < handshakeDeadline else {
            failure = .timedOut
            return
        }
        OpenSSLErrors.clear()
        retransmissionTime = min(retransmissionTime * 2, Self.lastTimeout)
        retransmission = now + retransmissionTime
        if unsafe floe_retransmit(session, channel) < 0 { return fail() }
        followTimer(at: now)
    }

    // MARK: What was agreed

    /// The application protocol that was agreed on (ALPN), one of the context's.
    public var applicationProtocol: String? {
        isEstablished ? unsafe selectedProtocol(session, of: context.base) : nil
    }

    /// The longest message that `write` takes, in bytes: `maximumMessageByteCount`, or less if that was agreed on (RFC
    /// 6066 §4).
    public var longestMessageByteCount: Int {
        guard let session = unsafe session, let agreed = unsafe SSL_get_session(session) else {
            return Self.maximumMessageByteCount
        }
        // 1 to 4 stand for 512 to 4096; OpenSSL would end the session rather than send more.
        let code = unsafe SSL_SESSION_get_max_fragment_length(agreed)
        return (1...4).contains(code) ? 256 << Int(code) : Self.maximumMessageByteCount
    }

    /// The registered name of the cipher suite that was agreed on.
    public var cipherSuite: String? { isEstablished ? unsafe agreedCipherSuite(session) : nil }

    /// The server name that the client asked for, in lower case; `nil` if it asked for none or not for a host name.
    public var serverName: String? { unsafe requestedServerName(session) }

    // MARK: Inside

    // Made once, never freed, never changed.
    nonisolated(unsafe) private static let method = unsafe floe_datagram_method()

    /// Lets OpenSSL find the datagram at its next read; the caller takes it back before the span's life ends.
    private func offer(_ datagram: Span<UInt8>, _ channel: UnsafeMutablePointer<floe_datagram_channel>) {
        unsafe channel.pointee.inputCount = datagram.count
        unsafe datagram.withUnsafeBufferPointer { unsafe channel.pointee.input = $0.baseAddress }
    }

    private mutating func takeHandshake(_ datagram: Span<UInt8>, at now: Instant) {
        guard let channel = unsafe channel else { return }
        handshakeByteCount += datagram.count
        guard handshakeByteCount <= Self.handshakeLimit else {
            failure = .handshakeTooLarge(limitBytes: Self.handshakeLimit)
            return
        }
        let early = DTLSRecords.encryptedCount(datagram)
        // The peer's last flight begins in the clear: one that is all encrypted is early, or too late.
        guard early == 0 || earlyRecords + early <= Self.earlyRecordLimit else { return }
        earlyRecords += early
        // The bytes stay where they are while the span is borrowed; they are read before the call returns.
        unsafe offer(datagram, channel)
        advanceHandshake(at: now)
        unsafe channel.pointee.input = nil
    }

    private mutating func advanceHandshake(at now: Instant) {
        guard let session = unsafe session else { return }
        switch unsafe continueHandshake(session) {
        case .waits: break
        case .isComplete: isEstablished = true
        case .hasFailed: fail()
        }
        followTimer(at: now)
    }

    /// Runs our timer where OpenSSL has started its own; a flight that is answered makes the next one's time short again.
    private mutating func followTimer(at now: Instant) {
        guard let channel = unsafe channel else { return }
        if unsafe channel.pointee.stops != stops { retransmissionTime = Self.firstTimeout }
        if unsafe channel.pointee.isTiming == 0 {
            retransmission = nil
        } else if unsafe channel.pointee.starts != starts {
            retransmission = now + retransmissionTime
        }
        unsafe starts = channel.pointee.starts
        unsafe stops = channel.pointee.stops
    }

    /// Ends the session for what OpenSSL's error queue tells.
    private mutating func fail() {
        guard failure == nil, let session = unsafe session else { return }
        failure = unsafe TLSFailure(takingErrorsOf: session, isEstablished: true)
    }
}

// Uniquely owned, and OpenSSL binds a session to no thread: only the error queue is a thread's, and it is read at once.
extension DTLSSession: @unchecked Sendable {}
