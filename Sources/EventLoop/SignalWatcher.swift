import CLinux

/// What the operator asks a server for with a signal.
public enum ControlSignal: Int32, Sendable, CaseIterable {
    /// SIGHUP: read the configuration again.
    case hangUp = 1
    /// SIGINT: stop, from a terminal.
    case interrupt = 2
    /// SIGUSR1: take nobody new, and stop when those who are there have gone.
    case drain = 10
    /// SIGTERM: stop, from a service manager.
    case terminate = 15
}

/// Turns signals into something that a poller can wait for.
///
/// Make it in the main thread before any other thread starts: threads inherit what is blocked. SIGPIPE is ignored from then
/// on, so that writing to a closed pipe is an error and not the end.
public struct SignalWatcher: ~Copyable {
    private let owned: Descriptor

    /// Blocks SIGTERM, SIGINT, SIGHUP and SIGUSR1 in this thread and those that it starts, and ignores SIGPIPE.
    ///
    /// With `leavesIgnored`, signals that are ignored stay so: whoever has started the process (`nohup`, or a script's `&`)
    /// wants it to outlive them.
    /// - Throws: If the process has no descriptor left.
    public init(leavesIgnored: Bool = false) throws(SystemError) {
        owned = try Descriptor(floe_signals_create(leavesIgnored ? 1 : 0), "watch for signals")
    }

    /// Readable while signals wait.
    public var descriptor: Int32 { owned.number }

    /// Takes the next signal that has arrived, or `nil`.
    public func next() -> ControlSignal? { ControlSignal(rawValue: floe_signals_next(owned.number)) }
}
