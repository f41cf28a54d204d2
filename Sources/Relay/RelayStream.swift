import Bytes
import EventLoop
import NetTypes
import TURN
import TURNServer
import Transport

/// A client's TCP or TLS connection with the bytes of a message that is not complete yet.
struct RelayStream: ~Copyable, Sendable {
    var connection: StreamConnection
    var client: ClientTuple
    let prefix: IPAddress
    /// Relayed data for a client that reads more slowly than it comes.
    var media = FrameQueue()
    /// The beginning of a message whose rest has not come.
    var pending: [UInt8] = []
    /// When the last whole message came, or the stream was accepted.
    var lastMessage: Instant
    var hasSpoken = false
    var allocations = 0
    /// Whether the poller watches for room to write.
    var watchesWriting = false
    /// Whether something was queued in this turn that has to be flushed at its end.
    var isDirty = false
    /// Whether a response found no room: reliable transport has failed its promise, so the stream ends.
    var isStuck = false
    /// Whether it is among the streams whose TLS holds bytes that no poller knows of.
    var isUnread = false
    /// The one timer, by which the stream is given up.
    var timer: TimerHandle?
    /// The peer's connection whose bytes it carries, once it is a client's data connection (RFC 6062 §5.4).
    var peer: SlotHandle?
    /// Whether our side has ended, and only the peer's end is waited for.
    var isEnding = false

    /// Makes a stream whose tuple still lacks its handle.
    init(_ connection: consuming StreamConnection, at now: Instant) {
        client = ClientTuple(
            transport: connection.isSecure ? .tls : .tcp,
            remote: connection.remoteAddress,
            local: connection.localAddress
        )
        self.connection = connection
        prefix = client.remote.ip.limitPrefix
        lastMessage = now
    }

    /// Queues relayed data; returns how much of what waited had to go for it.
    ///
    /// While the client keeps up it goes straight to the connection; else it waits where it can still be dropped.
    mutating func enqueueMedia(
        _ frame: Span<UInt8>,
        at now: Instant,
        _ limits: StreamQueueLimits
    ) -> (result: StreamWriteResult, overflowed: Int) {
        if media.isEmpty, connection.queuedBytes + frame.count <= limits.wireBytes {
            return (connection.enqueue(frame), 0)
        }
        if let failure = connection.failure { return (.failed(failure), 0) }
        return (.queued, media.append(frame, at: now, byteLimit: limits.bytes))
    }

    /// Sends what waits, control messages first; returns how much media was too old for that.
    mutating func flush(at now: Instant, _ limits: StreamQueueLimits) -> Int {
        let oldest = Instant(nanoseconds: now.nanoseconds - min(now.nanoseconds, limits.time.nanoseconds))
        let dropped = media.dropFrames(olderThan: oldest)
        repeat { connection.flush() } while media.move(to: &connection, limit: limits.wireBytes)
        return dropped
    }

    /// What decides how its bytes are read.
    struct Reader {
        let client: ClientTuple
        let hasAllocation: Bool
        let isEnding: Bool
    }

    var reader: Reader { Reader(client: client, hasAllocation: allocations > 0, isEnding: isEnding) }

    /// When the stream is to be given up, if nothing comes before.
    func deadline(_ configuration: RelayConfiguration) -> Instant {
        if isEnding { return lastMessage + .seconds(2) }
        if peer != nil { return .distantFuture }
        if !hasSpoken { return lastMessage + configuration.firstMessageTime }
        return allocations > 0 ? .distantFuture : lastMessage + configuration.idleTime
    }
}

/// How much relayed data may wait for a client's stream, and how long.
struct StreamQueueLimits {
    /// Bytes that wait where they can still be dropped.
    let bytes: Int
    /// Bytes that wait where they cannot: begun on the wire, or encrypted.
    let wireBytes: Int
    /// How old what waits may become.
    let time: TimeSpan

    init(_ configuration: RelayConfiguration) {
        bytes = configuration.streamQueueBytes
        wireBytes = min(32 * 1024, configuration.streamQueueBytes)
        time = configuration.streamQueueTime
    }
}

extension IPAddress {
    /// What one subscriber has: the address of IPv4, the /64 of IPv6.
    var limitPrefix: IPAddress { family == .ipv4 ? self : IPAddress(ipv6: high, 0) }
}
