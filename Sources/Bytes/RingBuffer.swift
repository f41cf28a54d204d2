/// A first-in first-out queue with a fixed limit; memory grows to what was needed and is kept.
public struct RingBuffer<Element>: ~Copyable {
    private var storage: [Element?] = []
    private var head = 0

    /// How many elements wait.
    public private(set) var count = 0
    /// How many may wait.
    public let limit: Int

    /// Makes an empty queue for at most `limit` elements.
    public init(limit: Int) { self.limit = limit }

    /// Whether nothing waits.
    public var isEmpty: Bool { count == 0 }

    /// The oldest element, left where it is.
    public var first: Element? { count > 0 ? storage[head] : nil }

    /// Adds an element at the end; returns `false`, and adds nothing, if the queue is full.
    public mutating func append(_ element: Element) -> Bool {
        guard count < limit else { return false }
        if count == storage.count { grow() }
        storage[(head + count) % storage.count] = element
        count += 1
        return true
    }

    /// Takes the oldest element.
    public mutating func popFirst() -> Element? {
        guard count > 0 else { return nil }
        let element = storage[head]
        storage[head] = nil
        head = (head + 1) % storage.count
        count -= 1
        return element
    }

    private mutating func grow() {
        var larger = [Element?](repeating: nil, count: max(8, storage.count * 2))
        for index in 0..<count { larger[index] = storage[(head + index) % storage.count] }
        storage = larger
        head = 0
    }
}

extension RingBuffer: Sendable where Element: Sendable {}
