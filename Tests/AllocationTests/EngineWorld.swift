import Bytes
import NetTypes
import STUN
import TURN
import TURNServer

/// An engine with one client, its allocation and one peer; the driver is on paper.
struct EngineWorld: ~Copyable {
    static let requestedTransport = STUNMessage.Attribute(.requestedTransport, [17, 0, 0, 0])
    private static let clock: UInt64 = 1_700_000_000
    private static let peer = SocketAddress(IPAddress(ipv4: 0xCB00_7107), port: 9)
    private static let relay = RelayAddress(local: IPAddress(ipv4: 0xC000_0201))
    private static func client(port: UInt16) -> ClientTuple {
        ClientTuple(
            transport: .udp,
            remote: SocketAddress(IPAddress(ipv4: 0xC633_6401), port: port),
            local: SocketAddress(IPAddress(ipv4: 0xC000_0201), port: 3478)
        )
    }

    private var client = EngineWorld.client(port: 4000)
    private let user: LongTermCredentials
    private let nonces: NonceFactory
    private var engine: TURNServerEngine
    private var now = Instant.zero + .seconds(1)
    private var socket: RelayID?
    private var response: [UInt8] = []

    private init() throws {
        let user = try LongTermCredentials(username: "user", realm: "realm", password: "password")
        let secret = [UInt8](repeating: 1, count: 16)
        let credentials = TURNServerCredentials(realm: "realm", users: [user], nonceSecret: secret)
        let nonces = try NonceFactory(secret: secret, features: credentials.features)
        let allow = [IPPrefix("203.0.113.0/24")].compactMap { $0 }
        var configuration = TURNServerConfiguration(
            credentials: credentials,
            relayAddresses: [Self.relay],
            gate: PeerAddressGate(allow: allow, relayAddresses: [Self.relay])
        )
        let unlimited = RateLimit(perSecond: 1e9, burst: 1e9)
        configuration.limits.allocationsPerUser = 10_000
        configuration.limits.unauthenticatedAnswers = unlimited
        configuration.limits.bindingAnswers = unlimited
        let shared = TURNServerShared(configuration, entropy: .seeded(1))
        let engine = try TURNServerEngine(configuration, shared: shared, unixSeconds: Self.clock, entropy: .seeded(1))
        self.user = user
        self.nonces = nonces
        self.engine = engine
        response.reserveCapacity(TURNServerEngine.maximumResponseByteCount)
    }

    /// Makes an allocation, and permits the peer or binds channel 0x4000 to it.
    static func allocated(binding: Bool) throws -> EngineWorld {
        var world = try EngineWorld()
        try world.prepare(binding: binding)
        return world
    }

    private mutating func prepare(binding: Bool) throws {
        try allocate(transaction: 1)
        try admitPeer(binding: binding)
    }

    private mutating func admitPeer(binding: Bool) throws {
        let peer = try Self.peerAttribute()
        let channel = STUNMessage.Attribute(.channelNumber, [0x40, 0, 0, 0])
        let request =
            try binding
            ? authenticated(.channelBind, [channel, peer]) : authenticated(.createPermission, [peer])
        try expectResponse(request, byteCount: 20)
    }

    /// Makes an allocation for another client and binds a channel to the peer.
    mutating func join(port: UInt16) throws {
        client = Self.client(port: port)
        try allocate(transaction: UInt64(port))
        try admitPeer(binding: true)
    }

    mutating func advance(_ span: TimeSpan) {
        now = now + span
        engine.handleTimeout(at: now)
        drain()
    }

    // MARK: Messages

    static func message(
        _ method: STUNMethod,
        _ attributes: [STUNMessage.Attribute],
        _ kind: STUNClass = .request
    ) throws -> [UInt8] {
        let transaction = TransactionID(high: 0, low: 0)
        return try STUNMessage(STUNMessageType(method, kind), transaction, attributes: attributes).encoded()
    }

    func authenticated(
        _ method: STUNMethod,
        _ attributes: [STUNMessage.Attribute],
        transaction: UInt64 = 0
    ) throws -> [UInt8] {
        let nonce = nonces.nonce(for: client.remote, atUnixSeconds: Self.clock)
        let credentials: [STUNMessage.Attribute] = [
            .init(.username, Array("user".utf8)), .init(.realm, Array("realm".utf8)), .init(.nonce, nonce),
        ]
        return try STUNMessage(
            STUNMessageType(method, .request),
            TransactionID(high: transaction, low: 0),
            attributes: attributes + credentials
        ).encoded(protectedBy: .sha1(user.md5Key))
    }

    func sendIndication() throws -> [UInt8] {
        try Self.message(
            .send,
            [Self.peerAttribute(), .init(.data, [UInt8](repeating: 7, count: 100))],
            .indication
        )
    }

    private static func peerAttribute() throws -> STUNMessage.Attribute {
        let bytes = buildBytes(capacity: 64) { output in
            var builder = STUNMessageBuilder(.send, .indication, TransactionID(high: 0, low: 0), into: &output)
            builder.append(.xorPeerAddress, xored: Self.peer, into: &output)
            _ = try? builder.finish(into: &output)
        }
        return .init(.xorPeerAddress, Array(bytes.dropFirst(24)))
    }

    // MARK: Operations

    mutating func allocate(transaction: UInt64) throws {
        try expectResponse(
            authenticated(.allocate, [Self.requestedTransport], transaction: transaction),
            byteCount: 60
        )
    }

    mutating func expectRelay(_ message: [UInt8]) throws {
        guard case .relay(let transmit) = engine.receive(message.span, from: client, at: now),
            transmit.payload.count == 100
        else { throw SetupError("A client's data was not relayed.") }
    }

    mutating func ignore(_ message: [UInt8]) { _ = engine.receive(message.span, from: client, at: now) }

    mutating func expectDelivery(_ buffer: inout [UInt8]) throws {
        guard try deliver(&buffer, from: Self.peer) else { throw SetupError("A peer's datagram was not relayed.") }
    }

    mutating func deliver(_ buffer: inout [UInt8], from source: SocketAddress) throws -> Bool {
        guard let socket else { throw SetupError("There is no relay socket.") }
        var packet = buffer.mutableSpan
        let outcome = engine.receiveFromPeer(&packet, payload: 64..<164, relay: socket, source: source, at: now)
        guard case .deliver = outcome else { return false }
        return true
    }

    /// Hands in a request, and drains as a driver does.
    mutating func expectResponse(_ message: [UInt8], byteCount: Int) throws {
        _ = engine.receive(message.span, from: client, at: now)
        let count = drain()
        guard count >= byteCount else { throw SetupError("A response of \(count) bytes in place of \(byteCount).") }
    }

    /// Returns how many bytes the responses had.
    @discardableResult
    private mutating func drain() -> Int {
        var count = 0
        while let event = engine.pollEvent() {
            guard case .openRelay(let request) = event else { continue }
            socket = request.id
            engine.relayOpened(request.id, token: 1, at: now)
        }
        var isEmpty = false
        while !isEmpty {
            response.removeAll(keepingCapacity: true)
            response.append(addingCapacity: TURNServerEngine.maximumResponseByteCount) { output in
                isEmpty = engine.pollTransmit(into: &output) == nil
            }
            count += response.count
        }
        return count
    }
}
