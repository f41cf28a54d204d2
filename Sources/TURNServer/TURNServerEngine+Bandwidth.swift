import Bytes
import NetTypes

/// Limits on the bytes of users and of all together; those of one allocation stand with it.
extension TURNServerEngine {
    /// Takes bytes from the budgets of the allocation's user and of all; says which has not that many.
    ///
    /// To be called when the allocation's own limit lets them pass: what one limit drops must not cost the next.
    @inline(__always)
    mutating func exceedsBandwidth(_ bytes: Int, of handle: SlotHandle, at now: Instant) -> TURNServerDrop? {
        guard limitsBandwidth else { return nil }
        return spend(bytes, of: handle, at: now)
    }

    private mutating func spend(_ bytes: Int, of handle: SlotHandle, at now: Instant) -> TURNServerDrop? {
        if let user = allocations.read(handle, { $0.userBytes }) ?? nil,
            userBytes.update(user, { $0.bytes.take(bytes, at: now) }) == false
        {
            return .userBandwidthLimit
        }
        return totalBytes?.take(bytes, at: now) == false ? .totalBandwidthLimit : nil
    }

    /// Takes bytes of a stream that were relayed already; returns how long its reader must pause.
    mutating func spendOnCredit(_ bytes: Int, of handle: SlotHandle, at now: Instant) -> TimeSpan {
        guard limitsBandwidth else { return .zero }
        var pause = TimeSpan.zero
        if let user = allocations.read(handle, { $0.userBytes }) ?? nil {
            pause = userBytes.read(user) { $0.bytes.budget.takeOnCredit(bytes, at: now) } ?? .zero
        }
        if let totalBytes { pause = max(pause, totalBytes.budget.takeOnCredit(bytes, at: now)) }
        return pause
    }

    /// What a new allocation of the user counts against; `nil` if users are not limited.
    mutating func joinUserBytes(_ user: String, at now: Instant) -> SlotHandle? {
        guard let limit = configuration.limits.bytesPerSecondPerUser else { return nil }
        if let known = userBytesByName[user] {
            _ = userBytes.update(known) { $0.allocations += 1 }
            return known
        }
        let budget = shared.budget(of: user, bytesPerSecond: limit, at: now)
        guard let handle = userBytes.insert(UserBytes(user: user, bytes: LeasedBytes(budget))) else { return nil }
        userBytesByName[user] = handle
        return handle
    }

    mutating func leaveUserBytes(_ handle: SlotHandle?) {
        guard let handle, let user = userBytes.read(handle, { $0.user }) else { return }
        let isLast = userBytes.update(handle) { bytes in
            bytes.allocations -= 1
            return bytes.allocations == 0
        }
        guard isLast == true else { return }
        _ = userBytes.remove(handle)
        userBytesByName[user] = nil
    }
}
