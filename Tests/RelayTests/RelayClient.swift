import Bytes
import NetTypes
import STUN
import ServiceTestSupport
import TURN
import Testing

/// A TURN client over real sockets that sends one request at a time.
final class RelayClient {
    enum Attribute {
        case requestedTransport
        case family(AddressFamily)
        case lifetime(UInt32)
        case peer(SocketAddress)
        case channel(UInt16)
        case data([UInt8])
        case ticket([UInt8])
    }

    /// What comes from peers.
    enum Arrival: Equatable {
        case data(from: SocketAddress, [UInt8])
        case channel(UInt16, [UInt8])
    }

    struct Response {
        let transaction: TransactionID
        /// 0 for a success.
        let code: Int
        let mapped: SocketAddress?
        let relayed: SocketAddress?
        let lifetime: UInt32?
        let nonce: [UInt8]
        let ticket: [UInt8]?
    }

    let wire: any Wire
    private let credentials: LongTermCredentials
    private var nonce: [UInt8] = []
    private var arrivals: [Arrival] = []
    private var entropy = Entropy.system
    /// Called before each wait for something to arrive.
    var beforeReceiving: () throws -> Void = {}

    init(_ wire: any Wire, user: String = "alice", password: String? = nil) throws {
        self.wire = wire
        credentials = try LongTermCredentials(
            username: user,
            realm: TestRelay.realm,
            password: password ?? TestRelay.password(of: user)
        )
    }

    var localAddress: SocketAddress { wire.localAddress }

    // MARK: Requests

    func message(_ method: STUNMethod, _ attributes: [Attribute] = [], authenticates: Bool = true) throws -> [UInt8] {
        let transaction = TransactionID.random(using: &entropy)
        return try encode(method, .request, transaction, attributes, authenticates: authenticates && !nonce.isEmpty)
    }

    /// Sends a message and waits for its response; what arrives from peers meanwhile is kept.
    func exchange(_ bytes: [UInt8]) throws -> Response {
        try wire.send(bytes)
        return try response(to: bytes)
    }

    func response(to request: [UInt8]) throws -> Response {
        let transaction = try STUNMessageView(request.span).transactionID
        while true {
            let response = try receive()
            if response?.transaction == transaction, let response { return response }
        }
    }

    /// Sends an authenticated request; the first nonce, or a new one, is fetched on the way.
    func request(_ method: STUNMethod, _ attributes: [Attribute] = []) throws -> Response {
        let response = try exchange(message(method, attributes))
        guard [401, 438].contains(response.code), nonce.isEmpty || response.code == 438 else { return response }
        nonce = response.nonce
        return try exchange(message(method, attributes))
    }

    func bind() throws -> Response { try exchange(message(.binding, authenticates: false)) }

    /// Allocates and returns the relayed address.
    func allocate(_ family: AddressFamily = .ipv4) throws -> SocketAddress {
        let response = try request(.allocate, [.requestedTransport, .family(family)])
        try #require(response.code == 0, "Allocate is refused with \(response.code)")
        return try #require(response.relayed)
    }

    func permit(_ peer: SocketAddress) throws {
        let response = try request(.createPermission, [.peer(peer)])
        try #require(response.code == 0, "CreatePermission is refused with \(response.code)")
    }

    func bindChannel(_ number: UInt16, to peer: SocketAddress) throws {
        let response = try request(.channelBind, [.channel(number), .peer(peer)])
        try #require(response.code == 0, "ChannelBind is refused with \(response.code)")
    }

    // MARK: Data

    func send(_ payload: [UInt8], to peer: SocketAddress) throws {
        let transaction = TransactionID.random(using: &entropy)
        let attributes: [Attribute] = [.peer(peer), .data(payload)]
        try wire.send(encode(.send, .indication, transaction, attributes, authenticates: false))
    }

    func send(_ payload: [UInt8], on channel: UInt16) throws {
        try wire.send(Self.channelData(payload, on: channel))
    }

    static func channelData(_ payload: [UInt8], on channel: UInt16) -> [UInt8] {
        [UInt8(channel >> 8), UInt8(channel & 255), UInt8(payload.count >> 8), UInt8(payload.count & 255)] + payload
    }

    /// What a peer has sent, the oldest first.
    func nextArrival() throws -> Arrival {
        while arrivals.isEmpty { _ = try receive() }
        return arrivals.removeFirst()
    }

    /// How many arrivals wait that came while a response was waited for.
    var waitingArrivals: Int { arrivals.count }

    // MARK: Bytes

    /// Takes one message: a response is returned, what comes from a peer is kept.
    private func receive() throws -> Response? {
        try beforeReceiving()
        guard let bytes = try wire.receive() else { throw ClientError.ended }
        guard bytes[0] < 0x40 else {
            let count = Int(bytes[2]) << 8 | Int(bytes[3])
            arrivals.append(.channel(UInt16(bytes[0]) << 8 | UInt16(bytes[1]), Array(bytes[4..<4 + count])))
            return nil
        }
        let view = try STUNMessageView(bytes.span)
        let owned = STUNMessage(view)
        func value(_ type: AttributeType) -> [UInt8]? { owned.attributes.first { $0.type == type }?.value }
        guard view.type.messageClass != .indication else {
            let peer = try #require(try view.xorAddress(.xorPeerAddress))
            // ICMP about what was sent; when it comes is the kernel's affair.
            guard value(.icmp) == nil else { return nil }
            arrivals.append(.data(from: peer, try #require(value(.data))))
            return nil
        }
        return Response(
            transaction: view.transactionID,
            code: Int(try view.errorCode()?.rawValue ?? 0),
            mapped: try view.xorAddress(.xorMappedAddress),
            relayed: try view.xorAddress(.xorRelayedAddress),
            lifetime: value(.lifetime).map { $0.reduce(0) { $0 << 8 | UInt32($1) } },
            nonce: value(.nonce) ?? [],
            ticket: value(.mobilityTicket)
        )
    }

    private func encode(
        _ method: STUNMethod,
        _ messageClass: STUNClass,
        _ transaction: TransactionID,
        _ attributes: [Attribute],
        authenticates: Bool
    ) throws -> [UInt8] {
        try buildBytes(capacity: 65_536) { output throws(STUNError) in
            var builder = STUNMessageBuilder(method, messageClass, transaction, into: &output)
            for attribute in attributes {
                switch attribute {
                case .requestedTransport: builder.append(.requestedTransport, 17 << 24 as UInt32, into: &output)
                case .family(let family):
                    builder.append(
                        .requestedAddressFamily,
                        family == .ipv4 ? 1 << 24 : 2 << 24 as UInt32,
                        into: &output
                    )
                case .lifetime(let seconds): builder.append(.lifetime, seconds, into: &output)
                case .peer(let peer): builder.append(.xorPeerAddress, xored: peer, into: &output)
                case .channel(let number): builder.append(.channelNumber, UInt32(number) << 16, into: &output)
                case .ticket(let bytes): builder.append(.mobilityTicket, bytes.span, into: &output)
                case .data(let bytes): builder.append(.data, bytes.span, into: &output)
                }
            }
            guard authenticates else {
                _ = try builder.finish(into: &output)
                return
            }
            builder.append(.username, credentials.username, into: &output)
            builder.append(.realm, credentials.realm, into: &output)
            builder.append(.nonce, nonce.span, into: &output)
            _ = try builder.finish(protectedBy: .sha1(credentials.md5Key), into: &output)
        }
    }
}
