public import EventLoop
import Glibc
import ICE
public import ICETransport
public import NetTypes
public import Pipe

/// Moves bytes between two descriptors and a connection, through a `PipeEngine`, on the calling thread.
///
/// Neither descriptor holds up the other: where the output has no room, what comes waits within the engine's limit, and
/// then at the other end.
public struct PipePump: ~Copyable {
    /// What came of it.
    public struct Outcome: Sendable {
        /// Bytes that the other end has acknowledged.
        public var sentBytes: UInt64 = 0
        /// Bytes that have come in order.
        public var receivedBytes: UInt64 = 0
        /// Datagrams that were sent again.
        public var resentCount: UInt64 = 0
        /// From the first byte to the end.
        public var elapsed = TimeSpan.zero
        /// The smoothed round trip at the end.
        public var roundTrip: TimeSpan?
        /// Whether the other end has everything, though perhaps not yet written.
        public var isDelivered = false
        /// What went wrong; `nil` if both streams are complete, and were written at their ends.
        public var failure: String?
    }

    /// A descriptor that is watched while something is wanted of it: an end or an error would else wake the pump for ever.
    private struct Watch {
        let descriptor: Int32
        let token: UInt64
        let interest: Interest
        var isWatched = false
        /// What cannot be watched, such as a file, is always ready.
        var isAlwaysReady = false

        mutating func set(_ isWanted: Bool, _ poller: borrowing Poller) throws(SystemError) {
            guard isWanted != isWatched, !isAlwaysReady else { return }
            if isWanted {
                isAlwaysReady = (try? poller.add(descriptor, token: token, interest: interest)) == nil
                isWatched = !isAlwaysReady
            } else {
                try poller.remove(descriptor)
                isWatched = false
            }
        }
    }

    private enum News: Sendable {
        case datagrams([[UInt8]])
        case failed
        case ended
    }

    private let connection: ICEConnection
    private var engine: PipeEngine
    private let input: Int32?
    private let output: PipeOutput
    private let stop: PipeStop?
    private var isInputEnded = false
    private var isPathLost = false
    private var failure: String?

    /// Writes in one turn, at most.
    private static let writesPerTurn = 64

    /// Makes a pump; without `input` nothing is sent.
    public init(_ connection: ICEConnection, _ keys: PipeKeys, input: Int32?, output: Int32, stop: PipeStop? = nil) {
        self.connection = connection
        self.input = input
        self.stop = stop
        self.output = PipeOutput(output)
        engine = PipeEngine(keys, at: MonotonicClock.now())
    }

    /// Pumps until both streams are complete or the connection is lost; `progress` is told once a second.
    ///
    /// - Throws: `SystemError` if the process has no descriptor left.
    public mutating func run(progress: (Outcome) -> Void) throws(SystemError) -> Outcome {
        let news = try Mailbox<News>(limit: 64)
        let readers = Self.follow(connection, news)
        defer { readers.forEach { $0.cancel() } }
        let poller = try Poller()
        var events = PollEvents(capacity: 4)
        try poller.add(news.descriptor, token: 0, interest: .read)
        if let stop { try poller.add(stop.descriptor, token: 3, interest: .read) }
        var reading = Watch(descriptor: input ?? -1, token: 1, interest: .read)
        var writing = Watch(descriptor: output.descriptor, token: 2, interest: .write)
        var mail: [News] = []
        let start = MonotonicClock.now()
        var progressAt = start + .seconds(1)
        if input == nil { engine.finish() }
        while true {
            let now = MonotonicClock.now()
            news.receive(into: &mail)
            for message in mail { take(message, at: now) }
            mail.removeAll(keepingCapacity: true)
            engine.handleTimeout(at: now)
            let isStopped = stop?.take() == true
            if failure == nil { notice(isStopped, at: now) }
            let isBlocked = failure == nil && deliver()
            // The other end must not take its stream for complete, nor wait until the path is lost.
            if failure != nil { engine.abort(at: now) }
            transmit(at: now)
            guard !engine.isOver, failure == nil || !isPathLost else { break }
            if now >= progressAt {
                progress(outcome(since: start))
                progressAt = now + .seconds(1)
            }
            let wantsInput = failure == nil && input != nil && !isInputEnded && engine.writableBytes > 0
            try reading.set(wantsInput, poller)
            try writing.set(isBlocked, poller)
            let canRead = wantsInput && reading.isAlwaysReady
            let isBusy = canRead || failure == nil && !isBlocked && !engine.readable.isEmpty
            let next = isBusy ? now : min(engine.nextTimeout ?? .distantFuture, progressAt)
            try poller.wait(until: next, into: &events)
            if canRead || events.indices.contains(where: { events[$0].token == 1 }) { readInput() }
        }
        return outcome(since: start)
    }

