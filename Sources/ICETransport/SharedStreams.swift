import Bytes
import Connectivity
import EventLoop
import ICE
import NetTypes
import STUN
import Transport

/// A TCP listener of many sessions: the passive candidates of one address (RFC 6544 §4.1).
final class SharedListener {
    var listener: TCPListener
    /// The listener's own number.
    let base: BaseID
    /// Its place in the loop's pool.
    var handle: SlotHandle?
    /// The sessions, by the numbers of their tags.
    var users: [UInt32: SharedUser] = [:]

    init(_ listener: consuming TCPListener, _ base: BaseID) {
        self.listener = listener
        self.base = base
    }
}

/// A connection to a shared listener that has not said yet which agent it is for.
final class UndecidedStream {
    var connection: StreamConnection?
    let listener: SharedListener
    let remote: SocketAddress
    var opening = StreamOpening()
    /// Its place in the loop's pool.
    var handle: SlotHandle?
    var timer: TimerHandle?

    init(_ connection: consuming StreamConnection, _ listener: SharedListener) {
        remote = SocketAddress(connection.remoteAddress.ip, port: connection.remoteAddress.port)
        self.connection = consume connection
        self.listener = listener
    }
}

/// The first frame of a connection, which must be a Binding request (RFC 6544 §7.1, §7.2), byte by byte as it comes.
///
/// No more is asked for than that frame has, so that what follows stays in the socket for whoever gets the connection.
struct StreamOpening {
    /// How long the request may be: several times what agents send.
    static let messageLimit = 1280
    private static let headerByteCount = 20

    /// What was received: the frame's length and, so far, the message.
    private(set) var bytes: [UInt8] = []

    /// How many bytes are still to come, as far as it can be told; 0 when the request is whole.
    var missing: Int {
        guard bytes.count >= 2 else { return 2 + Self.headerByteCount - bytes.count }
        return 2 + Int(bytes[0]) &<< 8 + Int(bytes[1]) - bytes.count
    }

    /// Takes the next bytes, at most `missing`; returns `false` as soon as they cannot be those of a Binding request.
    mutating func append(_ next: Span<UInt8>) -> Bool {
        for index in next.indices { bytes.append(next[index]) }
        guard bytes.count >= 2 else { return true }
        let count = Int(bytes[0]) &<< 8 + Int(bytes[1])
        guard (Self.headerByteCount...Self.messageLimit).contains(count) else { return false }
        // Type and length, then the magic cookie (RFC 8489 §5).
        let length = count - Self.headerByteCount
        let expected: [UInt8] = [
            0, 1, UInt8(truncatingIfNeeded: length &>> 8), UInt8(truncatingIfNeeded: length), 0x21, 0x12, 0xA4, 0x42,
        ]
        return zip(bytes.dropFirst(2), expected).allSatisfy { $0 == $1 }
    }
}

/// One TCP port for each address of this host, shared by the passive candidates of all sessions of the loop.
///
/// An accepted connection finds its session by the user name of its first check, and is that session's alone from then on.
/// What strangers can have before that is bounded: bytes by `StreamOpening`, time and number by the loop's options.
extension LoopRunner {
    func listenShared(_ id: EffectID, _ local: SocketAddress, _ port: UInt16, _ driven: Driven) {
        guard let user = driven.tag.index else { return driven.session.failed(id, .exhausted, at: now) }
        let key = SocketAddress(local.ip, port: 0, scope: local.scope)
        do throws(SocketError) {
            guard let end = try sharedListener(key, port), end.users[user] == nil else {
                return driven.session.failed(id, .exhausted, at: now)
            }
            let base = newBase()
            end.users[user] = SharedUser(driven: driven, base: base)
            driven.bases[base] = Endpoint(socket: .sharedListener(end), handle: nil)
            driven.session.bound(id, base: base, local: end.listener.localAddress, at: now)
        } catch {
            driven.session.failed(id, Self.failure(error), at: now)
        }
    }

    /// The listener of an address, which is opened for the first session; `nil` if the loop has too many.
    private func sharedListener(_ key: SocketAddress, _ port: UInt16) throws(SocketError) -> SharedListener? {
        if let known = sharedListeners[key] { return known }
        let end = SharedListener(try openListener(key, port), newBase())
        end.handle = register(.sharedListener(end), end.listener.descriptor)
        guard end.handle != nil else { return nil }
        sharedListeners[key] = end
        return end
    }

