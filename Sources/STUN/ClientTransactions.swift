public import NetTypes

/// Why a transaction has failed, apart from an error response of the server.
public enum TransactionFailure: Error, Hashable, Sendable {
    /// No response came in time.
    case timedOut
    /// Only responses came that the password does not confirm (RFC 8489 §9.1.4, §9.2.5).
    case integrityViolated
    /// The connection was lost, or the network said that nobody is there (RFC 8489 §6.2.1).
    case transportFailed
    /// The response has attributes that must be understood and are not (RFC 8489 §6.3.3, §6.3.4).
    case unknownRequiredAttributes
    /// The response lacks what it must have, or has it in a form that cannot be read.
    case malformedResponse
    /// The server does not accept user name and password (RFC 8489 §9.2.5).
    case wrongCredentials
    /// The server wants yet another nonce or realm, again and again.
    case tooManyChallenges
    /// Somebody on the way has taken the password algorithms out (RFC 8489 §9.2.5).
    case biddenDown
    /// The server offers no password algorithm that is known here.
    case noSupportedPasswordAlgorithm
    /// The server has not said that it takes access tokens (RFC 7635 §4), or somebody on the way has taken that out.
    case noThirdPartyAuthorization
    /// The server's realm cannot be one of a long-term credential.
    case unusableRealm
}

extension TransactionFailure: CustomStringConvertible {
    /// What went wrong, in words.
    public var description: String {
        switch self {
        case .timedOut: "no answer came"
        case .integrityViolated: "answers came, but not from a server that knows the password"
        case .transportFailed: "the connection was lost or refused"
        case .unknownRequiredAttributes: "the answer has attributes that are not understood"
        case .malformedResponse: "the answer is malformed"
        case .wrongCredentials: "the server does not accept the credentials"
        case .tooManyChallenges: "the server asks for a new nonce again and again"
        case .biddenDown: "the list of password algorithms was removed on the way"
        case .noSupportedPasswordAlgorithm: "the server offers no password algorithm that is known"
        case .noThirdPartyAuthorization: "the server does not take access tokens"
        case .unusableRealm: "the server's realm is not usable"
        }
    }
}

/// A request that waits for its response.
public struct ClientTransaction<Context: Sendable>: Sendable {
    /// What ties the response to it.
    public let id: TransactionID
    /// The method that the response must have too.
    public let method: STUNMethod
    /// What the owner wants to remember of it.
    public var context: Context
    /// When it was sent and is sent again.
    public internal(set) var timer: RetransmissionTimer
    /// Whether a response was dropped because its integrity was wrong.
    public internal(set) var hasSeenViolation = false
    let bytes: [UInt8]
}

/// The requests of one client to one server that wait for a response: at most ten at a time (RFC 8489 §6.2).
///
/// Holds the bytes of each, sends them again, and measures the round-trip time. Look-ups are O(limit).
public struct ClientTransactions<Context: Sendable>: ~Copyable {
    /// What time has brought for a transaction.
    public enum Due: Sendable {
        /// Send these bytes again.
        case retransmit([UInt8])
        /// The transaction is over and forgotten.
        case failed(ClientTransaction<Context>, TransactionFailure)
    }

    /// How many may wait at a time.
    public let limit: Int
    /// Whether requests travel over TCP or TLS.
    public let isReliable: Bool
    /// What is known of the round-trip time.
    public private(set) var estimator: RoundTripEstimator
    private let policy: RetransmissionPolicy
    private var outstanding: [ClientTransaction<Context>] = []

    /// Makes a table without transactions; `estimator` brings what was learned of the server before.
    public init(
        policy: RetransmissionPolicy = RetransmissionPolicy(),
        isReliable: Bool,
        limit: Int = 10,
        estimator: RoundTripEstimator = RoundTripEstimator()
    ) {
        self.policy = policy
        self.isReliable = isReliable
        self.limit = limit
        self.estimator = estimator
        outstanding.reserveCapacity(limit)
    }

    /// How many wait.
    public var count: Int { outstanding.count }

    /// Whether another request may be sent.
    public var hasRoom: Bool { outstanding.count < limit }

    /// When `pollDue` has something to return, or `nil` if nothing waits.
    public var nextTimeout: Instant? { outstanding.lazy.map(\.timer.deadline).min() }

    /// Notes a request that is sent now; returns `false`, and notes nothing, without room.
    public mutating func begin(
        _ id: TransactionID,
        _ method: STUNMethod,
        _ bytes: [UInt8],
        _ context: Context,
        at now: Instant
    ) -> Bool {
        guard hasRoom else { return false }
        let timer = RetransmissionTimer(
            policy,
            timeout: estimator.timeout(at: now),
            isReliable: isReliable,
            at: now
        )
        outstanding.append(ClientTransaction(id: id, method: method, context: context, timer: timer, bytes: bytes))
        return true
    }

    /// The transaction that a response belongs to, by identifier and method; `nil` if there is none (turn 26).
    public func find(_ response: borrowing STUNMessageView) -> ClientTransaction<Context>? {
        let (id, method) = (response.transactionID, response.method)
        return outstanding.first { $0.id == id && $0.method == method }
    }

    /// Ends a transaction whose response has come.
    public mutating func finish(_ id: TransactionID, at now: Instant) {
        guard let index = outstanding.firstIndex(where: { $0.id == id }) else { return }
        let timer = outstanding.remove(at: index).timer
        if timer.sentCount == 1 { estimator.add(now - timer.started, at: now) }
    }

    /// Notes that a response was dropped because of its integrity, so that the end is told as what it is (turn 54).
    public mutating func noteViolation(_ id: TransactionID) {
        guard let index = outstanding.firstIndex(where: { $0.id == id }) else { return }
        outstanding[index].hasSeenViolation = true
    }

    /// Takes the next thing that is due at `now`; `nil` when nothing is.
    public mutating func pollDue(at now: Instant) -> Due? {
        for index in outstanding.indices {
            switch outstanding[index].timer.fire(at: now) {
            case .wait: continue
            case .retransmit: return .retransmit(outstanding[index].bytes)
            case .timedOut:
                let transaction = outstanding.remove(at: index)
                return .failed(transaction, transaction.hasSeenViolation ? .integrityViolated : .timedOut)
            }
        }
        return nil
    }

    /// Forgets all transactions and returns them: the connection is gone, or their owner is.
    public mutating func removeAll() -> [ClientTransaction<Context>] {
        defer { outstanding.removeAll(keepingCapacity: true) }
        return outstanding
    }
}
