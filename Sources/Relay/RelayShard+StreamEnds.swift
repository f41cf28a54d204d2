import Bytes
import Diagnostics
import EventLoop
import NetTypes
import TURNServer
import Transport

/// How streams end: closed by one side, or given up because nothing comes.
extension RelayShard {
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
        if let timer = stream.timer { streamTimers.cancel(timer) }
        if let peer = stream.peer { closePeer(peer, at: now) }
        engine.connectionClosed(stream.client, at: now)
        forgetPrefix(stream.prefix)
    }

    mutating func forgetPrefix(_ prefix: IPAddress) {
        let count = streamsByPrefix[prefix, default: 1] - 1
        streamsByPrefix[prefix] = count > 0 ? count : nil
    }

    /// Sets the stream's timer to its present deadline; to be called when that may have become earlier.
    mutating func scheduleStream(_ handle: SlotHandle) {
        guard let (deadline, old) = streams.read(handle, { ($0.deadline(configuration), $0.timer) }) else { return }
        if let old { streamTimers.cancel(old) }
        let timer = deadline == .distantFuture ? nil : streamTimers.schedule(handle.bits, at: deadline)
        _ = streams.update(handle) { $0.timer = timer }
    }

    mutating func closeIdleStreams(at now: Instant) {
        while let token = streamTimers.popExpired(at: now) {
            let handle = SlotHandle(bits: token)
            guard let (deadline, isEnding) = streams.read(handle, { ($0.deadline(configuration), $0.isEnding) }) else {
                continue
            }
            if deadline > now {
                // It has spoken meanwhile: messages do not move the timer, the timer follows them when it fires.
                scheduleStream(handle)
            } else if isEnding {
                removeStream(handle, at: now)
            } else {
                drops.count(.idleStream)
                endStream(handle, at: now)
            }
        }
    }
}
