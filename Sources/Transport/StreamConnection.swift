import CLinux
public import Crypto
import Glibc
public import NetTypes

/// One TCP connection, plain or with TLS over it, that never blocks.
///
/// The owner watches `descriptor` for reading, and for writing while `wantsWrite`. When it is readable, call `read` until
/// `.wouldBlock`, or come back by yourself while `hasUnreadBytes`; when it is writable, call `flush`. After `.closed` stop
/// watching for reading: the end of a stream stays readable. How long a
/// handshake, a silence or a slow reader may last is the owner's affair. Closes when its life ends.
public struct StreamConnection: ~Copyable, Sendable {
    private let socket: TCPSocket
    private var tls: TLSSession?
    private var output = OutputQueue()
    private var isConnected: Bool
    private var isFinishing = false
    private var isFinished = false
    /// The byte that `readAhead` has taken and `read` has not given yet.
    private var ahead: UInt8?

    /// How many bytes may wait to be sent, as far as the owner's are concerned; answers of TLS itself come on top.
    public var outputLimit: Int
    /// Why the connection is over, if it failed.
    public private(set) var failure: StreamFailure?
    /// Whether TLS may hold bytes that `read` would return and no poller knows of.
    public private(set) var hasUnreadBytes = false

    /// Makes a plain connection.
    public init(_ socket: consuming TCPSocket, outputLimit: Int = 256 * 1024) {
        isConnected = socket.isConnected
        self.socket = socket
        self.outputLimit = outputLimit
    }

    /// Makes a connection that speaks TLS.
    ///
    /// Call `flush` once to send what a client begins with.
    public init(_ socket: consuming TCPSocket, tls: consuming TLSSession, outputLimit: Int = 256 * 1024) {
        isConnected = socket.isConnected
        self.socket = socket
        self.tls = consume tls
        self.outputLimit = outputLimit
    }

    /// The file descriptor, for a poller; valid while the connection lives.
    public var descriptor: Int32 { socket.descriptor }
    /// Our end.
    public var localAddress: SocketAddress { socket.localAddress }
    /// The peer's end.
    public var remoteAddress: SocketAddress { socket.remoteAddress }
    /// Whether TLS protects the bytes.
    public var isSecure: Bool { tls != nil }
    /// Whether bytes may be written: TCP is connected and a TLS handshake is complete.
    public var isEstablished: Bool { isConnected && tls.isEstablished }
    /// The application protocol that TLS agreed on (ALPN).
    public var applicationProtocol: String? { tls.applicationProtocol }
    /// How many bytes wait to be sent.
    public var queuedBytes: Int { output.count + tls.pendingOutputByteCount }
    /// Whether `flush` should be called when the descriptor is writable.
    public var wantsWrite: Bool { failure == nil && (!isConnected || queuedBytes > 0) }
    /// Whether `finish` was called and everything, with the end of the stream, is with the kernel.
    public var hasFinished: Bool { isFinished }

    /// Lets the kernel hold so many unsent bytes before it takes no more; the rest waits where it can still be dropped.
    public func limitUnsent(bytes: Int) {
        // A kernel that does not know the option works without it.
        _ = floe_set_option(descriptor, 4, FLOE_OPTION_UNSENT_LOW_WATER, Int32(clamping: bytes))
    }

    /// Marks what is sent from now on with a traffic class (the code point and, lowest, the ECN bits, which TCP sets itself).
    public func setTrafficClass(_ trafficClass: UInt8) {
        // A packet without the mark arrives all the same.
        let family: Int32 = socket.remoteAddress.family == .ipv4 ? 4 : 6
        _ = floe_set_option(descriptor, family, FLOE_OPTION_TRAFFIC_CLASS, Int32(trafficClass))
    }

    // MARK: Reading

    /// The first byte that `read` will give, if `readAhead` has found one.
    public var firstByte: UInt8? { ahead }

    /// Reads as `read` does, but no more than one byte, which stays to be read: it shows in `firstByte`.
    ///
    /// No poller knows of that byte.
    public mutating func readAhead() -> StreamReadResult {
        guard ahead == nil else { return .bytes(1) }
        var bytes = InlineArray<1, UInt8>(repeating: 0)
        var space = bytes.mutableSpan
        // The memory is the array's, which lives through the call.
        let result = unsafe space.withUnsafeMutableBufferPointer { buffer in
            var output = unsafe OutputSpan(buffer: buffer, initializedCount: 0)
            return readOn(into: &output)
        }
        if result == .bytes(1) { ahead = bytes[0] }
        return result
    }

