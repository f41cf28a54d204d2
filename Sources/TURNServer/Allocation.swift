import Bytes
import NetTypes
import STUN
import TURN

/// The state of one allocation, single or dual (RFC 8656 §6), from the accepted request until its end.
struct Allocation {
    var client: ClientTuple
    /// Who has it; the user stays, but a client comes with a new token before the old one ends.
    var account: Account
    /// Of the Allocate request that made it: the same request again gets the same answer (turn 94).
    let transactionID: TransactionID
    let created: Instant
    /// What its relayed addresses speak with peers.
    let transport: RelayedTransport
    var relays: RelayPair
    var permissions: [IPAddress] = []
    var channels: [UInt16] = []
    /// Its TCP connections with peers.
    var connections: [SlotHandle] = []
    var traffic = RelayedTraffic()
    var bandwidth: TokenBucket?
    /// What it shares with other allocations of its user on this shard, if users are limited.
    var userBytes: SlotHandle?
    /// How fast new peers may be added.
    var newPeers: TokenBucket?
    var reservationToken: UInt64?

    /// When the first of its relayed addresses expires; `nil` while it waits for its sockets.
    var deadline: Instant? {
        relays.isOpening ? nil : relays.earliestExpiry
    }

    func summary(at now: Instant, _ shared: TURNServerShared) -> AllocationSummary {
        AllocationSummary(
            user: account.user,
            client: client,
            relayed: relays.externals(shared),
            age: now - created,
            traffic: traffic
        )
    }

    /// Takes payload bytes from the bandwidth; `false` if the limit is reached.
    mutating func spend(_ bytes: Int, at now: Instant) -> Bool {
        guard bandwidth != nil else { return true }
        return bandwidth?.take(Double(bytes), at: now) ?? true
    }
}

/// What an accepted Allocate request needs until all its sockets are open.
struct PendingAllocate {
    let responder: Responder
    let lifetime: TimeSpan
    let wish: TURNServerShared.PortWish
    /// Whether the client wants to move (RFC 8016).
    let wantsTicket: Bool
    /// How many other ports may still be tried.
    var attempts: Int
}

/// One relayed transport address of an allocation.
enum RelaySlot {
    /// The client did not ask for this family, or has deleted it.
    case none
    /// The driver is opening the socket.
    case opening(PortLease, isRedeemed: Bool)
    /// The second family of a dual allocation could not be had (ADDRESS-ERROR-CODE).
    case failed(ErrorCode)
    /// The socket is open.
    case open(OpenRelay)
    /// It is closed, before the allocation ends: the other family goes on.
    case closed(PortLease)

    var open: OpenRelay? {
        guard case .open(let relay) = self else { return nil }
        return relay
    }

    var failure: ErrorCode? {
        guard case .failed(let code) = self else { return nil }
        return code
    }

    var isOpening: Bool {
        guard case .opening = self else { return false }
        return true
    }

    /// The port that is or was the client's.
    var lease: PortLease? {
        switch self {
        case .none, .opening, .failed: nil
        case .open(let relay): relay.lease
        case .closed(let lease): lease
        }
    }
}

/// An open relay socket.
struct OpenRelay {
    let token: UInt64
    var expires: Instant
    let lease: PortLease
}

/// Some of the address families.
struct FamilySet: OptionSet {
    let rawValue: UInt8

    static let ipv4 = FamilySet(rawValue: 1)
    static let ipv6 = FamilySet(rawValue: 2)

    init(rawValue: UInt8) { self.rawValue = rawValue }

    init(_ family: AddressFamily) { self = family == .ipv4 ? .ipv4 : .ipv6 }

    func contains(_ family: AddressFamily) -> Bool { isSuperset(of: FamilySet(family)) }
}

/// The two relayed addresses that an allocation may have, by family.
struct RelayPair {
    var ipv4 = RelaySlot.none
    var ipv6 = RelaySlot.none

    subscript(family: AddressFamily) -> RelaySlot {
        get { family == .ipv4 ? ipv4 : ipv6 }
        set {
            switch family {
            case .ipv4: ipv4 = newValue
            case .ipv6: ipv6 = newValue
            }
        }
    }

    var isOpening: Bool { ipv4.isOpening || ipv6.isOpening }
    /// The first that is open, IPv4 before IPv6.
    var firstOpen: OpenRelay? { ipv4.open ?? ipv6.open }

    var openFamilies: FamilySet {
        var families: FamilySet = []
        if ipv4.open != nil { families.insert(.ipv4) }
        if ipv6.open != nil { families.insert(.ipv6) }
        return families
    }

    /// When the first of those that are open expires.
    var earliestExpiry: Instant? {
        guard let one = ipv4.open, let other = ipv6.open else { return firstOpen?.expires }
        return min(one.expires, other.expires)
    }

    /// What the allocation was made with, as peers see it, IPv4 first.
    func externals(_ shared: TURNServerShared) -> [SocketAddress] {
        switch (ipv4.lease, ipv6.lease) {
        case (let one?, let other?): [shared.external(one), shared.external(other)]
        case (let one?, nil), (nil, let one?): [shared.external(one)]
        case (nil, nil): []
        }
    }
}

extension RelayID {
    // A handle's index stays far below 2^31: the bit above it tells the family.
    private static let ipv6Bit: UInt64 = 1 &<< 31

    init(_ allocation: SlotHandle, _ family: AddressFamily) {
        self.init(bits: allocation.bits | (family == .ipv6 ? Self.ipv6Bit : 0))
    }

    var allocation: SlotHandle { SlotHandle(bits: bits & ~Self.ipv6Bit) }
    var family: AddressFamily { bits & Self.ipv6Bit == 0 ? .ipv4 : .ipv6 }
}
