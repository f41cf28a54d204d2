import Crypto
public import NetTypes
import Synchronization
import TURN

/// What all shards of one server share: the allocation quota and the relay ports.
///
/// Shards come here only when an allocation is made or ends, under one lock; packets never do, except that a packet
/// to or from one of our own relay addresses reads one atomic word.
public final class TURNServerShared: Sendable {
    struct State: Sendable {
        var ledger: QuotaLedger
        var pools: [PortPool]
        var reservations: [UInt64: Reservation] = [:]
        var nextExpiry: Instant?
        var shardCount = 0
        /// What users may relay; one that has no allocation is kept until what it took is earned.
        var budgets: [String: ByteBudget] = [:]
        var connects: PrefixLimiter
        var entropy: Entropy

        /// Frees the ports of all reservations that have passed.
        mutating func expireReservations(at now: Instant) {
            guard let nextExpiry, nextExpiry <= now else { return }
            for (token, reservation) in reservations where reservation.expires <= now {
                reservations[token] = nil
                ledger.release(reservation.user)
                pools[reservation.lease.relay].giveBack(reservation.lease.port, at: now)
            }
            self.nextExpiry = reservations.values.map(\.expires).min()
        }
    }

    struct Reservation: Sendable {
        let lease: PortLease
        let user: String
        let expires: Instant
    }

    private let relays: [RelayAddress]
    private let ipv4: [Int]
    private let ipv6: [Int]
    private let live: [LivePorts]
    private let liveTCP: [LivePorts]
    private let reservationTime: TimeSpan
    /// What all together may relay.
    let totalBytes: ByteBudget?
    let tickets: TicketSealer
    /// Moved clients whose datagrams arrive at another shard than their allocation's.
    let forwarded = ForwardedClients()
    private let state: Mutex<State>

    /// Makes the shared part of a server.
    ///
    /// `entropy` must be `.system` except in tests: ports and tokens come from it.
    public init(_ configuration: TURNServerConfiguration, entropy: Entropy = .system) {
        let relays = configuration.relayAddresses
        self.relays = relays
        ipv4 = relays.indices.filter { relays[$0].family == .ipv4 }
        ipv6 = relays.indices.filter { relays[$0].family == .ipv6 }
        let range = configuration.relayPorts
        live = relays.map { _ in LivePorts(range: range) }
        liveTCP = configuration.relaysTCP ? relays.map { _ in LivePorts(range: range) } : []
        reservationTime = configuration.lifetimes.reservation
        let limits = configuration.limits
        totalBytes = limits.bytesPerSecond.map { ByteBudget(bytesPerSecond: $0) }
        let places = configuration.relaysTCP ? limits.limitedPrefixes : 1
        var entropy = entropy
        tickets = TicketSealer(key: entropy.bytes(32))
        let pool = PortPool(range: range, rest: limits.portRest)
        state = Mutex(
            State(
                ledger: QuotaLedger(perUser: limits.allocationsPerUser, total: limits.allocations),
                pools: relays.map { _ in pool },
                connects: PrefixLimiter(limits.failedConnects, places: places, seed: entropy.next()),
                entropy: entropy
            )
        )
    }

    /// Changes the quotas; who has more than is now granted keeps it, but gets nothing new.
    public func setQuotas(perUser: Int, total: Int) {
        state.withLock { state in
            state.ledger.perUser = perUser
            state.ledger.total = total
        }
    }

    /// How many allocations and held reservations the quota counts, over all shards.
    public var allocationCount: Int { state.withLock { $0.ledger.count } }

    /// How many users have an allocation, over all shards.
    public var userCount: Int { state.withLock { $0.ledger.userCount } }

    /// How many relay ports are in use or reserved.
    public var takenPortCount: Int { state.withLock { $0.pools.reduce(0) { $0 + $1.takenCount } } }

    /// How many relay sockets are open.
    public var livePortCount: Int { (live + liveTCP).reduce(0) { $0 + $1.count } }

    /// How many moved clients have their datagrams forwarded between shards.
    public var forwardedClientCount: Int { forwarded.clientCount }

    /// How many ports are held for clients with a token.
    public var reservationCount: Int { state.withLock { $0.reservations.count } }

    /// How many allocations and held reservations the quota counts for one user.
    public func allocationCount(of user: String) -> Int { state.withLock { $0.ledger.count(of: user) } }
}

/// A relay port that its holder must give back.
struct PortLease: Equatable, Sendable {
    private let address: UInt16
    let port: UInt16

    /// Leases a port of the relay address of that number; there are at most 65,535.
    init(relay: Int, port: UInt16) { (address, self.port) = (UInt16(relay), port) }

    /// The number of the relay address.
    var relay: Int { Int(address) }
}

// MARK: - Shards

extension TURNServerShared {
    /// Gives a new shard its number; CONNECTION-IDs carry it.
    func addShard() -> Int {
        state.withLock { state in
            defer { state.shardCount += 1 }
            return state.shardCount
        }
    }

    var shardCount: Int { state.withLock { $0.shardCount } }

    /// Twelve random bytes for the next ticket.
    func ticketNonce() -> [UInt8] { state.withLock { $0.entropy.bytes(AESGCM.nonceByteCount) } }
}

