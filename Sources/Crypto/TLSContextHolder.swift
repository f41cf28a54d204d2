import Synchronization

/// The context of new TLS sessions, which may be replaced while they are made.
///
/// Every session is made with the context that `current` is at that moment and keeps it; nobody ever sees half of a change.
public final class TLSContextHolder: Sendable {
    private let context: Mutex<TLSContext>

    /// Holds a context.
    public init(_ context: TLSContext) { self.context = Mutex(context) }

    /// The context for a session that begins now.
    public var current: TLSContext { context.withLock { $0 } }

    /// Uses another context for sessions that begin from now on; those that exist go on with theirs.
    public func replace(_ context: TLSContext) { self.context.withLock { $0 = context } }
}
