import Bytes
import Connectivity
import EventLoop
import ICE
import NetTypes
import Transport

/// What the loop's thread does: waits, hands to sessions what has come, and does what they want.
///
/// Unchecked: made by one thread and handed to the loop's, which alone uses it from then on.
final class LoopRunner: @unchecked Sendable {
    enum TokenKind {
        static let mailbox: UInt8 = 0
        static let endpoint: UInt8 = 1
        static let changes: UInt8 = 2
        static let lookups: UInt8 = 3
        static let multicast: UInt8 = 4
        static let gateway: UInt8 = 5
        /// Of timers, as `endpoint` is.
        static let session: UInt8 = 6
    }

    /// How long a session that waits for the pacer is passed over, at most, if its turn does not come.
    static let pacedPatience = TimeSpan.milliseconds(50)
    /// How long the end may take when the loop is stopped.
    static let endPatience = TimeSpan.seconds(2)

    let options: ICELoopOptions
    let poller: Poller
    let mailbox: LoopMailbox
    let count: ConnectionCount
    private let changes: NetworkChanges?
    private var events = PollEvents(capacity: 256)
    var messages: [LoopMessage] = []
    var stopsAt: Instant?
    private var hasChanged = false
    /// Sessions that wait for the pacer, first come first served: waking all of them for each token would serve nobody.
    private var paced: [SlotHandle] = []
    private var pacedStart = 0

    var sessions: SlotPool<Driven>
    var sockets = SlotPool<Socket>(limit: 1 << 20)
    var incoming = DatagramReceiveBatch(capacity: 64, payloadCapacity: 9216)
    var outgoing = DatagramSendBatch(capacity: 512, copyBytes: 1 << 20)
    var pacer = CheckPacer()
    var interfaces: [Connectivity.NetworkInterface]
    var names: NameLookups?
    var multicast: MulticastNames?
    var gateways: [UInt32: Gateway] = [:]
    var lastGateway: UInt32 = 0
    /// Which session a datagram is for, where they share sockets, and those sockets by their addresses.
    let agents: SharedAgents?
    var shared: [SocketAddress: SharedEnd] = [:]
    var sharedListeners: [SocketAddress: SharedListener] = [:]
    /// Connections to those listeners that have not said yet whom they are for.
    var undecided = UndecidedStreams()
    var wheel: TimerWheel
    /// What sessions write into.
    var scratch: [UInt8] = []
    var lastBase: UInt32 = 0
    var now = MonotonicClock.now()

    init(
        _ options: ICELoopOptions,
        _ mailbox: LoopMailbox,
        _ count: ConnectionCount,
        _ agents: SharedAgents?
    ) throws(SystemError) {
        let poller = try Poller()
        let changes = try? NetworkChanges()
        try poller.add(mailbox.descriptor, token: PollToken(TokenKind.mailbox).bits, interest: .read)
        let watched = changes.descriptor
        if let watched { try poller.add(watched, token: PollToken(TokenKind.changes).bits, interest: .read) }
        self.poller = poller
        self.changes = changes
        self.options = options
        self.mailbox = mailbox
        self.count = count
        self.agents = agents
        sessions = SlotPool(limit: options.connections)
        wheel = TimerWheel(start: MonotonicClock.now())
        interfaces = HostInterfaces.list().filter { options.usesInterface($0.name) }
        scratch.reserveCapacity(ICESession.maximumMessageByteCount)
    }

    /// Drives until it is told to stop and all sessions have ended.
    func run() {
        while stopsAt == nil || sessions.count > 0 || gateways.values.contains(where: \.hasGranted) {
            do throws(SystemError) {
                try poller.wait(until: deadline, into: &events)
            } catch {
                // A mistake of this process, such as a closed descriptor: nothing can be driven any more.
                break
            }
            now = MonotonicClock.now()
            for index in events.indices { handle(events[index]) }
            if hasChanged { useInterfaces() }
            takeAnswers()
            while let token = wheel.popExpired(at: now) { wake(PollToken(bits: token)) }
            servePaced()
            processNames()
            processGateways()
            outgoing.flush()
            if let stopsAt, now >= stopsAt { break }
        }
        for handle in sessions.handles {
            if let driven = sessions.read(handle, { $0 }) { end(driven) }
        }
        // Whoever has come too late is not left waiting.
        mailbox.close()
        readMail()
    }

    private var deadline: Instant {
        var deadline = min(wheel.nextDeadline ?? .distantFuture, stopsAt ?? .distantFuture)
        deadline = min(deadline, servicesTimeout)
        if pacedStart < paced.count { deadline = min(deadline, pacer.next) }
        return deadline
    }

