import Bytes
import Crypto
import EventLoop
import Instruments
import NetTypes
import STUN
import TURN
import Transport

/// One client of the server under load: a TURN client with its socket or connection.
final class BenchClient {
    private(set) var turn: TURNClient
    private let server: SocketAddress
    /// Owned while the client lives; `nil` with a connection, or where all clients share one.
    private let socket: UDPSocket?
    private let handle: UDPSocketHandle?
    /// The client's address if it shares its socket.
    private let source: IPAddress?
    private var connection: StreamConnection?
    private var association: DTLSConnection?
    private var unread: [UInt8] = []
    private var scratch: [UInt8] = []
    private let framing = StreamFraming()
    /// The peer that it talks to.
    let peer: SocketAddress
    private(set) var isBound = false
    private(set) var end: TURNClientEnd?
    private(set) var failure: String?
    /// The number of the next packet to and from its peer.
    var nextNumber: UInt32 = 0
    var nextNumberBack: UInt32 = 0

    /// Makes a client; it shares the socket if there is one, with an address of its own.
    init(
        _ plan: BenchPlan,
        peer: SocketAddress,
        challenge: LongTermChallenge?,
        sharing shared: UDPSocketHandle?,
        as source: IPAddress?
    ) throws(BenchError) {
        var configuration = TURNClientConfiguration(
            server: plan.target.address,
            transport: plan.target.transport,
            username: plan.username,
            password: plan.password
        )
        configuration.challenge = challenge
        configuration.retransmission = .impatient
        configuration.families = peer.family == .ipv6 ? .only(.ipv6) : .unspecified
        server = plan.target.address
        self.peer = peer
        self.source = source
        do {
            turn = try TURNClient(configuration)
            if let shared {
                connection = nil
                socket = nil
                handle = shared
                return
            }
            let local = SocketAddress(plan.localAddress ?? .unspecified(server.family), port: 0)
            guard plan.target.transport.isStream else {
                let socket = try UDPSocket(boundTo: local, options: Self.options(plan))
                connection = nil
                guard let tls = plan.target.tls, case .dtls(let context) = tls.context else {
                    handle = socket.handle
                    self.socket = consume socket
                    return
                }
                self.socket = nil
                handle = nil
                let session = DTLSSession(client: context, serverName: tls.serverName, at: MonotonicClock.now())
                association = DTLSConnection(socket, to: server, session: session)
                return
            }
            self.socket = nil
            handle = nil
            let socket = try TCPSocket(connectingTo: server, from: plan.localAddress == nil ? nil : local)
            if let tls = plan.target.tls, case .tls(let context) = tls.context {
                let session = TLSSession(client: context, serverName: tls.serverName)
                connection = StreamConnection(socket, tls: session, outputLimit: 1 << 20)
            } else {
                connection = StreamConnection(socket, outputLimit: 1 << 20)
            }
        } catch {
            throw BenchError("\(error)")
        }
    }

    deinit { association?.close() }

    static func options(_ plan: BenchPlan) -> UDPSocket.Options {
        var options = UDPSocket.Options()
        options.receiveBufferBytes = 4 << 20
        options.sendBufferBytes = 4 << 20
        options.mergesReceived = plan.mergesPackets
        return options
    }

    var descriptor: Int32 { handle?.descriptor ?? connection?.descriptor ?? association?.descriptor ?? -1 }

    var isStream: Bool { turn.configuration.transport.isStream }
    var relayed: SocketAddress? { turn.allocation?.relayed.first }
    var challenge: LongTermChallenge? { turn.challenge }

    /// Whether a stream has no room for more, so that more would only wait.
    var isCongested: Bool { !isEstablished || (connection?.queuedBytes ?? 0) > 64 * 1024 }

    /// Whether messages leave at once.
    private var isEstablished: Bool {
        handle != nil || connection?.isEstablished == true || association?.isEstablished == true
    }

    var wantsWrite: Bool { connection?.wantsWrite ?? false }

    /// Has the kernel cut what is sent into packets.
    func cutIntoSegments(of byteCount: Int) throws(SocketError) { try socket?.setSegmentByteCount(byteCount) }

    // MARK: Control

    func start(at now: Instant) { turn.start(at: now) }
    func close(at now: Instant) { turn.close(at: now) }
    func bind(at now: Instant) { if turn.bindChannel(to: peer, at: now) == nil { failure = "no channel can be bound" } }
    func permit(at now: Instant) { _ = turn.permit([peer.ip], at: now) }
    func handleTimeout(at now: Instant) {
        if let due = association?.nextTimeout, due <= now { association?.handleTimeout(at: now) }
        if let due = turn.nextTimeout, due <= now { turn.handleTimeout(at: now) }
    }

    /// Sends what the TURN client has to say and takes note of its events; returns what happened last, if anything.
    func drain(into batch: inout DatagramSendBatch, at now: Instant) -> TURNClientEvent? {
        while let event = turn.pollEvent() {
            switch event {
            case .channelBound, .permitted: isBound = true
            case .permissionFailed(_, let reason), .channelFailed(_, let reason): failure = "\(reason)"
            case .ended(let end):
                self.end = end
                if case .failed(let reason) = end { failure = "\(reason)" }
            case .allocated, .refreshed, .moved, .peerUnreachable, .connected, .connectFailed, .connectionAttempt: break
            }
            send(&batch, at: now)
            return event
        }
        send(&batch, at: now)
        return nil
    }

