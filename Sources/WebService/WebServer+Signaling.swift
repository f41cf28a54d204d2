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
    mutating func drainSignaling(at now: Instant) {
        var touched: [SlotHandle] = []
        while let transmit = signaling.pollTransmit() {
            switch transmit {
            case .text(let text, let id):
                let handle = SlotHandle(bits: id)
                let isTaken = connections.update(handle) { $0.stage.withWebSocket { $0.send(text: text) } } ?? nil
                if isTaken == false {
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
        while let event = signaling.pollEvent() { note(event) }
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
            logger.info(
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

    mutating func restoreSessions(at now: Instant) throws(StoreError) {
        let oldest = Int64(clamping: WallClock.unixSeconds()) - Int64(configuration.signaling.resumeSeconds) * 30
        var stored: [StoredSession] = []
        for record in try store.sessions() {
            guard let digest = SessionDigest(bytes: record.digest) else { continue }
            guard record.lastSeenUnixSeconds >= oldest else {
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
