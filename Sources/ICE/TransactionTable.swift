import NetTypes
import STUN

/// A request that an answer may come to.
struct Transaction {
    enum Kind: UInt8 {
        case check
        case consent
        case probe
    }

    var high: UInt64 = 0
    var low: UInt32 = 0
    var pair: UInt32 = 0
    var sentAt = Instant.zero
    var nomination: UInt32 = 0
    var kind = Kind.check
    var role = ICERole.controlling
    var usesCandidate = false
    /// Whether it was sent again, so that its answer says nothing about the round-trip time.
    var wasRetransmitted = false
    var isLive = false
}

/// The requests that answers may come to, found by bits of their random identifiers: one look, no chains.
///
/// A new identifier is drawn again if its place is taken, and the table grows when that happens often.
struct TransactionTable {
    private(set) var slots: [Transaction]
    private static let minimumCount = 8
    private static let maximumCount = 1024

    init() { slots = Array(repeating: Transaction(), count: Self.minimumCount) }

    func place(of high: UInt64) -> Int { Int(truncatingIfNeeded: high) & (slots.count &- 1) }

    /// Where the transaction stands, or `nil`.
    func find(_ id: TransactionID) -> Int? {
        let place = place(of: id.high)
        guard slots[place].isLive, slots[place].high == id.high, slots[place].low == id.low else { return nil }
        return place
    }

    /// Whether a new transaction may stand at the place: nobody does, or someone whose time is over.
    func isFree(_ place: Int, at now: Instant, lifetime: TimeSpan) -> Bool {
        !slots[place].isLive || slots[place].sentAt + lifetime < now
    }

    subscript(place: Int) -> Transaction {
        get { slots[place] }
        _modify { yield &slots[place] }
    }

    /// Doubles the table; identifiers that had places of their own have them still.
    mutating func grow() -> Bool {
        guard slots.count < Self.maximumCount else { return false }
        var larger = [Transaction](repeating: Transaction(), count: slots.count * 2)
        for slot in slots where slot.isLive { larger[Int(truncatingIfNeeded: slot.high) & (larger.count - 1)] = slot }
        slots = larger
        return true
    }

    /// Gives memory back when little is left to wait for.
    mutating func shrink(at now: Instant, lifetime: TimeSpan) {
        guard slots.count > Self.minimumCount * 2 else { return }
        let count = Self.minimumCount * 2
        var smaller = [Transaction](repeating: Transaction(), count: count)
        for slot in slots where slot.isLive && slot.sentAt + lifetime >= now {
            let place = Int(truncatingIfNeeded: slot.high) & (count - 1)
            guard !smaller[place].isLive else { return }
            smaller[place] = slot
        }
        slots = smaller
    }

    mutating func remove(_ place: Int) { slots[place].isLive = false }
}
