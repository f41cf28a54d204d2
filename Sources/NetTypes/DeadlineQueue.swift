/// A queue of tokens ordered by time: the earliest deadline first (a binary heap).
///
/// To move a deadline to a later time, let the old one fire and push again: one entry per object, however often its
/// deadline moves. `push` and `pop` are O(log n), `earliest` is O(1).
public struct DeadlineQueue<Token: Sendable>: Sendable {
    @usableFromInline var heap: [(deadline: Instant, token: Token)] = []

    /// Makes an empty queue.
    @inlinable
    public init() {}

    /// The earliest deadline, or `nil` if the queue is empty.
    @inlinable public var earliest: Instant? { heap.first?.deadline }

    /// How many tokens wait.
    @inlinable public var count: Int { heap.count }

    /// Adds a token.
    @inlinable
    public mutating func push(_ token: Token, at deadline: Instant) {
        heap.append((deadline, token))
        var child = heap.count - 1
        while child > 0 {
            let parent = (child - 1) / 2
            guard heap[child].deadline < heap[parent].deadline else { return }
            heap.swapAt(child, parent)
            child = parent
        }
    }

    /// Forgets all tokens; the memory is kept for the next ones.
    @inlinable
    public mutating func removeAll() { heap.removeAll(keepingCapacity: true) }

    /// Takes the token with the earliest deadline, if that is not after `now`.
    @inlinable
    public mutating func pop(at now: Instant) -> Token? {
        guard let first = heap.first, first.deadline <= now else { return nil }
        let last = heap.removeLast()
        guard !heap.isEmpty else { return first.token }
        heap[0] = last
        var parent = 0
        while true {
            var least = parent
            for child in (2 * parent + 1)...(2 * parent + 2)
            where child < heap.count && heap[child].deadline < heap[least].deadline { least = child }
            guard least != parent else { return first.token }
            heap.swapAt(parent, least)
            parent = least
        }
    }
}
