import Bytes
import Crypto
import Diagnostics
import EventLoop
import NetTypes
import TURN
import TURNServer
import Transport

/// TCP and TLS clients: accepting, cutting messages out of the stream, writing, and giving up on those who do nothing.
extension RelayShard {
    /// Connections taken in one turn, so that a crowd at the door does not stop the traffic inside.
    private static var acceptsPerTurn: Int { 32 }

    mutating func acceptStreams(_ listener: SlotHandle, at now: Instant) {
        for _ in 0..<Self.acceptsPerTurn {
            guard let transport = streamListeners.read(listener, { $0.transport }),
                let result = streamListeners.update(listener, { $0.socket.accept() })
            else { return }
            switch consume result {
            case .accepted(let socket): admit(socket, transport, at: now)
            case .wouldBlock: return
            case .refused: return drops.count(.noDescriptor)
            case .failed:
                drops.count(.brokenListener)
                return pause(listener)
            }
        }
    }

    /// Looks away from a listener until `resumeListeners`: it would be readable in every turn, for nothing.
    mutating func pause(_ listener: SlotHandle) {
        guard let descriptor = streamListeners.read(listener, { $0.socket.descriptor }) else { return }
        guard (try? poller.modify(descriptor, token: Self.token(.streamListener, listener), interest: [])) != nil
        else { return }
        pausedListeners.append(listener)
    }

    mutating func resumeListeners() {
        for listener in pausedListeners {
            guard let descriptor = streamListeners.read(listener, { $0.socket.descriptor }) else { continue }
            try? poller.modify(descriptor, token: Self.token(.streamListener, listener), interest: .read)
        }
        pausedListeners.removeAll()
    }

    private mutating func admit(_ socket: consuming TCPSocket, _ transport: TransportProtocol, at now: Instant) {
        let ip = socket.remoteAddress.unmapped.ip
        // Refused here already if that is certain; behind a proxy the client is not known yet.
        let isProxy = configuration.halfOpen.isProxy(ip)
        guard hasRoom(for: isProxy ? nil : ip.limitPrefix) else { return }
        let context = transport == .tls ? configuration.tls?.current : nil
        lobby.admit(socket, tls: context, at: now, poller)
    }

    mutating func serveLobby(_ handle: SlotHandle, at now: Instant) {
        guard let connection = lobby.serve(handle, at: now, poller) else { return }
        add(RelayStream(connection, at: now), at: now)
    }

    /// Takes a stream from a port that serves more than TURN; its first byte waits to be read.
    mutating func welcome(_ parcel: StreamParcel, at now: Instant) {
        guard let stream = parcel.open(), stopsAt == nil else { return }
        add(stream, at: now)
    }

    private mutating func add(_ stream: consuming RelayStream, at now: Instant) {
        let transport = stream.client.transport
        guard hasRoom(for: stream.prefix), let handle = insert(stream, at: now) else { return }
        acceptedStreams[transport, default: 0] += 1
        readStreams(handle, at: now)
    }

    /// Whether a stream may be added; counts the refusal.
    mutating func hasRoom(for prefix: IPAddress?) -> Bool {
        guard streams.count < streams.limit else {
            drops.count(.tooManyStreams)
            return false
        }
        guard let prefix, streamsByPrefix[prefix, default: 0] >= configuration.streamsPerPrefix else { return true }
        drops.count(.tooManyStreamsOfPrefix)
        return false
    }

    /// Puts a stream into the pool, completes its tuple and watches it.
    mutating func insert(_ stream: consuming RelayStream, at now: Instant) -> SlotHandle? {
        let (client, prefix, descriptor) = (stream.client, stream.prefix, stream.connection.descriptor)
        let interest: Interest = stream.watchesWriting ? [.read, .write] : .read
        guard let handle = streams.insert(stream) else {
            drops.count(.tooManyStreams)
            return nil
        }
        _ = streams.update(handle) {
            $0.client = ClientTuple(
                transport: client.transport,
                remote: client.remote,
                local: client.local,
                connection: handle.bits
            )
        }
        guard (try? poller.add(descriptor, token: Self.token(.stream, handle), interest: interest)) != nil else {
            _ = streams.remove(handle)
            return nil
        }
        streamsByPrefix[prefix, default: 0] += 1
        scheduleStream(handle)
        return handle
    }

