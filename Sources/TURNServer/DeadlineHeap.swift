import NetTypes

/// The deadlines of numbered slots, at most one each: a binary heap that can also move and remove a deadline.
///
/// Nothing stale stays behind, so its size is the number of live slots however fast they come and go. O(log n).
struct DeadlineHeap {
    private var heap: [(deadline: Instant, slot: UInt32)] = []
    // Where each slot stands in the heap, or -1.
    private var places: [Int32] = []

    var earliest: Instant? { heap.first?.deadline }

    var count: Int { heap.count }

    /// Sets or moves the deadline of a slot.
    mutating func set(_ slot: UInt32, to deadline: Instant) {
        while places.count <= Int(slot) { places.append(-1) }
        let place = Int(places[Int(slot)])
        if place >= 0 {
            heap[place].deadline = deadline
            siftUp(place)
            siftDown(Int(places[Int(slot)]))
        } else {
            heap.append((deadline, slot))
            places[Int(slot)] = Int32(heap.count - 1)
            siftUp(heap.count - 1)
        }
    }

    /// Forgets the deadline of a slot, if it has one.
    mutating func remove(_ slot: UInt32) {
        guard Int(slot) < places.count, places[Int(slot)] >= 0 else { return }
        let place = Int(places[Int(slot)])
        let last = heap.removeLast()
        places[Int(slot)] = -1
        guard last.slot != slot else { return }
        heap[place] = last
        places[Int(last.slot)] = Int32(place)
        siftUp(place)
        siftDown(Int(places[Int(last.slot)]))
    }

    /// Takes the slot with the earliest deadline, if that is not after `now`.
    mutating func pop(at now: Instant) -> UInt32? {
        guard let first = heap.first, first.deadline <= now else { return nil }
        remove(first.slot)
        return first.slot
    }

    private mutating func siftUp(_ start: Int) {
        var child = start
        while child > 0 {
            let parent = (child - 1) / 2
            guard heap[child].deadline < heap[parent].deadline else { return }
            exchange(child, parent)
            child = parent
        }
    }

    private mutating func siftDown(_ start: Int) {
        var parent = start
        while true {
            var least = parent
            for child in (2 * parent + 1)...(2 * parent + 2)
            where child < heap.count && heap[child].deadline < heap[least].deadline { least = child }
            guard least != parent else { return }
            exchange(parent, least)
            parent = least
        }
    }

    private mutating func exchange(_ first: Int, _ second: Int) {
        heap.swapAt(first, second)
        places[Int(heap[first].slot)] = Int32(first)
        places[Int(heap[second].slot)] = Int32(second)
    }
}