    /// Appends received bytes to `output`, which must have room for at least one.
    ///
    /// With TLS this also drives the handshake; `wantsWrite` may change.
    public mutating func read(into output: inout OutputSpan<UInt8>) -> StreamReadResult {
        guard !output.isFull else { return .bytes(0) }
        guard let first = ahead.take() else { return readOn(into: &output) }
        output.append(first)
        // An end or a failure behind that byte shows again in the next call.
        guard !output.isFull, case .bytes(let count) = readOn(into: &output) else { return .bytes(1) }
        return .bytes(count + 1)
    }

    private mutating func readOn(into output: inout OutputSpan<UInt8>) -> StreamReadResult {
        guard tls == nil else { return readSecurely(into: &output) }
        if let failure { return .failed(failure) }
        // The kernel writes at most the free capacity, behind what the span has already.
        let result = unsafe output.withUnsafeMutableBufferPointer { buffer, count in
            guard let start = buffer.baseAddress else { return Int64(0) }
            let result = unsafe floe_stream_receive(descriptor, start + count, buffer.count - count)
            count += Int(max(0, result))
            return result
        }
        if result > 0 { return .bytes(Int(result)) }
        return result == 0 ? .closed : readFailed(Int32(-result))
    }

    private mutating func readSecurely(into output: inout OutputSpan<UInt8>) -> StreamReadResult {
        // A peer that keeps records coming which hold nothing for the owner must not keep the loop.
        for _ in 0..<8 {
            switch tls?.read(into: &output) {
            case .bytes(let count)?:
                hasUnreadBytes = true
                return .bytes(count)
            case .closed?:
                hasUnreadBytes = false
                return .closed
            case .failed(let reason)?:
                return failSecurely(.tls(reason))
            case .wouldBlock?, nil:
                hasUnreadBytes = false
            }
            if let failure { return .failed(failure) }
            let result = receiveCiphertext()
            if result == 0 { return failSecurely(.truncated) }
            if result < 0 { return readFailed(Int32(-result)) }
            // Answers of the handshake; a failure to send them shows in the next round.
            _ = flush()
        }
        return .wouldBlock
    }

    private mutating func receiveCiphertext() -> Int64 {
        // The thread's own memory, used by nobody else during this call.
        let scratch = unsafe UnsafeMutableBufferPointer(start: floe_thread_scratch(), count: Self.scratchBytes)
        let result = unsafe floe_stream_receive(descriptor, scratch.baseAddress, scratch.count)
        if result > 0 {
            let received = unsafe UnsafeBufferPointer(rebasing: scratch[..<Int(result)])
            unsafe tls?.receive(Span(_unsafeElements: received))
        }
        return result
    }

    private mutating func readFailed(_ number: Int32) -> StreamReadResult {
        guard number != EAGAIN, number != ENOTCONN else { return .wouldBlock }
        return .failed(fail(.system(number: number)))
    }

    /// Sends the alert that tells the peer, as far as that goes without waiting, and ends the connection.
    private mutating func failSecurely(_ reason: StreamFailure) -> StreamReadResult {
        hasUnreadBytes = false
        if failure == nil { _ = flush() }
        return .failed(fail(reason))
    }

    // MARK: Writing

    /// Sends all of `bytes` or queues what the kernel does not take; all of them are taken or none.
    ///
    /// `.full` if more than `outputLimit` bytes would wait then, which is always so for longer ones, and before a TLS
    /// handshake is complete; `flush` as the poller says before trying again.
    public mutating func write(_ bytes: Span<UInt8>) -> StreamWriteResult {
        guard tls == nil, output.count == 0, failure == nil, isConnected, !isFinishing, bytes.count <= outputLimit
        else {
            let result = enqueue(bytes)
            return result == .queued ? flush() : result
        }
        let result = send(bytes)
        if result < 0 { return .failed(fail(.system(number: Int32(-result)))) }
        guard result < bytes.count else { return .sent }
        output.append(bytes.extracting(Int(result)...))
        return .queued
    }

    /// Takes bytes as `write` does, but sends nothing before `flush`: for several small pieces in one turn.
    public mutating func enqueue(_ bytes: Span<UInt8>) -> StreamWriteResult {
        if let failure { return .failed(failure) }
        // Each record of at most 16 KiB grows by less than 64 bytes (RFC 8446 §5.2, RFC 5246 §6.2.3).
        let overhead = tls == nil ? 0 : (bytes.count / 16384 + 1) * 64
        guard !isFinishing, bytes.count <= outputLimit - overhead - queuedBytes else { return .full }
        if tls == nil {
            output.append(bytes)
            return .queued
        }
        guard tls.isEstablished else { return .full }
        guard tls?.write(bytes) == true else {
            // More than the session takes at once, or the session is over.
            return tls.failure.map { .failed(fail(.tls($0))) } ?? .full
        }
        return .queued
    }

