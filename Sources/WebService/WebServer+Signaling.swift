import Bytes
import Diagnostics
import EventLoop
import NetTypes
import Signaling
import SignalingMessages
import Store
import WebSocket

/// What the signaling engine wants: texts sent, connections closed, sessions stored.
extension WebServer {
    static var lastAlive: String { "signaling.lastAlive" }
    private static var smallQueueBytes: Int { 128 * 1024 }

    mutating func drainSignaling(at now: Instant) {
        // Stored first, told then: a client that knows of its session can resume it, whenever the process is killed.
        while let event = signaling.pollEvent() { note(event) }
        storeSessions()
        var touched: [SlotHandle] = []
        while let transmit = signaling.pollTransmit() {
            switch transmit {
            case .text(let text, let id):
                let handle = SlotHandle(bits: id)
                let mayWait = queuedBytes < configuration.queuedBytes
                let isTaken = connections.update(handle) { connection -> Bool? in
                    // Where many do not read, those go first who have left more than a few messages waiting.
                    guard mayWait || connection.queuedBytes < Self.smallQueueBytes else { return false }
                    // One that is closing takes no more messages, which says nothing about its reading.
                    return connection.stage.withWebSocket { $0.isOpen ? $0.send(text: text) : true }
                }
                account(handle)
                if (isTaken ?? nil) == false {
                    // It does not read: the session goes on without this connection, and can be resumed.
                    statistics.drops.count(.slowReader)
                    remove(handle, at: now)
                }
                if touched.last != handle { touched.append(handle) }
            case .close(let id, let code, let reason):
                let handle = SlotHandle(bits: id)
                _ = connections.update(handle) { connection in
                    connection.stage.withWebSocket { $0.close(.init(rawValue: code.rawValue), reason: reason, at: now) }
                }
                touched.append(handle)
            }
        }
        for handle in touched { transmit(handle, at: now) }
        // Connections that were given up meanwhile.
        while let event = signaling.pollEvent() { note(event) }
        storeSessions()
    }

    private mutating func note(_ event: SignalingEvent) {
        switch event {
        case .sessionStored(let session):
            sessionChanges.append(
                .save(
                    SessionRecord(
                        digest: session.digest.bytes,
                        room: session.room,
                        peerID: session.peerID,
                        name: session.name,
                        lastSeenUnixSeconds: Int64(clamping: session.lastSeenUnixSeconds)
                    )
                )
            )
        case .sessionRemoved(let digest): sessionChanges.append(.remove(digest: digest.bytes))
        case .joined(let connection, let peerID):
            logger.info("Joined.", ["signaling.peer": .text(peerID), "signaling.client": client(connection)])
        case .resumed(let connection, let peerID, let replay):
            logger.info(
                "Resumed.",
                [
                    "signaling.peer": .text(peerID), "signaling.client": client(connection),
                    "signaling.replay": .text(replay.rawValue),
                ]
            )
        case .left(let peerID, let reason):
            logger.info("Left.", ["signaling.peer": .text(peerID), "signaling.reason": .text(reason.rawValue)])
        case .refused(let connection, let code):
            // Not louder: whoever can connect could fill the log, and the errors are counted.
            logger.debug(
                "Signaling message refused.",
                ["signaling.client": client(connection), "signaling.error": .text(code.rawValue)]
            )
        }
    }

    private func client(_ connection: UInt64) -> LogValue {
        connections.read(SlotHandle(bits: connection), { .endpoint($0.remote) }) ?? "gone"
    }

    /// Writes the turn's changes in one transaction.
    ///
    /// What cannot be stored cannot be resumed after a restart, no more.
    mutating func storeSessions() {
        guard !sessionChanges.isEmpty else { return }
        do {
            try store.apply(sessionChanges)
        } catch {
            statistics.drops.count(.storeFailure)
            logger.error("Sessions cannot be stored.", ["error": .text("\(error)")])
        }
        sessionChanges.removeAll(keepingCapacity: true)
    }

    /// Stores that the process lives, with which all sessions do: after a crash their own times may be hours old.
    mutating func storeSignOfLife() {
        guard signaling.statistics.sessions > 0 else { return }
        do {
            try store.setSetting(Self.lastAlive, to: String(WallClock.unixSeconds()))
        } catch {
            statistics.drops.count(.storeFailure)
            logger.error("The store cannot be written.", ["error": .text("\(error)")])
        }
    }

    mutating func restoreSessions(at now: Instant) throws(StoreError) {
        let oldest = Int64(clamping: WallClock.unixSeconds()) - Int64(configuration.signaling.resumeSeconds) * 30
        let lastAlive = try store.setting(Self.lastAlive).flatMap { Int64($0) } ?? 0
        var stored: [StoredSession] = []
        for record in try store.sessions() {
            guard let digest = SessionDigest(bytes: record.digest) else { continue }
            guard max(record.lastSeenUnixSeconds, lastAlive) >= oldest else {
                sessionChanges.append(.remove(digest: record.digest))
                continue
            }
            stored.append(
                StoredSession(
                    digest: digest,
                    room: record.room,
                    peerID: record.peerID,
                    name: record.name,
                    lastSeenUnixSeconds: UInt64(clamping: record.lastSeenUnixSeconds)
                )
            )
        }
        signaling.restore(stored, at: now)
        if !stored.isEmpty {
            logger.info("Sessions of an earlier process can be resumed.", ["signaling.sessions": .number(stored.count)])
        }
        while let event = signaling.pollEvent() { note(event) }
        storeSessions()
    }
}
