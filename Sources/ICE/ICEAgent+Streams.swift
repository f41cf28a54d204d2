public import NetTypes
import STUN

/// Connections for TCP candidates (RFC 6544).
extension ICEAgent {
    /// Asks for a connection if the pair needs one; returns whether its check must wait for it.
    mutating func prepareConnection(_ index: Int, at now: Instant) -> Bool {
        guard pairs[index].isStream, !pairs[index].flags.contains(.hasConnection) else { return false }
        setState(index, .inProgress)
        pairs[index].firstSent = now
        pairs[index].lastSent = now
        pairs[index].retransmitAt = now + configuration.retransmission.reliableTimeout
        reschedule(index)
        // An attempt whose time was over may come to something yet: it is waited for again, and not made twice.
        guard !pairs[index].flags.contains(.connecting) else { return true }
        pairs[index].flags.insert(.connecting)
        let token = pairs[index].token(index)
        emit(.connect(base: pairs[index].base, destination: pairs[index].remoteAddress, attempt: token))
        return true
    }

    /// Takes the connection that a `.connect` event has asked for; its check is sent at once.
    public mutating func connected(
        attempt: UInt32,
        connection: BaseID,
        from local: SocketAddress,
        at now: Instant
    ) {
        journal?.input(.connected(attempt, connection, local), at: now)
        guard state != .closed, let index = pairIndex(attempt), pairs[index].isStream else { return }
        guard pairs[index].flags.contains(.connecting), !pairs[index].flags.contains(.hasConnection) else { return }
        rebase(index, to: connection)
        connections.append((connection, Int(pairs[index].local)))
        setState(index, .waiting)
        pairs[index].retransmitAt = .distantFuture
        reschedule(index)
        enqueue(index)
    }

    /// Notes that the connection that a `.connect` event has asked for cannot be had: that pair fails (ice 127).
    public mutating func connectFailed(attempt: UInt32, at now: Instant) {
        journal?.input(.connectFailed(attempt), at: now)
        guard state != .closed, let index = pairIndex(attempt), pairs[index].flags.contains(.connecting) else { return }
        guard !pairs[index].flags.contains(.hasConnection) else { return }
        evidence.connectionsFailed &+= 1
        pairs[index].flags.remove(.connecting)
        failPair(index, at: now)
    }

    /// Takes a connection that the peer has opened to a listener of ours (RFC 6544 §7.2; ice 125).
    ///
    /// Returns `false` if it is not taken and is to be closed: there are as many as pairs may be, or none is wanted there.
    public mutating func accepted(
        connection: BaseID,
        on listener: BaseID,
        from source: SocketAddress,
        at now: Instant
    ) -> Bool {
        journal?.input(.accepted(connection, listener, source), at: now)
        guard state != .closed, connections.count < configuration.pairLimit else { return false }
        let place = locals.indices.first {
            !locals[$0].isRemoved && locals[$0].base == listener && locals[$0].transport == .tcp
        }
        guard let place else { return false }
        connections.append((connection, place))
        return true
    }

    /// The candidate that a base or a connection stands for; O(candidates), for paths that are not known yet.
    func localCandidate(of base: BaseID) -> Int? {
        if let place = connections.first(where: { $0.base == base })?.local { return place }
        // The base's own candidate rather than one that was seen through a NAT.
        return locals.indices.first { !locals[$0].isRemoved && locals[$0].base == base && locals[$0].type == .host }
            ?? locals.indices.first {
                !locals[$0].isRemoved && locals[$0].base == base && locals[$0].type != .peerReflexive
            }
    }
}
