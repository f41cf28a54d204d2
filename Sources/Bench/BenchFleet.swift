import EventLoop
import Instruments
import NetTypes
import STUN
import TURN
import Transport

/// All clients and peers of a measurement, and what the loop around them needs.
struct BenchFleet: ~Copyable {
    /// What a poller's token means.
    enum Source {
        case client(Int)
        case peer(Int)
        /// The socket of all clients.
        case clients
    }

    private static let firstPeer: UInt64 = 1 << 32
    private static let allClients = UInt64.max

    let plan: BenchPlan
    var clients: [BenchClient] = []
    let peers: [BenchPeer]
    /// The socket of all clients, if they share one.
    let shared: BenchPeer?
    let poller: Poller
    var events = PollEvents(capacity: 512)
    var incoming: DatagramReceiveBatch
    var outgoing = DatagramSendBatch(capacity: 1024, copyBytes: 4 << 20)
    private var challenge: LongTermChallenge?
    private var writing: Set<Int> = []

    init(_ plan: BenchPlan) throws(BenchError) {
        self.plan = plan
        let family = plan.target.address.family
        let local = plan.peerAddress ?? plan.localAddress ?? .loopback(family)
        var peers: [BenchPeer] = []
        var shared: BenchPeer?
        let poller = try Self.makePoller()
        do {
            for index in 0..<(plan.load == .channels || plan.load == .indications ? plan.peers : 0) {
                let peer = try BenchPeer(SocketAddress(local, port: 0), BenchClient.options(plan))
                try poller.add(peer.descriptor, token: Self.firstPeer + UInt64(index), interest: .read)
                peers.append(peer)
            }
            if plan.clientBlock != nil {
                let socket = try BenchPeer(SocketAddress(.unspecified(family), port: 0), BenchClient.options(plan))
                try poller.add(socket.descriptor, token: Self.allClients, interest: .read)
                shared = socket
            }
        } catch {
            throw BenchError("\(error)")
        }
        self.peers = peers
        self.shared = shared
        self.poller = poller
        incoming =
            plan.mergesPackets
            ? DatagramReceiveBatch(capacity: 64, merging: true)
            : DatagramReceiveBatch(capacity: 64, payloadCapacity: max(2048, plan.packetBytes + 128))
    }

    static func makePoller() throws(BenchError) -> Poller {
        do throws(SystemError) { return try Poller() } catch { throw BenchError("\(error)") }
    }

    /// Waits until something has come, at the latest until `deadline`, and tells from where.
    mutating func wait(until deadline: Instant, _ body: (Source, inout BenchFleet) -> Void) throws(BenchError) {
        outgoing.flush()
        do throws(SystemError) {
            if plan.target.transport.isStream { try watchForRoom() }
            try poller.wait(until: deadline, into: &events)
        } catch {
            throw BenchError("\(error)")
        }
        for index in events.indices {
            let token = events[index].token
            body(Self.source(of: token), &self)
        }
    }

    /// Has the poller tell when connections with something left to write have room for it.
    private mutating func watchForRoom() throws(SystemError) {
        for index in clients.indices {
            let wants = clients[index].wantsWrite
            guard wants != writing.contains(index) else { continue }
            if wants { writing.insert(index) } else { writing.remove(index) }
            let interest: Interest = wants ? [.read, .write] : .read
            try poller.modify(clients[index].descriptor, token: UInt64(index), interest: interest)
        }
    }

    private static func source(of token: UInt64) -> Source {
        if token == allClients { return .clients }
        return token < firstPeer ? .client(Int(token)) : .peer(Int(token - firstPeer))
    }

    /// Takes what has come to a client, or to all of them: `data` gets each payload of a peer, with whose it is.
    ///
    /// Returns those to whom something else has come.
    mutating func receive(_ source: Source, at now: Instant, data: (Int, Span<UInt8>) -> Void) -> Set<Int> {
        var stirred: Set<Int> = []
        switch source {
        case .client(let index):
            if clients[index].receive(through: &incoming, at: now, data: { data(index, $0) }) { stirred.insert(index) }
        case .clients:
            guard let shared else { break }
            for position in incoming.receive(from: shared.handle) {
                guard let index = plan.client(at: incoming.destination(of: position).ip), index < clients.count,
                    !clients[index].take(incoming.payload(of: position), at: now, { data(index, $0) })
                else { continue }
                stirred.insert(index)
            }
            incoming.removeAll()
        case .peer: break
        }
        return stirred
    }

