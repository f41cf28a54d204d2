import Bytes
import NetTypes
import SignalingMessages

extension SignalingEngine {
    mutating func join(room: String, name: String, on connection: UInt64, at now: Instant) {
        guard SignalingNames.isRoom(room) else {
            let text = "A room's name has 1 to 64 characters of A-Z a-z 0-9 - _ . and ~."
            return refuse(connection, .badRoom, text, at: now)
        }
        guard SignalingNames.isPeerName(name, limits: limits) else {
            let text = "A name has 1 to \(limits.nameCharacters) visible characters and no control characters."
            return refuse(connection, .badName, text, at: now)
        }
        let members = rooms[room] ?? []
        guard members.count < limits.peersPerRoom else {
            return refuse(
                connection,
                .roomFull,
                "The room has \(limits.peersPerRoom) peers and takes no more.",
                at: now
            )
        }
        guard !members.isEmpty || rooms.count < limits.rooms else {
            return refuse(connection, .tooManyRooms, "The server has as many rooms as it allows.", at: now)
        }
        let source = connections[connection]?.source
        guard source.map({ sessionsBySource[$0, default: 0] < limits.sessionsPerSource }) ?? true else {
            let text = "Your network has as many sessions as it may have; left ones end in \(limits.resumeSeconds) s."
            return refuse(connection, .tooManyRooms, text, at: now)
        }
        // 96 bits for the public id, 192 for the secret.
        let peer = SignalingPeer(id: Base64.encode(entropy.bytes(12), .url), name: name)
        let secret = Base64.encode(entropy.bytes(24), .url)
        let key = insert(Session(peer: peer, room: room, digest: SessionDigest(secret: secret)))
        attach(key, to: connection)
        let welcome = welcome(key, on: connection, at: now)
        sendWelcome(.joined(session: secret, welcome), acknowledged: nil, to: connection)
        for member in members { deliver(.peerJoined(peer), to: member) }
        store(key, at: now)
        emit(.joined(connection: connection, peerID: peer.id))
    }

    mutating func resume(_ secret: String, acknowledged: UInt64, on connection: UInt64, at now: Instant) {
        guard let key = keys[SessionDigest(secret: secret)], let index = sessions.index(forKey: key) else {
            return refuse(connection, .sessionUnknown, "The session is unknown or has expired: join anew.", at: now)
        }
        if let old = sessions.values[index].connection {
            connections[old] = nil
            emitClose(old, .replaced, "The session was resumed on another connection.")
        } else {
            awaySessions -= 1
        }
        let isLossUnheard = sessions.values[index].isLossUnheard
        let missed = isLossUnheard ? nil : sessions.values[index].replay.messages(after: acknowledged)
        sessions.values[index].isLossUnheard = missed == nil
        if missed == nil {
            sessions.values[index].received = 0
            changeReplay(key) { $0.restart() }
            counters.resumesLost += 1
        } else {
            changeReplay(key) { _ = $0.acknowledge(acknowledged) }
            counters.resumesComplete += 1
        }
        let received = sessions.values[index].received
        sessions.values[index].acknowledged = received
        sessions.values[index].acknowledgementDue = nil
        attach(key, to: connection)
        let outcome: ServerMessage.Replay = missed == nil ? .lost : .complete
        let welcome = welcome(key, on: connection, at: now)
        sendWelcome(.resumed(replay: outcome, welcome), acknowledged: received, to: connection)
        if let missed { replay(missed, to: connection) }
        emit(.resumed(connection: connection, peerID: welcome.id, replay: outcome))
    }

    mutating func leave(_ key: UInt64, on connection: UInt64) {
        connections[connection] = nil
        emitClose(connection, .left, "left")
        end(key, .left)
    }

    /// Adds a session that is neither attached nor away yet.
    mutating func insert(_ session: Session) -> UInt64 {
        lastKey += 1
        sessions[lastKey] = session
        keys[session.digest] = lastKey
        rooms[session.room, default: []].append(lastKey)
        return lastKey
    }

