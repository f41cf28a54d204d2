import Bytes
import Crypto
import Diagnostics
import EventLoop
import NetTypes
import TURN
import TURNServer
import Transport

/// DTLS on the UDP listeners (RFC 7350): told from STUN and ChannelData by the first byte (RFC 7983 §7).
extension RelayShard {
    /// Whether a datagram is DTLS by its first byte.
    static func isDTLS(_ packets: borrowing DatagramReceiveBatch, _ index: Int) -> Bool {
        let payload = packets.payload(of: index)
        return !payload.isEmpty && PacketKind(firstByte: payload[0]) == .dtls
    }

    /// Takes a DTLS datagram; `client` has no handle.
    mutating func receiveSecurely(_ index: Int, from client: ClientTuple, at now: Instant) {
        switch judgeHello(index, from: client, at: now) {
        case .malformed: drops.count(.malformedHello)
        case .unproven: associations.countAnsweredHello()
        case .proven(let tag): receiveProvenHello(index, from: client, tag: tag, at: now)
        case .notHello:
            guard let handle = associations.handle(of: client) else { return drops.count(.noAssociation) }
            receive(index, on: handle, at: now)
        }
    }

    /// Judges a datagram that may be a ClientHello; nothing is kept of it.
    ///
    /// Asks for a cookie if there is none.
    private mutating func judgeHello(_ index: Int, from client: ClientTuple, at now: Instant) -> DTLSHelloVerdict {
        guard Self.mayBeHello(packets, index), let route = route(to: client) else { return .notHello }
        if !sends.hasRoom(for: DTLSCookies.answerByteCount) { flushDatagrams(keepingPackets: true) }
        return Self.judge(packets, index, &sends, route, associations.cookies, client, at: now)
    }

    private static func mayBeHello(_ packets: borrowing DatagramReceiveBatch, _ index: Int) -> Bool {
        DTLSCookies.concerns(packets.payload(of: index))
    }

    private static func judge(
        _ packets: borrowing DatagramReceiveBatch,
        _ index: Int,
        _ sends: inout DatagramSendBatch,
        _ route: DatagramRoute,
        _ cookies: DTLSCookies,
        _ client: ClientTuple,
        at now: Instant
    ) -> DTLSHelloVerdict {
        let payload = packets.payload(of: index)
        var verdict = DTLSHelloVerdict.malformed
        _ = sends.enqueue(maximumCount: DTLSCookies.answerByteCount) { output in
            verdict = cookies.judge(payload, from: client.remote, to: client.local, at: now, answer: &output)
            return verdict == .unproven ? route : nil
        }
        return verdict
    }

    private mutating func receiveProvenHello(_ index: Int, from client: ClientTuple, tag: UInt64, at now: Instant) {
        if let handle = associations.handle(of: client) {
            // The same once more, or the same client anew: it has shown that it is there (RFC 6347 §4.2.8).
            guard associations.pool.read(handle, { $0.tag }) != tag else { return receive(index, on: handle, at: now) }
            removeAssociation(handle, at: now)
        }
        if let refusal = associations.refusal(client.remote.ip) { return drops.count(refusal) }
        if let oldest = associations.takeOldestHandshake(at: now) {
            drops.count(.tooManyHandshakes)
            removeAssociation(oldest, at: now)
        }
        guard let context = associations.context else { return drops.count(.noAssociation) }
        var options = DTLSSession.Options()
        options.handshakeTime = associations.limits.handshakeTime
        let session = Self.session(packets, index, context, options, at: now)
        let association = DTLSAssociation(session, client: client, tag: tag, at: now)
        guard let handle = associations.insert(association, at: now) else { return drops.count(.tooManyAssociations) }
        finish(handle, .wouldBlock, at: now)
    }

    private static func session(
        _ packets: borrowing DatagramReceiveBatch,
        _ index: Int,
        _ context: DTLSContext,
        _ options: DTLSSession.Options,
        at now: Instant
    ) -> DTLSSession {
        DTLSSession(server: context, provenHello: packets.payload(of: index), at: now, options: options)
    }

    // MARK: Messages

    /// What an association made of a datagram.
    private struct Received {
        var result: TLSReadResult
        let client: ClientTuple
        /// Whether it needs more than its messages read: a handshake goes on, or there is something to transmit.
        let needsCare: Bool
    }

