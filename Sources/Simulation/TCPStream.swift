import NetTypes

/// One TCP connection (RFC 9293), as far as its users can tell: opening from one side or from both at once, bytes in
/// order, retransmission, a congestion window, closing, resets, and giving up.
///
/// Positions count from the SYN, which is number 0, so the first byte of data has number 1.
final class TCPStream {
    enum Phase {
        case synSent
        case synReceived
        case open
        case closed
    }

    let index: Int
    let local: SocketAddress
    let remote: SocketAddress
    private unowned let host: SimulatedHost
    private let program: Int
    private let listener: Int?
    private let initialSequence: UInt32
    private var phase = Phase.synSent

    // What is sent.
    private var unacknowledged: UInt64 = 0
    private var next: UInt64 = 0
    private var buffer: [UInt8] = []
    /// The position of the first byte in the buffer.
    private var bufferStart: UInt64 = 1
    private var isFinishing = false
    private var window: UInt64 = 65_535
    private var congestionWindow: UInt64 = 14_000
    private var segmentSize: Int
    private var repeats = 0
    private var duplicates = 0
    private var timeout = TimeSpan.seconds(1)
    private var smoothed: TimeSpan?
    private var timed: (position: UInt64, at: Instant)?
    private var deadline: Instant?
    private var armed = Instant.distantFuture

    // What is received.
    private var peerInitialSequence: UInt32 = 0
    private var expected: UInt64 = 0
    private var early: [(position: UInt64, bytes: [UInt8])] = []
    private var peerEnd: UInt64?
    private var toldEnd = false

    init(
        host: SimulatedHost,
        index: Int,
        program: Int,
        listener: Int?,
        local: SocketAddress,
        remote: SocketAddress,
        initialSequence: UInt32
    ) {
        self.host = host
        self.index = index
        self.program = program
        self.listener = listener
        self.local = local
        self.remote = remote
        self.initialSequence = initialSequence
        segmentSize = 1500 - (local.family == .ipv4 ? 40 : 60)
        if let interface = host.route(to: remote.ip, from: local.ip)?.interface {
            segmentSize = min(segmentSize, host.network.mtu(of: interface.attachment) - 1500 + segmentSize)
        }
    }

    // MARK: Opening

    func open() {
        sendSYN()
        arm()
    }

    func accept(_ header: TCPHeader) {
        phase = .synReceived
        peerInitialSequence = header.sequence
        expected = 1
        window = UInt64(header.window)
        sendSYN()
        arm()
    }

    private func sendSYN() {
        next = max(next, 1)
        if repeats == 0 { timed = (1, host.network.now) }
        emit(0, phase == .synSent ? .synchronize : [.synchronize, .acknowledge], [])
    }

    private func becomeOpen() {
        phase = .open
        repeats = 0
        if let listener {
            host.tell(program, .accepted(StreamID(index: index), listener: SocketID(index: listener), from: remote))
        } else {
            host.tell(program, .connected(StreamID(index: index)))
        }
    }

    // MARK: The user's calls

    func write(_ bytes: [UInt8]) {
        guard phase != .closed, !isFinishing else { return }
        buffer += bytes
        pump()
    }

    func finish() {
        guard phase != .closed, !isFinishing else { return }
        isFinishing = true
        pump()
    }

    func abort() {
        guard phase != .closed else { return }
        emit(next, [.reset, .acknowledge], [])
        phase = .closed
        host.forget(self)
    }

    // MARK: Sending

    private var dataEnd: UInt64 { bufferStart + UInt64(buffer.count) }
    private var isFinishSent: Bool { isFinishing && next > dataEnd }

    private func pump() {
        guard phase == .open else { return }
        let limit = unacknowledged + min(window, congestionWindow)
        while next < dataEnd, next < limit {
            let count = min(UInt64(segmentSize), dataEnd - next, limit - next)
            sendData(next, Int(count))
            if timed == nil, repeats == 0 { timed = (next + count, host.network.now) }
            next += count
        }
        if isFinishing, next == dataEnd {
            emit(next, [.finish, .acknowledge], [])
            next += 1
        }
        arm()
    }

    private func sendData(_ position: UInt64, _ count: Int) {
        let start = Int(position - bufferStart)
        emit(position, [.acknowledge, .push], Array(buffer[start..<start + count]))
    }

