import Bytes
import Crypto
import NetTypes
import STUN

@testable import ICE

/// One agent whose peer is the test: it reads what the agent sends and forges what comes.
struct Lone: ~Copyable {
    static let local = at("10.0.0.1:1000")
    static let remote = at("10.0.0.2:2000")
    static let base = BaseID(rawValue: 1)
    static let peer = ICEDescription(
        credentials: credentials("PEER"),
        options: [.ice2, .trickle],
        pacing: .milliseconds(20)
    )

    var agent: ICEAgent
    var now = Instant.zero + .seconds(1)
    var pacer = CheckPacer()
    var serial: UInt64 = 0

    init(_ role: ICERole = .controlling, change: (inout ICEConfiguration) -> Void = { _ in }) {
        var configuration = ICEConfiguration(role: role)
        change(&configuration)
        agent = ICEAgent(configuration, entropy: .seeded(5), at: .zero)
    }

    /// Adds the host candidate and the description of the peer, and one candidate of it.
    mutating func begin(_ description: ICEDescription = Lone.peer, candidate: Bool = true) {
        _ = agent.addLocalCandidate(LocalCandidate(.host, Lone.local), base: Lone.base, at: now)
        _ = agent.setRemoteDescription(description, at: now)
        if candidate { add("1.1.1.1", Lone.remote) }
    }

    @discardableResult
    mutating func add(
        _ foundation: String,
        _ address: SocketAddress,
        _ type: CandidateType = .host,
        priority: UInt32 = 2_130_706_431,
        change: (inout Candidate) -> Void = { _ in }
    ) -> RemoteCandidateDisposition {
        var candidate = Candidate(
            foundation: foundation,
            priority: priority,
            address: .ip(address.ip),
            port: address.port,
            type: type
        )
        change(&candidate)
        return agent.addRemoteCandidate(candidate, at: now)
    }

    struct Sent {
        let base: BaseID
        let destination: SocketAddress
        let message: STUNMessage
        let bytes: [UInt8]

        var isRequest: Bool { message.type.messageClass == .request }
        func has(_ type: AttributeType) -> Bool { message.attributes.contains { $0.type == type } }
        func value(_ type: AttributeType) -> [UInt8]? { message.attributes.first { $0.type == type }?.value }
    }

    /// Takes all that the agent wants to send now.
    mutating func drain() -> [Sent] {
        var list: [Sent] = []
        while true {
            var transmit: ICETransmit?
            let bytes = buildBytes(capacity: 1500) { output in
                transmit = agent.pollTransmit(at: now, pacer: &pacer, into: &output)
            }
            guard let transmit, let message = try? STUNMessage(decoding: bytes.span) else { return list }
            list.append(Sent(base: transmit.base, destination: transmit.destination, message: message, bytes: bytes))
        }
    }

    /// Lets time pass timer by timer, and collects what is sent.
    mutating func run(for span: TimeSpan) -> [Sent] {
        let end = now + span
        var list = drain()
        while let next = agent.nextTimeout, next <= end {
            now = max(now, next)
            agent.handleTimeout(at: now)
            list += drain()
        }
        now = end
        return list
    }

    mutating func events() -> [ICEEvent] {
        var list: [ICEEvent] = []
        while let event = agent.pollEvent() { list.append(event) }
        return list
    }

    // MARK: The peer

    static let peerKey = IntegrityKey(Array(peer.credentials.password.utf8).span)
    var ownKey: IntegrityKey { IntegrityKey(Array(agent.localDescription.credentials.password.utf8).span) }

    static func bytes(
        _ message: STUNMessage,
        _ protection: MessageProtection,
        fingerprint: Bool = true
    ) -> [UInt8] {
        buildBytes(capacity: 1500) { output in
            _ = try? message.encode(protectedBy: protection, fingerprint: fingerprint, into: &output)
        }
    }

    static func big(_ value: UInt64, _ count: Int) -> [UInt8] {
        (0..<count).reversed().map { UInt8(truncatingIfNeeded: value >> UInt64(8 * $0)) }
    }

    /// A request as the peer would send it.
    mutating func request(
        role: ICERole = .controlled,
        tiebreaker: UInt64 = 1,
        use: Bool = false,
        nomination: UInt32? = nil,
        priority: UInt32? = 1_845_501_695,
        username: String? = nil,
        extra: [STUNMessage.Attribute] = []
    ) -> STUNMessage {
        serial += 1
        let name = username ?? "\(agent.localDescription.credentials.usernameFragment):PEER"
        var attributes: [STUNMessage.Attribute] = [.init(.username, Array(name.utf8))]
        if let priority { attributes.append(.init(.priority, Self.big(UInt64(priority), 4))) }
        attributes.append(
            .init(role == .controlling ? .iceControlling : .iceControlled, Self.big(tiebreaker, 8))
        )
        if use { attributes.append(.init(.useCandidate, [])) }
        if let nomination { attributes.append(.init(.nomination, Self.big(UInt64(nomination), 4))) }
        return STUNMessage(
            STUNMessageType(.binding, .request),
            TransactionID(high: serial, low: 9),
            attributes: attributes + extra
        )
    }

    /// Delivers a request of the peer.
    @discardableResult
    mutating func deliver(
        _ message: STUNMessage,
        on base: BaseID = Lone.base,
        from source: SocketAddress = Lone.remote
    ) -> ICEDisposition {
        receive(Self.bytes(message, .sha1(ownKey)), on: base, from: source)
    }

    @discardableResult
    mutating func receive(
        _ bytes: [UInt8],
        on base: BaseID = Lone.base,
        from source: SocketAddress = Lone.remote
    ) -> ICEDisposition {
        agent.receive(bytes.span, on: base, from: source, at: now)
    }

    /// Answers a request of the agent, as the peer.
    @discardableResult
    mutating func answer(
        _ sent: Sent,
        code: UInt16? = nil,
        mapped: SocketAddress = Lone.local,
        from source: SocketAddress? = nil,
        on base: BaseID? = nil,
        key: IntegrityKey? = Lone.peerKey
    ) -> ICEDisposition {
        let id = sent.message.transactionID
        let bytes = buildBytes(capacity: 500) { output in
            var builder = STUNMessageBuilder(.binding, code == nil ? .success : .error, id, into: &output)
            if let code {
                builder.append(ErrorCode(rawValue: code), into: &output)
            } else {
                builder.append(.xorMappedAddress, xored: mapped, into: &output)
            }
            let protection: MessageProtection = key.map { .sha1($0) } ?? .none
            _ = try? builder.finish(protectedBy: protection, fingerprint: true, into: &output)
        }
        return receive(bytes, on: base ?? sent.base, from: source ?? sent.destination)
    }

    /// Brings the first pair to be valid.
    mutating func connect() {
        begin()
        for sent in drain() where sent.isRequest { answer(sent) }
    }
}
