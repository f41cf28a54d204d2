import Bytes
import NetTypes
import STUN
import TURN
import TURNServer
import Testing

/// What the network between clients and server does to datagrams.
struct Weather {
    var delay = TimeSpan.milliseconds(20)
    /// Up to so much is added to the delay of each datagram: they overtake each other.
    var jitter = TimeSpan.zero
    /// Of a thousand datagrams, so many are lost.
    var lossPerMille: UInt64 = 0
    /// Of a thousand datagrams, so many arrive twice.
    var duplicationPerMille: UInt64 = 0
}

/// A TURN server, clients and peers under one virtual clock, with a network that one seed decides about.
final class World {
    static let realm = "example.org"
    static let server = address("192.0.2.1:3478")

    private enum Arrival {
        case atServer([UInt8], from: ClientTuple)
        case atClient([UInt8], Int)
        case atPeer([UInt8], SocketAddress, from: SocketAddress)
        case atRelay([UInt8], SocketAddress, from: SocketAddress)
    }

    var now = Instant(nanoseconds: 5_000_000_000)
    var weather = Weather()
    var engine: TURNServerEngine
    let shared: TURNServerShared
    var clients: [ClientHost] = []
    /// What peers have got.
    var atPeers: [(peer: SocketAddress, from: SocketAddress, bytes: [UInt8])] = []
    /// Peers that send back what they get.
    var echoes: Set<SocketAddress> = []
    /// How many datagrams have left clients.
    var sentByClients = 0
    /// How many STUN requests of each method have left clients.
    var requests: [STUNMethod: Int] = [:]
    private var sockets: [UInt64: (id: RelayID, local: SocketAddress)] = [:]
    private var nextToken: UInt64 = 1
    private var wire: [UInt64: Arrival] = [:]
    private var schedule = DeadlineQueue<UInt64>()
    private var nextArrival: UInt64 = 0
    private var entropy: Entropy

    init(seed: UInt64 = 1, _ change: (inout TURNServerConfiguration) -> Void = { _ in }) throws {
        let relays = [
            RelayAddress(local: ip("192.0.2.1")), RelayAddress(local: ip("2001:db8::1")),
        ]
        let user = try LongTermCredentials(username: "alice", realm: Self.realm, password: "wonderland")
        let credentials = TURNServerCredentials(
            realm: Self.realm,
            users: [user],
            secrets: [],
            nonceSecret: Array(repeating: 7, count: 16)
        )
        let allow = ["198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32"].compactMap { IPPrefix($0) }
        var configuration = TURNServerConfiguration(
            credentials: credentials,
            relayAddresses: relays,
            gate: PeerAddressGate(allow: allow, relayAddresses: relays, serverAddresses: relays.map(\.local))
        )
        change(&configuration)
        shared = TURNServerShared(configuration, entropy: .seeded(seed &+ 1))
        engine = try TURNServerEngine(
            configuration,
            shared: shared,
            unixSeconds: 1_700_000_000,
            entropy: .seeded(seed &+ 2)
        )
        entropy = .seeded(seed &+ 3)
    }

    /// Adds a client that has not started.
    @discardableResult
    func client(
        _ text: String = "198.51.100.1:4000",
        _ change: (inout TURNClientConfiguration) -> Void = { _ in }
    ) throws -> ClientHost {
        var configuration = TURNClientConfiguration(server: Self.server, username: "alice", password: "wonderland")
        change(&configuration)
        let tuple = ClientTuple(
            transport: configuration.transport,
            remote: address(text),
            local: configuration.server,
            connection: configuration.transport.isStream ? 7 : 0
        )
        let client = try TURNClient(configuration, entropy: .seeded(UInt64(clients.count) &+ entropy.next()))
        let host = ClientHost(client, tuple, self)
        clients.append(host)
        return host
    }

    // MARK: Time

    /// Lets time pass, with all that happens in it.
    func run(_ span: TimeSpan) {
        let end = now + span
        var steps = 0
        while let next = nextEvent, next <= end {
            now = max(now, next)
            step()
            steps += 1
            if steps > 2_000_000 {
                Issue.record("the world does not come to rest")
                return
            }
        }
        now = end
    }

    /// Lets time pass until the condition holds; whether it did within the time.
    func run(atMost span: TimeSpan, until isDone: () -> Bool) -> Bool {
        let end = now + span
        while !isDone() {
            guard let next = nextEvent, next <= end else {
                now = end
                return isDone()
            }
            now = max(now, next)
            step()
        }
        return true
    }

    private var nextEvent: Instant? {
        var next = schedule.earliest ?? .distantFuture
        if let timeout = engine.nextTimeout { next = min(next, timeout) }
        for client in clients where client.nextTimeout.map({ $0 < next }) == true {
            next = client.nextTimeout ?? next
        }
        return next == .distantFuture ? nil : next
    }

