import Bytes
import Diagnostics
import EventLoop
import NetTypes
import TURNServer
import Transport

/// Copying between a peer's connection and a client's stream, with back-pressure and half-close (RFC 6062 §5.4, §5.5).
extension RelayShard {
    /// What one turn of copying has brought.
    private struct Progress {
        var toPeer = 0
        var toClient = 0
        var isBroken = false
        /// Whether the client's TLS holds bytes that no poller knows of.
        var hasMore = false

        var isIdle: Bool { toPeer == 0 && toClient == 0 }
    }

    /// Copies what there is, within what the other side takes, and watches for what can come next.
    mutating func copy(_ handle: SlotHandle, at now: Instant) {
        guard let (id, client, resumes) = peers.read(handle, { ($0.id, $0.client, $0.resumes) }), let client else {
            return
        }
        let limit = configuration.streamQueueBytes
        var total = Progress()
        // A few turns for one connection, then the others.
        for _ in 0..<4 where resumes <= now && !total.isBroken {
            let progress = Self.copy(&peers, handle, &streams, client, limit, &input)
            total.toPeer += progress.toPeer
            total.toClient += progress.toClient
            total.isBroken = progress.isBroken
            total.hasMore = progress.hasMore
            if progress.isIdle { break }
        }
        let pause = total.isIdle ? now : engine.peerRelayed(id, toPeer: total.toPeer, toClient: total.toClient, at: now)
        _ = peers.update(handle) { peer in
            if !total.isIdle { peer.lastMove = now }
            if pause > now { peer.resumes = pause }
        }
        finishCopying(handle, client, total, at: now)
    }

    /// Sends, ends what is over, and sets the interests for the next turn.
    private mutating func finishCopying(_ handle: SlotHandle, _ client: SlotHandle, _ turn: Progress, at now: Instant) {
        let limit = configuration.streamQueueBytes
        let toClient = streams.update(client) { stream -> Side in
            stream.connection.flush()
            return Side(stream.connection)
        }
        let toPeer = peers.update(handle) { peer -> Side in
            peer.connection.flush()
            return Side(peer.connection)
        }
        guard let toClient, let toPeer, let peer = peers.read(handle, { PeerView($0, at: now) }) else {
            return closePeer(handle, at: now)
        }
        let isOver = peer.peerHasEnded && peer.clientHasEnded && toClient.hasFinished && toPeer.hasFinished
        guard !turn.isBroken, !toClient.hasFailed, !toPeer.hasFailed, !isOver else { return closePeer(handle, at: now) }
        let readsPeer = !peer.isPaused && !peer.peerHasEnded && toClient.queuedBytes < limit
        let readsClient = !peer.isPaused && !peer.clientHasEnded && toPeer.queuedBytes < limit
        watchPeer(handle, Self.interest(reads: readsPeer, writes: toPeer.wantsWrite))
        let interest = Self.interest(reads: readsClient, writes: toClient.wantsWrite)
        watchClient(client, peer.clientInterest, interest)
        _ = peers.update(handle) { $0.clientInterest = interest }
        if readsClient, turn.hasMore { markUnread(client) }
        if let deadline = peer.deadline, !peer.hasDeadline {
            peerDeadlines.push(handle, at: deadline)
            _ = peers.update(handle) { $0.hasDeadline = true }
        }
    }

    private struct PeerView {
        let peerHasEnded: Bool
        let clientHasEnded: Bool
        let isPaused: Bool
        let hasDeadline: Bool
        let deadline: Instant?
        let clientInterest: Interest?

        init(_ peer: borrowing PeerStream, at now: Instant) {
            peerHasEnded = peer.peerHasEnded
            clientHasEnded = peer.clientHasEnded
            isPaused = peer.resumes > now
            hasDeadline = peer.hasDeadline
            deadline = peer.deadline(at: now)
            clientInterest = peer.clientInterest
        }
    }

    /// What one side's connection can do.
    private struct Side {
        let queuedBytes: Int
        let wantsWrite: Bool
        let hasFinished: Bool
        let hasFailed: Bool