    private static func follow(_ connection: ICEConnection, _ news: Mailbox<News>) -> [Task<Void, Never>] {
        [
            Task {
                while true {
                    let batch = await connection.received.nextBatch()
                    guard !batch.isEmpty else { break }
                    // While the pump has no turn, datagrams are lost as on the way; the last two news are not.
                    _ = news.push(.datagrams(batch), leaving: 2)
                }
                _ = news.push(.ended)
            },
            Task {
                // Who has waited for the path may have been given states that came after it, and has passed them over.
                var next = await connection.report()?.state
                var states = connection.states.makeAsyncIterator()
                while let state = next {
                    // Whatever the other end has not signalled by now: without it, ICE knows when nothing is left.
                    if state == .disconnected { connection.endOfRemoteCandidates() }
                    if state == .failed { return _ = news.push(.failed) }
                    next = await states.next()
                }
            },
        ]
    }

    private mutating func take(_ message: News, at now: Instant) {
        switch message {
        case .datagrams(let batch):
            for datagram in batch { _ = engine.receive(datagram, at: now) }
        case .failed: losePath("the path to the peer was lost", at: now)
        case .ended: losePath("the connection was closed", at: now)
        }
    }

    private mutating func notice(_ isStopped: Bool, at now: Instant) {
        if engine.hasForeignPeer(at: now) { failure = "the other end has another code" }
        if engine.isAborted { failure = "the other end has given up before everything was sent and written" }
        if isStopped { failure = "it was interrupted before everything was sent and written" }
    }

    /// What has come can still be written; what the other end has not confirmed is not known to be.
    private mutating func losePath(_ cause: String, at now: Instant) {
        isPathLost = true
        guard failure == nil, !engine.handlePathLoss(at: now) else { return }
        failure = engine.hasDelivered ? "\(cause) before the other end had written everything" : cause
    }

    private mutating func readInput() {
        guard let input, !isInputEnded else { return }
        let room = min(engine.writableBytes, 262_144)
        guard room > 0 else { return }
        var result = 0
        // The kernel writes at most `room` bytes into the array's memory.
        let bytes = unsafe [UInt8](unsafeUninitializedCapacity: room) { buffer, count in
            result = unsafe read(input, buffer.baseAddress, room)
            count = max(0, result)
        }
        if result > 0 { return engine.write(bytes) }
        if result < 0, errno == EINTR || errno == EAGAIN { return }
        isInputEnded = true
        guard result == 0 else {
            failure = "the input cannot be read: \(SystemError.text(for: errno))"
            return
        }
        engine.finish()
    }

    /// Writes what has come; whether the output has no room for more.
    private mutating func deliver() -> Bool {
        for _ in 0..<Self.writesPerTurn where !engine.readable.isEmpty {
            switch output.write(engine.readable) {
            case .wrote(let count): engine.consume(count)
            case .later: return true
            case .failed(let words):
                failure = words
                return false
            }
        }
        return false
    }

    private mutating func transmit(at now: Instant) {
        var batch: [[UInt8]] = []
        while let datagram = engine.pollTransmit(at: now) {
            batch.append(datagram)
            if batch.count == 64 {
                connection.send(batch)
                batch.removeAll(keepingCapacity: true)
            }
        }
        if !batch.isEmpty { connection.send(batch) }
    }

    private func outcome(since start: Instant) -> Outcome {
        Outcome(
            sentBytes: engine.deliveredBytes,
            receivedBytes: engine.receivedBytes,
            resentCount: engine.resentCount,
            elapsed: MonotonicClock.now() - start,
            roundTrip: engine.roundTrip,
            isDelivered: engine.hasDelivered,
            failure: failure
        )
    }
}
