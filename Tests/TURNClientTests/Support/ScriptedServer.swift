import Bytes
import Diagnostics
import NetTypes
import STUN
import TURN

/// A client whose server is the test: each request can be looked at and answered in any way.
final class Script {
    static let realm = "example.org"
    /// A nonce without cookie, of a server of RFC 5389.
    static let plainNonce = Array("0123456789abcdef".utf8)
    /// Nonces that announce both features, algorithms only, and the name's hash only.
    static let richNonce = Array("obMatJos2wAAAmore".utf8)
    static let algorithmsNonce = Array("obMatJos2gAAAmore".utf8)
    static let anonymousNonce = Array("obMatJos2QAAAmore".utf8)
    static let bothAlgorithms: [UInt8] = [0, 2, 0, 0, 0, 1, 0, 0]

    var client: TURNClient
    let server: SocketAddress
    var now = Instant(nanoseconds: 1_000_000_000)
    var events: [TURNClientEvent] = []
    /// Messages of the client that were not looked at.
    var sent: [[UInt8]] = []
    let credentials: LongTermCredentials

    init(_ change: (inout TURNClientConfiguration) -> Void = { _ in }) throws {
        server = address("192.0.2.9:3478")
        var configuration = TURNClientConfiguration(server: server, username: "alice", password: "wonderland")
        change(&configuration)
        client = try TURNClient(configuration, entropy: .seeded(3))
        credentials = try LongTermCredentials(username: "alice", realm: Self.realm, password: "wonderland")
    }

    @discardableResult
    func act<Result>(_ body: (inout TURNClient, Instant) -> Result) -> Result {
        let result = body(&client, now)
        drain()
        return result
    }

    func start() { act { $0.start(at: $1) } }

    /// Lets time pass, with all timeouts in it.
    func advance(_ span: TimeSpan) {
        let end = now + span
        while let next = client.nextTimeout, next <= end {
            now = max(now, next)
            act { $0.handleTimeout(at: $1) }
        }
        now = end
    }

    private func drain() {
        while true {
            var isDone = false
            let bytes = buildBytes(capacity: TURNClient.maximumMessageByteCount) { output in
                isDone = client.pollTransmit(at: now, into: &output) == nil
            }
            if isDone { break }
            sent.append(bytes)
        }
        while let event = client.pollEvent() { events.append(event) }
    }

    /// The oldest message of the client that was not looked at.
    func next() -> STUNMessage? {
        guard !sent.isEmpty else { return nil }
        let bytes = sent.removeFirst()
        return try? STUNMessage(decoding: bytes.span)
    }

    /// Answers a request.
    @discardableResult
    func answer(
        _ request: STUNMessage,
        _ messageClass: STUNClass = .success,
        _ attributes: [STUNMessage.Attribute] = [],
        protectedBy protection: MessageProtection = .none
    ) throws -> TURNClientDisposition {
        let response = STUNMessage(
            STUNMessageType(request.type.method, messageClass),
            request.transactionID,
            attributes: attributes
        )
        return receive(try response.encoded(protectedBy: protection))
    }

    @discardableResult
    func receive(_ bytes: [UInt8], from source: SocketAddress? = nil) -> TURNClientDisposition {
        act { [server] client, now in client.receive(bytes.span, from: source ?? server, at: now) }
    }

    /// Answers a request with a challenge.
    @discardableResult
    func challenge(
        _ request: STUNMessage,
        code: UInt16 = 401,
        nonce: [UInt8] = plainNonce,
        algorithms: [UInt8]? = nil,
        realm: String = Script.realm,
        extra: [STUNMessage.Attribute] = []
    ) throws -> TURNClientDisposition {
        var attributes: [STUNMessage.Attribute] = [
            .error(code), .init(.realm, Array(realm.utf8)), .init(.nonce, nonce),
        ]
        if let algorithms { attributes.append(.init(.passwordAlgorithms, algorithms)) }
        return try answer(request, .error, attributes + extra)
    }

    var sha1: MessageProtection { .sha1(credentials.md5Key) }
    var sha256: MessageProtection { credentials.sha256Key.map { .sha256($0) } ?? .none }

    /// The attributes of an ordinary Allocate success.
    func grant(
        _ request: STUNMessage,
        relayed: [String] = ["192.0.2.9:50000"],
        seconds: UInt32 = 600
    )
        -> [STUNMessage.Attribute]
    {
        relayed.map { .xored(.xorRelayedAddress, $0, request.transactionID) } + [
            .xored(.xorMappedAddress, "198.51.100.1:4000", request.transactionID), .word(.lifetime, seconds),
        ]
    }

    /// Goes through an ordinary Allocate with a server of RFC 5389.
    func allocate() throws {
        start()
        guard let first = next() else { return }
        try challenge(first)
        guard let second = next() else { return }
        try answer(second, .success, grant(second), protectedBy: sha1)
    }

    var isAllocated: Bool { client.allocation != nil }
    var challenge: LongTermChallenge? { client.challenge }
    var nextTimeout: Instant? { client.nextTimeout }

    func drops(_ reason: TURNClientDrop) -> UInt64 { client.dropCounts[reason] }

    var end: TURNClientEnd? {
        for case .ended(let end) in events { return end }
        return nil
    }
}

extension STUNMessage {
    subscript(type: AttributeType) -> [UInt8]? { attributes.first { $0.type == type }?.value }
    var types: [AttributeType] { attributes.map(\.type) }
}

extension STUNMessage.Attribute {
    static func error(_ code: UInt16) -> Self { .init(.errorCode, [0, 0, UInt8(code / 100), UInt8(code % 100)]) }
    static func word(_ type: AttributeType, _ value: UInt32) -> Self {
        .init(type, buildBytes(capacity: 4) { $0.append(bigEndian: value) })
    }

    static func xored(_ type: AttributeType, _ text: String, _ id: TransactionID) -> Self {
        plain(type, id.xor(address(text)))
    }

    static func plain(_ type: AttributeType, _ address: SocketAddress) -> Self {
        .init(
            type,
            buildBytes(capacity: 20) { output in
                output.append(0)
                output.append(address.family.attributeNumber)
                output.append(bigEndian: address.port)
                address.ip.write(into: &output)
            }
        )
    }
}
