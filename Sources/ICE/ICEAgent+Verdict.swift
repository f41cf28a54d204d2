import NetTypes
import STUN

/// The agent explains itself.
extension ICEAgent {
    /// Takes what the gatherer has learnt.
    public mutating func note(_ fact: GatheringFact) {
        journal?.input(.note(fact), at: .zero)
        evidence.note(fact)
    }

    /// Why the agent is not connected, or not directly, as far as it can be told now; allocates.
    public var verdict: Verdict {
        switch state {
        case .closed: return Verdict(outcome: .closed, findings: [])
        case .connected, .completed:
            let isRelayed = components.contains { component in
                pairIndex(component.carrier).map { self.isRelayed($0) || leadsToRelay($0) } ?? false
            }
            return Verdict(outcome: isRelayed ? .relayed : .direct, findings: isRelayed ? findings(false) : [])
        case .disconnected: return Verdict(outcome: .interrupted, findings: findings(true))
        case .failed: return Verdict(outcome: .failed, findings: findings(true))
        case .new:
            let hasBegun = generations[generations.count - 1].remote != nil
            return Verdict(outcome: hasBegun ? .connecting : .idle, findings: hasBegun ? findings(true) : [])
        case .checking: return Verdict(outcome: .connecting, findings: findings(true))
        }
    }

    /// Whether the peer's end is a relay that it has not signalled: other relayed candidates of it have the same address.
    private func leadsToRelay(_ index: Int) -> Bool {
        let remote = remotes[Int(pairs[index].remote)]
        return remote.type == .peerReflexive
            && remotes.contains { $0.type == .relayed && $0.address.ip == remote.address.ip }
    }

    /// What the bases' mappings have shown so far; for statistics and for the connection doctor.
    public var mappingObservations: [MappingObservation] { evidence.mappings }

    private func findings(_ isUnconnected: Bool) -> [Finding] {
        var list = candidateFindings()
        if isUnconnected { list += peerFindings() }
        list += networkFindings()
        return list
    }

    private func candidateFindings() -> [Finding] {
        var list: [Finding] = []
        let generation = generations[generations.count - 1].number
        let ours = UInt32(locals.count { !$0.isRemoved })
        let theirs = UInt32(remotes.count { !$0.isRemoved && $0.generation == generation })
        if ours == 0 {
            let facts = evidence.facts.filter { $0 == .noInterfaces }.map { Evidence.fact($0) }
            list.append(Finding(cause: .noLocalCandidates, evidence: [.count(.localCandidates, 0)] + facts))
        }
        if theirs == 0 {
            list.append(Finding(cause: .noRemoteCandidates, evidence: [.count(.remoteCandidates, 0)]))
        }
        if ours > 0, theirs > 0, pairCount == 0, evidence.consentLost == 0 {
            list.append(
                Finding(
                    cause: .nothingToPair,
                    evidence: [.count(.localCandidates, ours), .count(.remoteCandidates, theirs)]
                )
            )
        }
        let unresolved = evidence.facts.filter { $0 == .nameNotResolved }
        if !unresolved.isEmpty {
            list.append(Finding(cause: .namesNotResolved, evidence: unresolved.map { .fact($0) }))
        }
        return list
    }

