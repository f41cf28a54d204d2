import Bytes
public import Crypto
import EventLoop
import Glibc
public import NetTypes
public import Transport

/// What a client of a service under test complains of.
public enum ClientError: Error, Equatable {
    /// Nothing came within the deadline.
    case timeout
    /// The connection failed.
    case failed(StreamFailure)
    /// The other end has ended where more was expected.
    case ended
}

/// The client's end of a TCP or TLS connection that waits for what it wants, at most `patience`.
public final class StreamClient {
    /// How long anything may take; far more than it does, even on a busy machine.
    public static let patience = TimeSpan.seconds(20)

    private var connection: StreamConnection
    private let poller: Poller

    /// Connects, sends `preface` as it is, and completes the TLS handshake if a context is given.
    ///
    /// - Throws: `ClientError`, or `SocketError` if the attempt cannot begin.
    public init(
        to address: SocketAddress,
        from source: SocketAddress? = nil,
        tls: TLSContext? = nil,
        serverName: String = "localhost",
        receiveBufferBytes: Int32? = nil,
        preface: [UInt8] = []
    ) throws {
        let socket = try TCPSocket(connectingTo: address, from: source)
        if !preface.isEmpty { try Self.send(preface, on: socket.descriptor) }
        if var bytes = receiveBufferBytes {
            // The kernel reads the number during the call only.
            let size = socklen_t(MemoryLayout<Int32>.size)
            _ = unsafe setsockopt(socket.descriptor, SOL_SOCKET, SO_RCVBUF, &bytes, size)
        }
        if let tls {
            connection = StreamConnection(socket, tls: TLSSession(client: tls, serverName: serverName))
        } else {
            connection = StreamConnection(socket)
        }
        poller = try Poller()
        try poller.add(connection.descriptor, token: 0, interest: .read)
        connection.flush()
        let deadline = MonotonicClock.now() + Self.patience
        while !connection.isEstablished {
            try wait(until: deadline)
            var nothing: [UInt8] = []
            if case .failed(let reason) = read(into: &nothing) { throw ClientError.failed(reason) }
        }
    }

    /// Sends a few bytes on a socket that is being connected.
    private static func send(_ bytes: [UInt8], on descriptor: Int32) throws {
        let poller = try Poller()
        var events = PollEvents(capacity: 1)
        try poller.add(descriptor, token: 0, interest: .write)
        try poller.wait(until: MonotonicClock.now() + patience, into: &events)
        // The kernel reads the bytes during the call only.
        let sent = unsafe bytes.withUnsafeBytes {
            unsafe Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
        }
        guard sent == bytes.count else { throw ClientError.timeout }
    }

    /// The application protocol that TLS agreed on.
    public var applicationProtocol: String? { connection.applicationProtocol }

    /// Our end.
    public var localAddress: SocketAddress { connection.localAddress }

    /// Sends everything, however long the other end takes to read it.
    public func send(_ bytes: [UInt8]) throws {
        let deadline = MonotonicClock.now() + Self.patience
        while case let result = connection.write(bytes.span), result != .sent, result != .queued {
            if case .failed(let reason) = result { throw ClientError.failed(reason) }
            try wait(until: deadline)
            connection.flush()
        }
        while connection.wantsWrite {
            try wait(until: deadline)
            if case .failed(let reason) = connection.flush() { throw ClientError.failed(reason) }
        }
    }

    /// The bytes that have come, at least one; `nil` if the other end has ended.
    public func receive() throws -> [UInt8]? {
        let deadline = MonotonicClock.now() + Self.patience
        while true {
            var bytes: [UInt8] = []
            switch read(into: &bytes) {
            case .bytes: return bytes
            case .closed: return nil
            case .failed(let reason): throw ClientError.failed(reason)
            case .wouldBlock: try wait(until: deadline)
            }
        }
    }

    /// Ends our side; the other one can still be read.
    public func finish() { connection.finish() }

    private func read(into bytes: inout [UInt8]) -> StreamReadResult {
        var result = StreamReadResult.wouldBlock
        bytes.append(addingCapacity: 16384) { result = connection.read(into: &$0) }
        connection.flush()
        return result
    }

    private func wait(until deadline: Instant) throws {
        let interest: Interest = connection.wantsWrite ? [.read, .write] : .read
        try poller.modify(connection.descriptor, token: 0, interest: interest)
        var events = PollEvents(capacity: 1)
        try poller.wait(until: deadline, into: &events)
        guard events.count > 0 || MonotonicClock.now() < deadline else { throw ClientError.timeout }
    }
}
