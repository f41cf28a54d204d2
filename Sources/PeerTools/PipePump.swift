public import EventLoop
import Glibc
import ICE
public import ICETransport
public import NetTypes
public import Pipe

/// Moves bytes between two descriptors and a connection, through a `PipeEngine`, on the calling thread.
public struct PipePump: ~Copyable {
    /// What came of it.
    public struct Outcome: Sendable {
        /// Bytes that the other end has acknowledged.
        public var sentBytes: UInt64 = 0
        /// Bytes that have come.
        public var receivedBytes: UInt64 = 0
        /// Datagrams that were sent again.
        public var resentCount: UInt64 = 0
        /// From the first byte to the end.
        public var elapsed = TimeSpan.zero
        /// The smoothed round trip at the end.
        public var roundTrip: TimeSpan?
        /// What went wrong; `nil` if both streams are complete.
        public var failure: String?
    }

    private enum News: Sendable {
        case datagrams([[UInt8]])
        case failed
        case ended
    }

    private let connection: ICEConnection
    private var engine: PipeEngine
    private let input: Int32?
    private let output: Int32
    private var isInputEnded = false
    private var failure: String?

    /// Makes a pump; without `input` nothing is sent.
    public init(_ connection: ICEConnection, _ keys: PipeKeys, input: Int32?, output: Int32) {
        self.connection = connection
        self.input = input
        self.output = output
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
        var isWatched = false
        var isAlwaysReady = false
        var mail: [News] = []
        let start = MonotonicClock.now()
        var progressAt = start + .seconds(1)
        if input == nil { engine.finish() }
        while !engine.isOver, failure == nil {
            let now = MonotonicClock.now()
            news.receive(into: &mail)
            for message in mail { take(message, at: now) }
            mail.removeAll(keepingCapacity: true)
            engine.handleTimeout(at: now)
            if engine.hasForeignPeer(at: now) { failure = "the other end has another code" }
            deliver()
            // What was not written is not acknowledged.
            guard failure == nil else { break }
            transmit(at: now)
            if now >= progressAt {
                progress(outcome(since: start))
                progressAt = now + .seconds(1)
            }
            let wantsInput = input != nil && !isInputEnded && engine.writableBytes > 0
            if let input, wantsInput != isWatched, !isAlwaysReady {
                if wantsInput {
                    // What cannot be watched, such as a file, is always ready.
                    isAlwaysReady = (try? poller.add(input, token: 1, interest: .read)) == nil
                    isWatched = !isAlwaysReady
                } else {
                    try poller.remove(input)
                    isWatched = false
                }
            }
            if wantsInput, isAlwaysReady {
                readInput()
                transmit(at: now)
                try poller.wait(until: now, into: &events)
                continue
            }
            try poller.wait(until: min(engine.nextTimeout ?? .distantFuture, progressAt), into: &events)
            for index in events.indices where events[index].token == 1 { readInput() }
        }
        // The last words; after a failure, the other end must not take the stream for complete.
        if failure == nil { transmit(at: MonotonicClock.now()) }
        return outcome(since: start)
    }

    private static func follow(_ connection: ICEConnection, _ news: Mailbox<News>) -> [Task<Void, Never>] {
        [
            Task {
                while true {
                    let batch = await connection.received.nextBatch()
                    guard !batch.isEmpty else { break }
                    // While the output blocks, datagrams are lost as on the way; the last two news are not.
                    _ = news.push(.datagrams(batch), leaving: 2)
                }
                _ = news.push(.ended)
            },
            Task {
                for await state in connection.states where state == .failed {
                    _ = news.push(.failed)
                    break
                }
            },
        ]
    }

    private mutating func take(_ message: News, at now: Instant) {
        switch message {
        case .datagrams(let batch):
            for datagram in batch { _ = engine.receive(datagram, at: now) }
        case .failed: failure = "the path to the peer was lost"
        case .ended: if !engine.isOver { failure = failure ?? "the connection was closed" }
        }
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

    private mutating func deliver() {
        while let bytes = engine.read() {
            var rest = bytes[...]
            while !rest.isEmpty {
                // The slice's storage lives through the call; the count is its own.
                let written = unsafe rest.withUnsafeBytes { unsafe write(output, $0.baseAddress, $0.count) }
                if written < 0, errno == EINTR { continue }
                guard written > 0 else {
                    failure = "the output cannot be written: \(SystemError.text(for: errno))"
                    return
                }
                rest = rest.dropFirst(written)
            }
        }
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
            failure: failure
        )
    }
}
