import Bytes
import NetTypes

/// The deadlines of a pool's elements, at most one each: a binary heap that can also move and remove a deadline.
///
/// Nothing stale stays behind, so its size is the number of live elements however fast they come and go. O(log n).
struct DeadlineHeap {
    private var heap: [(deadline: Instant, slot: SlotHandle)] = []
    // Where each place of the pool stands in the heap, or -1.
    private var places: [Int32] = []

    var earliest: Instant? { heap.first?.deadline }

    var count: Int { heap.count }

    /// Sets or moves the deadline of an element.
    mutating func set(_ slot: SlotHandle, to deadline: Instant) {
        while places.count <= Int(slot.index) { places.append(-1) }
        let place = Int(places[Int(slot.index)])
        if place >= 0 {
            heap[place].deadline = deadline
            siftUp(place)
            siftDown(Int(places[Int(slot.index)]))
        } else {
            heap.append((deadline, slot))
            places[Int(slot.index)] = Int32(heap.count - 1)
            siftUp(heap.count - 1)
        }
    }

    /// Forgets the deadline of an element, if it has one.
    mutating func remove(_ slot: SlotHandle) {
        guard Int(slot.index) < places.count, places[Int(slot.index)] >= 0 else { return }
        let place = Int(places[Int(slot.index)])
        let last = heap.removeLast()
        places[Int(slot.index)] = -1
        guard last.slot != slot else { return }
        heap[place] = last
        places[Int(last.slot.index)] = Int32(place)
        siftUp(place)
        siftDown(Int(places[Int(last.slot.index)]))
    }

    /// Takes the element with the earliest deadline, if that is not after `now`.
    mutating func pop(at now: Instant) -> SlotHandle? {
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
        places[Int(heap[first].slot.index)] = Int32(first)
        places[Int(heap[second].slot.index)] = Int32(second)
    }
}