// MARK: - Quota

extension TURNServerShared {
    func claim(_ user: String, units: Int) -> QuotaLedger.Denial? {
        state.withLock { $0.ledger.claim(user, units: units) }
    }

    func release(_ user: String) { state.withLock { $0.ledger.release(user) } }

    /// The bytes that all shards together may relay for a user.
    func budget(of user: String, bytesPerSecond: UInt64, at now: Instant) -> ByteBudget {
        state.withLock { state in
            if let known = state.budgets[user] { return known }
            // A new budget is full, so an old one may go when it is, and not before: else to allocate anew would fill it.
            if state.budgets.count > 2 * state.ledger.userCount + 64 {
                let ledger = state.ledger
                state.budgets = state.budgets.filter { ledger.count(of: $0.key) > 0 || !$0.value.isFull(at: now) }
            }
            let budget = ByteBudget(bytesPerSecond: bytesPerSecond)
            state.budgets[user] = budget
            return budget
        }
    }

    /// Takes a unit of what the user's connections to peers may fail, over all shards.
    func takeConnect(of user: String, at now: Instant) -> Bool {
        state.withLock { $0.connects.take(key: Self.key(user), at: now) }
    }

    func giveBackConnect(of user: String) { state.withLock { $0.connects.giveBack(key: Self.key(user)) } }

    // Seeded for each process: nobody can choose a name that shares another one's budget.
    private static func key(_ user: String) -> UInt64 { UInt64(bitPattern: Int64(user.hashValue)) }
}

// MARK: - Ports

extension TURNServerShared {
    enum PortWish { case any, even, evenWithNext }

    func hasFamily(_ family: AddressFamily) -> Bool { !numbers(of: family).isEmpty }

    /// The relay addresses of a family by their numbers.
    private func numbers(of family: AddressFamily) -> [Int] { family == .ipv4 ? ipv4 : ipv6 }

    func address(of lease: PortLease) -> RelayAddress { relays[lease.relay] }

    /// The leased address as peers see it.
    func external(_ lease: PortLease) -> SocketAddress { SocketAddress(address(of: lease).external, port: lease.port) }

    /// Takes a port on a random relay address of the family, or on another one if that is full.
    func takePort(_ family: AddressFamily, _ wish: PortWish, at now: Instant) -> PortLease? {
        state.withLock { state in
            state.expireReservations(at: now)
            let candidates = numbers(of: family)
            // Of one there is no choice: randomness of the system costs a system call.
            let start = candidates.count > 1 ? Int.random(in: candidates.indices, using: &state.entropy) : 0
            for step in candidates.indices {
                let relay = candidates[(start + step) % candidates.count]
                let port =
                    wish == .evenWithNext
                    ? state.pools[relay].takePair(using: &state.entropy, at: now)
                    : state.pools[relay].take(even: wish == .even, using: &state.entropy, at: now)
                if let port { return PortLease(relay: relay, port: port) }
            }
            return nil
        }
    }

    func giveBack(_ lease: PortLease, at now: Instant) {
        live[lease.relay].remove(lease.port)
        if !liveTCP.isEmpty { liveTCP[lease.relay].remove(lease.port) }
        state.withLock { $0.pools[lease.relay].giveBack(lease.port, at: now) }
    }

    func markLive(_ lease: PortLease, _ transport: RelayedTransport) {
        if transport == .tcp { liveTCP[lease.relay].insert(lease.port) } else { live[lease.relay].insert(lease.port) }
    }

    /// Whether a relay of ours is open at this address, given in its local or its external form.
    func isLiveRelay(_ address: SocketAddress, _ transport: RelayedTransport = .udp) -> Bool {
        let live = transport == .tcp ? liveTCP : live
        for index in relays.indices where relays[index].local == address.ip || relays[index].external == address.ip {
            if live[index].contains(address.port) { return true }
        }
        return false
    }
}

// MARK: - Reservations

extension TURNServerShared {
    /// Holds a taken port for whoever shows the token; the unit of the quota that `user` holds for it stays taken.
    func reserve(_ lease: PortLease, for user: String, at now: Instant) -> (token: UInt64, expires: Instant) {
        state.withLock { state in
            var token = state.entropy.next()
            while state.reservations[token] != nil { token = state.entropy.next() }
            let expires = now + reservationTime
            state.reservations[token] = Reservation(lease: lease, user: user, expires: expires)
            if state.nextExpiry == nil { state.nextExpiry = expires }
            return (token, expires)
        }
    }

    /// Takes the port that was held under the token; its unit of the quota is given back.
    func redeem(_ token: UInt64, at now: Instant) -> PortLease? {
        state.withLock { state in
            state.expireReservations(at: now)
            guard let reservation = state.reservations.removeValue(forKey: token) else { return nil }
            state.ledger.release(reservation.user)
            return reservation.lease
        }
    }

    /// Frees ports whose reservation has passed; returns when the next one will pass.
    func expireReservations(at now: Instant) -> Instant? {
        state.withLock { state in
            state.expireReservations(at: now)
            return state.nextExpiry
        }
    }
}