    private func emit(_ position: UInt64, _ flags: TCPFlags, _ payload: [UInt8]) {
        let header = TCPHeader(
            sequence: initialSequence &+ UInt32(truncatingIfNeeded: position),
            acknowledgement: flags.contains(.acknowledge)
                ? peerInitialSequence &+ UInt32(truncatingIfNeeded: expected) : 0,
            flags: flags
        )
        var packet = Packet(.tcp(header), from: local, to: remote, payload: payload, dontFragment: true)
        // What the interface refuses is lost like anything else: the timer sends it again.
        try? host.send(&packet)
    }

    private func acknowledge() { emit(next, .acknowledge, []) }

    // MARK: Time

    private func arm() {
        let waits = next > unacknowledged || phase == .synSent || phase == .synReceived
        deadline = waits ? host.network.now + timeout : nil
        rearm()
    }

    /// Puts the deadline into the queue, if there is not an earlier entry already.
    func rearm() {
        guard let deadline, deadline < armed || armed <= host.network.now else { return }
        armed = max(deadline, host.network.now)
        host.network.push(Event(.stream, host.index, index), at: armed)
    }

    /// The queue says that it is time for something.
    func handleTimeout(at now: Instant) {
        guard now >= armed else { return }
        armed = .distantFuture
        guard !host.isAsleep, let deadline else { return }
        guard deadline <= now else { return rearm() }
        if phase == .closed { return host.forget(self) }
        repeats += 1
        guard repeats <= (phase == .open ? 10 : 5) else { return end(.timedOut) }
        timeout = min(.seconds(60), timeout * 2)
        timed = nil
        // Nothing of a full segment comes through: perhaps a black hole (RFC 4821 in short).
        if repeats == 3, phase == .open { segmentSize = min(segmentSize, local.family == .ipv4 ? 536 : 1220) }
        congestionWindow = UInt64(segmentSize)
        retransmit()
        arm()
    }

    private func retransmit() {
        switch phase {
        case .synSent, .synReceived: sendSYN()
        case .open:
            let count = min(segmentSize, buffer.count)
            if count > 0 {
                sendData(bufferStart, count)
                // Everything behind it goes again as the window opens.
                if repeats > 0 { next = bufferStart + UInt64(count) }
            } else if isFinishSent {
                emit(dataEnd, [.finish, .acknowledge], [])
            }
        case .closed: break
        }
    }

    // MARK: Receiving

    func receive(_ reason: ICMPReason) {
        switch reason {
        case .packetTooBig(let mtu):
            segmentSize = max(536, min(segmentSize, mtu - (local.family == .ipv4 ? 40 : 60)))
            if phase == .open, next > unacknowledged {
                next = bufferStart
                pump()
            }
        case .hostUnreachable, .prohibited, .portUnreachable:
            // A standing connection outlives them (RFC 1122 §4.2.3.9).
            if phase == .synSent { end(.unreachable) }
        case .timeExceeded: break
        }
    }

    func receive(_ header: TCPHeader, _ payload: [UInt8]) {
        if phase == .synSent { return receiveOpening(header) }
        let position = expand(header.sequence, near: expected, peerInitialSequence)
        if header.flags.contains(.reset) {
            if position >= expected, position <= expected + 65_535 { end(.reset) }
            return
        }
        if header.flags.contains(.synchronize) {
            // Our answer was lost, or both have opened at once and this is the other's answer.
            guard phase == .synReceived else { return acknowledge() }
            guard header.flags.contains(.acknowledge) else { return sendSYN() }
        }
        guard header.flags.contains(.acknowledge) else { return }
        if phase == .synReceived {
            guard header.acknowledgement == initialSequence &+ 1 else { return }
            becomeOpen()
        }
        receiveAcknowledgement(header, hasData: !payload.isEmpty || header.flags.contains(.finish))
        guard phase != .closed else { return }
        take(position, payload, isLast: header.flags.contains(.finish))
        pump()
    }

