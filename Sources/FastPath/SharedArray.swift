import CLinux
import EventLoop

/// An array of the kernel's that is in this process's memory as well.
@safe
struct SharedArray<Element: BitwiseCopyable>: ~Copyable, @unchecked Sendable {
    /// The array, for the program.
    let map: Descriptor
    private let memory: UnsafeMutableRawPointer
    private let count: UInt32

    /// Makes an array of elements that are all 0.
    ///
    /// - Throws: `SystemError` with these words if the kernel refuses.
    init(of count: UInt32, _ operation: String) throws(SystemError) {
        let map = try Descriptor(
            floe_bpf_create_array(UInt32(MemoryLayout<Element>.size), count),
            operation
        )
        var memory: UnsafeMutableRawPointer?
        // Written during the call.
        let result = unsafe floe_bpf_map(map.number, Int(count) * MemoryLayout<Element>.stride, &memory)
        guard result == 0, let memory = unsafe memory else { throw SystemError(operation, number: -result) }
        self.map = map
        unsafe self.memory = memory
        self.count = count
    }

    // Nothing else has the memory.
    deinit { unsafe floe_bpf_unmap(memory, Int(count) * MemoryLayout<Element>.stride) }

    /// An element's memory, which lives as long as the array: for functions whose reads and writes are atomic.
    subscript(index: UInt32) -> UnsafeMutablePointer<Element> {
        precondition(index < count, "indices come from this array's owner alone")
        return unsafe memory.assumingMemoryBound(to: Element.self) + Int(index)
    }
}