    /// Gives the kernel what waits, as far as it takes it: `.sent` if nothing waits any more, else `.queued`.
    @discardableResult
    public mutating func flush() -> StreamWriteResult {
        if let failure { return .failed(failure) }
        guard completeConnecting() else { return failure.map { .failed($0) } ?? .queued }
        repeat {
            while output.count > 0 {
                let result = sendQueued()
                if result < 0 { return .failed(fail(.system(number: Int32(-result)))) }
                if result == 0 { return .queued }
                output.removeFirst(result)
            }
            sendCiphertext()
        } while output.count > 0
        if isFinishing, !isFinished {
            isFinished = true
            _ = floe_stream_finish(descriptor)
        }
        return .sent
    }

    /// Sends bytes without TLS after a handshake that failed because the peer does not speak it; what the kernel does not
    /// take at once is lost.
    public mutating func sendPlain(_ bytes: Span<UInt8>) {
        guard case .tls(.notTLS)? = failure else { return }
        _ = send(bytes)
    }

    /// Ends the connection at once with RST: for one that does not work any more (RFC 8489 §6.2.2).
    public mutating func reset() {
        output = OutputQueue()
        floe_tcp_reset(descriptor)
    }

    /// Ends our direction: TLS's `close_notify` and TCP's end follow what waits; then go on reading until `.closed`.
    public mutating func finish() {
        guard !isFinishing else { return }
        isFinishing = true
        tls?.close()
        flush()
    }

    /// Moves what TLS has to send to the kernel, and what that does not take to the queue.
    private mutating func sendCiphertext() {
        while output.count == 0, tls.pendingOutputByteCount > 0 {
            // The thread's own memory, used by nobody else during this call.
            let scratch = unsafe UnsafeMutableBufferPointer(start: floe_thread_scratch(), count: Self.scratchBytes)
            var records = unsafe OutputSpan(buffer: scratch, initializedCount: 0)
            tls?.pollTransmit(into: &records)
            let count = unsafe records.finalize(for: scratch)
            let ciphertext = unsafe Span(_unsafeElements: UnsafeBufferPointer(rebasing: scratch[..<count]))
            // An error shows again when the rest is sent from the queue.
            let sent = max(0, send(ciphertext))
            output.append(ciphertext.extracting(sent...))
        }
    }

    /// Whether TCP is connected; finds out if it was not known.
    private mutating func completeConnecting() -> Bool {
        guard !isConnected else { return true }
        let error = floe_take_error(descriptor)
        guard error == 0 else {
            fail(.system(number: -error))
            return false
        }
        var peer = floe_address()
        // The C function uses the pointer during the call only.
        isConnected = unsafe floe_peer_address(descriptor, &peer) == 0
        return isConnected
    }

    private mutating func sendQueued() -> Int { send(output.bytes) }

    /// How many bytes the kernel took, 0 if its buffer is full, or a negative `errno`.
    private func send(_ bytes: Span<UInt8>) -> Int {
        // The kernel reads the bytes during the call only.
        let result = unsafe bytes.withUnsafeBufferPointer {
            unsafe floe_stream_send(descriptor, $0.baseAddress, $0.count)
        }
        return result == -Int64(EAGAIN) ? 0 : Int(result)
    }

    @discardableResult
    private mutating func fail(_ reason: StreamFailure) -> StreamFailure {
        if let failure { return failure }
        failure = reason
        output.removeFirst(output.count)
        return reason
    }

    private static let scratchBytes = Int(FLOE_SCRATCH_BYTES)
}

/// What a connection asks its TLS session, and what holds without one: optional chaining would consume it.
extension TLSSession? {
    fileprivate var isEstablished: Bool {
        switch self {
        case .some(let session): session.isEstablished
        case .none: true
        }
    }
    fileprivate var applicationProtocol: String? {
        switch self {
        case .some(let session): session.applicationProtocol
        case .none: nil
        }
    }
    fileprivate var pendingOutputByteCount: Int {
        switch self {
        case .some(let session): session.pendingOutputByteCount
        case .none: 0
        }
    }
    fileprivate var failure: TLSFailure? {
        switch self {
        case .some(let session): session.failure
        case .none: nil
        }
    }
}
