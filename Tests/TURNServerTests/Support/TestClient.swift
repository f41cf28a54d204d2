import Bytes
import NetTypes
import STUN
import TURN
import TURNServer
import Testing

/// A client that does what RFC 8489 §9.2.5 says, and can be told to do otherwise.
final class TestClient {
    enum Style {
        /// As clients of RFC 5389 do, browsers among them.
        case legacy
        /// With PASSWORD-ALGORITHMS and MESSAGE-INTEGRITY-SHA256.
        case modern
        /// As `modern`, with USERHASH in place of USERNAME.
        case anonymous
    }

    let server: TestServer
    let tuple: ClientTuple
    let username: String
    var style: Style
    var nonce: [UInt8] = []
    var usesFingerprint = false
    let credentials: LongTermCredentials
    private var entropy: Entropy

    init(
        _ server: TestServer,
        _ remote: String = "198.51.100.1:4000",
        transport: TransportProtocol = .udp,
        username: String = "alice",
        password: String? = nil,
        style: Style = .legacy
    ) throws {
        self.server = server
        self.username = username
        self.style = style
        tuple = ClientTuple(
            transport: transport,
            remote: try #require(SocketAddress(remote)),
            local: SocketAddress(TestServer.relay4.local, port: 3478),
            connection: transport.isStream ? 9 : 0
        )
        credentials = try LongTermCredentials(
            username: username,
            realm: TestServer.realm,
            password: password ?? "secret of \(username)"
        )
        entropy = .seeded(UInt64(tuple.remote.port) &+ tuple.remote.ip.low)
    }

    func newTransaction() -> TransactionID { .random(using: &entropy) }

    // MARK: Messages

    /// The attributes that authenticate, without integrity.
    var authentication: [STUNMessage.Attribute] {
        var attributes: [STUNMessage.Attribute] = [
            .text(.realm, TestServer.realm), .init(.nonce, nonce),
        ]
        switch style {
        case .legacy: return [.text(.username, username)] + attributes
        case .modern: attributes.insert(.text(.username, username), at: 0)
        case .anonymous:
            attributes.insert(
                .init(.userhash, buildBytes(capacity: 32) { credentials.userhash.write(into: &$0) }),
                at: 0
            )
        }
        return attributes + [
            .init(.passwordAlgorithms, [0, 2, 0, 0, 0, 1, 0, 0]), .init(.passwordAlgorithm, [0, 2, 0, 0]),
        ]
    }

    var protection: MessageProtection {
        switch style {
        case .legacy: .sha1(credentials.md5Key)
        case .modern, .anonymous: credentials.sha256Key.map { .sha256($0) } ?? .none
        }
    }

    func message(
        _ method: STUNMethod,
        _ attributes: [STUNMessage.Attribute],
        _ transaction: TransactionID? = nil
    ) throws -> [UInt8] {
        let transaction = transaction ?? newTransaction()
        return try STUNMessage(
            STUNMessageType(method, .request),
            transaction,
            attributes: attributes.map { $0.xored(with: transaction) } + authentication
        ).encoded(protectedBy: protection, fingerprint: usesFingerprint)
    }

    func indication(_ method: STUNMethod, _ attributes: [STUNMessage.Attribute]) throws -> [UInt8] {
        let transaction = newTransaction()
        return try STUNMessage(
            STUNMessageType(method, .indication),
            transaction,
            attributes: attributes.map { $0.xored(with: transaction) }
        ).encoded()
    }

    // MARK: Exchanges

    /// Sends bytes and takes the response, if there is one.
    func exchange(_ bytes: [UInt8]) throws -> Response? {
        server.receive(bytes, from: tuple)
        return try server.takeResponse(to: tuple)
    }

    /// Gets a nonce through a request without credentials.
    func challenge() throws {
        let bytes = try STUNMessage(
            STUNMessageType(.allocate, .request),
            newTransaction(),
            attributes: [.requestedTransport(17)]
        ).encoded()
        let response = try #require(try exchange(bytes))
        nonce = try #require(response[.nonce])
    }

    /// The nonce that the server gives to this client.
    func knownNonce() throws -> [UInt8] {
        try challenge()
        return nonce
    }

    /// Sends an authenticated request; a first nonce and a new one after 438 are fetched on the way.
    func request(_ method: STUNMethod, _ attributes: [STUNMessage.Attribute] = []) throws -> Response {
        if nonce.isEmpty { try challenge() }
        let response = try #require(try exchange(message(method, attributes)))
        guard response.code == 438 else { return response }
        nonce = try #require(response[.nonce])
        return try #require(try exchange(message(method, attributes)))
    }

    @discardableResult
    func allocate(_ attributes: [STUNMessage.Attribute] = []) throws -> Response {
        try request(.allocate, [.requestedTransport(17)] + attributes)
    }

    /// Allocates and returns the relayed address.
    func relay(_ attributes: [STUNMessage.Attribute] = []) throws -> SocketAddress {
        try #require(try allocate(attributes).relayed.first)
    }

    @discardableResult
    func permit(_ peers: String...) throws -> Response {
        try request(.createPermission, peers.map { .peer($0) })
    }

    @discardableResult
    func bind(_ channel: UInt16, _ peer: String) throws -> Response {
        try request(.channelBind, [.channel(channel), .peer(peer)])
    }

    func refresh(_ seconds: UInt32? = nil, _ attributes: [STUNMessage.Attribute] = []) throws -> Response {
        try request(.refresh, (seconds.map { [.lifetime($0)] } ?? []) + attributes)
    }

    func send(
        _ payload: [UInt8],
        to peer: String,
        _ attributes: [STUNMessage.Attribute] = []
    ) throws -> ClientDisposition {
        server.receive(try indication(.send, [.peer(peer)] + attributes + [.init(.data, payload)]), from: tuple)
    }

    func sendChannelData(_ payload: [UInt8], on channel: UInt16, padding: Int = 0) -> ClientDisposition {
        let header = [UInt8(channel >> 8), UInt8(channel & 255), UInt8(payload.count >> 8), UInt8(payload.count & 255)]
        return server.receive(header + payload + Array(repeating: 0, count: padding), from: tuple)
    }
}
