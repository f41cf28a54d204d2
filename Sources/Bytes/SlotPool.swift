/// Names an element of a `SlotPool`: an index and a generation, so that a stale handle finds nothing.
public struct SlotHandle: Hashable, Sendable {
    /// Where in the pool, from 0.
    public let index: UInt32
    /// How often that place has been given out.
    public let generation: UInt32

    /// Makes a handle from its parts, as found in `bits`.
    @inlinable
    public init(index: UInt32, generation: UInt32) {
        self.index = index
        self.generation = generation
    }

    /// Makes the handle whose `bits` these are.
    @inlinable
    public init(bits: UInt64) {
        self.init(index: UInt32(truncatingIfNeeded: bits), generation: UInt32(truncatingIfNeeded: bits &>> 32))
    }

    /// The handle as one integer, for timers and kernel tokens.
    @inlinable
    public var bits: UInt64 { UInt64(generation) &<< 32 | UInt64(index) }
}

/// A bounded table of elements with stable handles; freed places are used again.
@safe
public struct SlotPool<Element: ~Copyable>: ~Copyable {
    // The pool owns `elements`; place `i` is initialized exactly while `generations[i]` is odd.
    @usableFromInline var elements: UnsafeMutableBufferPointer<Element>
    @usableFromInline var generations: [UInt32] = []
    private var free: [UInt32] = []

    /// How many elements the pool may hold.
    public let limit: Int
    /// How many elements it holds.
    public private(set) var count = 0

    /// Makes an empty pool that refuses to hold more than `limit` elements; memory grows as it fills.
    public init(limit: Int) {
        self.limit = limit
        unsafe elements = .init(start: nil, count: 0)
    }

    deinit {
        for index in generations.indices where generations[index] & 1 == 1 {
            unsafe elements.deinitializeElement(at: index)
        }
        unsafe elements.deallocate()
    }

    /// Puts an element into the pool; returns `nil`, and drops the element, if the pool is full.
    public mutating func insert(_ element: consuming Element) -> SlotHandle? {
        guard count < limit else { return nil }
        count += 1
        let index: Int
        if let reused = free.popLast() {
            index = Int(reused)
        } else {
            index = generations.count
            if unsafe index == elements.count { grow() }
            generations.append(0)
        }
        unsafe elements.initializeElement(at: index, to: element)
        generations[index] &+= 1
        return SlotHandle(index: UInt32(index), generation: generations[index])
    }

    /// Takes an element out of the pool; its handle finds nothing from then on.
    public mutating func remove(_ handle: SlotHandle) -> Element? {
        guard contains(handle) else { return nil }
        let index = Int(handle.index)
        count -= 1
        generations[index] &+= 1
        free.append(handle.index)
        return unsafe elements.moveElement(from: index)
    }

    /// Whether `handle` names an element.
    @inlinable
    public func contains(_ handle: SlotHandle) -> Bool {
        let index = Int(handle.index)
        return index < generations.count && handle.generation & 1 == 1 && generations[index] == handle.generation
    }

    /// Reads and changes an element in place; returns `nil` without calling `body` if the handle is stale.
    @inlinable
    public mutating func update<Result: ~Copyable>(
        _ handle: SlotHandle,
        _ body: (inout Element) -> Result
    ) -> Result? {
        guard contains(handle) else { return nil }
        return unsafe body(&elements[Int(handle.index)])
    }

    /// Reads an element in place; returns `nil` without calling `body` if the handle is stale.
    @inlinable
    public func read<Result: ~Copyable>(_ handle: SlotHandle, _ body: (borrowing Element) -> Result) -> Result? {
        guard contains(handle) else { return nil }
        return unsafe body(elements[Int(handle.index)])
    }

    /// The handles of all elements, in the order of their places; allocates.
    public var handles: [SlotHandle] {
        let generations = generations
        return generations.indices.filter { generations[$0] & 1 == 1 }
            .map { SlotHandle(index: UInt32($0), generation: generations[$0]) }
    }

    private mutating func grow() {
        let larger = unsafe UnsafeMutableBufferPointer<Element>.allocate(capacity: max(16, elements.count * 2))
        // Initialized elements move to the new memory; the old memory is then raw and given back.
        for index in generations.indices where generations[index] & 1 == 1 {
            unsafe larger.initializeElement(at: index, to: elements.moveElement(from: index))
        }
        unsafe elements.deallocate()
        unsafe elements = larger
    }
}
