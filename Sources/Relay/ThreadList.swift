import EventLoop
import Synchronization

/// Threads that are joined together.
final class ThreadList: Sendable {
    private let threads = Mutex<[JoinableThread]>([])

    func start(name: String, processor: Int?, _ body: @escaping @Sendable () -> Void) throws(SystemError) {
        let thread = try JoinableThread(LoopThread(name: name, processor: processor, body))
        threads.withLock { $0.append(thread) }
    }

    func join() {
        let all = threads.withLock { threads in
            defer { threads = [] }
            return threads
        }
        for thread in all { thread.join() }
    }
}

/// A thread that can be kept in an array and is joined at most once.
private final class JoinableThread: Sendable {
    private let thread: Mutex<LoopThread?>

    init(_ thread: consuming sending LoopThread) { self.thread = Mutex(thread) }

    func join() { thread.withLock { $0.take() }?.join() }
}

/// Carries a shard into the thread that then owns it.
final class ShardBox: Sendable {
    private let shard: Mutex<RelayShard?>

    init(_ shard: consuming sending RelayShard) { self.shard = Mutex(shard) }

    /// Runs the shard, once, on the calling thread.
    func run() {
        guard var shard = shard.withLock({ $0.take() }) else { return }
        shard.run()
    }
}
