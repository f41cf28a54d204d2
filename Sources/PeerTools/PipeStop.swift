public import EventLoop

/// Ends a `PipePump` from another thread, before everything has gone: the other end is told.
public final class PipeStop: Sendable {
    private let mailbox: Mailbox<Bool>

    /// Makes one, for one pump.
    ///
    /// - Throws: If the process has no descriptor left.
    public init() throws(SystemError) { mailbox = try Mailbox(limit: 1) }

    /// Asks the pump to end.
    public func stop() { _ = mailbox.push(true) }

    /// Readable once it was asked for, until `take`.
    var descriptor: Int32 { mailbox.descriptor }

    /// Whether it was asked for since the last call.
    func take() -> Bool {
        var asked: [Bool] = []
        mailbox.receive(into: &asked)
        return !asked.isEmpty
    }
}
