public import Connectivity
public import ICE
import NetTypes
import Synchronization

/// News of the candidates of this side, to be signalled in this order.
public enum ICECandidateUpdate: Hashable, Sendable {
    /// A candidate.
    case found(Candidate)
    /// A candidate that is no more.
    case removed(Candidate)
    /// What was found will do for an owner that signals all at once.
    case goodEnough
    /// No more come for now; with `signalsEnd`, the end of candidates is to be signalled.
    case done(signalsEnd: Bool)
    /// The path was lost and none is left: `restart`.
    case restartAdvised
}

/// How much waits in a connection; passing a limit drops and counts.
public struct ICEConnectionLimits: Hashable, Sendable {
    /// Datagrams that have come and were not read.
    public var receivedDatagrams = 4096
    /// Bytes that wait for the loop to send them.
    public var waitingBytes = 4 << 20
    /// News of candidates that were not read.
    public var candidates = 512
    /// States that were not read.
    public var states = 256

    /// Makes the defaults.
    public init() {}
}

/// A TURN or STUN server that gave nothing, and why.
public struct ICEServerFailure: Hashable, Sendable {
    /// The server as the configuration names it.
    public let server: String
    /// How it was tried.
    public let carrier: Carrier
    /// Why it gave nothing.
    public let failure: GatheringFailure
}

/// All that is known of a connection at one moment.
public struct ICEReport: Sendable {
    /// The state.
    public let state: ICEConnectionState
    /// Who nominates.
    public let role: ICERole
    /// Whether data goes over a relay, ours or the peer's; `nil` without a path.
    public let isRelayed: Bool?
    /// The pair of that path; addresses that must stay hidden are `nil` in it.
    public let selected: ICEPairSnapshot?
    /// Why there is no connection, or what is known of the one there is.
    public let verdict: Verdict
    /// What was counted.
    public let statistics: ICEStatistics
    /// All pairs.
    public let pairs: [ICEPairSnapshot]
    /// Our candidates.
    public let candidates: [Candidate]
    /// How servers have seen us.
    public let mappings: [MappingObservation]
    /// Servers that gave nothing.
    public let serverFailures: [ICEServerFailure]
    /// What was learned of our addresses, for the configuration of the next connection.
    public let publicAddresses: PublicAddresses
    /// The agent's recording, if the configuration asks for one; it holds passwords and addresses that are to stay hidden.
    public let recording: [UInt8]?
}

/// One ICE connection of a program: candidates and states come as sequences, data as datagrams.
///
/// Signal `localDescription` and what `candidates` tells to the peer, and hand in what the peer signals. All methods may be
/// called from any task. A connection that nobody holds any more is closed.
public final class ICEConnection: Sendable {
    /// What is to be signalled of this side first; `restart` gives the later ones.
    public let localDescription: ICEDescription
    private let core: ConnectionCore
    private let signal: @Sendable () -> Void

    init(_ description: ICEDescription, core: ConnectionCore, signal: @escaping @Sendable () -> Void) {
        localDescription = description
        self.core = core
        self.signal = signal
    }

    deinit { perform(.close) }

    /// Our candidates as they are found.
    public var candidates: ICEStream<ICECandidateUpdate> { ICEStream(queue: core.candidates) }
    /// The states as they change.
    public var states: ICEStream<ICEConnectionState> { ICEStream(queue: core.states) }
    /// What the peer sends.
    public var received: ICEStream<[UInt8]> { ICEStream(queue: core.received) }
    /// How many datagrams `send` did not take because too many waited already.
    public var refusedCount: UInt64 { core.inbox.withLock { $0.refused } }

    /// Begins to gather candidates; may be called before anything is known of the peer.
    public func gather() { perform(.gather) }

    /// Takes what the peer says of itself.
    public func setRemoteDescription(_ description: ICEDescription) { perform(.describe(description)) }

    /// Takes a candidate of the peer.
    public func addRemoteCandidate(_ candidate: Candidate) { perform(.add(candidate)) }

    /// Forgets a candidate that the peer has taken back.
    public func removeRemoteCandidate(_ candidate: Candidate) { perform(.remove(candidate)) }

    /// Notes that the peer has no more candidates.
    public func endOfRemoteCandidates() { perform(.endOfCandidates) }

    /// Sends datagrams as far as there is room for them to wait; returns how many were taken.
    ///
    /// What is taken is sent at once, or lost as datagrams are.
    @discardableResult
    public func send(_ datagrams: [[UInt8]]) -> Int {
        let (taken, mustSignal) = core.add(datagrams)
        if mustSignal { signal() }
        return taken
    }

    /// Begins anew with other credentials, which are returned to be signalled; the old path carries on meanwhile.
    ///
    /// `nil` if the connection is closed.
    public func restart() async -> ICEDescription? {
        await withCheckedContinuation { perform(.restart($0)) }
    }

    /// What is known now; after the end, what was known last.
    public func report() async -> ICEReport? {
        await withCheckedContinuation { perform(.report($0)) }
    }

    /// Ends the connection, gives back what servers hold for it, and waits for that; sequences end.
    public func close() async {
        perform(.close)
        await core.waitForEnd()
    }

    private func perform(_ command: ConnectionCommand) {
        if core.add(command) { signal() }
    }
}
