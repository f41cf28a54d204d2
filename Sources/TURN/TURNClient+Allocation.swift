import Bytes
import NetTypes
import STUN

/// Allocate and Refresh (RFC 8656 §7, §8).
extension TURNClient {
    /// How long before its end an allocation is refreshed: a whole transaction fits in between (RFC 8656 §8).
    private static var refreshMargin: TimeSpan { .seconds(60) }
    /// The shortest pause between two attempts to refresh.
    private static var refreshPause: TimeSpan { .seconds(5) }

    func appendAllocate(to builder: inout STUNMessageBuilder, into output: inout OutputSpan<UInt8>) {
        builder.append(configuration.relayed, into: &output)
        if let lifetime = configuration.lifetimeSeconds { builder.append(.lifetime, lifetime, into: &output) }
        if asksDontFragment { builder.append(.dontFragment, into: &output) }
        if asksMobility { builder.append(.mobilityTicket, into: &output) }
        // Ports in pairs are for RTP over UDP (RFC 6062 §4.1).
        let port = configuration.relayed == .udp ? configuration.port : .any
        switch port {
        case .any: break
        case .even: builder.append(evenPortReservingNext: false, into: &output)
        case .evenReservingNext: builder.append(evenPortReservingNext: true, into: &output)
        case .reserved(let token): builder.append(token, into: &output)
        }
        // With a token the family is that of the reserved port, and a server refuses to be told (turn 102).
        guard !port.isReserved else { return appendSoftware(to: &builder, into: &output) }
        switch configuration.families {
        case .unspecified: break
        case .only(let family): builder.append(requested: family, into: &output)
        case .dual: builder.append(additional: .ipv6, into: &output)
        }
        appendSoftware(to: &builder, into: &output)
    }

    private func appendSoftware(to builder: inout STUNMessageBuilder, into output: inout OutputSpan<UInt8>) {
        guard let software = configuration.software, (1...127).contains(software.count) else { return }
        builder.append(.software, software, into: &output)
    }

    // MARK: Allocate

    mutating func allocated(_ response: borrowing STUNMessageView, since started: Instant, at now: Instant) {
        let granted: TURNAllocation
        do throws(TURNClientFailure) {
            granted = try readAllocation(response)
        } catch {
            // The server has made one, of which we cannot make use (RFC 8656 §7.3).
            phase = .allocated
            return delete(.failed(error), at: now)
        }
        phase = .allocated
        guard !configuration.isAnycast else { return delete(.failed(.notRedirected), at: now) }
        allocation = granted
        noteTicket(response)
        guard !closesWhenAllocated else { return delete(.closed, at: now) }
        noteLifetime(granted.lifetimeSeconds, since: started)
        tell(.allocated(granted))
    }

    private func readAllocation(_ response: borrowing STUNMessageView) throws(TURNClientFailure) -> TURNAllocation {
        var relayed: [SocketAddress] = []
        var mapped: SocketAddress?
        let lifetime: UInt32?
        let token: ReservationToken?
        let refused: (family: AddressFamily, code: ErrorCode)?
        do throws(STUNError) {
            var iterator = response.attributes
            while let attribute = iterator.next() {
                guard attribute.type == .xorRelayedAddress, relayed.count < 2 else { continue }
                relayed.append(try response.xorAddress(in: attribute))
            }
            mapped = try response.xorMappedAddress()
            lifetime = try response.lifetimeSeconds()
            token = try response.reservationToken()
            refused = try response.addressErrorCode()
        } catch {
            if case .unknownAddressFamily = error { throw .unusableAddressFamily }
            throw .transaction(.malformedResponse)
        }
        guard let lifetime, lifetime > 0, mapped != nil, !relayed.isEmpty else {
            throw .transaction(.malformedResponse)
        }
        guard relayed.allSatisfy({ isUsable($0.family) }), Set(relayed.map(\.family)).count == relayed.count else {
            throw .unusableAddressFamily
        }
        return TURNAllocation(
            relayed: relayed.sorted { $0.family.rawValue < $1.family.rawValue },
            mapped: mapped,
            lifetimeSeconds: lifetime,
            reservationToken: token,
            refused: refused.map { .init(family: $0.family, code: $0.code) },
            supportsDontFragment: asksDontFragment
        )
    }

