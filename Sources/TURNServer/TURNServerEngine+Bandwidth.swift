public import Bytes
public import NetTypes

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

    /// Whether bytes of an allocation count against any limit.
    public func limitsBandwidth(of handle: SlotHandle) -> Bool {
        limitsBandwidth || allocations.read(handle) { $0.bandwidth != nil } ?? false
    }

    /// Takes bytes ahead from all limits of an allocation, for a driver that relays without the engine; returns how many.
    ///
    /// Those are fewer than wanted if a limit has no more, and at most what half a second earns of the allocation's limit
    /// and an eighth of one of those that it shares with others.
    public mutating func takeAhead(_ wanted: Int, of handle: SlotHandle, at now: Instant) -> Int {
        var bytes = min(wanted, mostAhead(of: handle))
        while bytes >= Self.leastAhead {
            if takeFromAll(bytes, of: handle, at: now) { return bytes }
            bytes /= 2
        }
        return 0
    }

    /// Gives back bytes that were taken ahead and not relayed.
    ///
    /// The allocation may be gone, with its own limit: what it shared with others is given back all the same, until the
    /// driver has taken the event that tells of its end.
    public mutating func giveBack(_ bytes: Int, of handle: SlotHandle) {
        guard bytes > 0 else { return }
        _ = allocations.update(handle) { $0.bandwidth?.giveBack(Double(bytes)) }
        if let user = allocations.read(handle, { $0.userBytes }) ?? nil {
            _ = userBytes.read(user) { $0.bytes.budget.giveBack(bytes) }
        } else {
            endedBudgets[handle]?.giveBack(bytes)
        }
        totalBytes?.budget.giveBack(bytes)
    }

    /// Less than a packet is not worth taking.
    private static let leastAhead = 1500

    private func mostAhead(of handle: SlotHandle) -> Int {
        var most = Int(Int32.max)
        if let own = allocations.read(handle, { $0.bandwidth?.ratePerSecond }) ?? nil {
            most = Int(min(own / 2, Double(most)))
        }
        if let user = allocations.read(handle, { $0.userBytes }) ?? nil {
            let rate = userBytes.read(user) { $0.bytes.budget.bytesPerSecond } ?? 0
            most = min(most, Int(clamping: rate / 8))
        }
        if let totalBytes { most = min(most, Int(clamping: totalBytes.budget.bytesPerSecond / 8)) }
        return most
    }

    private mutating func takeFromAll(_ bytes: Int, of handle: SlotHandle, at now: Instant) -> Bool {
        guard allocations.update(handle, { $0.spend(bytes, at: now) }) == true else { return false }
        guard let limit = exceedsBandwidth(bytes, of: handle, at: now) else { return true }
        _ = allocations.update(handle) { $0.bandwidth?.giveBack(Double(bytes)) }
        if limit == .totalBandwidthLimit, let user = allocations.read(handle, { $0.userBytes }) ?? nil {
            _ = userBytes.read(user) { $0.bytes.budget.giveBack(bytes) }
        }
        return false
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

    /// Returns the user's budget, if users are limited.
    mutating func leaveUserBytes(_ handle: SlotHandle?) -> ByteBudget? {
        guard let handle, let (user, budget) = userBytes.read(handle, { ($0.user, $0.bytes.budget) }) else {
            return nil
        }
        let isLast = userBytes.update(handle) { bytes in
            bytes.allocations -= 1
            return bytes.allocations == 0
        }
        guard isLast == true else { return budget }
        userBytes.remove(handle)?.bytes.close()
        userBytesByName[user] = nil
        return budget
    }
}
