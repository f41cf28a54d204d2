import Bytes
import CLinux
import Synchronization

/// A bounded queue from any thread to one loop, which its descriptor wakes.
///
/// The loop watches `descriptor` for reading and calls `receive` when it is ready. The lock is held for the time of a few
/// moves; memory of the queue grows to what was needed and is kept.
public final class Mailbox<Message: Sendable>: Sendable {
    private let queue: Mutex<RingBuffer<Message>>
    private let order = Atomic(0)
    private let event: Descriptor

    /// Makes a mailbox for at most `limit` messages.
    ///
    /// - Throws: If the process has no descriptor left.
    public init(limit: Int) throws(SystemError) {
        event = try Descriptor(floe_event_create(), "create a mailbox")
        queue = Mutex(RingBuffer(limit: limit))
    }

    /// Readable while messages wait.
    public var descriptor: Int32 { event.number }

    /// Adds a message; returns `false`, and adds nothing, if the mailbox is full.
    ///
    /// A message that may be lost leaves `places` free for those that must not. May be called by any thread.
    public func push(_ message: Message, leaving places: Int = 0) -> Bool {
        let outcome = withQueue { queue in
            let wasEmpty = queue.isEmpty
            return (queue.limit - queue.count > places && queue.append(message), wasEmpty)
        }
        // One wake-up for as many messages as come before the loop wakes.
        if outcome.0, outcome.1 { _ = floe_event_signal(event.number) }
        return outcome.0
    }

    /// Wakes the loop without a message, for what waits elsewhere.
    public func wake() { _ = floe_event_signal(event.number) }

    /// Moves waiting messages, oldest first, to the end of `batch`, at most `limit` of them.
    ///
    /// The descriptor stays readable if some are left, so one slow turn starves nobody and loses nothing.
    public func receive(into batch: inout [Message], limit: Int = .max) {
        _ = floe_event_clear(event.number)
        let isDrained = withQueue { queue in
            var left = limit
            while left > 0, let message = queue.popFirst() {
                batch.append(message)
                left -= 1
            }
            return queue.isEmpty
        }
        if !isDrained { _ = floe_event_signal(event.number) }
    }

    /// The thread sanitizer cannot look into the library's lock: `order` shows it what the lock orders, for a move each.
    private func withQueue<Result>(_ body: (inout RingBuffer<Message>) -> Result) -> Result {
        queue.withLock { queue in
            _ = order.load(ordering: .acquiring)
            let result = body(&queue)
            order.store(0, ordering: .releasing)
            return result
        }
    }
}