    private func isUsable(_ family: AddressFamily) -> Bool {
        guard configuration.usableFamilies.contains(family) else { return false }
        if case .only(let wanted) = configuration.families, !configuration.port.isReserved { return family == wanted }
        return true
    }

    mutating func allocateFailed(_ failure: TURNClientFailure, at now: Instant) {
        end(closesWhenAllocated ? .closed : .failed(failure))
    }

    // MARK: Refresh

    /// Counts from the sending of the request: the server may have begun to count then, and not earlier.
    mutating func noteLifetime(_ seconds: UInt32, since started: Instant) {
        let lifetime = TimeSpan.seconds(UInt64(seconds))
        expires = started + lifetime
        let margin = min(Self.refreshMargin.nanoseconds, lifetime.nanoseconds / 2)
        scheduleRefresh(at: started + TimeSpan(nanoseconds: lifetime.nanoseconds - margin))
    }

    /// Has at most one timer for what is later than that: it looks again when it fires.
    mutating func scheduleRefresh(at instant: Instant) {
        refreshAt = instant
        guard instant < refreshTimer else { return }
        refreshTimer = instant
        timers.push(.refresh(instant), at: instant)
    }

    /// A timer for refreshing has fired: that of the latest time, or one of before.
    mutating func refreshTimerFired(_ instant: Instant, at now: Instant) {
        if instant == refreshTimer { refreshTimer = .distantFuture }
        if instant == refreshAt {
            refreshDue(at: now)
        } else if refreshTimer == .distantFuture, refreshAt != .distantFuture {
            scheduleRefresh(at: refreshAt)
        }
    }

    mutating func refreshDue(at now: Instant) {
        guard case .allocated = phase else { return }
        guard now < expires else { return end(.failed(.expired)) }
        // Looks again at the end, whatever becomes of the request.
        scheduleRefresh(at: expires)
        submit(.refresh, at: now)
    }

    mutating func refreshed(_ response: borrowing STUNMessageView, since started: Instant, at now: Instant) {
        isRefreshing = false
        guard case .allocated = phase else { return }
        guard let seconds = (try? response.lifetimeSeconds()) ?? nil, seconds > 0 else {
            return refreshFailed(.transaction(.malformedResponse), at: now)
        }
        noteLifetime(seconds, since: started)
        noteTicket(response)
        tell(.refreshed(lifetimeSeconds: seconds))
    }

    /// Tries again while there is time: the allocation lives until its end, and calls with it.
    mutating func refreshFailed(_ failure: TURNClientFailure, at now: Instant) {
        isRefreshing = false
        switch failure {
        case .refused(.wrongCredentials), .transaction(.wrongCredentials), .redirected, .unprotectedRedirect:
            // Nothing that time would mend; the allocation may still be of use until its end.
            return
        default: break
        }
        let rest = TimeSpan(nanoseconds: (expires - now).nanoseconds / 2)
        scheduleRefresh(at: min(expires, now + max(rest, Self.refreshPause)))
    }

    // MARK: The end

    /// Asks the server to delete the allocation; the reason is told when it has answered, or has not.
    mutating func delete(_ reason: TURNClientEnd, at now: Instant) {
        phase = .deleting(reason)
        waiting = []
        timers = DeadlineQueue()
        // What is on its way has no meaning any more, and its place is needed.
        _ = transactions.removeAll()
        submit(.delete, at: now)
    }

    /// The server has deleted the allocation, does not know it (437, turn 118), or does not answer.
    mutating func finishDeletion() {
        guard case .deleting(let reason) = phase else { return }
        end(reason)
    }
}

extension RequestedPort {
    var isReserved: Bool {
        if case .reserved = self { return true }
        return false
    }
}
