import Diagnostics
import EventLoop
import NetTypes
import Relay
import WebService

/// What signals make of a server: it is reloaded, it drains, it ends.
///
/// While it drains nobody new is taken, and the allocations that exist live on.
struct Drain {
    /// What is to be done about a signal.
    enum Action: Equatable {
        /// Nothing.
        case none
        /// Read the configuration again.
        case reload
        /// Take nobody new from now on.
        case begin
        /// End.
        case end
    }

    /// Why the drain is over.
    enum End: Equatable {
        /// The last allocation has ended.
        case drained
        /// The time that was granted is over, and there are allocations.
        case late
    }

    /// How long SIGTERM lets allocations live on.
    let time: TimeSpan
    private(set) var isUnderWay = false
    /// When it is over at the latest; `nil` for no end but that of the last allocation.
    private(set) var deadline: Instant?

    init(time: TimeSpan) { self.time = time }

    /// Takes a signal.
    ///
    /// SIGUSR1 drains without a limit of time, SIGTERM within `time`; a second one, and SIGINT always, is the end.
    mutating func obey(_ signal: ControlSignal, at now: Instant) -> Action {
        switch signal {
        case .hangUp: return .reload
        case .drain where isUnderWay: return .none
        case .drain:
            isUnderWay = true
            return .begin
        case .terminate where !isUnderWay && time > .zero:
            isUnderWay = true
            deadline = now + time
            return .begin
        case .terminate, .interrupt: return .end
        }
    }

    /// When to ask again whether it is over; `nil` while nothing is drained.
    func nextLook(after now: Instant) -> Instant? {
        guard isUnderWay else { return nil }
        return min(now + .milliseconds(250), deadline ?? .distantFuture)
    }

    /// Whether the server has to end now, and why.
    func end(isEmpty: Bool, at now: Instant) -> End? {
        guard isUnderWay else { return nil }
        if isEmpty { return .drained }
        return deadline.map { $0 <= now } == true ? .late : nil
    }
}

extension FloeServer {
    /// Takes nobody new from now on: Allocate gets 508 or 300, `/healthz` 503.
    ///
    /// Everything else goes on.
    func drain(until deadline: Instant?, at now: Instant) {
        let allocations = LogValue.number(relay.snapshot.allocations)
        if let deadline {
            let seconds = LogValue.number(Int((deadline - now).seconds))
            logger.info("Draining: no new allocations.", ["allocations": allocations, "drain.seconds": seconds])
        } else {
            logger.info("Draining: no new allocations.", ["allocations": allocations])
        }
        relay.drain()
        web.drain()
    }

    /// Says in the log why the drain is over.
    func report(_ end: Drain.End) {
        switch end {
        case .drained: logger.info("Drained: the last allocation has ended.")
        case .late:
            let allocations = LogValue.number(relay.snapshot.allocations)
            logger.warning("The time to drain is over.", ["allocations": allocations])
        }
    }
}
