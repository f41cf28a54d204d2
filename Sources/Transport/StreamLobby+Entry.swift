import CLinux
import Crypto
import EventLoop
import Glibc
import NetTypes
import ProxyProtocol

/// What one half-open stream does next.
extension StreamLobby.Entry {
    /// Reads the proxy's header, and no byte behind it; `nil` when it is complete.
    mutating func readHeader(_ ledger: inout HalfOpenLedger) -> StreamLobby.Step? {
        // The thread's own memory, used by nobody else during this call.
        let scratch = unsafe UnsafeMutableBufferPointer(
            start: floe_thread_scratch(),
            count: ProxyHeaderReader.maximumByteCount
        )
        let count = unsafe floe_stream_peek(descriptor, scratch.baseAddress, scratch.count)
        guard count > 0 else { return count == -Int64(EAGAIN) ? .wait(nil) : .drop(.goneHalfOpen) }
        let bytes = unsafe UnsafeBufferPointer(rebasing: scratch[..<Int(count)])
        let progress = unsafe header?.receive(Span(_unsafeElements: bytes))
        let used: Int
        var client: SocketAddress?
        switch progress {
        case .failed(let error)?: return .drop(error == .absent ? .noProxyHeader : .badProxyHeader)
        case .incomplete(let count)?: used = count
        case .complete(let count, let found)?:
            used = count
            header = nil
            if case .client(let source, _) = found { client = source }
        case nil: return nil
        }
        _ = unsafe floe_stream_receive(descriptor, scratch.baseAddress, used)
        guard header == nil else { return .wait(nil) }
        if let client {
            entrance = ledger.enter(client.unmapped.ip)
            guard entrance != .refused else { return .drop(.tooManyHalfOpenOfPrefix) }
            socket?.remoteAddress = client
        }
        return nil
    }

    /// Makes the connection once a byte of it has come; `nil` when it is made.
    mutating func begin(
        _ ledger: inout HalfOpenLedger,
        _ outputLimit: Int,
        at now: Instant
    ) -> StreamLobby.Step? {
        var byte: UInt8 = 0
        // The C function uses the pointer during the call only.
        let count = unsafe floe_stream_peek(descriptor, &byte, 1)
        guard count > 0 else { return count == -Int64(EAGAIN) ? .wait(nil) : .drop(.goneHalfOpen) }
        guard tls == nil || ledger.takeHandshake(entrance, at: now) else { return .drop(.tooManyHandshakesOfPrefix) }
        guard let socket = socket.take() else { return nil }
        if let tls {
            connection = StreamConnection(socket, tls: TLSSession(server: tls), outputLimit: outputLimit)
        } else {
            connection = StreamConnection(socket, outputLimit: outputLimit)
        }
        return nil
    }

    /// Drives the handshake and looks for the first byte.
    mutating func listen(_ answerWithoutTLS: [UInt8]) -> StreamLobby.Step {
        guard var connection = connection.take() else { return .drop(.goneHalfOpen) }
        connection.flush()
        let result = connection.readAhead()
        if case .failed(.tls(.notTLS)) = result { connection.sendPlain(answerWithoutTLS.span) }
        let writes = connection.wantsWrite
        self.connection = consume connection
        switch result {
        case .bytes: return .ready
        case .closed: return .drop(.goneHalfOpen)
        case .failed(.tls): return .drop(.tlsFailure)
        case .failed: return .drop(.goneHalfOpen)
        case .wouldBlock:
            guard writes != watchesWriting else { return .wait(nil) }
            watchesWriting = writes
            return .wait(writes ? [.read, .write] : .read)
        }
    }
}

extension StreamConnection? {
    /// Whether there is a TLS handshake that is not complete.
    var isShakingHands: Bool {
        switch self {
        case .some(let connection): !connection.isEstablished
        case .none: false
        }
    }
}
