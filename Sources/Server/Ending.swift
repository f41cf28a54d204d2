import EventLoop
import NetTypes

/// The end of a server: what was asked for, but never later than the operator is willing to wait.
enum Ending {
    /// How it went.
    enum Outcome: Sendable {
        /// Everything was ended in order.
        case complete
        /// The operator asked again: no more waiting.
        case interrupted
        /// It took too long.
        case late
    }

    /// How long all of it may take.
    static let time = TimeSpan.seconds(5)

    /// Runs `stop` on a thread of its own and waits for its end, for `isInterrupted` or for the time to be over.
    ///
    /// `poller` wakes for whatever makes `isInterrupted` true. After another outcome than `complete` the thread still
    /// runs: the process has to end without further ado.
    ///
    /// - Throws: If the system has no thread or descriptor left.
    static func run(
        within time: TimeSpan = time,
        _ poller: borrowing Poller,
        isInterrupted: () -> Bool,
        stop: @escaping @Sendable () -> Void
    ) throws(SystemError) -> Outcome {
        let deadline = MonotonicClock.now() + time
        let ended = try Mailbox<Bool>(limit: 1)
        try poller.add(ended.descriptor, token: .max, interest: .read)
        let thread = try LoopThread(name: "floe-stop") {
            stop()
            _ = ended.push(true)
        }
        var events = PollEvents(capacity: 4)
        var messages: [Bool] = []
        while true {
            try poller.wait(until: deadline, into: &events)
            ended.receive(into: &messages)
            if !messages.isEmpty {
                thread.join()
                return .complete
            }
            if isInterrupted() { return .interrupted }
            if MonotonicClock.now() >= deadline { return .late }
        }
    }
}