    private func send(_ batch: inout DatagramSendBatch, at now: Instant) {
        // A connection that is not there yet keeps nothing: the request stays where it is.
        guard isEstablished else { return }
        while true {
            let bytes = buildBytes(capacity: TURNClient.maximumMessageByteCount) { output in
                _ = turn.pollTransmit(at: now, into: &output)
            }
            if bytes.isEmpty { return }
            write(bytes.span, &batch)
        }
    }

    private func write(_ bytes: Span<UInt8>, _ batch: inout DatagramSendBatch) {
        guard let handle else {
            if let result = connection?.write(bytes) { note(result) }
            _ = association?.send(bytes)
            return
        }
        let route = DatagramRoute(handle, to: server, from: source)
        if batch.enqueue(copying: bytes, on: route) { return }
        batch.flush()
        _ = batch.enqueue(copying: bytes, on: route)
    }

    // MARK: Data

    /// Sends `count` packets to the peer, merged into one piece for the kernel or one by one.
    func sendBurst(
        _ count: Int,
        flow: UInt32,
        _ payload: TestPayload,
        merged: Bool,
        _ batch: inout DatagramSendBatch,
        at now: Instant
    ) {
        // Only plain datagrams can be merged; records and streams go one by one.
        let together = merged && handle != nil ? count : 1
        let room = (payload.byteCount + 64) * together
        for _ in 0..<count / together {
            guard let handle else {
                let bytes = buildBytes(capacity: room) { writePackets(1, flow, payload, into: &$0, at: now) }
                write(bytes.span, &batch)
                continue
            }
            if !batch.hasRoom(for: room) { batch.flush() }
            let route = DatagramRoute(handle, to: server, from: source)
            _ = batch.enqueue(maximumCount: room) { output in
                writePackets(together, flow, payload, into: &output, at: now)
                return route
            }
        }
    }

    private func writePackets(
        _ count: Int,
        _ flow: UInt32,
        _ payload: TestPayload,
        into output: inout OutputSpan<UInt8>,
        at now: Instant
    ) {
        for _ in 0..<count {
            let header = TestPayload.Header(flow: flow, number: nextNumber, sentAt: now)
            nextNumber &+= 1
            scratch.removeAll(keepingCapacity: true)
            scratch.append(addingCapacity: payload.byteCount) { payload.write(header, into: &$0) }
            _ = turn.send(scratch.span, to: peer, at: now, into: &output)
        }
    }

    /// Takes what has come, and returns whether there may be more to see to; `data` gets each payload of the peer.
    func receive(
        through incoming: inout DatagramReceiveBatch,
        at now: Instant,
        data: (Span<UInt8>) -> Void
    ) -> Bool {
        guard let handle else {
            if association != nil {
                readAssociation(at: now, data)
                return true
            }
            read(at: now, data)
            if let result = connection?.flush() { note(result) }
            return true
        }
        var hasNews = false
        for index in incoming.receive(from: handle) where !take(incoming.payload(of: index), at: now, data) {
            hasNews = true
        }
        incoming.removeAll()
        return hasNews
    }

    /// Takes one message; returns whether it was a payload of the peer, and nothing else.
    func take(_ message: Span<UInt8>, at now: Instant, _ data: (Span<UInt8>) -> Void) -> Bool {
        guard case .data(_, let range) = turn.receive(message, from: server, at: now) else { return false }
        data(message.extracting(range))
        return true
    }

    private func readAssociation(at now: Instant, _ data: (Span<UInt8>) -> Void) {
        association?.receive(at: now) { _ = take($0, at: now, data) }
        if let reason = association?.failure { failure = "\(reason)" }
        if association?.hasEnded == true { failure = "the server ended the association" }
    }

    private func read(at now: Instant, _ data: (Span<UInt8>) -> Void) {
        for _ in 0..<16 {
            var result = StreamReadResult.wouldBlock
            unread.append(addingCapacity: 16_384) { output in
                result = connection?.read(into: &output) ?? .closed
            }
            var start = 0
            frames: while start < unread.count {
                switch framing.frame(at: unread.span.extracting(droppingFirst: start)) {
                case .needMore: break frames
                case .stun(let count), .channelData(let count):
                    _ = take(unread.span.extracting(start..<start + count), at: now, data)
                    start += count
                case .broken:
                    failure = "the server sends something else than STUN"
                    return
                }
            }
            unread.removeFirst(start)
            switch result {
            case .bytes: continue
            case .wouldBlock: return
            case .closed:
                failure = "the server closed the connection"
                return
            case .failed(let reason):
                failure = "\(reason)"
                return
            }
        }
    }

    private func note(_ result: StreamWriteResult) {
        if case .failed(let reason) = result { failure = "\(reason)" }
    }
}
