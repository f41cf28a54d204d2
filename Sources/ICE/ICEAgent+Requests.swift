import Bytes
import NetTypes
import STUN

/// Checks of the peer (RFC 8445 §7.3).
extension ICEAgent {
    mutating func takeRequest(
        _ view: borrowing STUNMessageView,
        on base: BaseID,
        from source: SocketAddress,
        at now: Instant
    ) -> ICEDisposition {
        guard view.checkFingerprint() == .valid else { return .refused(.badFingerprint) }
        var place = 0
        let algorithm: IntegrityAlgorithm
        switch view.checkShortTerm(key: { localKey(of: $0, place: &place) }) {
        case .authenticated(let kind): algorithm = kind
        case .refused(let refusal):
            refuse(view, refusal.code, to: source, on: base, at: now)
            return .refused(note(refusal))
        }
        let number = generations[place].number
        func answer(_ code: ErrorCode?, unknown: UInt16 = 0) -> Bool {
            responses.append(
                PendingResponse(
                    id: view.transactionID,
                    base: base,
                    destination: source,
                    code: code?.rawValue ?? 0,
                    generation: number,
                    integrity: algorithm,
                    unknownAttributes: unknown
                )
            )
        }
        let unknown = view.unknownRequiredAttributes(known: .ice)
        guard unknown.isEmpty else {
            return answer(.unknownAttribute, unknown: unknown[0].rawValue)
                ? .refused(.unknownAttribute) : .refused(.tooManyResponses)
        }
        let controlling = (try? view.iceControlling()) ?? nil
        let controlled = (try? view.iceControlled()) ?? nil
        guard let priority = try? view.priority(), priority > 0, controlling == nil || controlled == nil else {
            return answer(.badRequest) ? .refused(.badRequest) : .refused(.tooManyResponses)
        }
        let known = findPair(base, source, generation: number)
        guard known != nil || localCandidate(of: base) != nil else { return .refused(.unknownBase) }
        guard resolveConflict(controlling: controlling, controlled: controlled, at: now) else {
            return answer(.roleConflict) ? .consumed : .refused(.tooManyResponses)
        }
        guard answer(nil) else { return .refused(.tooManyResponses) }
        statistics.requestsReceived &+= 1
        evidence.hasHeardPeer = true
        let nomination = (try? view.value(.nomination, byteCount: 4)?.bigEndianUInt32(at: 0)) ?? nil
        return noteRequest(
            on: base,
            from: source,
            pair: known,
            generation: place,
            priority: min(priority, 0x7FFF_FFFF),
            peerFragmentMatches: matchesPeer(view, place),
            usesCandidate: view.useCandidate,
            nomination: nomination ?? 0,
            at: now
        )
    }

    private mutating func note(_ refusal: ShortTermRefusal) -> ICEDrop {
        switch refusal {
        case .missingCredentials: return .missingCredentials
        case .unknownUsername:
            evidence.foreignRequests &+= 1
            return .unknownUsernameFragment
        case .wrongIntegrity:
            evidence.badRequestIntegrity &+= 1
            return .badIntegrity
        }
    }

    private func localKey(of username: Span<UInt8>, place: inout Int) -> IntegrityKey? {
        guard let index = generationIndex(of: username) else { return nil }
        place = index
        return generations[index].localKey
    }

    /// The generation with whose fragment the user name begins; the rest names the peer's.
    private func generationIndex(of username: Span<UInt8>) -> Int? {
        for place in generations.indices.reversed() {
            let fragment = generations[place].localFragment
            let count = fragment.count
            guard username.count > count, username[count] == UInt8(ascii: ":") else { continue }
            if username.extracting(..<count).elementsEqual(fragment.span) { return place }
        }
        return nil
    }

    /// Whether the second part of the user name is the fragment that the peer has signalled, or none is known yet.
    private func matchesPeer(_ view: borrowing STUNMessageView, _ place: Int) -> Bool {
        guard let username = try? view.username() else { return false }
        let own = generations[place].localFragment.count
        let expected = generations[place].username
        guard !expected.isEmpty else { return true }
        // What we send is theirs:ours; what we get is ours:theirs.
        let count = expected.count - 1 - own
        guard username.count == own + 1 + count else { return false }
        return username.extracting((own + 1)...).elementsEqual(expected.span.extracting(..<count))
    }

    /// Answers without proof: the smallest legal answer, at most ten in a second (RFC 8489 §9.1.3).
    private mutating func refuse(
        _ view: borrowing STUNMessageView,
        _ code: ErrorCode,
        to source: SocketAddress,
        on base: BaseID,
        at now: Instant
    ) {
        let second = now.nanoseconds / 1_000_000_000
        if refusals.second != second { refusals = (second, 0) }
        guard refusals.count < 10 else { return }
        refusals.count += 1
        _ = responses.append(
            PendingResponse(
                id: view.transactionID,
                base: base,
                destination: source,
                code: code.rawValue,
                generation: nil,
                integrity: .sha1,
                unknownAttributes: 0
            )
        )
    }

