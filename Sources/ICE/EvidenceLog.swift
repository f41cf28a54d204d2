public import NetTypes
public import STUN

/// What the gatherer has learnt and the agent needs to explain itself.
public enum GatheringFact: Hashable, Sendable {
    /// A STUN or TURN server has answered and told how it sees the base.
    case serverAnswered(server: SocketAddress, base: BaseID, mapped: SocketAddress)
    /// A server has not answered at all.
    case serverSilent(server: String, transport: TransportProtocol)
    /// A server has refused, with the number of the error.
    case serverRefused(server: String, transport: TransportProtocol, code: ErrorCode)
    /// A server was not reached.
    case serverUnreachable(server: String, transport: TransportProtocol, ServerTrouble)
    /// A name that the peer has signalled could not be resolved.
    case nameNotResolved
    /// The host has no interface that could be used.
    case noInterfaces
}

/// Why a server was not reached.
public enum ServerTrouble: UInt8, Hashable, Sendable, CaseIterable {
    /// Its name is not known.
    case nameNotFound
    /// There is no route to it.
    case noRoute
    /// It does not take the connection.
    case connectionRefused
    /// The connection was not made in time.
    case connectionTimedOut
    /// TLS was not established.
    case tlsFailed
    /// The connection was lost.
    case connectionLost
}

/// One look from outside at a base of ours.
public struct MappingObservation: Hashable, Sendable {
    /// What was seen.
    public let base: BaseID
    /// Who has seen it.
    public let observer: SocketAddress
    /// As what.
    public let mapped: SocketAddress
}

/// What happened, kept for the verdict: bounded, and kept after failure.
struct EvidenceLog: Sendable {
    private(set) var mappings: [MappingObservation] = []
    private(set) var facts: [GatheringFact] = []
    var hasHeardPeer = false
    var foreignRequests: UInt32 = 0
    var badRequestIntegrity: UInt32 = 0
    var badResponseIntegrity: UInt32 = 0
    /// The number in the last error that nobody has signed; 0 if there was none.
    var unprovenError: UInt16 = 0
    /// The number in the last error that the peer has signed.
    var lastError: UInt16 = 0
    var asymmetricResponses: UInt32 = 0
    var roleChanges: UInt32 = 0
    var consentLost: UInt32 = 0
    var connectionsFailed: UInt32 = 0
    var unreachable: UInt32 = 0
    var notPermitted: UInt32 = 0
    var tooBig: UInt32 = 0
    var linkMTU: UInt16?

    static let limit = 16

    mutating func noteMapping(_ base: BaseID, source: SocketAddress, mapped: SocketAddress) {
        for index in mappings.indices where mappings[index].base == base && mappings[index].observer == source {
            guard mappings[index].mapped != mapped else { return }
            mappings[index] = MappingObservation(base: base, observer: source, mapped: mapped)
            return
        }
        guard mappings.count < Self.limit else { return }
        mappings.append(MappingObservation(base: base, observer: source, mapped: mapped))
    }

    mutating func note(_ fact: GatheringFact) {
        if case .serverAnswered(let server, let base, let mapped) = fact {
            noteMapping(base, source: server, mapped: mapped)
        }
        guard facts.count < Self.limit, !facts.contains(fact) else { return }
        facts.append(fact)
    }

    mutating func noteUnproven(_ code: ErrorCode?) {
        badResponseIntegrity &+= 1
        if let code { unprovenError = code.rawValue }
    }

    mutating func noteSendFailure(_ failure: SendFailure) {
        switch failure {
        case .unreachable, .refused: unreachable &+= 1
        case .notPermitted: notPermitted &+= 1
        case .messageTooBig(let mtu):
            tooBig &+= 1
            linkMTU = mtu ?? linkMTU
        case .closed: break
        }
    }

    /// Bases of which different observers of one family have seen different addresses: mapping that depends on the peer.
    func basesWithVaryingMapping() -> [BaseID] {
        var found: [BaseID] = []
        for (index, one) in mappings.enumerated() where !found.contains(one.base) {
            let varies = mappings[(index + 1)...].contains {
                $0.base == one.base && $0.mapped.family == one.mapped.family && $0.mapped != one.mapped
            }
            if varies { found.append(one.base) }
        }
        return found
    }
}
