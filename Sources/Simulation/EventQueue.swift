import NetTypes

/// What is to happen at a moment, as plain numbers: no closure, nothing to count references of.
struct Event {
    enum Kind: UInt8 {
        /// A packet leaves link `a`; `b` is its place among the packets under way.
        case arrival
        /// A packet reaches host `a`; `b` is its place.
        case delivery
        /// Program `b` of host `a` may have something to do.
        case wake
        /// Stream `b` of host `a` may have something to do.
        case stream
        /// Message `b` of the messages that wait reaches program `c` of host `a`.
        case message
        /// Step `a` of the script.
        case step
    }

    let kind: Kind
    let a: Int32
    let b: Int32
    let c: Int32

    init(_ kind: Kind, _ a: Int = 0, _ b: Int = 0, _ c: Int = 0) {
        self.kind = kind
        self.a = Int32(truncatingIfNeeded: a)
        self.b = Int32(truncatingIfNeeded: b)
        self.c = Int32(truncatingIfNeeded: c)
    }
}

/// Events in the order of their time, and those of one moment in the order in which they were added.
struct EventQueue {
    private struct Entry {
        let time: UInt64
        let order: UInt64
        let event: Event

        func precedes(_ other: Entry) -> Bool { time != other.time ? time < other.time : order < other.order }
    }

    private var heap: [Entry] = []
    private var order: UInt64 = 0

    var earliest: Instant? { heap.first.map { Instant(nanoseconds: $0.time) } }
    var count: Int { heap.count }

    mutating func push(_ event: Event, at time: Instant) {
        let entry = Entry(time: time.nanoseconds, order: order, event: event)
        order &+= 1
        heap.append(entry)
        var child = heap.count &- 1
        while child > 0 {
            let parent = (child &- 1) / 2
            guard entry.precedes(heap[parent]) else { break }
            heap[child] = heap[parent]
            child = parent
        }
        heap[child] = entry
    }

    mutating func pop() -> (time: Instant, event: Event)? {
        guard let first = heap.first, let last = heap.popLast() else { return nil }
        if !heap.isEmpty { sink(last) }
        return (Instant(nanoseconds: first.time), first.event)
    }

    private mutating func sink(_ entry: Entry) {
        let count = heap.count
        var parent = 0
        while true {
            var child = 2 &* parent &+ 1
            guard child < count else { break }
            if child &+ 1 < count, heap[child &+ 1].precedes(heap[child]) { child &+= 1 }
            guard heap[child].precedes(entry) else { break }
            heap[parent] = heap[child]
            parent = child
        }
        heap[parent] = entry
    }
}

/// Places for values under way, used again when they are free.
struct Slab<Element> {
    private var elements: [Element?] = []
    private var free: [Int] = []

    var count: Int { elements.count - free.count }

    mutating func insert(_ element: Element) -> Int {
        guard let place = free.popLast() else {
            elements.append(element)
            return elements.count - 1
        }
        elements[place] = element
        return place
    }

    mutating func take(_ place: Int) -> Element? {
        guard elements.indices.contains(place), let element = elements[place].take() else { return nil }
        free.append(place)
        return element
    }
}
