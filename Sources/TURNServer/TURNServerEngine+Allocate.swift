import Bytes
public import NetTypes
import STUN
import TURN

/// Allocate (RFC 8656 §7.2).
extension TURNServerEngine {
    mutating func allocate(
        _ request: borrowing STUNMessageView,
        _ context: RequestContext
    ) -> ClientDisposition {
        if let handle = allocation(of: context.client) {
            let isRepeated = allocations.read(handle) {
                $0.transactionID == request.transactionID
                    && $0.account.admits(context.account)
            }
            guard isRepeated == true else {
                fail(context.responder, .allocationMismatch)
                return .accepted
            }
            guard allocations.read(handle, { !$0.relays.isOpening }) == true else { return ignore(.retransmission) }
            confirm(handle, context.responder, at: context.now)
            return .accepted
        }
        let wish: AllocateWish
        do {
            wish = try AllocateWish(request, configuration, shared, client: context.client)
        } catch {
            fail(context.responder, error.code, error.reason)
            return .accepted
        }
        // A reserved port is here and nowhere else.
        let mayLeave = wish.token == nil
        if mayLeave, configuration.redirection?.isForAll == true, redirect(context.responder) { return .accepted }
        guard let code = open(wish, request.transactionID, context) else { return .accepted }
        if mayLeave, code == .insufficientCapacity, redirect(context.responder) { return .accepted }
        fail(context.responder, code)
        return .accepted
    }

    /// Takes quota and ports and asks the driver for the sockets; returns what stands against it.
    private mutating func open(
        _ wish: AllocateWish,
        _ transactionID: TransactionID,
        _ context: RequestContext
    ) -> ErrorCode? {
        guard acceptsAllocations, allocations.count < configuration.limits.allocations else {
            return .insufficientCapacity
        }
        let now = context.now
        let user = context.account.user
        var redeemed: PortLease?
        if let token = wish.token {
            redeemed = shared.redeem(token, at: now)
            guard redeemed != nil else { return .insufficientCapacity }
        }
        let units = wish.ports == .evenWithNext ? 2 : 1
        switch shared.claim(user, units: units) {
        case nil: break
        case .user:
            if let redeemed { shared.giveBack(redeemed, at: now) }
            return .allocationQuotaReached
        case .total:
            if let redeemed { shared.giveBack(redeemed, at: now) }
            return .insufficientCapacity
        }
        var relays = RelayPair()
        if let redeemed {
            relays[shared.address(of: redeemed).family] = .opening(redeemed, isRedeemed: true)
        } else {
            for family in AddressFamily.allCases where wish.families.contains(family) {
                relays[family] = take(family, wish.ports, at: now)
            }
        }
        let allocation = Allocation(
            client: context.client,
            account: context.account,
            transactionID: transactionID,
            created: now,
            transport: wish.transport,
            relays: relays,
            bandwidth: bandwidth(at: now),
            newPeers: configuration.limits.newPeers.map {
                TokenBucket(ratePerSecond: $0.perSecond, burst: $0.burst, at: now)
            }
        )
        guard relays.isOpening, let handle = allocations.insert(allocation) else {
            for _ in 0..<units { shared.release(user) }
            return .insufficientCapacity
        }
        if let bytes = joinUserBytes(user, at: now) { _ = allocations.update(handle) { $0.userBytes = bytes } }
        clients.insert(handle, for: context.client)
        if isForwarded { shared.forwarded.register(context.client, at: shard) }
        pending.insert(
            PendingAllocate(
                responder: context.responder,
                lifetime: bounded(wish.lifetime, by: context.account),
                wish: wish.ports,
                wantsTicket: wish.wantsTicket,
                attempts: configuration.limits.portAttempts
            ),
            for: handle.bits
        )
        for family in AddressFamily.allCases { requestSocket(handle, family, relays[family], wish.transport) }
        return nil
    }

    private func take(_ family: AddressFamily, _ wish: TURNServerShared.PortWish, at now: Instant) -> RelaySlot {
        guard shared.hasFamily(family) else { return .failed(.addressFamilyNotSupported) }
        guard let lease = shared.takePort(family, wish, at: now) else { return .failed(.insufficientCapacity) }
        return .opening(lease, isRedeemed: false)
    }

    private mutating func requestSocket(
        _ handle: SlotHandle,
        _ family: AddressFamily,
        _ slot: RelaySlot,
        _ transport: RelayedTransport
    ) {
        guard case .opening(let lease, _) = slot else { return }
        let local = SocketAddress(shared.address(of: lease).local, port: lease.port)
        let request = RelayRequest(id: RelayID(handle, family), local: local)
        events.append(transport == .tcp ? .openListener(request) : .openRelay(request))
    }