    private mutating func receive(_ index: Int, on handle: SlotHandle, at now: Instant) {
        var buffer = input
        input = []
        buffer.removeAll(keepingCapacity: true)
        defer { input = buffer }
        guard var turn = Self.decrypt(packets, index, &associations.pool, handle, &buffer, at: now) else { return }
        let (trafficClass, hops) = (relayedTrafficClass(of: index), packets.hopLimit(of: index))
        while case .bytes = turn.result {
            receive(message: buffer.span, from: turn.client, trafficClass, hops, at: now)
            buffer.removeAll(keepingCapacity: true)
            turn.result = Self.readOn(&associations.pool, handle, &buffer)
        }
        if turn.needsCare || turn.result != .wouldBlock { finish(handle, turn.result, at: now) }
    }

    private static func decrypt(
        _ packets: borrowing DatagramReceiveBatch,
        _ index: Int,
        _ pool: inout SlotPool<DTLSAssociation>,
        _ handle: SlotHandle,
        _ buffer: inout [UInt8],
        at now: Instant
    ) -> Received? {
        let payload = packets.payload(of: index)
        return pool.update(handle) { association in
            var result = TLSReadResult.wouldBlock
            buffer.append(addingCapacity: DTLSSession.maximumMessageByteCount) {
                result = association.session.receive(payload, at: now, into: &$0)
            }
            if case .bytes = result {
                association.lastMessage = now
                association.hasSpoken = true
            }
            return Received(
                result: result,
                client: association.client,
                needsCare: association.isHalfOpen || association.session.hasPendingOutput
            )
        }
    }

    private static func readOn(
        _ pool: inout SlotPool<DTLSAssociation>,
        _ handle: SlotHandle,
        _ buffer: inout [UInt8]
    ) -> TLSReadResult {
        var result = TLSReadResult.wouldBlock
        _ = pool.update(handle) { association in
            buffer.append(addingCapacity: DTLSSession.maximumMessageByteCount) {
                result = association.session.read(into: &$0)
            }
        }
        return result
    }

    private mutating func receive(
        message: Span<UInt8>,
        from client: ClientTuple,
        _ trafficClass: UInt8,
        _ hops: UInt8,
        at now: Instant
    ) {
        switch engine.receive(message, from: client, at: now) {
        case .relay where hops == 1: drops.count(.hopLimitReached)
        case .relay(let transmit):
            relay(message, transmit, trafficClass: trafficClass, hopLimit: hops == 0 ? 0 : hops - 1)
        case .accepted: drainEngine(at: now)
        case .ignored, .handOver: break
        }
    }

    /// Sends what the session has to say, and ends or goes on with the association.
    private mutating func finish(_ handle: SlotHandle, _ result: TLSReadResult, at now: Instant) {
        transmitHandshake(handle)
        let state = associations.pool.read(handle) { association in
            (association.session.failure, association.isHalfOpen && association.session.isEstablished)
        }
        guard let (failure, isNew) = state else { return }
        guard failure == nil, result != .closed else {
            if let failure { drops.count(failure == .timedOut ? .handshakeTimeout : .dtlsFailure) }
            return removeAssociation(handle, at: now)
        }
        if isNew { associations.established(handle, at: now) }
        associations.schedule(handle, configuration)
    }

    // MARK: Sending

    /// Encrypts a response for a client.
    mutating func sendSecurely(_ message: Span<UInt8>, to client: ClientTuple) {
        guard let route = route(to: client) else { return drops.count(.noRoute) }
        makeRoom(for: message.count)
        let handle = SlotHandle(bits: client.connection)
        if !Self.encrypt(message, &associations.pool, handle, &sends, route) { countUnsent(message.count, handle) }
    }

    /// Encrypts what a peer has sent, framed, for a client.
    mutating func sendSecurely(packet index: Int, _ bytes: Range<Int>, to client: ClientTuple) {
        guard var route = route(to: client) else { return drops.count(.noRoute) }
        guard carry(index, on: &route) else { return }
        makeRoom(for: bytes.count)
        let handle = SlotHandle(bits: client.connection)
        let isSent = Self.encrypt(packets, index, bytes, &associations.pool, handle, &sends, route)
        if !isSent { countUnsent(bytes.count, handle) }
    }

    private mutating func countUnsent(_ byteCount: Int, _ handle: SlotHandle) {
        let limit = associations.pool.read(handle) { $0.session.longestMessageByteCount } ?? .max
        drops.count(byteCount > limit ? .oversizedRecord : .closedAssociation)
    }