    private func receiveOpening(_ header: TCPHeader) {
        let isForUs = header.flags.contains(.acknowledge) && header.acknowledgement == initialSequence &+ 1
        if header.flags.contains(.acknowledge), !isForUs {
            if !header.flags.contains(.reset) {
                var packet = Packet(
                    .tcp(TCPHeader(sequence: header.acknowledgement, acknowledgement: 0, flags: .reset, window: 0)),
                    from: local,
                    to: remote
                )
                try? host.send(&packet)
            }
            return
        }
        if header.flags.contains(.reset) {
            if isForUs { end(.refused) }
            return
        }
        guard header.flags.contains(.synchronize) else { return }
        peerInitialSequence = header.sequence
        expected = 1
        window = UInt64(header.window)
        guard isForUs else {
            // Both sides open at once (RFC 9293 §3.5).
            phase = .synReceived
            return sendSYN()
        }
        unacknowledged = 1
        if let timed { measure(timed.at.nanoseconds) }
        timed = nil
        becomeOpen()
        acknowledge()
        pump()
    }

    private func receiveAcknowledgement(_ header: TCPHeader, hasData: Bool) {
        window = UInt64(header.window)
        let position = expand(header.acknowledgement, near: unacknowledged, initialSequence)
        guard position <= dataEnd + 1 else { return }
        guard position > unacknowledged else {
            guard position == unacknowledged, next > unacknowledged, !hasData else { return }
            duplicates += 1
            if duplicates == 3 {
                congestionWindow = max(UInt64(2 * segmentSize), congestionWindow / 2)
                timed = nil
                retransmit()
            }
            return
        }
        let data = max(bufferStart, min(position, dataEnd)) - bufferStart
        buffer.removeFirst(Int(data))
        bufferStart += data
        if let timed, position >= timed.position {
            measure(timed.at.nanoseconds)
            self.timed = nil
        }
        congestionWindow = min(1_000_000, congestionWindow + (position - unacknowledged))
        unacknowledged = position
        next = max(next, position)
        repeats = 0
        duplicates = 0
        arm()
        closeIfDone()
    }

    private func measure(_ start: UInt64) {
        let sample = host.network.now - Instant(nanoseconds: start)
        let mean = smoothed.map { TimeSpan(nanoseconds: ($0.nanoseconds * 7 + sample.nanoseconds) / 8) } ?? sample
        smoothed = mean
        timeout = max(.milliseconds(200), mean * 2)
    }

    private func take(_ position: UInt64, _ payload: [UInt8], isLast: Bool) {
        if isLast { peerEnd = position + UInt64(payload.count) }
        if !payload.isEmpty, early.count < 256 { early.append((position, payload)) }
        var bytes: [UInt8] = []
        while let place = early.firstIndex(where: { $0.position <= expected }) {
            let piece = early.remove(at: place)
            let known = Int(expected - piece.position)
            guard known < piece.bytes.count else { continue }
            bytes += piece.bytes[known...]
            expected += UInt64(piece.bytes.count - known)
        }
        let isEnd = peerEnd == expected && !toldEnd
        if isEnd {
            expected += 1
            toldEnd = true
        }
        if !payload.isEmpty || isLast { acknowledge() }
        if !bytes.isEmpty { host.tell(program, .bytes(StreamID(index: index), bytes)) }
        if isEnd, phase != .closed {
            host.tell(program, .ended(StreamID(index: index), .finished))
            closeIfDone()
        }
    }

    /// Both sides have said everything; the one that ended first still answers for a while.
    private func closeIfDone() {
        guard phase == .open, toldEnd, isFinishing, unacknowledged > dataEnd else { return }
        deadline = host.network.now + .seconds(60)
        phase = .closed
        rearm()
    }

    private func end(_ why: StreamEnd) {
        guard phase != .closed else { return }
        let wasListening = listener != nil && phase == .synReceived
        phase = .closed
        host.forget(self)
        // Nobody has heard of a connection that was never accepted.
        if !wasListening { host.tell(program, .ended(StreamID(index: index), why)) }
    }

    /// The position that a 32-bit sequence number means, the nearest to one that is known.
    private func expand(_ number: UInt32, near known: UInt64, _ base: UInt32) -> UInt64 {
        let difference = Int32(bitPattern: number &- base &- UInt32(truncatingIfNeeded: known))
        return UInt64(max(0, Int64(known) + Int64(difference)))
    }
}
