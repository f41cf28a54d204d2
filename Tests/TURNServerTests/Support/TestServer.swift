import Bytes
import NetTypes
import STUN
import TURN
import TURNServer
import Testing

/// One shard under a virtual clock, with a driver that opens sockets on paper.
final class TestServer {
    static let realm = "example.org"
    static let wallClock: UInt64 = 1_700_000_000

    let shared: TURNServerShared
    var engine: TURNServerEngine
    var now = Instant(nanoseconds: 1_000_000_000)
    /// The addresses of open sockets by token.
    var sockets: [UInt64: (id: RelayID, local: SocketAddress)] = [:]
    /// Requests to open a socket that were not answered, while `opensAtOnce` is off.
    var waiting: [RelayRequest] = []
    /// Connections with peers that the driver has or makes, those it was asked to make, and those joined to a stream.
    var connections: Set<PeerConnectionID> = []
    var connecting: [PeerConnectRequest] = []
    var joined: [PeerConnectionID: ClientTuple] = [:]
    var opensAtOnce = true
    /// Answers "in use" to so many requests.
    var busyPorts = 0
    /// Answers "not possible" to all requests.
    var refusesSockets = false
    /// Bytes that the driver holds of limits, for allocations of which it relays without the engine.
    var takenAhead: [SlotHandle: Int] = [:]
    var events: [TURNServerEvent] = []
    var responses: [(client: ClientTuple, bytes: [UInt8])] = []
    private var nextToken: UInt64 = 100

    init(_ configuration: TURNServerConfiguration, shared: TURNServerShared? = nil, seed: UInt64 = 1) throws {
        let shared = shared ?? TURNServerShared(configuration, entropy: .seeded(seed &+ 77))
        self.shared = shared
        engine = try TURNServerEngine(
            configuration,
            shared: shared,
            unixSeconds: Self.wallClock,
            entropy: .seeded(seed)
        )
    }

    /// A server with one user and one IPv4 and one IPv6 relay address that lets documentation addresses be peers.
    convenience init(seed: UInt64 = 1, _ change: (inout TURNServerConfiguration) -> Void = { _ in }) throws {
        var configuration = try Self.configuration()
        change(&configuration)
        try self.init(configuration, seed: seed)
    }

    /// The maker of nonces that all servers accept.
    static func nonceFactory() throws -> NonceFactory {
        try NonceFactory(secret: Array(repeating: 7, count: 16), features: [.passwordAlgorithms, .usernameAnonymity])
    }

    static let relay4 = RelayAddress(local: IPAddress(ipv4: 0xC000_0201))
    static let relay6 = RelayAddress(local: IPAddress(ipv6: 0x2001_0DB8_0000_0000, 1))

    static func configuration(
        relays: [RelayAddress] = [relay4, relay6],
        secrets: [RESTSecret] = []
    ) throws -> TURNServerConfiguration {
        let users = try ["alice", "bob"].map {
            try LongTermCredentials(username: $0, realm: realm, password: "secret of \($0)")
        }
        let credentials = TURNServerCredentials(
            realm: realm,
            users: users,
            secrets: secrets,
            nonceSecret: Array(repeating: 7, count: 16)
        )
        let allow = ["198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32"].compactMap { IPPrefix($0) }
        let gate = PeerAddressGate(
            allow: allow,
            relayAddresses: relays,
            serverAddresses: relays.map(\.local) + [IPAddress(ipv4: 0xC633_6463)]
        )
        return TURNServerConfiguration(credentials: credentials, relayAddresses: relays, gate: gate)
    }

    // MARK: The driver

    @discardableResult
    func receive(_ bytes: [UInt8], from client: ClientTuple) -> ClientDisposition {
        let disposition = engine.receive(bytes.span, from: client, at: now)
        drain()
        return disposition
    }

    /// A datagram that another shard has passed on.
    @discardableResult
    func forward(_ bytes: [UInt8], from client: ClientTuple) -> ClientDisposition {
        let disposition = engine.receiveForwarded(bytes.span, from: client, at: now)
        drain()
        return disposition
    }

    /// A datagram from a peer to a relay socket; what the client gets, or why it gets nothing.
    func receiveFromPeer(_ payload: [UInt8], at relay: SocketAddress, from source: SocketAddress) -> PeerArrival {
        guard let socket = sockets.values.first(where: { $0.local == relay }) else { return .noSocket }
        return receiveFromPeer(payload, relay: socket.id, from: source)
    }