        init(_ connection: borrowing StreamConnection) {
            queuedBytes = connection.queuedBytes
            wantsWrite = connection.wantsWrite
            hasFinished = connection.hasFinished
            hasFailed = connection.failure != nil
        }
    }

    private static func interest(reads: Bool, writes: Bool) -> Interest? {
        reads ? (writes ? [.read, .write] : .read) : writes ? .write : nil
    }

    // The shard's parts one by one: the two connections are changed at the same time.
    private static func copy(
        _ peers: inout SlotPool<PeerStream>,
        _ handle: SlotHandle,
        _ streams: inout SlotPool<RelayStream>,
        _ client: SlotHandle,
        _ limit: Int,
        _ buffer: inout [UInt8]
    ) -> Progress {
        let progress = peers.update(handle) { peer -> Progress? in
            streams.update(client) { stream -> Progress in
                var progress = Progress()
                // What came behind the ConnectionBind request, in the same read.
                if !stream.pending.isEmpty {
                    progress.toPeer += stream.pending.count
                    let result = peer.connection.enqueue(stream.pending.span)
                    if result == .full { progress.isBroken = true }
                    stream.pending = []
                }
                if !peer.peerHasEnded {
                    let moved = move(from: &peer.connection, to: &stream.connection, limit, &buffer)
                    progress.toClient += moved.bytes
                    peer.peerHasEnded = moved.hasEnded
                    progress.isBroken = moved.hasFailed || progress.isBroken
                }
                if !peer.clientHasEnded {
                    let moved = move(from: &stream.connection, to: &peer.connection, limit, &buffer)
                    progress.toPeer += moved.bytes
                    peer.clientHasEnded = moved.hasEnded
                    progress.isBroken = moved.hasFailed || progress.isBroken
                    progress.hasMore = stream.connection.hasUnreadBytes
                }
                return progress
            }
        }
        return (progress ?? nil) ?? Progress(isBroken: true)
    }

    private struct Move {
        var bytes = 0
        var hasEnded = false
        var hasFailed = false
    }

    /// Reads as much as the sink takes within its limit; the end of the source becomes the end of the sink.
    private static func move(
        from source: inout StreamConnection,
        to sink: inout StreamConnection,
        _ limit: Int,
        _ buffer: inout [UInt8]
    ) -> Move {
        let room = min(limit - sink.queuedBytes, readBytes)
        guard room > 0 else { return Move() }
        buffer.removeAll(keepingCapacity: true)
        var result = StreamReadResult.wouldBlock
        buffer.append(addingCapacity: room) { result = source.read(into: &$0) }
        switch result {
        case .bytes:
            switch sink.write(buffer.span) {
            case .sent, .queued: return Move(bytes: buffer.count)
            case .full, .failed: return Move(hasFailed: true)
            }
        case .wouldBlock: return Move()
        case .closed:
            sink.finish()
            return Move(hasEnded: true)
        case .failed: return Move(hasFailed: true)
        }
    }
}

// MARK: - Between shards

extension RelayShard {
    /// Gives a stream, with the message that it is for, to the shard that has the peer's connection.
    mutating func handOver(_ handle: SlotHandle, to shard: Int) {
        guard var stream = streams.remove(handle) else { return }
        if let timer = stream.timer.take() { streamTimers.cancel(timer) }
        stream.isUnread = false
        stream.isDirty = false
        forgetPrefix(stream.prefix)
        try? poller.remove(stream.connection.descriptor)
        guard shard < shards.count, shards[shard].push(.adopt(StreamParcel(stream))) else {
            return drops.count(.tooManyStreams)
        }
    }

    /// Takes a stream from another shard and goes on with the message that it was given for.
    mutating func adopt(_ parcel: StreamParcel, at now: Instant) {
        guard let stream = parcel.open(), stopsAt == nil else { return }
        // Where it comes from it counts no more, and nobody has asked yet who the client is.
        guard hasRoom(for: stream.prefix), let handle = insert(stream, at: now) else { return }
        readStreams(handle, at: now)
    }
}
