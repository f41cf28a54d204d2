public import NetTypes

/// What an agent has counted.
public struct ICEStatistics: Sendable {
    /// Binding requests that were sent, repeated ones included.
    public internal(set) var requestsSent: UInt32 = 0
    /// Binding requests that were believed.
    public internal(set) var requestsReceived: UInt32 = 0
    /// Answers that were sent.
    public internal(set) var responsesSent: UInt32 = 0
    /// Answers that were believed.
    public internal(set) var responsesReceived: UInt32 = 0
    /// Binding indications that were sent.
    public internal(set) var keepalivesSent: UInt32 = 0
    /// Datagrams of the application that were let through.
    public internal(set) var dataReceived: UInt64 = 0
    /// How often data took another way (`selectedCandidatePairChanges`).
    public internal(set) var pathChanges: UInt32 = 0
    private var drops = InlineArray<17, UInt32>(repeating: 0)

    /// How often bytes were dropped for that reason.
    public subscript(reason: ICEDrop) -> UInt32 { drops[Int(reason.rawValue)] }

    mutating func count(_ reason: ICEDrop) { drops[Int(reason.rawValue)] &+= 1 }
}

/// What a pair shows to statistics (`RTCIceCandidatePairStats`); an address that must stay hidden is `nil` (ice 152, 172).
public struct ICEPairSnapshot: Hashable, Sendable {
    /// The states of RFC 8445 §6.1.2.6.
    public enum State: String, Hashable, Sendable {
        /// Not yet its foundation's turn.
        case frozen
        /// Will be checked.
        case waiting
        /// Is being checked.
        case inProgress = "in-progress"
        /// An answer has come.
        case succeeded
        /// None has.
        case failed
    }

    /// Where it stands.
    public let state: State
    /// Whether data may go over it.
    public let isValid: Bool
    /// Whether it is nominated.
    public let isNominated: Bool
    /// Whether it is kept warm beside the selected one.
    public let isBackup: Bool
    /// Of which component.
    public let component: UInt16
    /// Its priority.
    public let priority: UInt64
    /// Through what.
    public let base: BaseID
    /// Our candidate's address.
    public let local: SocketAddress?
    /// Our candidate's type.
    public let localType: CandidateType
    /// The peer's address.
    public let remote: SocketAddress?
    /// The peer's type of candidate.
    public let remoteType: CandidateType
    /// UDP or TCP.
    public let transport: CandidateTransport
    /// The last measured time of an answer.
    public let currentRoundTrip: TimeSpan?
    /// The sum of all measured times.
    public let totalRoundTrip: TimeSpan
    /// Binding requests sent.
    public let requestsSent: UInt32
    /// Binding requests received.
    public let requestsReceived: UInt32
    /// Answers received.
    public let responsesReceived: UInt32
    /// Answers sent.
    public let responsesSent: UInt32
    /// Of the requests, those that ask for consent.
    public let consentRequestsSent: UInt32
}

extension ICEAgent {
    /// All pairs of the present; allocates.
    public var pairSnapshots: [ICEPairSnapshot] {
        pairs.indices.filter { pairs[$0].state != .removed }.map { index in
            let pair = pairs[index]
            let local = locals[Int(pair.local)]
            let remote = remotes[Int(pair.remote)]
            let state: ICEPairSnapshot.State =
                switch pair.state {
                case .frozen: .frozen
                case .waiting: .waiting
                case .inProgress: .inProgress
                case .succeeded: .succeeded
                case .failed, .cancelled, .removed: .failed
                }
            return ICEPairSnapshot(
                state: state,
                isValid: pair.flags.contains(.valid),
                isNominated: components[Int(pair.component) - 1].nominated == index,
                isBackup: pair.flags.contains(.backup),
                component: pair.component,
                priority: pair.priority,
                base: pair.base,
                local: local.isConcealed ? nil : local.address,
                localType: locals[Int(pair.validLocal)].type,
                remote: remote.isSignalled && !remote.isConcealed ? pair.remoteAddress : nil,
                remoteType: remote.type,
                transport: local.transport,
                currentRoundTrip: pair.lastRoundTrip == 0 ? nil : .microseconds(UInt64(pair.lastRoundTrip)),
                totalRoundTrip: .microseconds(pair.totalRoundTrip),
                requestsSent: pair.requestsSent,
                requestsReceived: pair.requestsReceived,
                responsesReceived: pair.responsesReceived,
                responsesSent: pair.responsesSent,
                consentRequestsSent: pair.consentRequestsSent
            )
        }
    }
}
