import Bytes
import NetTypes

/// A TCP connection between a relayed transport address and a peer (RFC 6062 §5).
struct PeerConnection {
    enum State {
        /// The driver is connecting, and the client's Connect request waits for the outcome.
        case connecting(Responder)
        /// The connection stands; the client has 30 s to bind it.
        case waiting
        /// A stream of the client is joined to it.
        case joined
    }

    let allocation: SlotHandle
    /// The peer in the form under which clients know it.
    let peer: SocketAddress
    /// The CONNECTION-ID under which the client binds it.
    let number: UInt32
    var state: State
    /// When the driver or the client has taken too long.
    var deadline = Instant.distantFuture
}

/// The TCP connections with peers of all allocations of a shard, found by handle and by CONNECTION-ID.
struct PeerConnections: ~Copyable {
    private var pool: SlotPool<PeerConnection>
    private var handles: [UInt32: SlotHandle] = [:]
    // At most two entries for each connection ever made; they go when they fire, within 30 s.
    private var deadlines = DeadlineQueue<SlotHandle>()

    init(limit: Int) { pool = SlotPool(limit: min(limit, 1 << 20)) }

    var count: Int { pool.count }

    /// Adds a connection under a new CONNECTION-ID of this shard; `nil` if there are too many.
    mutating func insert(
        _ peer: SocketAddress,
        of allocation: SlotHandle,
        _ state: PeerConnection.State,
        shard: Int,
        using entropy: inout Entropy
    ) -> SlotHandle? {
        // The shard stands in the highest byte, so that every shard knows whose connection a client means.
        var number: UInt32
        repeat {
            number = UInt32(truncatingIfNeeded: shard) &<< 24 | UInt32(truncatingIfNeeded: entropy.next()) & 0xFF_FFFF
        } while handles[number] != nil
        let connection = PeerConnection(allocation: allocation, peer: peer, number: number, state: state)
        guard let handle = pool.insert(connection) else { return nil }
        handles[number] = handle
        return handle
    }

    mutating func remove(_ handle: SlotHandle) -> PeerConnection? {
        guard let connection = pool.remove(handle) else { return nil }
        handles[connection.number] = nil
        return connection
    }

    subscript(handle: SlotHandle) -> PeerConnection? { pool.read(handle) { $0 } }

    /// The connection with that CONNECTION-ID.
    func handle(_ number: UInt32) -> SlotHandle? { handles[number] }

    mutating func setState(_ handle: SlotHandle, _ state: PeerConnection.State) {
        _ = pool.update(handle) { $0.state = state }
    }

    /// Sets the deadline of a connection, or takes it away.
    mutating func setDeadline(_ handle: SlotHandle, _ deadline: Instant?) {
        _ = pool.update(handle) { $0.deadline = deadline ?? .distantFuture }
        if let deadline { deadlines.push(handle, at: deadline) }
    }

    var earliestDeadline: Instant? { deadlines.earliest }

    /// A connection whose deadline has passed.
    mutating func popExpired(at now: Instant) -> SlotHandle? {
        while let handle = deadlines.pop(at: now) {
            if let deadline = pool.read(handle, { $0.deadline }), deadline <= now { return handle }
        }
        return nil
    }

    /// The shard that has given out a CONNECTION-ID.
    static func shard(of number: UInt32) -> Int { Int(number &>> 24) }
}

extension PeerConnectionID {
    init(_ handle: SlotHandle) { self.init(bits: handle.bits) }

    var handle: SlotHandle { SlotHandle(bits: bits) }
}
