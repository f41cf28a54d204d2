import Bytes
public import NetTypes
import STUN

/// What a mobile allocation has beyond others (RFC 8016); apart from the allocations, most of which have none of it.
struct Mobility {
    /// The number of the ticket that counts; each move makes the next one.
    var sequence: UInt32 = 0
    /// The ticket that counts.
    var ticket: [UInt8]
    /// The new 5-tuple, until the client has sent data from it.
    var next: ClientTuple?
    /// Who has got the ticket that counts for the one before, and until when it may ask again.
    var repeats: (client: ClientTuple, until: Instant)?
    /// Whether the client's stream is gone, so that nothing reaches it before it moves.
    var isDetached = false
}

/// Mobility (RFC 8016): an allocation keeps its relayed addresses, permissions and channels while its client moves.
///
///     client ──Refresh with ticket──► client + next ──data from next──► next
///
/// The old 5-tuple goes on until the new one is used. A moved client may arrive at another shard than the one that has its
/// allocation: a stream is handed over whole, datagrams are forwarded one by one; answers need no way back, for every
/// shard sends from the same addresses.
extension TURNServerEngine {
    // RFC 8016 §3.2.2: at least 30 s; RFC 8489 §6.3.1: a request may come again for 40 s.
    private static let repeatTime = TimeSpan.seconds(40)

    // MARK: Finding the allocation

    /// The allocation of a 5-tuple, be it the present one or the next.
    func allocation(of client: ClientTuple) -> SlotHandle? {
        clients[client] ?? (movers.count > 0 ? movers[client] : nil)
    }

    /// Where data belong that have come from a 5-tuple without an allocation of its own.
    enum Stray {
        /// Their client has moved, and this is how it shows: the new 5-tuple is now the one.
        case moved
        /// The allocation is on that shard.
        case otherShard(Int)
        case stranger
    }

    mutating func claim(strayOf client: ClientTuple, at now: Instant) -> Stray {
        if movers.count > 0, let handle = movers[client] {
            adopt(client, as: handle, at: now)
            return .moved
        }
        return shardForwarded(client).map { .otherShard($0) } ?? .stranger
    }

    /// The other shard to which the client's datagrams are forwarded.
    func shardForwarded(_ client: ClientTuple) -> Int? {
        guard !isForwarded, client.transport == .udp, let owner = shared.forwarded.shard(of: client) else { return nil }
        return owner != shard ? owner : nil
    }

    /// The shard that has the allocation of a request from a 5-tuple without one, if that is another one.
    func otherShard(forMoved request: borrowing STUNMessageView, from client: ClientTuple) -> Int? {
        // Departure: an association of DTLS cannot be handed over, so its client moves only within its shard; the answer
        // is otherwise 437, upon which clients allocate anew.
        guard configuration.allowsMobility, !isForwarded, client.transport != .dtls else { return nil }
        if let owner = shardForwarded(client) { return owner }
        guard let ticket = ticket(in: request), ticket.shard != shard, ticket.shard < shared.shardCount else {
            return nil
        }
        return ticket.shard
    }

    /// The genuine ticket of a Refresh request.
    func ticket(in request: borrowing STUNMessageView) -> MobilityTicket? {
        guard configuration.allowsMobility, request.method == .refresh, let bytes = request.value(.mobilityTicket)
        else {
            return nil
        }
        return shared.tickets.open(bytes)
    }

    /// The allocation that the ticket of a request names, if it is on this shard.
    ///
    /// Its account vouches for the client: temporary credentials may have expired since the allocation was made.
    func allocationOfTicket(in request: borrowing STUNMessageView) -> SlotHandle? {
        guard let ticket = ticket(in: request), ticket.shard == shard, mobile[ticket.allocation] != nil else {
            return nil
        }
        return ticket.allocation
    }

    // MARK: Moving

    /// Makes an allocation mobile.
    mutating func giveTicket(to handle: SlotHandle) {
        if let ticket = seal(handle, 0) { mobile[handle] = Mobility(ticket: ticket) }
    }

    private func seal(_ handle: SlotHandle, _ sequence: UInt32) -> [UInt8]? {
        let ticket = MobilityTicket(shard: shard, allocation: handle, sequence: sequence)
        return shared.tickets.seal(ticket, nonce: shared.ticketNonce())
    }

