/// Counts allocations for each user and in total: the one place where the quota is decided.
struct QuotaLedger {
    enum Denial { case user, total }

    var perUser: Int
    var total: Int
    private(set) var count = 0
    private var counts: [String: Int] = [:]

    init(perUser: Int, total: Int) {
        self.perUser = perUser
        self.total = total
    }

    /// How many users have at least one allocation.
    var userCount: Int { counts.count }

    func count(of user: String) -> Int { counts[user] ?? 0 }

    /// Takes `units` for the user, or none at all.
    mutating func claim(_ user: String, units: Int) -> Denial? {
        // Found once: to hash a name is most of the work.
        let index = counts.index(forKey: user)
        let held = index.map { counts.values[$0] } ?? 0
        guard held + units <= perUser else { return .user }
        guard count + units <= total else { return .total }
        if let index { counts.values[index] += units } else { counts[user] = units }
        count += units
        return nil
    }

    /// Gives one unit back.
    mutating func release(_ user: String) {
        guard let index = counts.index(forKey: user) else { return }
        if counts.values[index] > 1 { counts.values[index] -= 1 } else { counts.remove(at: index) }
        count -= 1
    }
}
