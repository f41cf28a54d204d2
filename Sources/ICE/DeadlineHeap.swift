import NetTypes

/// The deadlines of pairs, one each, in a heap that knows where each pair stands: nothing outdated ever fires.
struct DeadlineHeap {
    private var heap: [(deadline: Instant, pair: UInt16)] = []
    private var places: [UInt16] = []
    private static let nowhere = UInt16.max

    /// The earliest deadline.
    var earliest: Instant? { heap.first?.deadline }

    /// Forgets everything and gives its memory back.
    mutating func removeAll() { self = DeadlineHeap() }

    /// Sets the deadline of a pair; `distantFuture` takes it out.
    mutating func set(_ pair: Int, to deadline: Instant) {
        while places.count <= pair { places.append(Self.nowhere) }
        let place = places[pair]
        if deadline == .distantFuture {
            if place != Self.nowhere { remove(at: Int(place)) }
        } else if place == Self.nowhere {
            heap.append((deadline, UInt16(pair)))
            places[pair] = UInt16(heap.count - 1)
            rise(heap.count - 1)
        } else if heap[Int(place)].deadline != deadline {
            heap[Int(place)].deadline = deadline
            rise(Int(place))
            sink(Int(places[pair]))
        }
    }

    /// The pair with the earliest deadline, if that is not after `now`; it stays until it is set anew.
    func due(at now: Instant) -> Int? {
        guard let first = heap.first, first.deadline <= now else { return nil }
        return Int(first.pair)
    }

    private mutating func remove(at place: Int) {
        places[Int(heap[place].pair)] = Self.nowhere
        let last = heap.removeLast()
        guard place < heap.count else { return }
        heap[place] = last
        places[Int(last.pair)] = UInt16(place)
        rise(place)
        sink(Int(places[Int(last.pair)]))
    }

    private mutating func swap(_ one: Int, _ other: Int) {
        heap.swapAt(one, other)
        places[Int(heap[one].pair)] = UInt16(one)
        places[Int(heap[other].pair)] = UInt16(other)
    }

    private mutating func rise(_ start: Int) {
        var child = start
        while child > 0 {
            let parent = (child - 1) / 2
            guard heap[child].deadline < heap[parent].deadline else { return }
            swap(child, parent)
            child = parent
        }
    }

    private mutating func sink(_ start: Int) {
        var parent = start
        while true {
            var least = parent
            for child in (2 * parent + 1)...(2 * parent + 2)
            where child < heap.count && heap[child].deadline < heap[least].deadline { least = child }
            guard least != parent else { return }
            swap(parent, least)
            parent = least
        }
    }
}
