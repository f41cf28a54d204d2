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
                let socket = streamListeners.update(listener, Self.accept) ?? nil
            else { return }
            addStream(socket, transport, at: now)
        }
    }

    private static func accept(_ listener: inout StreamListener) -> TCPSocket? {
        switch listener.socket.accept() {
        case .accepted(let socket): return socket
        case .wouldBlock: return nil
        case .refused: return nil
        case .failed: return nil
        }
    }

    private mutating func addStream(_ socket: consuming TCPSocket, _ transport: TransportProtocol, at now: Instant) {
        let remote = socket.remoteAddress.unmapped
        let local = socket.localAddress.unmapped
        let prefix = remote.ip.limitPrefix
        guard streams.count < streams.limit else { return drops.count(.tooManyStreams) }
        guard streamsByPrefix[prefix, default: 0] < configuration.streamsPerPrefix else {
            return drops.count(.tooManyStreamsOfPrefix)
        }
        let limit = configuration.streamQueueBytes * 2
        let connection: StreamConnection
        if transport == .tls {
            guard let tls else { return }
            connection = StreamConnection(socket, tls: TLSSession(server: tls), outputLimit: limit)
        } else {
            connection = StreamConnection(socket, outputLimit: limit)
        }
        let descriptor = connection.descriptor
        // The handle is part of the client's tuple, so the stream is made with a tuple that lacks it, then completed.
        let unnamed = ClientTuple(transport: transport, remote: remote, local: local)
        guard let handle = streams.insert(RelayStream(connection, client: unnamed, at: now)) else { return }
        let client = ClientTuple(transport: transport, remote: remote, local: local, connection: handle.bits)
        _ = streams.update(handle) { $0.client = client }
        guard (try? poller.add(descriptor, token: Self.token(.stream, handle), interest: .read)) != nil else {
            _ = streams.remove(handle)
            return
        }
        streamsByPrefix[prefix, default: 0] += 1
        acceptedStreams[transport, default: 0] += 1
        scheduleStream(handle)
    }

    mutating func serveUnreadStreams(at now: Instant) {
        let handles = unreadStreams
        unreadStreams = []
        for handle in handles { readStreams(handle, at: now) }
    }

    mutating func serveStream(_ handle: SlotHandle, _ event: PollEvent, at now: Instant) {
        if event.isWritable { markDirty(handle) }
        if event.isReadable { readStreams(handle, at: now) }
    }

    private mutating func readStreams(_ handle: SlotHandle, at now: Instant) {
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
        if streams.read(handle, { $0.connection.hasUnreadBytes }) == true { unreadStreams.append(handle) }
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
                { stream -> (StreamReadResult, ClientTuple, Bool) in
                    if !stream.pending.isEmpty {
                        buffer.append(contentsOf: stream.pending)
                        stream.pending = []
                    }
                    var result = StreamReadResult.wouldBlock
                    buffer.append(addingCapacity: Self.readBytes) { result = stream.connection.read(into: &$0) }
                    return (result, stream.client, stream.isEnding)
                }
            )
        else { return nil }
        let (result, client, isEnding) = outcome
        guard !isEnding else { return result }
        let used = receive(buffer.span, from: client, at: now)
        guard let used else {
            drops.count(.brokenStream)
            removeStream(handle, at: now)
            return nil
        }
        _ = streams.update(handle) { stream in
            if used > 0 {
                stream.lastMessage = now
                stream.hasSpoken = true
            }
            if used < buffer.count { stream.pending = Array(buffer[used...]) }
        }
        return result
    }

    /// Hands whole messages to the engine; returns how many bytes they were, or `nil` if the stream cannot be followed.
    private mutating func receive(_ bytes: Span<UInt8>, from client: ClientTuple, at now: Instant) -> Int? {
        let framing = StreamFraming()
        var used = 0
        while used < bytes.count {
            let rest = bytes.extracting(used...)
            let count: Int
            switch framing.frame(at: rest) {
            case .needMore: return used
            case .broken: return nil
            case .stun(let byteCount): count = byteCount
            case .channelData(let byteCount): count = byteCount
            }
            let message = rest.extracting(..<count)
            switch engine.receive(message, from: client, at: now) {
            case .relay(let transmit): relay(message, transmit)
            case .accepted: drainEngine(at: now)
            case .ignored: break
            }
            used += count
        }
        return used
    }

    // MARK: Writing

    /// Queues relayed data; a client that does not read loses it, and its control messages still get through.
    static func enqueueMedia(
        _ bytes: Span<UInt8>,
        on streams: inout SlotPool<RelayStream>,
        _ handle: SlotHandle,
        _ softLimit: Int
    ) -> StreamWriteResult? {
        streams.update(handle) { stream in
            stream.connection.queuedBytes + bytes.count > softLimit ? .full : stream.connection.enqueue(bytes)
        }
    }

    mutating func writeControl(_ bytes: Span<UInt8>, to handle: SlotHandle) {
        finishWrite(streams.update(handle) { $0.connection.enqueue(bytes) }, handle)
    }

    mutating func finishWrite(_ result: StreamWriteResult?, _ handle: SlotHandle) {
        switch result {
        case .sent?, .queued?: markDirty(handle)
        case .full?: drops.count(.slowStream)
        case .failed?, nil: drops.count(.closedStream)
        }
    }

    private mutating func markDirty(_ handle: SlotHandle) {
        let wasDirty = streams.update(handle) { stream in
            defer { stream.isDirty = true }
            return stream.isDirty
        }
        if wasDirty == false { dirtyStreams.append(handle) }
    }

    /// Sends what the turn has queued, and watches for room where the kernel did not take all.
    mutating func flushStreams(at now: Instant) {
        for handle in dirtyStreams {
            let change = streams.update(handle) { stream -> (Int32, Bool)? in
                stream.isDirty = false
                stream.connection.flush()
                guard stream.connection.wantsWrite != stream.watchesWriting else { return nil }
                stream.watchesWriting.toggle()
                return (stream.connection.descriptor, stream.watchesWriting)
            }
            guard let (descriptor, watches) = change ?? nil else { continue }
            let interest: Interest = watches ? [.read, .write] : .read
            try? poller.modify(descriptor, token: Self.token(.stream, handle), interest: interest)
        }
        dirtyStreams.removeAll(keepingCapacity: true)
    }

    // MARK: Ending

    /// Ends our side; the stream goes when the peer ends its own, or after a moment.
    mutating func endStream(_ handle: SlotHandle, at now: Instant) {
        _ = streams.update(handle) { stream in
            stream.isEnding = true
            stream.lastMessage = now
            stream.connection.finish()
        }
        scheduleStream(handle)
    }

    mutating func removeStream(_ handle: SlotHandle, at now: Instant) {
        guard let stream = streams.remove(handle) else { return }
        engine.connectionClosed(stream.client, at: now)
        let count = streamsByPrefix[stream.prefix, default: 1] - 1
        streamsByPrefix[stream.prefix] = count > 0 ? count : nil
    }

    /// Puts the stream's present deadline into the queue, for when it has become earlier.
    mutating func scheduleStream(_ handle: SlotHandle) {
        let configuration = configuration
        let deadline = streams.update(handle) { stream -> Instant? in
            let due = stream.deadline(configuration)
            guard due < stream.scheduled else { return nil }
            stream.scheduled = due
            return due
        }
        if let deadline = deadline ?? nil { streamDeadlines.push(handle, at: deadline) }
    }

    mutating func closeIdleStreams(at now: Instant) {
        while let handle = streamDeadlines.pop(at: now) {
            // An entry that an earlier one has overtaken goes: kept, each allocation would leave one for good.
            guard let (scheduled, deadline) = streams.read(handle, { ($0.scheduled, $0.deadline(configuration)) }),
                scheduled <= now
            else { continue }
            _ = streams.update(handle) { $0.scheduled = .distantFuture }
            guard deadline <= now else {
                // It has spoken meanwhile: the entry moves on.
                scheduleStream(handle)
                continue
            }
            if streams.read(handle, { $0.isEnding }) == true {
                removeStream(handle, at: now)
            } else {
                drops.count(.idleStream)
                endStream(handle, at: now)
            }
        }
    }
}