    // MARK: Allocations

    /// Makes allocations until there are as many as planned, `parallel` at a time; calls `progress` now and then.
    mutating func allocate(
        parallel: Int = 64,
        bindsPeers: Bool,
        progress: (Int) -> Void
    ) throws(BenchError) {
        var ready = 0
        var open = 0
        var waiting: Set<Int> = []
        while ready < plan.clients {
            while open < parallel, clients.count < plan.clients {
                // The first client learns realm and nonce; the others begin with them if the plan says so.
                try add()
                waiting.insert(clients.count - 1)
                open += 1
            }
            let now = MonotonicClock.now()
            var touched: Set<Int> = []
            try wait(until: now + .milliseconds(20)) { source, fleet in
                touched.formUnion(fleet.receive(source, at: now) { _, _ in })
            }
            if touched.isEmpty { touched = waiting }
            for index in touched where waiting.contains(index) {
                let client = clients[index]
                client.handleTimeout(at: now)
                if case .allocated = client.drain(into: &outgoing, at: now), bindsPeers {
                    if plan.load == .indications { client.permit(at: now) } else { client.bind(at: now) }
                }
                while client.drain(into: &outgoing, at: now) != nil {}
                if let failure = client.failure {
                    let what = client.relayed == nil ? "could not be made" : "may not reach a peer on this machine"
                    throw BenchError("allocation \(index + 1) of \(plan.clients) \(what): \(failure)")
                }
                guard bindsPeers ? client.isBound : client.relayed != nil else { continue }
                waiting.remove(index)
                ready += 1
                open -= 1
            }
            progress(ready)
        }
    }

    private mutating func add() throws(BenchError) {
        let index = clients.count
        let peer = peers.isEmpty ? plan.target.address : peers[index % peers.count].address
        let client = try BenchClient(
            plan,
            peer: peer,
            challenge: challenge,
            sharing: shared?.handle,
            as: plan.address(ofClient: index)
        )
        do throws(SystemError) {
            if shared == nil {
                let interest: Interest = client.isStream ? [.read, .write] : .read
                try poller.add(client.descriptor, token: UInt64(index), interest: interest)
            }
        } catch {
            throw BenchError("\(error)")
        }
        if client.isStream { writing.insert(index) }
        clients.append(client)
        let now = MonotonicClock.now()
        client.start(at: now)
        _ = client.drain(into: &outgoing, at: now)
    }

    /// Gives all allocations back, and waits a moment for the answers.
    mutating func close() throws(BenchError) {
        let end = MonotonicClock.now() + .seconds(3)
        for client in clients {
            client.close(at: MonotonicClock.now())
            _ = client.drain(into: &outgoing, at: MonotonicClock.now())
            if outgoing.count > 64 { outgoing.flush() }
        }
        while clients.contains(where: { $0.end == nil && $0.failure == nil }), MonotonicClock.now() < end {
            let now = MonotonicClock.now()
            try wait(until: now + .milliseconds(20)) { source, fleet in
                for index in fleet.receive(source, at: now, data: { _, _ in }) {
                    while fleet.clients[index].drain(into: &fleet.outgoing, at: now) != nil {}
                }
            }
            for client in clients {
                client.handleTimeout(at: now)
                while client.drain(into: &outgoing, at: now) != nil {}
            }
        }
    }
}

/// A peer: a UDP socket to which allocations relay, and from which it sends to their relayed addresses.
final class BenchPeer {
    private let socket: UDPSocket
    let handle: UDPSocketHandle

    init(_ address: SocketAddress, _ options: UDPSocket.Options) throws(SocketError) {
        socket = try UDPSocket(boundTo: address, options: options)
        handle = socket.handle
    }

    var descriptor: Int32 { handle.descriptor }
    var address: SocketAddress { handle.localAddress }

    /// Has the kernel cut what is sent into packets.
    func cutIntoSegments(of byteCount: Int) throws(SocketError) { try socket.setSegmentByteCount(byteCount) }
}
