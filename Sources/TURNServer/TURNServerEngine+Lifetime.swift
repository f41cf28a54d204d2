import Bytes
public import NetTypes
import STUN

/// Refresh (RFC 8656 §8.2) and the end of allocations.
extension TURNServerEngine {
    mutating func refresh(
        _ request: borrowing STUNMessageView,
        _ handle: SlotHandle,
        _ context: RequestContext,
        isMove: Bool = false
    ) {
        if deletes.contains(request.transactionID, from: context.client, at: context.now) {
            // One half of a dual allocation is gone already (turn 94).
            return succeed(context.responder) { $0.append(.lifetime, 0 as UInt32, into: &$1) }
        }
        let families: FamilySet
        let lifetime: TimeSpan
        do {
            families = try refreshedFamilies(request, handle)
            let isDelete = try AllocateWish.seconds(request) == 0
            lifetime =
                isDelete
                ? .zero : bounded(try AllocateWish.lifetime(request, configuration.lifetimes), by: context.account)
        } catch {
            return fail(context.responder, error.code, error.reason)
        }
        if lifetime == .zero {
            deletes.note(request.transactionID, from: context.client, at: context.now)
            for family in AddressFamily.allCases where families.contains(family) {
                closeRelay(of: handle, family, at: context.now)
            }
        } else {
            let expires = context.now + lifetime
            var isExtension = true
            _ = allocations.update(handle) { allocation in
                // A new token takes the place of the one that the allocation was made with (RFC 7635 §9).
                allocation.account = allocation.account.continued(by: context.account)
                for family in AddressFamily.allCases where families.contains(family) {
                    guard var relay = allocation.relays[family].open else { continue }
                    if expires < relay.expires { isExtension = false }
                    relay.expires = expires
                    allocation.relays[family] = .open(relay)
                }
            }
            tellChannelPaths(of: handle, isExtension: isExtension)
        }
        settle(handle, .deleted, at: context.now)
        let ticket = isMove && allocations.contains(handle) ? move(handle, to: context.client, at: context.now) : nil
        succeed(context.responder) { builder, output in
            builder.append(.lifetime, UInt32(clamping: lifetime.seconds), into: &output)
            if let ticket { builder.append(.mobilityTicket, ticket.span, into: &output) }
        }
    }

    /// The lifetime, or what is left of the access token, if that is less (RFC 7635 §9).
    func bounded(_ lifetime: TimeSpan, by account: Account) -> TimeSpan {
        guard let seconds = account.remainingSeconds(atUnixSeconds: unixSeconds) else { return lifetime }
        return min(lifetime, .seconds(UInt64(seconds)))
    }

    /// The relayed addresses that a Refresh is for: all, or the one of REQUESTED-ADDRESS-FAMILY (turn 117).
    private func refreshedFamilies(
        _ request: borrowing STUNMessageView,
        _ handle: SlotHandle
    ) throws(AllocateWish.Refusal) -> FamilySet {
        let open = allocations.read(handle) { $0.relays.openFamilies } ?? []
        guard let number = try AllocateWish.byte(request, .requestedAddressFamily, of: 4) else { return open }
        let family: AddressFamily? = number == 1 ? .ipv4 : number == 2 ? .ipv6 : nil
        guard let family, open.contains(family) else { throw .init(.peerAddressFamilyMismatch) }
        return FamilySet(family)
    }

    /// Makes the engine look at an allocation when the first of its relayed addresses expires.
    ///
    /// A deadline that has moved or gone leaves an entry behind. When those are the greater part, all are made anew, so
    /// that they stay in proportion to the allocations however fast these come and go.
    mutating func setTimer(of handle: SlotHandle) {
        guard let deadline = allocations.read(handle, { $0.deadline }) ?? nil else { return }
        timers.push(handle, at: deadline)
        dropStaleTimers()
    }

    private mutating func dropStaleTimers() {
        guard timers.count > 2 * allocations.count + Self.staleTimers || allocations.count == 0 else { return }
        timers.removeAll()
        for handle in allocations.handles {
            if let deadline = allocations.read(handle, { $0.deadline }) ?? nil { timers.push(handle, at: deadline) }
        }
    }

    static let staleTimers = 64

    /// Ends what has expired of an allocation whose timer has fired.
    mutating func expireRelays(of handle: SlotHandle, at now: Instant) {
        for family in AddressFamily.allCases {
            let relay = allocations.read(handle) { $0.relays[family].open } ?? nil
            if let relay, relay.expires <= now { closeRelay(of: handle, family, at: now) }
        }
        settle(handle, .expired, at: now)
    }

    /// Ends an allocation that has no relayed address left; otherwise sets its timer.
    private mutating func settle(_ handle: SlotHandle, _ reason: AllocationEnd, at now: Instant) {
        let isOver = allocations.read(handle) { $0.relays.firstOpen == nil } ?? true
        if isOver { end(handle, reason, at: now) } else { setTimer(of: handle) }
    }

    /// Closes one relayed address with its permissions and channels, and no others (RFC 8656 §8.1).
    private mutating func closeRelay(of handle: SlotHandle, _ family: AddressFamily, at now: Instant) {
        guard let relay = allocations.read(handle, { $0.relays[family].open }) ?? nil else { return }
        removePeers(of: handle, family)
        closeConnections(of: handle, family)
        _ = allocations.update(handle) { $0.relays[family] = .closed(relay.lease) }
        close(relay, at: now)
    }

    /// Tells that a relayed address can be used no more: it ends, and its allocation if it has no other.
    ///
    /// A `closeRelay` event with its token follows.
    public mutating func relayLost(_ id: RelayID, at now: Instant) {
        guard allocations.read(id.allocation, { $0.relays[id.family].open != nil }) == true else { return }
        closeRelay(of: id.allocation, id.family, at: now)
        settle(id.allocation, .revoked, at: now)
    }

    private mutating func close(_ relay: OpenRelay, at now: Instant) {
        shared.giveBack(relay.lease, at: now)
        events.append(.closeRelay(token: relay.token))
    }

    /// Ends an allocation and gives everything back that it holds.
    mutating func end(_ handle: SlotHandle, _ reason: AllocationEnd, at now: Instant) {
        for family in AddressFamily.allCases {
            removePeers(of: handle, family)
            closeConnections(of: handle, family)
        }
        guard let allocation = allocations.remove(handle) else { return }
        if clients[allocation.client] == handle { clients.remove(allocation.client) }
        shared.forwarded.forget(allocation.client, of: shard)
        endMobility(of: handle)
        let budget = leaveUserBytes(allocation.userBytes)
        dropStaleTimers()
        let pending = pending.remove(handle.bits)
        for slot in [allocation.relays.ipv4, allocation.relays.ipv6] {
            switch slot {
            case .none, .failed, .closed: break
            case .open(let relay): close(relay, at: now)
            case .opening(let lease, _): giveBack(lease, pending?.wish ?? .any, at: now)
            }
        }
        shared.release(allocation.account.user)
        guard let pending else {
            if configuration.tellsChannelPaths, let budget { endedBudgets[handle] = budget }
            return events.append(.allocationEnded(allocation.summary(at: now, shared), reason))
        }
        // The unit for the reserved port had been taken along.
        if pending.wish == .evenWithNext { shared.release(allocation.account.user) }
    }
}