    /// Opens a listener; if the system is to choose the port, it is the one of the address's UDP socket, if that is free.
    private func openListener(_ key: SocketAddress, _ port: UInt16) throws(SocketError) -> TCPListener {
        var listenerOptions = TCPListener.Options()
        // Connections to peers leave from the same port, for simultaneous open.
        listenerOptions.reusesPort = true
        listenerOptions.backlog = 128
        if let chosen = port != 0 ? port : shared[key]?.socket.localAddress.port {
            let address = SocketAddress(key.ip, port: chosen, scope: key.scope)
            do throws(SocketError) {
                // Another loop's listener would get half of our connections.
                try TCPListener.checkAvailable(address)
                return try TCPListener(boundTo: address, options: listenerOptions)
            } catch {
                guard port == 0, error.isAddressInUse else { throw error }
            }
        }
        return try TCPListener(boundTo: key, options: listenerOptions)
    }

    func acceptShared(_ listener: SharedListener) {
        for _ in 0..<Self.readsPerTurn {
            switch listener.listener.accept() {
            case .accepted(let socket): admit(UndecidedStream(StreamConnection(socket), listener))
            case .refused: continue
            case .wouldBlock: return
            case .failed: return
            }
        }
    }

    private func admit(_ stream: UndecidedStream) {
        guard let descriptor = stream.connection?.descriptor else { return }
        guard let handle = register(.undecided(stream), descriptor) else { return }
        stream.handle = handle
        stream.timer = wheel.schedule(
            PollToken(TokenKind.endpoint, handle).bits,
            at: now + options.undecidedPatience
        )
        undecided.append(stream)
        if undecided.count > max(1, options.undecidedStreams), let victim = undecided.victim {
            drop(victim, .displacedStream)
        }
        // Its request has often come together with it.
        receive(stream)
    }

    /// Reads on until the first check is whole, and gives the connection to the session that it is for.
    func receive(_ stream: UndecidedStream) {
        while stream.opening.missing > 0 {
            var result = StreamReadResult.wouldBlock
            scratch.removeAll(keepingCapacity: true)
            scratch.append(addingCapacity: stream.opening.missing) { output in
                result = stream.connection?.read(into: &output) ?? .closed
            }
            switch result {
            case .wouldBlock: return
            case .closed, .failed: return drop(stream, .goneStream)
            case .bytes:
                let bytes = scratch
                if !stream.opening.append(bytes.span) { return drop(stream, .noCheckFirst) }
            }
        }
        guard let agents else { return }
        let bytes = stream.opening.bytes
        let request = bytes.span.extracting(2...)
        guard (try? STUNMessageView(request)) != nil else { return drop(stream, .noCheckFirst) }
        guard let number = agents.route(request, on: stream.listener.base, from: stream.remote) else {
            return drop(stream, nil)
        }
        guard let user = stream.listener.users[number] else { return drop(stream, .noStreamCandidate) }
        decide(stream, for: user)
    }

    private func decide(_ stream: UndecidedStream, for user: SharedUser) {
        guard let handle = stream.handle, let connection = stream.connection.take() else { return }
        forget(stream)
        let driven = user.driven
        let end = StreamEnd(connection, newBase(), driven, effect: nil)
        end.handle = handle
        // The poller knows the descriptor by the same place already.
        end.wantsWrite = false
        _ = sockets.update(handle) { $0 = .stream(end) }
        driven.bases[end.base] = Endpoint(socket: .stream(end), handle: handle)
        mark(end)
        driven.session.accepted(end.base, on: user.base, from: stream.remote, at: now)
        let bytes = stream.opening.bytes
        driven.session.receiveStream(bytes.span, on: end.base, at: now)
        drain(driven)
    }

    /// Closes a connection that is nobody's; without a reason, because it was counted already.
    func drop(_ stream: UndecidedStream, _ reason: SharedDrop?) {
        if let reason { agents?.count(reason) }
        forget(stream)
        if let handle = stream.handle { _ = sockets.remove(handle) }
        stream.connection = nil
    }

    private func forget(_ stream: UndecidedStream) {
        if let timer = stream.timer { wheel.cancel(timer) }
        stream.timer = nil
        undecided.remove(stream)
    }
}