    func receiveFromPeer(_ payload: [UInt8], relay: RelayID, from source: SocketAddress) -> PeerArrival {
        var packet = [UInt8](repeating: 0xEE, count: 64) + payload + [0xEE, 0xEE, 0xEE, 0xEE]
        var span = packet.mutableSpan
        let disposition = engine.receiveFromPeer(
            &span,
            payload: 64..<64 + payload.count,
            relay: relay,
            source: source,
            at: now
        )
        drain()
        switch disposition {
        case .deliver(let client, let range):
            let frame = Array(packet[range])
            if frame[0] < 64 {
                expectZeroPadding(frame)
            } else {
                // Foreign bytes lay where the padding is.
                let isZero = frame.dropFirst(4 + payload.count).allSatisfy { $0 == 0 }
                if !isZero { Issue.record("padding must not carry memory out (turn 6)") }
            }
            return .delivered(to: client, frame)
        case .ignored(let reason): return .dropped(reason)
        }
    }

    func advance(_ span: TimeSpan) {
        now = now + span
        engine.handleTimeout(at: now)
        drain()
    }

    func close(_ client: ClientTuple) {
        engine.connectionClosed(client, at: now)
        drain()
    }

    /// Opens the sockets that wait.
    func openWaiting() {
        let requests = waiting
        waiting = []
        for request in requests { open(request) }
        drain()
    }

    func drain() {
        while true {
            var isIdle = true
            while let event = engine.pollEvent() {
                isIdle = false
                events.append(event)
                perform(event)
            }
            while let response = pollResponse() {
                isIdle = false
                responses.append(response)
            }
            if isIdle { return }
        }
    }

    private func pollResponse() -> (client: ClientTuple, bytes: [UInt8])? {
        var client: ClientTuple?
        let bytes = buildBytes(capacity: TURNServerEngine.maximumResponseByteCount) { output in
            client = engine.pollTransmit(into: &output)?.client
        }
        if client != nil { expectZeroPadding(bytes) }
        return client.map { ($0, bytes) }
    }

    private func perform(_ event: TURNServerEvent) {
        switch event {
        case .openRelay(let request), .openListener(let request):
            if opensAtOnce { open(request) } else { waiting.append(request) }
        case .connectPeer(let request):
            let isNew = connections.insert(request.id).inserted
            #expect(isNew, "two connections of one name")
            connecting.append(request)
        case .joinPeer(let id, let client): joined[id] = client
        case .closePeer(let id):
            let known = connections.remove(id)
            #expect(known != nil, "closed a connection that is not there")
            joined[id] = nil
        case .closeRelay(let token):
            let known = sockets.removeValue(forKey: token)
            #expect(known != nil, "closed a socket that is not open")
        case .allocationCreated, .peerPermitted, .allocationEnded, .authenticationFailed: break
        case .clientJoined, .clientLeft, .allocationMoved, .channelPathsExtended: break
        case .channelPathsChanged(let handle):
            guard engine.channelPaths(of: handle, at: now).isEmpty,
                let bytes = takenAhead.removeValue(forKey: handle)
            else { break }
            engine.giveBack(bytes, of: handle)
        }
    }

    private func open(_ request: RelayRequest) {
        if refusesSockets || busyPorts > 0 {
            busyPorts -= refusesSockets ? 0 : 1
            engine.relayOpenFailed(request.id, addressInUse: !refusesSockets, at: now)
            return
        }
        #expect(!sockets.values.contains { $0.local == request.local }, "a relayed address is unique (turn 97)")
        nextToken += 1
        sockets[nextToken] = (request.id, request.local)
        engine.relayOpened(request.id, token: nextToken, at: now)
    }

    /// The oldest response to that client that was not taken yet.
    func takeResponse(to client: ClientTuple) throws -> Response? {
        guard let index = responses.firstIndex(where: { $0.client == client }) else { return nil }
        return try Response(responses.remove(at: index).bytes)
    }
}

/// Checks the padding of every attribute (turn 6, CVE-2020-4067).
func expectZeroPadding(_ message: [UInt8]) {
    var offset = 20
    while offset + 4 <= message.count {
        let length = Int(message[offset + 2]) << 8 | Int(message[offset + 3])
        let end = offset + 4 + length
        offset = (end + 3) & ~3
        guard offset <= message.count else { break }
        let isZero = message[end..<offset].allSatisfy { $0 == 0 }
        if !isZero { Issue.record("padding must not carry memory out (turn 6)") }
    }
    if offset != message.count { Issue.record("attributes do not fill the message") }
}

/// What became of a datagram from a peer.
enum PeerArrival: Equatable {
    case delivered(to: ClientTuple, [UInt8])
    case dropped(TURNServerDrop)
    case noSocket

    var bytes: [UInt8]? {
        guard case .delivered(_, let bytes) = self else { return nil }
        return bytes
    }
}
