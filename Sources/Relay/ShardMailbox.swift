import Crypto
import EventLoop
import Synchronization

/// What other threads ask of a shard.
///
/// Streams wait in a queue, which may be full. What the operator orders must not be lost and needs no queue: of
/// configurations and certificates the latest counts, and to drain or to stop can be said once only.
final class ShardMailbox: Sendable {
    /// A stream to be served from now on.
    enum Arrival: Sendable {
        /// One of the shard's own that another one has accepted (RFC 6062).
        case adopt(StreamParcel)
        /// One from a port that serves more than TURN.
        case welcome(StreamParcel)
    }

    /// What the operator has ordered since the last time.
    struct Orders: Sendable {
        var configuration: RelayConfiguration?
        var dtls: DTLSContext?
        var drains = false
        var stops = false
    }

    private let arrivals: Mailbox<Arrival>
    private let orders = Mutex(Orders())

    /// Makes a mailbox for at most `limit` streams.
    ///
    /// - Throws: If the process has no descriptor left.
    init(limit: Int) throws(SystemError) { arrivals = try Mailbox(limit: limit) }

    /// Readable while something waits.
    var descriptor: Int32 { arrivals.descriptor }

    /// Adds a stream; returns `false`, and it is closed, if too many wait.
    func push(_ arrival: Arrival) -> Bool { arrivals.push(arrival) }

    /// Adds to the orders; it cannot fail.
    func order(_ change: (inout Orders) -> Void) {
        orders.withLock { change(&$0) }
        arrivals.wake()
    }

    /// Takes all that waits.
    func receive(into batch: inout [Arrival]) -> Orders {
        // In this order: who orders something after the second line wakes the loop again.
        arrivals.receive(into: &batch)
        return orders.withLock { orders in
            defer { orders = Orders() }
            return orders
        }
    }
}
