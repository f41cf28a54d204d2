import NetTypes
import STUN
import TURNServer

/// What a TURN server owes its clients, in the plainest form.
///
/// It has no tables, no timers and shares nothing: everything is looked up by walking through it. Each call returns the
/// code of the answer, 0 for a success.
struct ReferenceModel {
    struct Limits {
        var perUser = 6
        var total = 9
        var permissions = 6
        var channels = 4
    }

    struct Channel {
        let peer: SocketAddress
        var expires: Instant
    }

    struct Allocation {
        let user: String
        let transaction: TransactionID
        /// On which shard it lives.
        let shard: Int
        var client: ClientTuple
        /// The stream of `client` is gone.
        var isDetached = false
        var next: ClientTuple?
        var relays: [AddressFamily: Instant] = [:]
        var addresses: [AddressFamily: SocketAddress] = [:]
        var permissions: [IPAddress: Instant] = [:]
        var channels: [UInt16: Channel] = [:]
        /// How many tickets there were; 0 for none.
        var tickets = 0
        var lastMove: (client: ClientTuple, until: Instant)?

        var uses: [ClientTuple] { (isDetached ? [] : [client]) + (next.map { [$0] } ?? []) }
    }

    struct Reservation {
        let user: String
        let address: SocketAddress
        let expires: Instant
    }

    struct Delete: Hashable {
        let client: ClientTuple
        let shard: Int
    }

    /// What an Allocate request asks for.
    struct Wish {
        var families: [AddressFamily] = [.ipv4]
        var reservesNext = false
        var token: UInt64?
        var ticket = false
        /// Whether the attributes contradict each other.
        var isMalformed = false
    }

    let limits: Limits
    /// The shard that the kernel gives a client to.
    let home: (ClientTuple) -> Int
    var now: Instant
    var allocations: [Int: Allocation] = [:]
    var reservations: [UInt64: Reservation] = [:]
    /// Which allocation each ticket was for, and which of its tickets it was.
    var tickets: [[UInt8]: (allocation: Int, number: Int)] = [:]
    var deletes: [Delete: (transaction: TransactionID, until: Instant)] = [:]
    private var nextID = 0

    init(_ limits: Limits, at now: Instant, home: @escaping (ClientTuple) -> Int) {
        self.limits = limits
        self.now = now
        self.home = home
    }

    // MARK: Looking

    func id(of client: ClientTuple) -> Int? { allocations.first { $0.value.uses.contains(client) }?.key }

    /// The shard that gets to answer.
    func shard(for client: ClientTuple) -> Int { id(of: client).flatMap { allocations[$0]?.shard } ?? home(client) }

    func held(by user: String) -> Int {
        allocations.values.count { $0.user == user } + reservations.values.count { $0.user == user }
    }

    var relayCount: Int { allocations.values.reduce(0) { $0 + $1.relays.count } }

    /// Clients over UDP whose allocation is not where the kernel takes them.
    var forwardedCount: Int {
        allocations.values.reduce(0) { count, allocation in
            count + allocation.uses.count { $0.transport == .udp && home($0) != allocation.shard }
        }
    }

    // MARK: Time

    mutating func advance(_ span: TimeSpan) {
        now = now + span
        for id in allocations.keys {
            for (family, expires) in allocations[id]?.relays ?? [:] where expires <= now { close(family, of: id) }
        }
        reservations = reservations.filter { $0.value.expires > now }
        deletes = deletes.filter { $0.value.until > now }
    }

    private mutating func close(_ family: AddressFamily, of id: Int) {
        guard var allocation = allocations[id] else { return }
        allocation.relays[family] = nil
        allocation.permissions = allocation.permissions.filter { $0.key.family != family }
        allocation.channels = allocation.channels.filter { $0.value.peer.family != family }
        allocations[id] = allocation.relays.isEmpty ? nil : allocation
    }

    mutating func end(of user: String) { allocations = allocations.filter { $0.value.user != user } }

    // MARK: Allocate and Refresh

    /// Returns the allocation too, for the caller to note the addresses that the server has drawn.
    mutating func allocate(
        _ client: ClientTuple,
        _ user: String,
        _ wish: Wish,
        _ transaction: TransactionID
    ) -> (code: Int, id: Int?) {
        if let id = id(of: client), let found = allocations[id] {
            return found.transaction == transaction && found.user == user ? (0, id) : (437, nil)
        }
        if wish.isMalformed { return (400, nil) }
        let shard = home(client)
        guard allocations.values.count(where: { $0.shard == shard }) < limits.total else { return (508, nil) }
        var families = wish.families
        if let token = wish.token {
            guard let reservation = reservations.removeValue(forKey: token) else { return (508, nil) }
            families = [reservation.address.family]
        }
        let units = wish.reservesNext ? 2 : 1
        guard held(by: user) + units <= limits.perUser else { return (486, nil) }
        guard allocations.count + reservations.count + units <= limits.total else { return (508, nil) }
        var allocation = Allocation(user: user, transaction: transaction, shard: shard, client: client)
        for family in families { allocation.relays[family] = now + .seconds(600) }
        nextID += 1
        allocations[nextID] = allocation
        return (0, nextID)
    }

    mutating func refresh(
        _ client: ClientTuple,
        _ user: String,
        _ seconds: UInt32?,
        _ family: AddressFamily?,
        _ transaction: TransactionID
    ) -> Int {
        let place = Delete(client: client, shard: shard(for: client))
        let isRepeated = deletes[place]?.transaction == transaction
        guard let id = id(of: client), let allocation = allocations[id] else { return isRepeated ? 0 : 437 }
        guard allocation.user == user else { return 441 }
        if isRepeated { return 0 }
        if let family, allocation.relays[family] == nil { return 443 }
        setLifetime(seconds, family, of: id)
        if seconds == 0 { deletes[place] = (transaction, now + .seconds(40)) }
        return 0
    }

