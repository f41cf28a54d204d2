import Connectivity
import ICE
import NetTypes
import Synchronization

/// What the owner of a connection asks of its loop.
enum ConnectionCommand: Sendable {
    case gather
    case describe(ICEDescription)
    case add(Candidate)
    case remove(Candidate)
    case endOfCandidates
    case restart(CheckedContinuation<ICEDescription?, Never>)
    case report(CheckedContinuation<ICEReport?, Never>)
    case close

    /// Answers whoever waits when there is no session any more.
    func abandon(last report: ICEReport?) {
        switch self {
        case .restart(let waiter): waiter.resume(returning: nil)
        case .report(let waiter): waiter.resume(returning: report)
        case .gather, .describe, .add, .remove, .endOfCandidates, .close: break
        }
    }
}

/// What the owner's threads and the loop share of one connection.
final class ConnectionCore: Sendable {
    struct Inbox {
        var commands: [ConnectionCommand] = []
        var datagrams: [[UInt8]] = []
        var byteCount = 0
        /// Whether the loop knows that something is here.
        var isSignalled = false
        /// Whether the session is no more.
        var isOver = false
        var lastReport: ICEReport?
        var closers: [CheckedContinuation<Void, Never>] = []
        var refused: UInt64 = 0
    }

    let inbox = Mutex(Inbox())
    let candidates: WaitingQueue<ICECandidateUpdate>
    let states: WaitingQueue<ICEConnectionState>
    let received: WaitingQueue<[UInt8]>
    let limits: ICEConnectionLimits

    init(_ limits: ICEConnectionLimits) {
        self.limits = limits
        candidates = WaitingQueue(limit: limits.candidates)
        states = WaitingQueue(limit: limits.states)
        received = WaitingQueue(limit: limits.receivedDatagrams)
    }

    /// Adds a command; returns whether the loop must be told.
    func add(_ command: ConnectionCommand) -> Bool {
        let (isOver, mustSignal, report) = inbox.withLock { inbox -> (Bool, Bool, ICEReport?) in
            guard !inbox.isOver else { return (true, false, inbox.lastReport) }
            inbox.commands.append(command)
            defer { inbox.isSignalled = true }
            return (false, !inbox.isSignalled, nil)
        }
        if isOver { command.abandon(last: report) }
        return mustSignal
    }

    /// Adds datagrams as far as there is room; returns how many were taken and whether the loop must be told.
    func add(_ datagrams: [[UInt8]]) -> (taken: Int, mustSignal: Bool) {
        inbox.withLock { inbox in
            guard !inbox.isOver else { return (0, false) }
            var taken = 0
            for datagram in datagrams {
                guard inbox.byteCount + datagram.count <= limits.waitingBytes else { break }
                inbox.byteCount += datagram.count
                inbox.datagrams.append(datagram)
                taken += 1
            }
            inbox.refused &+= UInt64(datagrams.count - taken)
            guard taken > 0 else { return (0, false) }
            defer { inbox.isSignalled = true }
            return (taken, !inbox.isSignalled)
        }
    }

    /// Takes all that waits for the loop.
    func take() -> ([ConnectionCommand], [[UInt8]]) {
        inbox.withLock { inbox in
            defer {
                inbox.commands = []
                inbox.datagrams = []
                inbox.byteCount = 0
                inbox.isSignalled = false
            }
            return (inbox.commands, inbox.datagrams)
        }
    }

    /// Ends everything: the session is no more.
    func finish(last report: ICEReport?) {
        let (commands, closers) = inbox.withLock { inbox in
            defer {
                inbox.isOver = true
                inbox.lastReport = report
                inbox.commands = []
                inbox.datagrams = []
                inbox.closers = []
            }
            return (inbox.commands, inbox.closers)
        }
        for command in commands { command.abandon(last: report) }
        for closer in closers { closer.resume() }
        candidates.finish()
        states.finish()
        received.finish()
    }

    /// Waits until `finish`.
    func waitForEnd() async {
        await withCheckedContinuation { continuation in
            let isOver = inbox.withLock { inbox in
                if !inbox.isOver { inbox.closers.append(continuation) }
                return inbox.isOver
            }
            if isOver { continuation.resume() }
        }
    }
}
