import Bytes
public import NetTypes
import STUN

/// The client's end of a data connection as an engine: binds a new connection to one between server and peer (RFC 6062 §4).
///
/// The driver opens a connection to `server`, hands in whole messages until there is an `outcome`, and drains
/// `pollTransmit`. From `.bound` on the connection is the peer's: what the driver has read behind that response, and all
/// that follows, are its bytes, and no STUN message is sent or expected any more (turn 175).
public struct TURNDataConnection: ~Copyable {
    /// What came of the request.
    public enum Outcome: Hashable, Sendable {
        /// Bytes go to the peer and come from it as they are.
        case bound
        /// The connection is of no use and is to be closed.
        case failed(TURNClientFailure)
    }

    /// The peer's connection.
    public let id: ConnectionID
    /// Where to connect: the address of the control connection.
    public let server: SocketAddress
    /// What came of the request; `nil` while that is not known.
    public private(set) var outcome: Outcome?
    private var session: LongTermSession
    private var transactions: ClientTransactions<LongTermAttempt>
    private var outbox: [[UInt8]] = []
    private var entropy: Entropy

    init(
        _ id: ConnectionID,
        _ configuration: TURNClientConfiguration,
        _ session: LongTermSession,
        entropy: Entropy
    ) {
        self.id = id
        self.session = session
        self.entropy = entropy
        server = configuration.server
        transactions = ClientTransactions(policy: configuration.retransmission, isReliable: true)
    }

    /// Asks to be bound, as the user who has made the allocation.
    public mutating func start(at now: Instant) {
        if outcome == nil, transactions.count == 0 { send(after: nil, at: now) }
    }

    private mutating func send(after previous: LongTermAttempt?, at now: Instant) {
        let attempt = session.attempt(for: .connectionBind, after: previous)
        let transaction = TransactionID.random(using: &entropy)
        var isWhole = false
        let bytes = buildBytes(capacity: TURNClient.maximumMessageByteCount) { output in
            var builder = STUNMessageBuilder(.connectionBind, .request, transaction, into: &output)
            builder.append(.connectionID, id.rawValue, into: &output)
            session.append(attempt, to: &builder, into: &output)
            isWhole = (try? builder.finish(protectedBy: attempt.protection, into: &output)) != nil
        }
        guard isWhole, transactions.begin(transaction, .connectionBind, bytes, attempt, at: now) else {
            outcome = .failed(.transaction(.malformedResponse))
            return
        }
        outbox.append(bytes)
    }

    /// Takes a whole message of the server; without effect once there is an outcome.
    public mutating func receive(_ message: Span<UInt8>, at now: Instant) {
        guard outcome == nil, let response = try? STUNMessageView(message),
            let transaction = transactions.find(response)
        else { return }
        switch session.judge(response, to: transaction.context, isReliable: true) {
        case .ignored: return
        case .failed(let failure): outcome = .failed(.transaction(failure))
        case .retry: send(after: transaction.context, at: now)
        case .accepted: outcome = Self.outcome(of: response)
        }
        transactions.finish(transaction.id, at: now)
    }

    private static func outcome(of response: borrowing STUNMessageView) -> Outcome {
        guard response.unknownRequiredAttributes(known: .turnConnections).isEmpty else {
            return .failed(.transaction(.unknownRequiredAttributes))
        }
        guard response.messageClass == .error else { return .bound }
        guard let code = (try? response.errorCode()) ?? nil else { return .failed(.transaction(.malformedResponse)) }
        return .failed(.refused(code))
    }

    /// Gives up when the server has not answered; to be called when `nextTimeout` has passed.
    public mutating func handleTimeout(at now: Instant) {
        while let due = transactions.pollDue(at: now) {
            if case .failed(_, let failure) = due, outcome == nil { outcome = .failed(.transaction(failure)) }
        }
    }

    /// When `handleTimeout` must be called, or `nil`.
    public var nextTimeout: Instant? { outcome == nil ? transactions.nextTimeout : nil }

    /// Tells that the connection was lost before there was an outcome.
    public mutating func transportFailed() {
        if outcome == nil { outcome = .failed(.transaction(.transportFailed)) }
    }

    /// Writes the next message for the server; the free capacity must be `TURNClient.maximumMessageByteCount`.
    public mutating func pollTransmit(into output: inout OutputSpan<UInt8>) -> Bool {
        guard let bytes = outbox.first, bytes.count <= output.freeCapacity else { return false }
        outbox.removeFirst()
        output.append(contentsOf: bytes.span)
        return true
    }
}
