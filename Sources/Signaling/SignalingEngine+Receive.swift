public import NetTypes
import SignalingMessages

extension SignalingEngine {
    /// Takes a text message that came on a connection.
    public mutating func receive(_ text: String, from connection: UInt64, at now: Instant) {
        guard let index = connections.index(forKey: connection) else {
            counters.strays += 1
            return
        }
        guard text.utf8.count <= limits.messageBytes else {
            return refuse(connection, .tooLarge, "A message has at most \(limits.messageBytes) bytes.", at: now)
        }
        guard takeToken(ofConnectionAt: index, at: now) else {
            let rate = limits.messagesPerSecond
            return refuse(
                connection,
                .rateLimited,
                "A client sends at most \(rate) messages a second for long.",
                at: now
            )
        }
        let frame: ClientFrame
        do {
            frame = try ClientFrame(decoding: text)
        } catch {
            let code: SignalingErrorCode = error == .unsupportedVersion ? .unsupportedVersion : .badMessage
            return refuse(connection, code, error.description, sequence: ClientFrame.sequence(in: text), at: now)
        }
        counters.received[frame.message.typeName, default: 0] += 1
        if let key = connections.values[index].session {
            connections.values[index].deadline = now + .milliseconds(UInt64(limits.heartbeatSeconds) * 2500)
            receive(frame, in: key, from: connection, at: now)
        } else {
            receiveFirst(frame, from: connection, at: now)
        }
    }

    /// Counts a message against the session's rate, which a new connection does not renew, or else the connection's.
    private mutating func takeToken(
        ofConnectionAt index: Dictionary<UInt64, Connection>.Index,
        at now: Instant
    ) -> Bool {
        guard let key = connections.values[index].session, let session = sessions.index(forKey: key) else {
            return connections.values[index].bucket.take(at: now)
        }
        return sessions.values[session].bucket?.take(at: now) ?? true
    }

    /// Takes a binary message or anything else that is no text message: the protocol has none.
    public mutating func receiveNonText(from connection: UInt64, at now: Instant) {
        guard connections[connection] != nil else {
            counters.strays += 1
            return
        }
        refuse(connection, .badMessage, "Only text messages are spoken here.", at: now)
    }

    /// Takes notice that a message was longer than allowed, where the transport did not even read it.
    public mutating func receiveOversized(from connection: UInt64, at now: Instant) {
        guard connections[connection] != nil else {
            counters.strays += 1
            return
        }
        refuse(connection, .tooLarge, "A message has at most \(limits.messageBytes) bytes.", at: now)
    }

    private mutating func receiveFirst(_ frame: ClientFrame, from connection: UInt64, at now: Instant) {
        switch frame.message {
        case .join(let room, let name): join(room: room, name: name, on: connection, at: now)
        case .resume(let secret): resume(secret, acknowledged: frame.acknowledged ?? 0, on: connection, at: now)
        case .description, .candidate, .refresh, .ping, .acknowledge, .leave:
            return refuse(
                connection,
                .notJoined,
                "The first message is \"join\" or \"resume\".",
                sequence: frame.sequence,
                at: now
            )
        }
        // A client that was refused may try again: it has as long as any client may be silent.
        if let index = connections.index(forKey: connection) {
            connections.values[index].deadline = now + .milliseconds(UInt64(limits.heartbeatSeconds) * 2500)
        }
    }

    private mutating func receive(_ frame: ClientFrame, in key: UInt64, from connection: UInt64, at now: Instant) {
        switch frame.message {
        case .join, .resume:
            return refuse(connection, .alreadyJoined, "This connection has a session already.", at: now)
        case .description, .candidate, .refresh, .ping, .acknowledge, .leave:
            break
        }
        if let index = sessions.index(forKey: key) { sessions.values[index].isLossUnheard = false }
        if let number = frame.acknowledged, changeReplay(key, { $0.acknowledge(number) }) == .beyondSent {
            let text = "The field \"ack\" names a message that was never sent."
            return refuse(connection, .badMessage, text, sequence: frame.sequence, at: now)
        }
        if let sequence = frame.sequence {
            guard takeSequence(sequence, in: key, from: connection, at: now) else { return }
        }
        switch frame.message {
        case .description(let to, let description):
            relay(to: to, from: key, on: connection, sequence: frame.sequence, at: now) {
                .description(from: $0, description)
            }
        case .candidate(let to, let candidate):
            relay(to: to, from: key, on: connection, sequence: frame.sequence, at: now) {
                .candidate(from: $0, candidate)
            }
        case .refresh: refreshICEServers(key, at: now)
        case .ping(let id): send(.pong(id: id), to: connection)
        case .leave: leave(key, on: connection)
        case .join, .resume, .acknowledge: break
        }
        acknowledgeIfMany(key)
    }

    /// Checks a sequence number; returns whether the message is the next one.
    private mutating func takeSequence(
        _ sequence: UInt64,
        in key: UInt64,
        from connection: UInt64,
        at now: Instant
    ) -> Bool {
        guard let index = sessions.index(forKey: key) else { return false }
        let expected = sessions.values[index].received + 1
        guard sequence <= expected else {
            let text = "The message numbered \(expected) is missing before the one numbered \(sequence)."
            refuse(connection, .sequenceGap, text, sequence: sequence, at: now)
            return false
        }
        // Of a repeated message, too, the client does not know that it has arrived.
        if sessions.values[index].acknowledgementDue == nil {
            let due = now + .milliseconds(UInt64(limits.acknowledgeMilliseconds))
            sessions.values[index].acknowledgementDue = due
            timers.push(.acknowledgement(key), at: due)
        }
        guard sequence == expected else {
            counters.duplicates += 1
            return false
        }
        sessions.values[index].received = sequence
        return true
    }

    /// Acknowledges without waiting for the timer once enough messages have come.
    private mutating func acknowledgeIfMany(_ key: UInt64) {
        guard let session = sessions[key], let connection = session.connection,
            session.received - session.acknowledged >= UInt64(limits.acknowledgeEvery)
        else { return }
        send(.acknowledge, to: connection)
    }

    /// Passes a message on to a peer of the same room, and of no other.
    private mutating func relay(
        to peerID: String,
        from key: UInt64,
        on connection: UInt64,
        sequence: UInt64?,
        at now: Instant,
        message: (String) -> ServerMessage
    ) {
        guard let sender = sessions[key],
            let receiver = rooms[sender.room]?.first(where: { $0 != key && sessions[$0]?.id == peerID })
        else {
            return refuse(connection, .unknownPeer, "There is no such peer in this room.", sequence: sequence, at: now)
        }
        deliver(message(sender.id), to: receiver)
    }
}