    /// Goes on with streams that have more than one turn's worth of bytes, each of them once.
    mutating func serveUnreadStreams(at now: Instant) {
        guard !unreadStreams.isEmpty else { return }
        let handles = unreadStreams
        unreadStreams = []
        for handle in handles {
            _ = streams.update(handle) { $0.isUnread = false }
            readStreams(handle, at: now)
        }
    }

    mutating func serveStream(_ handle: SlotHandle, _ event: PollEvent, at now: Instant) {
        if let peer = streams.read(handle, { $0.peer }) ?? nil { return copy(peer, at: now) }
        if event.isWritable { markDirty(handle) }
        // One that is on the list has had its share of this turn.
        if event.isReadable, streams.read(handle, { $0.isUnread }) == false { readStreams(handle, at: now) }
    }

    mutating func readStreams(_ handle: SlotHandle, at now: Instant) {
        if let peer = streams.read(handle, { $0.peer }) ?? nil { return copy(peer, at: now) }
        // A few turns for one stream, then the others: what is left is still readable in the next turn.
        for _ in 0..<4 {
            switch readStream(handle, at: now) {
            case .bytes?: break
            case .wouldBlock?, nil:
                markDirty(handle)
                return
            case .closed?:
                if streams.read(handle, { $0.isEnding }) == false {
                    endStream(handle, at: now)
                }
                return removeStream(handle, at: now)
            case .failed(let reason)?:
                if case .tls = reason { drops.count(.tlsFailure) }
                return removeStream(handle, at: now)
            }
        }
        markDirty(handle)
        markUnread(handle)
    }

    /// Puts a stream on the list of those whose TLS holds more, if that is so.
    mutating func markUnread(_ handle: SlotHandle) {
        let isNew = streams.update(handle) { stream in
            guard stream.connection.hasUnreadBytes, !stream.isUnread else { return false }
            stream.isUnread = true
            return true
        }
        if isNew == true { unreadStreams.append(handle) }
    }

    /// Reads once and works through the whole messages; the rest waits in the stream.
    private mutating func readStream(_ handle: SlotHandle, at now: Instant) -> StreamReadResult? {
        var buffer = input
        input = []
        buffer.removeAll(keepingCapacity: true)
        defer { input = buffer }
        guard
            let outcome = streams.update(
                handle,
                { stream -> (StreamReadResult, RelayStream.Reader) in
                    if !stream.pending.isEmpty {
                        buffer.append(contentsOf: stream.pending)
                        stream.pending = []
                    }
                    var result = StreamReadResult.wouldBlock
                    buffer.append(addingCapacity: Self.readBytes) { result = stream.connection.read(into: &$0) }
                    return (result, stream.reader)
                }
            )
        else { return nil }
        let (result, reader) = outcome
        guard !reader.isEnding else { return result }
        let limit = reader.hasAllocation ? StreamFraming.maximumFrameByteCount : configuration.strangerMessageBytes
        let used: Int
        var ending: StreamTurn?
        switch receive(buffer.span, from: reader.client, StreamFraming(limit: limit), at: now) {
        case .messages(let count): used = count
        case .broken:
            drops.count(.brokenStream)
            removeStream(handle, at: now)
            return nil
        case let change:
            used = change.used
            ending = change
        }
        _ = streams.update(handle) { stream in
            if used > 0 {
                stream.lastMessage = now
                stream.hasSpoken = true
            }
            if used < buffer.count { stream.pending = Array(buffer[used...]) }
        }
        switch ending {
        case .handOver(let shard, _):
            handOver(handle, to: shard)
            return nil
        // From here on the bytes are not ours to read.
        case .joined: return .wouldBlock
        case .messages, .broken, nil: return result
        }
    }

    /// What became of the bytes of a stream.
    private enum StreamTurn {
        /// So many bytes were whole messages.
        case messages(Int)
        /// The stream cannot be followed.
        case broken
        /// The message after so many bytes is another shard's, and the stream with it.
        case handOver(shard: Int, Int)
        /// After so many bytes the stream carries a peer's data.
        case joined(Int)

        var used: Int {
            switch self {
            case .messages(let count), .handOver(_, let count), .joined(let count): count
            case .broken: 0
            }
        }
    }

