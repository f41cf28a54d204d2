import Bytes

/// Allocations that wait for something, in turn, each once.
struct AllocationQueue: ~Copyable {
    private var handles = RingBuffer<SlotHandle>(limit: .max)
    private var members: Set<SlotHandle> = []

    var count: Int { handles.count }
    var first: SlotHandle? { handles.first }

    /// Adds an allocation at the end, if it is not there yet.
    mutating func append(_ handle: SlotHandle) {
        if members.insert(handle).inserted { _ = handles.append(handle) }
    }

    mutating func popFirst() -> SlotHandle? {
        guard let handle = handles.popFirst() else { return nil }
        members.remove(handle)
        return handle
    }
}
