/// Bytes that a stream's kernel buffer had no room for, first in, first out.
///
/// Memory exists while bytes wait, and up to `keptBytes` of it after: an idle connection costs nothing worth counting.
@safe
struct OutputQueue: ~Copyable {
    private static let keptBytes = 4096

    // Owned; nil while nothing was ever queued. The bytes from `start` up to `end` are initialized.
    private var storage = unsafe UnsafeMutableBufferPointer<UInt8>(start: nil, count: 0)
    private var start = 0
    private var end = 0

    deinit { unsafe storage.deallocate() }

    /// How many bytes wait.
    var count: Int { end - start }

    /// The bytes that wait, oldest first.
    var bytes: Span<UInt8> {
        @_lifetime(borrow self)
        borrowing get {
            // Initialized from `start` up to `end`; the memory lives as long as the queue is borrowed.
            let waiting = unsafe UnsafeBufferPointer(rebasing: storage[start..<end])
            return unsafe _overrideLifetime(Span(_unsafeElements: waiting), borrowing: self)
        }
    }

    mutating func append(_ bytes: Span<UInt8>) {
        if unsafe bytes.count > storage.count - end { makeRoom(for: bytes.count) }
        // There is room for the bytes behind `end`, as the line above has seen to.
        unsafe bytes.withUnsafeBufferPointer { source in
            _ = unsafe UnsafeMutableBufferPointer(rebasing: storage[end...]).initialize(fromContentsOf: source)
        }
        end += bytes.count
    }

    /// Forgets the oldest bytes, which must be there.
    mutating func removeFirst(_ count: Int) {
        precondition(count >= 0 && count <= self.count, "more bytes than wait")
        start += count
        guard start == end else { return }
        start = 0
        end = 0
        if unsafe storage.count > Self.keptBytes { replaceStorage(capacity: 0) }
    }

    private mutating func makeRoom(for added: Int) {
        let needed = count + added
        // Moving the bytes to the front pays off if that frees at least as much as it moves.
        if unsafe needed <= storage.count, start >= count {
            _ = unsafe UnsafeMutableBufferPointer(rebasing: storage[..<count])
                .update(fromContentsOf: storage[start..<end])
            end = count
            start = 0
        } else {
            unsafe replaceStorage(capacity: max(Self.keptBytes, needed, storage.count * 2))
        }
    }

    /// Moves what waits to new memory, which must be large enough for it.
    private mutating func replaceStorage(capacity: Int) {
        var larger = unsafe UnsafeMutableBufferPointer<UInt8>(start: nil, count: 0)
        if capacity > 0 { unsafe larger = .allocate(capacity: capacity) }
        if count > 0 { _ = unsafe larger.initialize(fromContentsOf: storage[start..<end]) }
        unsafe storage.deallocate()
        unsafe storage = larger
        end = count
        start = 0
    }
}

// The queue owns its memory alone, so it moves between threads with it.
extension OutputQueue: @unchecked Sendable {}