    private func step() {
        var due: [UInt64] = []
        while let index = schedule.pop(at: now) { due.append(index) }
        // A heap does not keep the order of what is due at one time; a network without jitter does.
        for index in due.sorted() {
            if let arrival = wire.removeValue(forKey: index) { deliver(arrival) }
        }
        if let timeout = engine.nextTimeout, timeout <= now {
            engine.handleTimeout(at: now)
            drainServer()
        }
        for client in clients where client.nextTimeout.map({ $0 <= now }) == true { client.handleTimeout() }
    }

    // MARK: The network

    private func put(_ arrival: Arrival, isReliable: Bool = false) {
        if !isReliable, entropy.next() % 1000 < weather.lossPerMille { return }
        let copies = !isReliable && entropy.next() % 1000 < weather.duplicationPerMille ? 2 : 1
        for _ in 0..<copies {
            let jitter = weather.jitter == .zero || isReliable ? 0 : entropy.next() % weather.jitter.nanoseconds
            nextArrival += 1
            wire[nextArrival] = arrival
            schedule.push(nextArrival, at: now + weather.delay + TimeSpan(nanoseconds: jitter))
        }
    }

    func clientSends(_ bytes: [UInt8], _ tuple: ClientTuple) {
        sentByClients += 1
        if let view = try? STUNMessageView(bytes.span), view.messageClass == .request {
            requests[view.method, default: 0] += 1
        }
        put(.atServer(bytes, from: tuple), isReliable: tuple.transport.isStream)
    }

    /// A peer sends a datagram to a relayed address.
    func peerSends(_ bytes: [UInt8], from peer: String, to relay: SocketAddress) {
        put(.atRelay(bytes, relay, from: address(peer)))
    }

    private func deliver(_ arrival: Arrival) {
        switch arrival {
        case .atServer(let bytes, let tuple): serverReceives(bytes, tuple)
        case .atClient(let bytes, let index): clients[index].receive(bytes)
        case .atPeer(let bytes, let peer, let from):
            atPeers.append((peer, from, bytes))
            if echoes.contains(peer) { put(.atRelay(bytes, from, from: peer)) }
        case .atRelay(let bytes, let relay, let source): relayReceives(bytes, relay, source)
        }
    }

    private func toClient(_ bytes: [UInt8], _ tuple: ClientTuple) {
        guard let index = clients.firstIndex(where: { $0.tuple == tuple }) else { return }
        put(.atClient(bytes, index), isReliable: tuple.transport.isStream)
    }

    // MARK: The server's driver

    private func serverReceives(_ bytes: [UInt8], _ tuple: ClientTuple) {
        if case .relay(let transmit) = engine.receive(bytes.span, from: tuple, at: now),
            let socket = sockets[transmit.token]
        {
            let payload = Array(bytes[transmit.payload])
            if shared.takenPortCount > 0, sockets.values.contains(where: { $0.local == transmit.destination }) {
                put(.atRelay(payload, transmit.destination, from: socket.local))
            } else {
                put(.atPeer(payload, transmit.destination, from: socket.local))
            }
        }
        drainServer()
    }

    private func relayReceives(_ bytes: [UInt8], _ relay: SocketAddress, _ source: SocketAddress) {
        guard let socket = sockets.values.first(where: { $0.local == relay }) else { return }
        var packet = [UInt8](repeating: 0, count: 64) + bytes + [0, 0, 0, 0]
        var span = packet.mutableSpan
        let payload = 64..<64 + bytes.count
        let disposition = engine.receiveFromPeer(&span, payload: payload, relay: socket.id, source: source, at: now)
        if case .deliver(let tuple, let range) = disposition { toClient(Array(packet[range]), tuple) }
        drainServer()
    }

    private func drainServer() {
        while let event = engine.pollEvent() {
            switch event {
            case .openRelay(let request):
                nextToken += 1
                sockets[nextToken] = (request.id, request.local)
                engine.relayOpened(request.id, token: nextToken, at: now)
            case .closeRelay(let token): sockets[token] = nil
            case .allocationCreated, .peerPermitted, .allocationEnded, .authenticationFailed: break
            case .clientJoined, .clientLeft, .allocationMoved, .channelPathsChanged, .channelPathsExtended: break
            // TCP allocations are off in this server, and so are their events.
            case .openListener, .connectPeer, .joinPeer, .closePeer: break
            }
        }
        while true {
            var tuple: ClientTuple?
            let bytes = buildBytes(capacity: TURNServerEngine.maximumResponseByteCount) { output in
                tuple = engine.pollTransmit(into: &output)?.client
            }
            guard let tuple else { return }
            toClient(bytes, tuple)
        }
    }
}

func address(_ text: String) -> SocketAddress { SocketAddress(text) ?? SocketAddress(.unspecified(.ipv4), port: 0) }
func ip(_ text: String) -> IPAddress { IPAddress(text) ?? .unspecified(.ipv4) }