    private mutating func makeRoom(for messageByteCount: Int) {
        let room = messageByteCount + DTLSSession.overheadByteCount
        if !sends.hasRoom(for: room) { flushDatagrams(keepingPackets: true) }
    }

    private static func encrypt(
        _ packets: borrowing DatagramReceiveBatch,
        _ index: Int,
        _ bytes: Range<Int>,
        _ pool: inout SlotPool<DTLSAssociation>,
        _ handle: SlotHandle,
        _ sends: inout DatagramSendBatch,
        _ route: DatagramRoute
    ) -> Bool {
        encrypt(packets.bytes(bytes, of: index), &pool, handle, &sends, route)
    }

    private static func encrypt(
        _ message: Span<UInt8>,
        _ pool: inout SlotPool<DTLSAssociation>,
        _ handle: SlotHandle,
        _ sends: inout DatagramSendBatch,
        _ route: DatagramRoute
    ) -> Bool {
        pool.update(handle) { encrypt(message, &$0.session, &sends, route) } == true
    }

    private static func encrypt(
        _ message: Span<UInt8>,
        _ session: inout DTLSSession,
        _ sends: inout DatagramSendBatch,
        _ route: DatagramRoute
    ) -> Bool {
        sends.enqueue(maximumCount: message.count + DTLSSession.overheadByteCount) {
            session.write(message, into: &$0) ? route : nil
        } == .queued
    }

    /// Sends the datagrams of a handshake, or an alert.
    private mutating func transmitHandshake(_ handle: SlotHandle) {
        guard let client = associations.pool.read(handle, { $0.client }), let route = route(to: client) else { return }
        while associations.pool.read(handle, { $0.session.hasPendingOutput }) == true {
            makeRoom(for: Self.handshakeDatagramBytes)
            guard Self.transmit(&associations.pool, handle, &sends, route) == .queued else {
                return drops.count(.batchFull)
            }
        }
    }

    private static func transmit(
        _ pool: inout SlotPool<DTLSAssociation>,
        _ handle: SlotHandle,
        _ sends: inout DatagramSendBatch,
        _ route: DatagramRoute
    ) -> EnqueueResult {
        pool.update(handle) { transmit(&$0.session, &sends, route) } ?? .nothing
    }

    private static func transmit(
        _ session: inout DTLSSession,
        _ sends: inout DatagramSendBatch,
        _ route: DatagramRoute
    ) -> EnqueueResult {
        sends.enqueue(maximumCount: handshakeDatagramBytes) { session.pollTransmit(into: &$0) ? route : nil }
    }

    private static var handshakeDatagramBytes: Int { 2048 }

    // MARK: Ends

    /// Does what is due: flights again, handshakes that take too long, clients that have nothing to say.
    mutating func serveAssociations(at now: Instant) {
        while let token = associations.timers.popExpired(at: now) {
            let handle = SlotHandle(bits: token)
            guard
                let (deadline, isHalfOpen) = associations.pool.read(
                    handle,
                    { ($0.deadline(configuration), $0.isHalfOpen) }
                )
            else { continue }
            if isHalfOpen {
                _ = associations.pool.update(handle) { $0.session.handleTimeout(at: now) }
                finish(handle, .wouldBlock, at: now)
            } else if deadline > now {
                // It has spoken meanwhile: messages do not move the timer, the timer follows them when it fires.
                associations.schedule(handle, configuration)
            } else {
                drops.count(.idleAssociation)
                closeAssociation(handle, at: now)
            }
        }
    }

    /// Says goodbye and forgets the association.
    mutating func closeAssociation(_ handle: SlotHandle, at now: Instant) {
        _ = associations.pool.update(handle) { $0.session.close() }
        transmitHandshake(handle)
        removeAssociation(handle, at: now)
    }

    private mutating func removeAssociation(_ handle: SlotHandle, at now: Instant) {
        guard let client = associations.remove(handle) else { return }
        engine.connectionClosed(client, at: now)
        drainEngine(at: now)
    }

    /// Counts the allocations of an association, which lives as long as they do.
    mutating func countAllocation(ofAssociation handle: SlotHandle, _ change: Int) {
        guard associations.pool.update(handle, { $0.allocations += change }) != nil else { return }
        associations.schedule(handle, configuration)
    }
}