    /// Finds out whether both sides think they have the same role (RFC 8445 §7.3.1.1; ice 61, 62).
    ///
    /// Returns `false` if the peer is to switch.
    private mutating func resolveConflict(controlling: UInt64?, controlled: UInt64?, at now: Instant) -> Bool {
        guard !configuration.isLite else { return true }
        switch role {
        case .controlling:
            guard let theirs = controlling else { return true }
            if tiebreaker >= theirs { return false }
            switchRole(to: .controlled, at: now)
        case .controlled:
            guard let theirs = controlled else { return true }
            if tiebreaker < theirs { return false }
            switchRole(to: .controlling, at: now)
        }
        return true
    }

    mutating func switchRole(to new: ICERole, at now: Instant) {
        guard role != new else { return }
        role = new
        evidence.roleChanges &+= 1
        recomputePriorities()
        for index in pairs.indices where pairs[index].state != .removed {
            // Requests under the old role are not repeated; a new one follows.
            if pairs[index].state == .inProgress { pairs[index].flags.insert(.stale) }
            if new == .controlled { pairs[index].flags.remove(.nominating) }
        }
        emit(.roleChanged(new))
        review(at: now)
    }

    /// What follows from an authenticated request (RFC 8445 §7.3.1.3 to §7.3.1.5).
    private mutating func noteRequest(
        on base: BaseID,
        from source: SocketAddress,
        pair known: Int?,
        generation place: Int,
        priority: UInt32,
        peerFragmentMatches: Bool,
        usesCandidate: Bool,
        nomination: UInt32,
        at now: Instant
    ) -> ICEDisposition {
        // The peer's new generation is not known here yet: it has its answer, and will ask again.
        guard peerFragmentMatches else { return .consumed }
        guard place == generations.count - 1 else {
            // The path of the generation before: it is answered and goes on as it is.
            if let known { pairs[known].requestsReceived &+= 1 }
            return .consumed
        }
        guard let index = known ?? discoverPair(base, source, priority) else { return .refused(.limitReached) }
        pairs[index].requestsReceived &+= 1
        pairs[index].responsesSent &+= 1
        pairs[index].flags.insert(.heardRequest)
        if configuration.isLite {
            if usesCandidate { acceptNominationLite(index, nomination, at: now) }
            evaluate(at: now)
            return .consumed
        }
        trigger(index, at: now)
        presume(index, at: now)
        followBackup(index, at: now)
        if usesCandidate || nomination > 0, role == .controlled {
            pairs[index].nomination = max(pairs[index].nomination, nomination)
            if pairs[index].state == .succeeded {
                select(index, nomination: nomination, at: now)
            } else {
                pairs[index].flags.insert(.nominateOnSuccess)
            }
        }
        evaluate(at: now)
        return .consumed
    }

    /// The triggered check of a request (RFC 8445 §7.3.1.4; ice 65, 66).
    private mutating func trigger(_ index: Int, at now: Instant) {
        guard !pairs[index].flags.contains(.consentEnded) else { return }
        switch pairs[index].state {
        case .succeeded, .removed: return
        case .inProgress:
            // A nomination on a proven path, or a connection that is being opened, is not disturbed.
            guard !pairs[index].flags.contains(.valid), pairs[index].transaction != 0 else { return }
            // The request that is under way is not repeated; its answer is still welcome.
            pairs[index].transaction = 0
            setState(index, .waiting)
        case .waiting, .frozen, .failed, .cancelled: setState(index, .waiting)
        }
        pairs[index].retransmitAt = .distantFuture
        reschedule(index)
        enqueue(index)
    }

    /// Makes the pair on which a request came from an address, or to a base, that was not paired (ice 64, 65).
    private mutating func discoverPair(_ base: BaseID, _ source: SocketAddress, _ priority: UInt32) -> Int? {
        guard let local = localCandidate(of: base) else { return nil }
        let generation = generations[generations.count - 1].number
        let component = locals[local].component
        let transport = locals[local].transport
        var remote = remotes.firstIndex {
            $0.address == source && $0.component == component && $0.transport == transport
                && $0.generation == generation && !$0.isRemoved
        }
        if remote == nil {
            lastPrflxFoundation &+= 1
            remote = storeRemote(
                RemoteEntry(
                    address: source,
                    foundation: lastPrflxFoundation | 1 &<< 63,
                    priority: priority,
                    component: component,
                    cost: 0,
                    type: .peerReflexive,
                    transport: transport,
                    tcpType: locals[local].tcpType?.counterpart,
                    generation: generation,
                    isSignalled: false,
                    isConcealed: false
                )
            )
        }
        guard let remote else { return nil }
        let connection = connections.contains { $0.base == base } ? base : nil
        return addPair(local: local, remote: remote, base: connection)
    }
}