    private mutating func setLifetime(_ seconds: UInt32?, _ family: AddressFamily?, of id: Int) {
        for each in allocations[id]?.relays.keys.filter({ family == nil || $0 == family }) ?? [] {
            if seconds == 0 {
                close(each, of: id)
            } else {
                let lifetime = max(600, min(UInt64(seconds ?? 600), 3600))
                allocations[id]?.relays[each] = now + .seconds(lifetime)
            }
        }
    }

    // MARK: Permissions and channels

    mutating func permit(_ client: ClientTuple, _ user: String, _ peers: [SocketAddress], isForbidden: Bool) -> Int {
        guard let id = id(of: client), let allocation = allocations[id] else { return 437 }
        guard allocation.user == user else { return 441 }
        guard peers.allSatisfy({ allocation.relays[$0.family] != nil }) else { return 443 }
        if isForbidden { return 403 }
        var live = allocation.permissions.filter { $0.value > now }
        for peer in peers { live[peer.ip] = now + .seconds(300) }
        guard live.count <= limits.permissions else { return 508 }
        allocations[id]?.permissions = live
        return 0
    }

    mutating func bind(_ client: ClientTuple, _ user: String, _ number: UInt16, _ peer: SocketAddress) -> Int {
        guard let id = id(of: client), let allocation = allocations[id] else { return 437 }
        guard allocation.user == user else { return 441 }
        var live = allocation.channels.filter { $0.value.expires > now }
        guard !live.contains(where: { ($0.key == number) != ($0.value.peer == peer) }) else { return 400 }
        guard allocation.relays[peer.family] != nil else { return 443 }
        var permissions = allocation.permissions.filter { $0.value > now }
        permissions[peer.ip] = now + .seconds(300)
        live[number] = Channel(peer: peer, expires: now + .seconds(600))
        guard permissions.count <= limits.permissions, live.count <= limits.channels else { return 508 }
        allocations[id]?.permissions = permissions
        allocations[id]?.channels = live
        return 0
    }

    // MARK: Data

    /// Whether a Send indication is relayed.
    mutating func send(_ client: ClientTuple, to peer: SocketAddress) -> Bool {
        guard let id = use(client), let allocation = allocations[id] else { return false }
        return isPermitted(peer, allocation)
    }

    /// Where ChannelData goes, if anywhere.
    mutating func send(_ client: ClientTuple, on number: UInt16) -> SocketAddress? {
        guard let id = use(client), let channel = allocations[id]?.channels[number], channel.expires > now else {
            return nil
        }
        return channel.peer
    }

    /// Who gets what a peer sends, and on which channel.
    func deliver(from peer: SocketAddress, to id: Int) -> (client: ClientTuple, channel: UInt16?)? {
        guard let allocation = allocations[id], isPermitted(peer, allocation) else { return nil }
        let channel = allocation.channels.first { $0.value.peer == peer && $0.value.expires > now }
        return (allocation.client, channel?.key)
    }

    private func isPermitted(_ peer: SocketAddress, _ allocation: Allocation) -> Bool {
        guard allocation.relays[peer.family] != nil, let expires = allocation.permissions[peer.ip] else { return false }
        return expires > now
    }

    // MARK: Mobility

    /// Data from a 5-tuple make it the one of its allocation.
    private mutating func use(_ client: ClientTuple) -> Int? {
        guard let id = id(of: client) else { return nil }
        if allocations[id]?.next == client { adopt(client, id) }
        return id
    }

    private mutating func adopt(_ client: ClientTuple, _ id: Int) {
        allocations[id]?.client = client
        allocations[id]?.next = nil
        allocations[id]?.isDetached = false
    }

    /// Returns the number of the ticket that the answer carries.
    mutating func move(
        _ client: ClientTuple,
        _ user: String,
        _ ticket: [UInt8],
        _ seconds: UInt32?,
        _ transaction: TransactionID
    ) -> (code: Int, ticket: (allocation: Int, number: Int)?) {
        guard let (id, number) = tickets[ticket] else { return (400, nil) }
        guard let allocation = allocations[id] else {
            let isRepeated = deletes.contains { $0.key.client == client && $0.value.transaction == transaction }
            return (isRepeated ? 0 : 437, nil)
        }
        let present = self.id(of: client)
        // Whoever has an allocation elsewhere never gets to the shard of this one.
        if let present, allocations[present]?.shard != allocation.shard { return (437, nil) }
        guard allocation.user == user else { return (441, nil) }
        if let last = allocation.lastMove, last.client == client, last.until > now, number + 1 == allocation.tickets {
            return (0, (id, allocation.tickets))
        }
        guard number == allocation.tickets else { return (400, nil) }
        if let present { return (present == id ? 400 : 437, nil) }
        setLifetime(seconds, nil, of: id)
        if seconds == 0 {
            deletes[Delete(client: client, shard: allocation.shard)] = (transaction, now + .seconds(40))
            return (0, nil)
        }
        allocations[id]?.next = client
        allocations[id]?.tickets += 1
        allocations[id]?.lastMove = (client, now + .seconds(40))
        if allocation.isDetached { adopt(client, id) }
        return (0, (id, number + 1))
    }

    mutating func close(_ client: ClientTuple) {
        guard let id = id(of: client), let allocation = allocations[id] else { return }
        if allocation.next == client {
            allocations[id]?.next = nil
        } else if let next = allocation.next {
            adopt(next, id)
        } else if allocation.tickets > 0 {
            allocations[id]?.isDetached = true
        } else {
            allocations[id] = nil
        }
    }
}