    private mutating func attach(_ key: UInt64, to connection: UInt64) {
        guard let index = connections.index(forKey: connection), let place = sessions.index(forKey: key) else { return }
        connections.values[index].session = key
        sessions.values[place].connection = connection
        if sessions.values[place].bucket == nil { sessions.values[place].bucket = connections.values[index].bucket }
        let source = connections.values[index].source
        count(-1, from: sessions.values[place].source)
        sessions.values[place].source = source
        count(1, from: source)
    }

    /// Counts a session more or less of a source; a source without any takes no memory.
    private mutating func count(_ change: Int, from source: IPAddress?) {
        guard let source else { return }
        let count = sessionsBySource[source, default: 0] + change
        sessionsBySource[source] = count > 0 ? count : nil
    }

    /// Leaves a session without its connection, which was forgotten already, and stores when that was.
    mutating func sendAway(_ key: UInt64, at now: Instant) {
        markAway(key, at: now)
        store(key, at: now)
    }

    mutating func markAway(_ key: UInt64, at now: Instant) {
        guard let index = sessions.index(forKey: key) else { return }
        let deadline = now + .seconds(UInt64(limits.resumeSeconds))
        awaySessions += 1
        sessions.values[index].connection = nil
        sessions.values[index].acknowledgementDue = nil
        sessions.values[index].deadline = deadline
        schedule(.session(key), at: deadline)
    }

    /// Ends a session, whose connection was forgotten already, and tells the room.
    mutating func end(_ key: UInt64, _ reason: ServerMessage.LeaveReason) {
        guard let session = sessions.removeValue(forKey: key) else { return }
        keys[session.digest] = nil
        replayBytes -= session.replay.byteCount
        count(-1, from: session.source)
        let rest = (rooms[session.room] ?? []).filter { $0 != key }
        rooms[session.room] = rest.isEmpty ? nil : rest
        for member in rest { deliver(.peerLeft(id: session.id, reason: reason), to: member) }
        emit(.sessionRemoved(session.digest))
        emit(.left(peerID: session.id, reason: reason))
    }

    private mutating func store(_ key: UInt64, at now: Instant) {
        guard let session = sessions[key] else { return }
        let stored = StoredSession(
            digest: session.digest,
            room: session.room,
            peerID: session.id,
            name: session.peer.name,
            lastSeenUnixSeconds: unixSeconds(at: now)
        )
        emit(.sessionStored(stored))
    }

    private mutating func welcome(_ key: UInt64, on connection: UInt64, at now: Instant) -> ServerMessage.Welcome {
        let servers = mintICEServers(key, at: now)
        let session = sessions[key]
        let room = session?.room ?? ""
        let others = (rooms[room] ?? []).filter { $0 != key }
        return ServerMessage.Welcome(
            id: session?.id ?? "",
            room: room,
            peers: others.compactMap { sessions[$0] }.map {
                SignalingPeer(id: $0.id, name: $0.peer.name, isAway: $0.connection == nil)
            },
            iceServers: servers,
            heartbeatSeconds: limits.heartbeatSeconds,
            limits: limits.advertised
        )
    }

    /// Sends fresh ICE servers.
    mutating func refreshICEServers(_ key: UInt64, at now: Instant) {
        guard let connection = sessions[key]?.connection else { return }
        send(.iceServers(mintICEServers(key, at: now)), to: connection)
    }

    /// Makes ICE servers for a peer, and sets the time for the next ones.
    private mutating func mintICEServers(_ key: UInt64, at now: Instant) -> ICEServerList {
        let ttl = iceServers.ttlSeconds
        guard let index = sessions.index(forKey: key), let connection = sessions.values[index].connection else {
            return ICEServerList(iceServers: [], ttlSeconds: ttl)
        }
        let deadline = now + .milliseconds(UInt64(ttl) * 2000 / 3)
        sessions.values[index].deadline = deadline
        schedule(.session(key), at: deadline)
        do {
            return try iceServers.mint(
                userID: sessions.values[index].id,
                host: connections[connection]?.host,
                unixSeconds: unixSeconds(at: now)
            )
        } catch {
            // Calls within one network still work; the counter tells the operator that a public host is missing.
            counters.unusableHosts += 1
            return ICEServerList(iceServers: [], ttlSeconds: ttl)
        }
    }
}
