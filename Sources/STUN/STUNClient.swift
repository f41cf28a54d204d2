public import Diagnostics
public import NetTypes

/// A client of STUN's Binding usage as an engine: asks a server from which address it is seen (RFC 8489 §6).
///
/// Over a stream the driver hands in whole messages. Call `query`, then drain `pollTransmit`; `.answered` or `.failed`
/// follows for each query. Without credentials, as public servers have it, or with short-term ones (RFC 8489 §9.1).
public struct STUNClient: ~Copyable, ProtocolEngine {
    /// What the client tells.
    public enum Event: Hashable, Sendable {
        /// The server has answered.
        case answered(Answer)
        /// A query has failed.
        case failed(Failure)
    }

    /// What a server has answered.
    public struct Answer: Hashable, Sendable {
        /// Our address as the server sees it.
        public let mapped: SocketAddress
        /// The time from the first request to the answer.
        public let elapsed: TimeSpan
        /// How often the request was sent; above 1, `elapsed` is no round-trip time (Karn's rule).
        public let sentCount: Int
        /// The server's SOFTWARE, if it tells: text of the peer's choice.
        public let software: String?
    }

    /// Why a query has failed.
    public enum Failure: Error, Hashable, Sendable {
        /// Without an answer that could be used.
        case transaction(TransactionFailure)
        /// By an error response.
        case refused(ErrorCode)
    }

    /// Why bytes were dropped.
    public enum Drop: String, DropReason {
        /// They are no STUN message, or a malformed one.
        case notSTUN
        /// FINGERPRINT is wrong.
        case badFingerprint
        /// A request or an indication: this is a client.
        case unexpectedClass
        /// They do not come from the server.
        case wrongSource
        /// No request of that identifier and method waits: late, repeated or forged (turn 26).
        case unknownTransaction
        /// A response that the password does not confirm (turn 54).
        case integrityViolated
    }

    /// The server.
    public let server: SocketAddress
    private var transactions: ClientTransactions<MessageProtection>
    private var session: ShortTermSession?
    private var entropy: Entropy
    private let fingerprint: Bool
    private var outbox: [[UInt8]] = []
    private var events: [Event] = []
    private var drops = DropCounters<Drop>()

    /// How many bytes a message has at most: the room that `pollTransmit` needs.
    public static let maximumMessageByteCount = 28 + 4 + 512 + 60

    /// Makes a client of one server; `entropy` must be `.system` except in tests.
    public init(
        server: SocketAddress,
        transport: TransportProtocol = .udp,
        session: ShortTermSession? = nil,
        policy: RetransmissionPolicy = RetransmissionPolicy(),
        fingerprint: Bool = true,
        entropy: Entropy = .system
    ) {
        self.server = server
        self.session = session
        self.fingerprint = fingerprint
        self.entropy = entropy
        transactions = ClientTransactions(policy: policy, isReliable: transport.isStream)
    }

    /// Asks once more; returns `false` while ten queries wait (RFC 8489 §6.2).
    public mutating func query(at now: Instant) -> Bool {
        guard transactions.hasRoom else { return false }
        let id = TransactionID.random(using: &entropy)
        var request = STUNMessage(STUNMessageType(.binding, .request), id)
        if let session { request.attributes.append(.init(.username, Array(session.username.utf8))) }
        let protection = session?.protection ?? .none
        guard let bytes = try? request.encoded(protectedBy: protection, fingerprint: fingerprint),
            transactions.begin(id, .binding, bytes, protection, at: now)
        else { return false }
        outbox.append(bytes)
        return true
    }

    /// Takes a message; an event may follow.
    public mutating func receive(
        _ datagram: Span<UInt8>,
        from source: SocketAddress,
        at now: Instant
    ) -> Disposition<Drop> {
        guard source.unmapped.ip == server.unmapped.ip, source.port == server.port else { return ignore(.wrongSource) }
        guard let response = try? STUNMessageView(datagram) else { return ignore(.notSTUN) }
        guard response.checkFingerprint() != .invalid else { return ignore(.badFingerprint) }
        switch response.messageClass {
        case .request, .indication: return ignore(.unexpectedClass)
        case .success, .error: break
        }
        guard let transaction = transactions.find(response) else { return ignore(.unknownTransaction) }
        switch session?.judge(response, to: transaction.context, isReliable: transactions.isReliable) {
        case nil, .accepted: break
        case .ignored:
            transactions.noteViolation(transaction.id)
            return ignore(.integrityViolated)
        case .failed(let failure):
            transactions.finish(transaction.id, at: now)
            events.append(.failed(.transaction(failure)))
            return .accepted
        }
        transactions.finish(transaction.id, at: now)
        do throws(Failure) {
            events.append(
                .answered(
                    Answer(
                        mapped: try Self.mapped(response),
                        elapsed: now - transaction.timer.started,
                        sentCount: transaction.timer.sentCount,
                        software: response.string(.software)
                    )
                )
            )
        } catch {
            events.append(.failed(error))
        }
        return .accepted
    }

    /// Reads a response: turn 30, 31, 33, 34.
    private static func mapped(_ response: borrowing STUNMessageView) throws(Failure) -> SocketAddress {
        guard response.unknownRequiredAttributes(known: .stun).isEmpty else {
            throw .transaction(.unknownRequiredAttributes)
        }
        if response.messageClass == .error {
            guard let code = (try? response.errorCode()) ?? nil else { throw .transaction(.malformedResponse) }
            throw .refused(code)
        }
        // MAPPED-ADDRESS is what servers of RFC 3489 have; some answer both.
        guard let address = (try? response.xorMappedAddress()) ?? (try? response.mappedAddress()) ?? nil else {
            throw .transaction(.malformedResponse)
        }
        return address
    }

    /// Sends again or gives up; an event may follow.
    public mutating func handleTimeout(at now: Instant) {
        while let due = transactions.pollDue(at: now) {
            switch due {
            case .retransmit(let bytes): outbox.append(bytes)
            case .failed(_, let failure): events.append(.failed(.transaction(failure)))
            }
        }
    }

    /// Ends all queries: the connection is lost, or ICMP says that nobody is there (turn 15, 16).
    public mutating func transportFailed() {
        for _ in transactions.removeAll() { events.append(.failed(.transaction(.transportFailed))) }
        outbox.removeAll()
    }

    /// Writes the next message to send.
    public mutating func pollTransmit(at now: Instant, into datagram: inout OutputSpan<UInt8>) -> Transmit? {
        guard let bytes = outbox.first, bytes.count <= datagram.freeCapacity else { return nil }
        outbox.removeFirst()
        for byte in bytes { datagram.append(byte) }
        return Transmit(to: server, byteCount: bytes.count)
    }

    /// Takes the oldest event.
    public mutating func pollEvent() -> Event? { events.isEmpty ? nil : events.removeFirst() }

    /// When `handleTimeout` must be called, or `nil` if no query waits.
    public var nextTimeout: Instant? { transactions.nextTimeout }

    /// The smoothed round-trip time of the queries that were sent once.
    public var roundTrip: TimeSpan? { transactions.estimator.roundTrip }

    /// What was dropped, by reason.
    public var dropCounts: DropCounters<Drop> { drops }

    private mutating func ignore(_ reason: Drop) -> Disposition<Drop> {
        drops.count(reason)
        return .ignored(reason)
    }
}
