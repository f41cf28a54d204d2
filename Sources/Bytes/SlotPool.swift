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
///
/// Elements stand in chunks of 256, which are added one by one: a pool of thousands takes little more memory than its
/// elements, and none of them moves when it grows.
@safe
public struct SlotPool<Element: ~Copyable>: ~Copyable {
    // The pool owns the chunks and their list; place `i`, below `capacity`, is initialized exactly while `generations[i]`
    // is odd. The first chunk alone may be smaller than 256, and then is all there is.
    @usableFromInline var chunks: UnsafeMutableBufferPointer<UnsafeMutablePointer<Element>>
    @usableFromInline var chunkCount = 0
    @usableFromInline var capacity = 0
    @usableFromInline var generations: [UInt32] = []
    @usableFromInline var free: [UInt32] = []
    @usableFromInline var elementCount = 0

    /// How many elements the pool may hold.
    public let limit: Int

    /// How many elements it holds.
    @inlinable public var count: Int { elementCount }

    /// Makes an empty pool that refuses to hold more than `limit` elements; memory grows as it fills.
    public init(limit: Int) {
        self.limit = limit
        unsafe chunks = .init(start: nil, count: 0)
    }

    deinit {
        for index in generations.indices where generations[index] & 1 == 1 {
            unsafe place(index).deinitialize(count: 1)
        }
        for index in 0..<chunkCount { unsafe chunks[index].deallocate() }
        unsafe chunks.deallocate()
    }

    /// Where an index below `capacity` stands.
    @inlinable
    @inline(__always)
    func place(_ index: Int) -> UnsafeMutablePointer<Element> {
        // There are at least `capacity / 256` chunks, rounded up.
        unsafe chunks.baseAddress.unsafelyUnwrapped[index &>> 8] + (index & 255)
    }

    /// Puts an element into the pool; returns `nil`, and drops the element, if the pool is full.
    @inlinable
    public mutating func insert(_ element: consuming Element) -> SlotHandle? {
        guard elementCount < limit else { return nil }
        elementCount += 1
        let index: Int
        if let reused = free.popLast() {
            index = Int(reused)
        } else {
            index = generations.count
            if index == capacity { grow() }
            generations.append(0)
        }
        unsafe place(index).initialize(to: element)
        generations[index] &+= 1
        return SlotHandle(index: UInt32(index), generation: generations[index])
    }

    /// Takes an element out of the pool; its handle finds nothing from then on.
    @inlinable
    public mutating func remove(_ handle: SlotHandle) -> Element? {
        guard contains(handle) else { return nil }
        let index = Int(handle.index)
        elementCount -= 1
        generations[index] &+= 1
        free.append(handle.index)
        return unsafe place(index).move()
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
        return unsafe body(&place(Int(handle.index)).pointee)
    }

    /// Reads an element in place; returns `nil` without calling `body` if the handle is stale.
    @inlinable
    public func read<Result: ~Copyable>(_ handle: SlotHandle, _ body: (borrowing Element) -> Result) -> Result? {
        guard contains(handle) else { return nil }
        return unsafe body(place(Int(handle.index)).pointee)
    }

    /// The handles of all elements, in the order of their places; allocates.
    public var handles: [SlotHandle] {
        let generations = generations
        return generations.indices.filter { generations[$0] & 1 == 1 }
            .map { SlotHandle(index: UInt32($0), generation: generations[$0]) }
    }

    @usableFromInline
    mutating func grow() {
        guard capacity < 256 else { return addChunk(of: 256) }
        let isFirst = chunkCount == 0
        let larger = max(16, capacity * 2)
        guard !isFirst else { return addChunk(of: larger) }
        let old = unsafe chunks[0]
        let new = UnsafeMutablePointer<Element>.allocate(capacity: larger)
        // A pool grows when every place is taken or was: initialized elements move, and the old memory is given back.
        for index in generations.indices where generations[index] & 1 == 1 {
            unsafe (new + index).initialize(to: (old + index).move())
        }
        unsafe old.deallocate()
        unsafe chunks[0] = new
        capacity = larger
    }

    private mutating func addChunk(of count: Int) {
        if unsafe chunkCount == chunks.count {
            let larger = unsafe UnsafeMutableBufferPointer<UnsafeMutablePointer<Element>>
                .allocate(capacity: max(1, chunks.count * 2))
            for index in 0..<chunkCount { unsafe larger.initializeElement(at: index, to: chunks[index]) }
            unsafe chunks.deallocate()
            unsafe chunks = larger
        }
        unsafe chunks.initializeElement(at: chunkCount, to: .allocate(capacity: count))
        chunkCount += 1
        capacity += count
    }
}