    private func bandwidth(at now: Instant) -> TokenBucket? {
        configuration.limits.bytesPerSecondPerAllocation.map {
            TokenBucket(ratePerSecond: Double($0), burst: Double($0), at: now)
        }
    }

    // MARK: The driver's answers

    /// Tells that the socket of a request is open; `token` is the driver's name for it in everything that follows.
    ///
    /// If the client has gone meanwhile, a `closeRelay` event with the token follows.
    public mutating func relayOpened(_ id: RelayID, token: UInt64, at now: Instant) {
        let handle = id.allocation
        guard let (slot, transport) = allocations.read(handle, { ($0.relays[id.family], $0.transport) }),
            case .opening(let lease, _) = slot, let lifetime = pending[handle.bits]?.lifetime
        else {
            events.append(.closeRelay(token: token))
            return
        }
        let relay = OpenRelay(token: token, expires: now + lifetime, lease: lease)
        _ = allocations.update(handle) { $0.relays[id.family] = .open(relay) }
        shared.markLive(lease, transport)
        complete(handle, at: now)
    }

    /// Tells that the socket of a request could not be opened.
    ///
    /// With `addressInUse`, another port is tried, so that a new `openRelay` event may follow; otherwise, and when too
    /// many ports were in use, the client gets 508.
    public mutating func relayOpenFailed(_ id: RelayID, addressInUse: Bool, at now: Instant) {
        let handle = id.allocation
        guard let (slot, transport) = allocations.read(handle, { ($0.relays[id.family], $0.transport) }),
            case .opening(let lease, let isRedeemed) = slot, let pending = pending[handle.bits]
        else { return }
        giveBack(lease, pending.wish, at: now)
        var next = RelaySlot.failed(.insufficientCapacity)
        if addressInUse, !isRedeemed, pending.attempts > 0 { next = take(id.family, pending.wish, at: now) }
        _ = allocations.update(handle) { $0.relays[id.family] = next }
        _ = self.pending.update(handle.bits) { $0.attempts -= 1 }
        requestSocket(handle, id.family, next, transport)
        complete(handle, at: now)
    }

    /// Gives back a port that was never opened, with its neighbour if that was taken along.
    func giveBack(_ lease: PortLease, _ wish: TURNServerShared.PortWish, at now: Instant) {
        shared.giveBack(lease, at: now)
        if wish == .evenWithNext { shared.giveBack(lease.next, at: now) }
    }

    /// Answers the client as soon as no socket is waited for.
    private mutating func complete(_ handle: SlotHandle, at now: Instant) {
        guard let relays = allocations.read(handle, { $0.relays }), !relays.isOpening,
            let pending = pending[handle.bits]
        else { return }
        guard let first = relays.firstOpen else {
            end(handle, .revoked, at: now)
            fail(pending.responder, .insufficientCapacity)
            return
        }
        var token: UInt64?
        if pending.wish == .evenWithNext, let user = allocations.read(handle, { $0.account.user }) {
            let reservation = shared.reserve(first.lease.next, for: user, at: now)
            token = reservation.token
            reservationExpiry = reservationExpiry.map { min($0, reservation.expires) } ?? reservation.expires
        }
        if let token { _ = allocations.update(handle) { $0.reservationToken = token } }
        self.pending.remove(handle.bits)
        if pending.wantsTicket { giveTicket(to: handle) }
        setTimer(of: handle)
        counters.allocationsCreated &+= 1
        if let summary = allocations.read(handle, { $0.summary(at: now, shared) }) {
            events.append(.allocationCreated(summary))
        }
        confirm(handle, pending.responder, at: now)
    }

    /// Writes the success response, also when the request comes again (turn 94).
    private mutating func confirm(_ handle: SlotHandle, _ responder: Responder, at now: Instant) {
        guard let (relays, token) = allocations.read(handle, { ($0.relays, $0.reservationToken) }) else { return }
        let expires = relays.earliestExpiry ?? now
        let ticket = mobile[handle]?.ticket
        let shared = shared
        succeed(responder) { builder, output in
            for family in AddressFamily.allCases {
                guard let relay = relays[family].open else { continue }
                builder.append(.xorRelayedAddress, xored: shared.external(relay.lease), into: &output)
            }
            builder.append(.lifetime, UInt32(clamping: (expires - now).seconds), into: &output)
            builder.append(.xorMappedAddress, xored: responder.client.remote, into: &output)
            if let token { builder.append(.reservationToken, token, into: &output) }
            if let ticket { builder.append(.mobilityTicket, ticket.span, into: &output) }
            for family in AddressFamily.allCases {
                guard let code = relays[family].failure else { continue }
                builder.append(.addressErrorCode, family: family, code, "", into: &output)
            }
        }
    }
}

extension PortLease {
    /// The other port of a pair (EVEN-PORT with R = 1).
    var next: PortLease { PortLease(relay: relay, port: port + 1) }
}