    private func handle(_ event: PollEvent) {
        let token = PollToken(bits: event.token)
        switch token.kind {
        case TokenKind.mailbox: readMail()
        case TokenKind.changes: hasChanged = changes.clear() || hasChanged
        // Taken below, as it must be when time has passed.
        case TokenKind.lookups: break
        case TokenKind.multicast: multicast?.receive(at: now)
        case TokenKind.gateway: gateways[token.handle.index]?.client.receive(at: now)
        default:
            guard let socket = sockets.read(token.handle, { $0 }) else { return }
            handle(event, socket)
        }
    }

    private func takeAnswers() {
        for answer in names?.process(at: now) ?? [] {
            guard let driven = sessions.read(answer.asker.session, { $0 }) else { continue }
            if answer.addresses.isEmpty {
                driven.session.failed(answer.asker.effect, .notFound, at: now)
            } else {
                driven.session.resolved(answer.asker.effect, answer.addresses, at: now)
            }
            drain(driven)
        }
    }

    private func useInterfaces() {
        hasChanged = false
        let present = HostInterfaces.list().filter { options.usesInterface($0.name) }
        guard present != interfaces else { return }
        interfaces = present
        multicast?.use(present, poller, at: now)
        closeUnusedShared()
        for handle in sessions.handles {
            guard let driven = sessions.read(handle, { $0 }) else { continue }
            driven.session.updateInterfaces(present, at: now)
            drain(driven)
        }
    }

    // MARK: Time

    private func wake(_ token: PollToken) {
        if token.kind == TokenKind.endpoint {
            switch sockets.read(token.handle, { $0 }) {
            case .secure(let end)?: handleTimeout(end)
            case .undecided(let stream)?: drop(stream, .silentStream)
            case .datagrams?, .listener?, .stream?, .shared?, .sharedListener?, nil: break
            }
            return
        }
        guard let driven = sessions.read(token.handle, { $0 }) else { return }
        driven.timer = nil
        driven.deadline = .distantFuture
        driven.session.handleTimeout(at: now)
        drain(driven)
    }

    /// Wakes those that wait for the pacer, until one has taken its token.
    private func servePaced() {
        let end = paced.count
        while pacedStart < end, pacer.next <= now {
            let handle = paced[pacedStart]
            pacedStart += 1
            guard let driven = sessions.read(handle, { $0 }) else { continue }
            driven.isPaced = false
            driven.session.handleTimeout(at: now)
            drain(driven)
        }
        guard pacedStart == paced.count || pacedStart > 1024 else { return }
        paced.removeFirst(pacedStart)
        pacedStart = 0
    }

    /// Sets a session's timer anew, or puts it into the row of those that wait for the pacer.
    func reschedule(_ driven: Driven) {
        guard let handle = driven.handle else { return }
        var next = driven.session.nextTimeout ?? .distantFuture
        if next > now, next == pacer.next {
            if !driven.isPaced {
                driven.isPaced = true
                paced.append(handle)
            }
            next = next + Self.pacedPatience
        }
        guard next != driven.deadline else { return }
        if let timer = driven.timer { wheel.cancel(timer) }
        driven.deadline = next
        driven.timer =
            next == .distantFuture ? nil : wheel.schedule(PollToken(TokenKind.session, handle).bits, at: next)
    }

    // MARK: The end

    /// Forgets a session with all that it has.
    func end(_ driven: Driven) {
        guard let handle = driven.handle else { return }
        driven.handle = nil
        if let timer = driven.timer { wheel.cancel(timer) }
        outgoing.flush()
        for endpoint in driven.bases.values { forget(endpoint, driven) }
        driven.bases = [:]
        for handle in driven.pending.values { dropPending(handle) }
        driven.pending = [:]
        agents?.remove(driven.tag)
        multicast?.withdraw(driven.names)
        driven.core.received.push(driven.arrived)
        driven.arrived = []
        _ = sessions.remove(handle)
        count.end()
        driven.core.finish(last: driven.report)
    }
}

/// What is asked of the watcher of interfaces where there may be none: optional chaining would consume it.
extension NetworkChanges? {
    fileprivate var descriptor: Int32? {
        switch self {
        case .some(let changes): changes.descriptor
        case .none: nil
        }
    }

    fileprivate func clear() -> Bool {
        switch self {
        case .some(let changes): changes.clear()
        case .none: false
        }
    }
}