    /// Hands whole messages to the engine.
    private mutating func receive(
        _ bytes: Span<UInt8>,
        from client: ClientTuple,
        _ framing: StreamFraming,
        at now: Instant
    ) -> StreamTurn {
        var used = 0
        while used < bytes.count {
            let rest = bytes.extracting(used...)
            let count: Int
            switch framing.frame(at: rest) {
            case .needMore: return .messages(used)
            case .broken: return .broken
            case .stun(let byteCount): count = byteCount
            case .channelData(let byteCount): count = byteCount
            }
            let message = rest.extracting(..<count)
            switch engine.receive(message, from: client, at: now) {
            case .relay(let transmit): relay(message, transmit)
            case .accepted:
                drainEngine(at: now)
                let peer = streams.read(SlotHandle(bits: client.connection)) { $0.peer } ?? nil
                if peer != nil { return .joined(used + count) }
            case .handOver(let shard): return .handOver(shard: shard, used)
            case .ignored: break
            }
            used += count
        }
        return .messages(used)
    }

    // MARK: Writing

    /// Queues relayed data; a client that does not read loses the oldest, and its control messages still get through.
    static func enqueueMedia(
        _ bytes: Span<UInt8>,
        on streams: inout SlotPool<RelayStream>,
        _ handle: SlotHandle,
        _ limits: StreamQueueLimits,
        _ drops: inout DropCounters<RelayDrop>,
        at now: Instant
    ) -> StreamWriteResult? {
        guard let (result, overflowed) = streams.update(handle, { $0.enqueueMedia(bytes, at: now, limits) }) else {
            return nil
        }
        for _ in 0..<overflowed { drops.count(.slowStream) }
        return result
    }

    /// Queues a response; a client that does not even take those is given up at the end of the turn.
    mutating func writeControl(_ bytes: Span<UInt8>, to handle: SlotHandle) {
        let result = streams.update(handle) { stream in
            let result = stream.connection.enqueue(bytes)
            if result == .full { stream.isStuck = true }
            return result
        }
        if result == .full { markDirty(handle) }
        finishWrite(result, handle)
    }

    mutating func finishWrite(_ result: StreamWriteResult?, _ handle: SlotHandle) {
        switch result {
        case .sent?, .queued?: markDirty(handle)
        case .full?: drops.count(.slowStream)
        case .failed?, nil: drops.count(.closedStream)
        }
    }

    mutating func markDirty(_ handle: SlotHandle) {
        let wasDirty = streams.update(handle) { stream in
            defer { stream.isDirty = true }
            return stream.isDirty
        }
        if wasDirty == false { dirtyStreams.append(handle) }
    }

    /// Sends what the turn has queued, and watches for room where the kernel did not take all.
    mutating func flushStreams(at now: Instant) {
        // What ends here may make another stream dirty.
        var next = 0
        while next < dirtyStreams.count {
            let handle = dirtyStreams[next]
            next += 1
            if let peer = streams.read(handle, { $0.peer }) ?? nil {
                _ = streams.update(handle) { $0.isDirty = false }
                copy(peer, at: now)
                continue
            }
            let limits = streamLimits
            switch streams.update(handle, { Self.flush(&$0, at: now, limits) }) {
            case .stuck?: removeStream(handle, at: now)
            case .flushed(let stale, let change)?:
                for _ in 0..<stale { drops.count(.staleMedia) }
                guard let (descriptor, interest) = change else { continue }
                try? poller.modify(descriptor, token: Self.token(.stream, handle), interest: interest)
            case nil: break
            }
        }
        dirtyStreams.removeAll(keepingCapacity: true)
    }

    private enum FlushOutcome {
        /// What was too old to be sent, and what to watch for if that has changed.
        case flushed(stale: Int, (Int32, Interest)?)
        case stuck
    }

    private static func flush(
        _ stream: inout RelayStream,
        at now: Instant,
        _ limits: StreamQueueLimits
    ) -> FlushOutcome {
        stream.isDirty = false
        let stale = stream.flush(at: now, limits)
        guard !stream.isStuck else { return .stuck }
        guard stream.connection.wantsWrite != stream.watchesWriting else { return .flushed(stale: stale, nil) }
        stream.watchesWriting.toggle()
        let interest: Interest = stream.watchesWriting ? [.read, .write] : .read
        return .flushed(stale: stale, (stream.connection.descriptor, interest))
    }
}
