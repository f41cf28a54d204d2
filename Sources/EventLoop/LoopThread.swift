import CLinux

/// A thread of the operating system that runs one loop.
///
/// `join` it before the end of its owner's life; a thread that is not joined runs on by itself.
public struct LoopThread: ~Copyable, Sendable {
    private let thread: UInt64

    /// Starts a thread that runs `body` and ends with it.
    ///
    /// `name` is what tools such as `top -H` show, cut to 15 bytes. `processor` pins the thread to one of
    /// `availableProcessors`.
    ///
    /// - Throws: If the system has no room for a thread, or the processor is not available.
    public init(
        name: String,
        processor: Int? = nil,
        _ body: @escaping @Sendable () -> Void
    ) throws(SystemError) {
        let context = unsafe Unmanaged.passRetained(ThreadBody(body))
        var thread: UInt64 = 0
        // The thread takes over the retained body; if no thread starts, it is given back here.
        let result = unsafe name.withCString { name in
            unsafe floe_thread_start(&thread, name, Int32(clamping: processor ?? -1), runThread, context.toOpaque())
        }
        guard result == 0 else {
            unsafe context.release()
            throw SystemError("start the thread \"\(name)\"", number: -result)
        }
        self.thread = thread
    }

    /// Waits until the thread has ended.
    public consuming func join() {
        _ = floe_thread_join(thread)
        discard self
    }

    deinit { _ = floe_thread_detach(thread) }

    /// The numbers of the processors that this process may use.
    public static var availableProcessors: [Int] {
        // The C function fills at most the capacity and returns how many there are.
        unsafe [Int32](unsafeUninitializedCapacity: 1024) { buffer, count in
            guard let start = buffer.baseAddress else { return }
            count = Int(max(0, unsafe min(floe_thread_processors(start, 1024), 1024)))
        }.map { Int($0) }
    }

    /// The name of the calling thread.
    public static var currentName: String {
        // The C function writes at most 16 bytes, the last one a zero.
        let characters = unsafe [CChar](unsafeUninitializedCapacity: 16) { buffer, count in
            guard let start = buffer.baseAddress, unsafe floe_thread_name(start) == 0 else { return }
            count = unsafe buffer.firstIndex(of: 0) ?? 0
        }
        return String(decoding: characters.lazy.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}

private final class ThreadBody: Sendable {
    let run: @Sendable () -> Void
    init(_ run: @escaping @Sendable () -> Void) { self.run = run }
}

private func runThread(_ context: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
    guard let context = unsafe context else { return nil }
    // Retained by the initializer for this call alone.
    unsafe Unmanaged<ThreadBody>.fromOpaque(context).takeRetainedValue().run()
    return nil
}
