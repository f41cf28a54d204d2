import Synchronization

/// A bounded queue from a loop to one waiting task; when it is full, the newest elements are dropped and counted.
///
/// Bounded by count: a reader that has stopped costs no more than `limit` elements.
final class WaitingQueue<Element: Sendable>: Sendable {
    private struct State {
        var elements: [Element] = []
        var isFinished = false
        var dropped: UInt64 = 0
        var waiter: CheckedContinuation<[Element], Never>?
    }

    private let state = Mutex(State())
    private let limit: Int

    init(limit: Int) { self.limit = limit }

    /// How many elements were dropped because nobody took the earlier ones.
    var droppedCount: UInt64 { state.withLock { $0.dropped } }

    /// Adds elements, as far as there is room, and wakes the reader.
    func push(_ elements: consuming [Element]) {
        guard !elements.isEmpty else { return }
        let added = elements
        let wake = state.withLock { state -> (CheckedContinuation<[Element], Never>, [Element])? in
            guard !state.isFinished else { return nil }
            let room = max(0, limit - state.elements.count)
            state.dropped &+= UInt64(max(0, added.count - room))
            if state.elements.isEmpty, added.count <= room {
                state.elements = added
            } else {
                state.elements.append(contentsOf: added.prefix(room))
            }
            guard let waiter = state.waiter else { return nil }
            state.waiter = nil
            defer { state.elements = [] }
            return (waiter, state.elements)
        }
        wake?.0.resume(returning: wake?.1 ?? [])
    }

    /// Ends the queue: what waits can still be taken, then readers see the end.
    func finish() {
        let waiter = state.withLock { state in
            state.isFinished = true
            defer { state.waiter = nil }
            return state.waiter
        }
        waiter?.resume(returning: [])
    }

    /// Takes all that waits, or waits for more; empty at the end, and when the task is cancelled.
    func take() async -> [Element] {
        let ready = state.withLock { Self.ready(&$0, isCancelled: false) }
        if let ready { return ready }
        return await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                // The flag is set before the handler runs: either it is seen here, or the handler finds the waiter.
                let ready = state.withLock { state -> [Element]? in
                    let ready = Self.ready(&state, isCancelled: Task.isCancelled)
                    if ready == nil { state.waiter = continuation }
                    return ready
                }
                if let ready { continuation.resume(returning: ready) }
            }
        } onCancel: {
            let waiter = state.withLock { state in
                defer { state.waiter = nil }
                return state.waiter
            }
            waiter?.resume(returning: [])
        }
    }

    private static func ready(_ state: inout State, isCancelled: Bool) -> [Element]? {
        precondition(state.waiter == nil, "one reader at a time")
        if !state.elements.isEmpty {
            defer { state.elements = [] }
            return state.elements
        }
        return state.isFinished || isCancelled ? [] : nil
    }
}

/// What a connection tells, for one reader at a time; ends when the connection is closed or the reader's task is cancelled.
///
/// Bounded: a reader that is too slow loses the newest elements, and `droppedCount` tells how many.
public struct ICEStream<Element: Sendable>: AsyncSequence, Sendable {
    /// Nothing is thrown.
    public typealias Failure = Never

    let queue: WaitingQueue<Element>

    /// How many elements were dropped because the reader was too slow.
    public var droppedCount: UInt64 { queue.droppedCount }

    /// All that has come since the last call, at least one element; empty at the end, and when the task is cancelled.
    public func nextBatch() async -> [Element] { await queue.take() }

    /// Reads element by element.
    public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(queue: queue) }

    /// The reader.
    public struct AsyncIterator: AsyncIteratorProtocol {
        let queue: WaitingQueue<Element>
        private var batch: [Element] = []
        private var position = 0

        init(queue: WaitingQueue<Element>) { self.queue = queue }

        /// The next element; `nil` at the end.
        public mutating func next() async -> Element? {
            if position == batch.count {
                batch = await queue.take()
                position = 0
            }
            guard position < batch.count else { return nil }
            defer { position += 1 }
            return batch[position]
        }
    }
}