    /// Handles a Refresh request with a ticket, from whom is known, in the order of RFC 8016 §3.2.2.
    ///
    /// Departure: the user is compared before the 5-tuples, so that only the owner learns anything about an allocation.
    mutating func resume(_ request: borrowing STUNMessageView, _ context: RequestContext) {
        guard configuration.allowsMobility else { return fail(context.responder, .mobilityForbidden) }
        // Whoever could not have allocated from there does not get there by a move (RFC 8656 §21.4).
        guard !AddressForms.isForbiddenTunnel(context.client.remote.ip) else {
            return fail(context.responder, .forbidden, "Teredo or 6to4")
        }
        guard let ticket = ticket(in: request) else {
            return fail(context.responder, .badRequest, "MOBILITY-TICKET is not valid")
        }
        let handle = ticket.allocation
        guard ticket.shard == shard, let mobility = mobile[handle],
            let holder = allocations.read(handle, { $0.account })
        else { return mismatch(request, context) }
        guard holder.isHeld(by: context.account) else { return fail(context.responder, .wrongCredentials) }
        if let repeats = mobility.repeats, repeats.client == context.client, context.now < repeats.until,
            ticket.sequence &+ 1 == mobility.sequence
        {
            // The answer got lost: the same again (turn 193).
            return confirmMove(of: handle, mobility.ticket, context)
        }
        guard ticket.sequence == mobility.sequence else {
            return fail(context.responder, .badRequest, "MOBILITY-TICKET was used before")
        }
        if let present = allocation(of: context.client) {
            guard present == handle else { return fail(context.responder, .allocationMismatch) }
            return fail(context.responder, .badRequest, "MOBILITY-TICKET without a new address")
        }
        refresh(request, handle, context, isMove: true)
    }

    private mutating func confirmMove(of handle: SlotHandle, _ ticket: [UInt8], _ context: RequestContext) {
        let rest = (allocations.read(handle) { $0.deadline } ?? nil).map { $0 - context.now } ?? .zero
        succeed(context.responder) { builder, output in
            builder.append(.lifetime, UInt32(clamping: rest.seconds), into: &output)
            builder.append(.mobilityTicket, ticket.span, into: &output)
        }
    }

    /// Lets the client go on from another 5-tuple; returns its new ticket.
    mutating func move(_ handle: SlotHandle, to client: ClientTuple, at now: Instant) -> [UInt8]? {
        guard var mobility = mobile[handle], let ticket = seal(handle, mobility.sequence &+ 1) else { return nil }
        if let last = mobility.next { forgetMover(last) }
        mobility.sequence &+= 1
        mobility.ticket = ticket
        mobility.next = client
        mobility.repeats = (client, now + Self.repeatTime)
        mobile[handle] = mobility
        movers.insert(handle, for: client)
        if isForwarded { shared.forwarded.register(client, at: shard) }
        events.append(.clientJoined(client))
        // Nothing else reaches the client.
        if mobility.isDetached { adopt(client, as: handle, at: now) }
        return ticket
    }

    /// Puts the new 5-tuple in the place of the old one (RFC 8016 §3.2.2: the old one and its ticket are discarded).
    private mutating func adopt(_ client: ClientTuple, as handle: SlotHandle, at now: Instant) {
        guard let mobility = mobile[handle], let old = allocations.read(handle, { $0.client }) else { return }
        mobile[handle]?.next = nil
        mobile[handle]?.isDetached = false
        movers.remove(client)
        if !mobility.isDetached {
            clients.remove(old)
            shared.forwarded.forget(old, of: shard)
            events.append(.clientLeft(old))
        }
        clients.insert(handle, for: client)
        _ = allocations.update(handle) { $0.client = client }
        counters.moves &+= 1
        tellChannelPaths(of: handle)
        if let summary = allocations.read(handle, { $0.summary(at: now, shared) }) {
            log(.allocationMoved(summary, from: old))
        }
    }

    private mutating func forgetMover(_ client: ClientTuple) {
        movers.remove(client)
        shared.forwarded.forget(client, of: shard)
        events.append(.clientLeft(client))
    }

    // MARK: Ends

    /// A stream is gone: its allocation waits for the client to come back, if it is mobile; `false` if it is not.
    mutating func detach(_ client: ClientTuple, _ handle: SlotHandle, at now: Instant) -> Bool {
        guard let mobility = mobile[handle] else { return false }
        if let next = mobility.next {
            adopt(next, as: handle, at: now)
        } else {
            clients.remove(client)
            mobile[handle]?.isDetached = true
            tellChannelPaths(of: handle)
        }
        return true
    }

    /// The stream of a client that was about to move there is gone.
    mutating func moverClosed(_ client: ClientTuple) {
        guard let handle = movers[client] else { return }
        mobile[handle]?.next = nil
        forgetMover(client)
    }

    /// Forgets what a mobile allocation had, at its end.
    mutating func endMobility(of handle: SlotHandle) {
        guard let mobility = mobile.removeValue(forKey: handle), let next = mobility.next else { return }
        forgetMover(next)
    }

    // MARK: Between shards

    /// Takes a datagram that another shard has got and passed on, as `handOver` asks.
    public mutating func receiveForwarded(
        _ message: Span<UInt8>,
        from client: ClientTuple,
        at now: Instant
    ) -> ClientDisposition {
        isForwarded = true
        defer { isForwarded = false }
        return receive(message, from: client, at: now)
    }
}