    private func peerFindings() -> [Finding] {
        var list: [Finding] = []
        let sent = Evidence.count(.requestsSent, statistics.requestsSent)
        let received = Evidence.count(.requestsReceived, statistics.requestsReceived)
        let failed = Evidence.count(.failedPairs, UInt32(pairs.count { $0.state == .failed }))
        if evidence.consentLost > 0 {
            list.append(Finding(cause: .consentLost, evidence: [.count(.consentLost, evidence.consentLost)]))
        }
        let bad = evidence.badRequestIntegrity &+ evidence.badResponseIntegrity
        if bad > 0 || evidence.foreignRequests > 0 || evidence.unprovenError != 0 {
            var shown: [Evidence] = [.count(.badIntegrity, bad), .count(.foreignRequests, evidence.foreignRequests)]
            if evidence.unprovenError != 0 { shown.append(.errorCode(ErrorCode(rawValue: evidence.unprovenError))) }
            list.append(Finding(cause: .credentialTrouble, evidence: shown))
        }
        if evidence.roleChanges > 2 {
            list.append(Finding(cause: .roleTrouble, evidence: [.count(.roleChanges, evidence.roleChanges)]))
        }
        if evidence.lastError != 0 {
            list.append(
                Finding(cause: .peerRefuses, evidence: [.errorCode(ErrorCode(rawValue: evidence.lastError)), failed])
            )
        }
        guard statistics.requestsSent > 0, evidence.consentLost == 0 else { return list }
        if evidence.asymmetricResponses > 0 {
            let count = Evidence.count(.asymmetricResponses, evidence.asymmetricResponses)
            list.append(Finding(cause: .asymmetricPath, evidence: [count, sent]))
        } else if statistics.requestsReceived > 0, statistics.responsesReceived == 0 {
            list.append(Finding(cause: .asymmetricPath, evidence: [sent, received, failed]))
        } else if !evidence.hasHeardPeer {
            list.append(Finding(cause: .peerSilent, evidence: [sent, received, failed]))
        }
        return list
    }

    private func networkFindings() -> [Finding] {
        var list: [Finding] = []
        let varying = evidence.basesWithVaryingMapping()
        if !varying.isEmpty {
            let shown = evidence.mappings.filter { varying.contains($0.base) }
            list.append(Finding(cause: .hardNAT, evidence: shown.map { .mapping($0) }))
        }
        let unsignalled = UInt32(remotes.count { !$0.isRemoved && !$0.isSignalled && $0.transport == .udp })
        if unsignalled > 0 {
            list.append(Finding(cause: .hardNATOfPeer, evidence: [.count(.unsignalledAddresses, unsignalled)]))
        }
        list += serverFindings()
        if evidence.tooBig > 0 {
            let count = Evidence.count(.sendFailures, evidence.tooBig)
            list.append(Finding(cause: .packetTooBig, evidence: [count] + (evidence.linkMTU.map { [.mtu($0)] } ?? [])))
        }
        let refused = evidence.unreachable &+ evidence.notPermitted
        if refused > 0 { list.append(Finding(cause: .sendingRefused, evidence: [.count(.sendFailures, refused)])) }
        if evidence.connectionsFailed > 0 {
            let count = Evidence.count(.connectionsFailed, evidence.connectionsFailed)
            list.append(Finding(cause: .connectionsFailed, evidence: [count]))
        }
        return list
    }

    private func serverFindings() -> [Finding] {
        var list: [Finding] = []
        var silentOverUDP: [Evidence] = []
        var unreachable: [Evidence] = []
        var refusing: [Evidence] = []
        var hasUDPAnswer = statistics.responsesReceived > 0
        for fact in evidence.facts {
            switch fact {
            case .serverAnswered: hasUDPAnswer = true
            case .serverSilent(_, let transport):
                if transport == .udp { silentOverUDP.append(.fact(fact)) }
                unreachable.append(.fact(fact))
            case .serverUnreachable: unreachable.append(.fact(fact))
            case .serverRefused(_, let transport, _):
                if transport == .udp { hasUDPAnswer = true }
                refusing.append(.fact(fact))
            case .nameNotResolved, .noInterfaces: break
            }
        }
        if !silentOverUDP.isEmpty, !hasUDPAnswer, !evidence.hasHeardPeer {
            list.append(Finding(cause: .udpBlocked, evidence: silentOverUDP))
        }
        if !unreachable.isEmpty { list.append(Finding(cause: .serverUnreachable, evidence: unreachable)) }
        if !refusing.isEmpty { list.append(Finding(cause: .serverRefuses, evidence: refusing)) }
        return list
    }
}
