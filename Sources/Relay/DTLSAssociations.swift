import Bytes
import Crypto
import EventLoop
import NetTypes
import TURNServer

/// A client's DTLS association: its session, and what decides how long it lives.
struct DTLSAssociation: ~Copyable {
    var session: DTLSSession
    var client: ClientTuple
    /// Tells the handshake that made it from a later one of the same 5-tuple.
    let tag: UInt64
    let prefix: IPAddress
    /// When the last message came, the handshake was complete, or the association was made.
    var lastMessage: Instant
    var isHalfOpen = true
    var hasSpoken = false
    var allocations = 0
    var timer: TimerHandle?

    init(_ session: consuming DTLSSession, client: ClientTuple, tag: UInt64, at now: Instant) {
        self.session = session
        self.client = client
        self.tag = tag
        prefix = client.remote.ip.limitPrefix
        lastMessage = now
    }

    /// When something is to be done though nothing has come: a flight to be sent again, or the end.
    func deadline(_ configuration: RelayConfiguration) -> Instant {
        if isHalfOpen { return session.nextTimeout ?? .zero }
        if allocations > 0 { return .distantFuture }
        return lastMessage + (hasSpoken ? configuration.idleTime : configuration.firstMessageTime)
    }
}

/// The DTLS associations of a shard, by handle and by 5-tuple, and the limits that nobody's handshakes can pass.
///
/// An address gets here only after it was proven by a cookie. Beyond the limit of one prefix its newcomers are refused;
/// when the handshakes of all together are too many, the oldest gives way: that of an honest client is over by then.
struct DTLSAssociations: ~Copyable {
    private struct PrefixCount {
        var all = 0
        var halfOpen = 0
    }

    var context: DTLSContext?
    let cookies: DTLSCookies
    let limits: RelayConfiguration.DTLSLimits
    var pool: SlotPool<DTLSAssociation>
    var timers = TimerWheel(start: MonotonicClock.now(), tick: .milliseconds(10))
    private var byTuple: FlatTable<ClientTuple, SlotHandle>
    private var byPrefix: [IPAddress: PrefixCount] = [:]
    /// Half-open ones by their age; those that are not any more are found out when they come up.
    private var handshakes = DeadlineQueue<SlotHandle>()
    private(set) var statistics = DTLSStatistics()

    init(_ configuration: RelayConfiguration) {
        context = configuration.dtls
        cookies = configuration.dtlsCookies
        limits = configuration.dtlsLimits
        pool = SlotPool(limit: min(limits.associations, 1 << 23))
        var entropy = Entropy.system
        byTuple = FlatTable(seed: entropy.next())
    }

    /// Finds the association of a 5-tuple without handle.
    func handle(of tuple: ClientTuple) -> SlotHandle? { byTuple[tuple] }

    /// Why a new handshake from this address would be refused; `nil` if it would not.
    func refusal(_ address: IPAddress) -> RelayDrop? {
        let count = byPrefix[address.limitPrefix] ?? PrefixCount()
        if count.halfOpen >= limits.handshakesPerPrefix { return .tooManyHandshakesOfPrefix }
        if count.all >= limits.associationsPerPrefix { return .tooManyAssociationsOfPrefix }
        return pool.count < pool.limit ? nil : .tooManyAssociations
    }

    /// The handshake that gives way to a new one; `nil` if there is room.
    mutating func takeOldestHandshake(at now: Instant) -> SlotHandle? {
        while let stale = handshakes.pop(at: now) {
            if isHalfOpen(stale) { return stale }
        }
        guard statistics.halfOpen >= UInt64(limits.handshakes) else { return nil }
        while let oldest = handshakes.pop(at: .distantFuture) {
            if isHalfOpen(oldest) { return oldest }
        }
        return nil
    }

    private func isHalfOpen(_ handle: SlotHandle) -> Bool { pool.read(handle) { $0.isHalfOpen } == true }

    /// Adds an association, whose client's tuple has no handle yet; `nil` if there is no room.
    mutating func insert(_ association: consuming DTLSAssociation, at now: Instant) -> SlotHandle? {
        let (tuple, prefix) = (association.client, association.prefix)
        guard let handle = pool.insert(association) else { return nil }
        _ = pool.update(handle) { $0.client = tuple.with(handle) }
        byTuple.insert(handle, for: tuple)
        byPrefix[prefix, default: PrefixCount()].all += 1
        byPrefix[prefix, default: PrefixCount()].halfOpen += 1
        handshakes.push(handle, at: now + limits.handshakeTime)
        statistics.associations += 1
        statistics.halfOpen += 1
        return handle
    }

    /// Counts a handshake as complete.
    mutating func established(_ handle: SlotHandle, at now: Instant) {
        let prefix = pool.update(handle) { association in
            association.isHalfOpen = false
            association.lastMessage = now
            return association.prefix
        }
        guard let prefix else { return }
        byPrefix[prefix]?.halfOpen -= 1
        statistics.halfOpen -= 1
        statistics.established += 1
    }

    /// Takes an association out; the caller tells the engine.
    mutating func remove(_ handle: SlotHandle) -> ClientTuple? {
        guard let association = pool.remove(handle) else { return nil }
        if let timer = association.timer { timers.cancel(timer) }
        byTuple.remove(association.client.withoutConnection)
        if association.isHalfOpen { statistics.halfOpen -= 1 }
        statistics.associations -= 1
        if var count = byPrefix[association.prefix] {
            count.all -= 1
            if association.isHalfOpen { count.halfOpen -= 1 }
            byPrefix[association.prefix] = count.all > 0 ? count : nil
        }
        return association.client
    }

    mutating func countAnsweredHello() { statistics.answeredHellos += 1 }

    /// Sets the association's one timer to its present deadline.
    mutating func schedule(_ handle: SlotHandle, _ configuration: RelayConfiguration) {
        guard let (deadline, old) = pool.read(handle, { ($0.deadline(configuration), $0.timer) }) else { return }
        if let old { timers.cancel(old) }
        let timer = deadline == .distantFuture ? nil : timers.schedule(handle.bits, at: deadline)
        _ = pool.update(handle) { $0.timer = timer }
    }
}

/// What a shard's DTLS associations have done.
struct DTLSStatistics: Sendable {
    /// Associations that exist, half-open ones included.
    var associations: UInt64 = 0
    /// Handshakes that are not complete.
    var halfOpen: UInt64 = 0
    /// Handshakes that were ever complete.
    var established: UInt64 = 0
    /// ClientHellos that were answered with the demand for a cookie.
    var answeredHellos: UInt64 = 0

    static func += (sum: inout DTLSStatistics, other: DTLSStatistics) {
        sum.associations += other.associations
        sum.halfOpen += other.halfOpen
        sum.established += other.established
        sum.answeredHellos += other.answeredHellos
    }
}

extension ClientTuple {
    /// The tuple of the association that `handle` names: a new association of the same addresses is a new client.
    fileprivate func with(_ handle: SlotHandle) -> ClientTuple {
        ClientTuple(transport: transport, remote: remote, local: local, connection: handle.bits)
    }

    /// The addresses alone.
    fileprivate var withoutConnection: ClientTuple {
        ClientTuple(transport: transport, remote: remote, local: local)
    }
}
