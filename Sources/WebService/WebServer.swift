import Bytes
import Diagnostics
import EventLoop
import HTTP
import NetTypes
import Signaling
import Store
import Transport

/// The control plane's loop: all HTTP and WebSocket connections, the signaling engine and the store.
///
/// One thread owns it. It may be slow; the relay never waits for it.
struct WebServer: ~Copyable {
    /// The kinds of descriptor that the poller watches.
    enum Kind: UInt8 {
        case listener
        case connection
        case mailbox
        case lobby
    }

    struct Listener: ~Copyable {
        var socket: TCPListener
        let isTLS: Bool
    }

    let configuration: WebConfiguration
    var router: WebRouter
    let logger: Logger
    let mailbox: Mailbox<WebCommand>
    let externalMetrics: @Sendable (inout MetricsText) -> Void
    var signaling: SignalingEngine
    let store: Database
    let poller: Poller
    var events = PollEvents(capacity: 256)
    var listeners = SlotPool<Listener>(limit: 64)
    /// Connections that have not said anything yet.
    var lobby: StreamLobby
    var connections: SlotPool<WebConnection>
    var deadlines = DeadlineQueue<SlotHandle>()
    var connectionsByPrefix: [IPAddress: Int] = [:]
    var unread: [SlotHandle] = []
    /// What waits for clients to read, all together.
    var queuedBytes = 0
    var input: [UInt8] = []
    var output: [UInt8] = []
    var sessionChanges: [SessionChange] = []
    var statistics = WebStatistics()
    var stopsAt: Instant?

    init(
        _ configuration: WebConfiguration,
        store: consuming Database,
        mailbox: Mailbox<WebCommand>,
        poller: consuming Poller,
        logger: Logger,
        metrics: @escaping @Sendable (inout MetricsText) -> Void
    ) {
        self.configuration = configuration
        router = WebRouter(policy: configuration.policy, assets: PageAssets())
        self.logger = logger
        self.mailbox = mailbox
        externalMetrics = metrics
        self.store = store
        self.poller = poller
        connections = SlotPool(limit: configuration.connections)
        var halfOpen = configuration.halfOpen
        halfOpen.time = configuration.handshakeTime
        lobby = StreamLobby(
            halfOpen,
            kind: Kind.lobby.rawValue,
            outputLimit: 512 * 1024,
            answerWithoutTLS: Array(Self.answerWithoutTLS.utf8),
            at: MonotonicClock.now()
        )
        signaling = SignalingEngine(
            limits: configuration.signaling,
            iceServers: configuration.policy.minter,
            unixSeconds: WallClock.unixSeconds(),
            at: MonotonicClock.now()
        )
    }

    /// Opens the listeners and takes up the sessions of an earlier process.
    ///
    /// - Throws: `SocketError` if an address cannot be used, `SystemError` for lack of descriptors, `StoreError`.
    mutating func open() throws {
        try poller.add(mailbox.descriptor, token: Self.token(.mailbox), interest: .read)
        for listener in configuration.listeners {
            let socket = try TCPListener(boundTo: listener.address)
            let descriptor = socket.descriptor
            guard let handle = listeners.insert(Listener(socket: socket, isTLS: listener.isTLS)) else { continue }
            try poller.add(descriptor, token: Self.token(.listener, handle), interest: .read)
        }
        try restoreSessions(at: MonotonicClock.now())
    }

    static func token(_ kind: Kind, _ handle: SlotHandle = SlotHandle(index: 0, generation: 0)) -> UInt64 {
        PollToken(kind.rawValue, handle).bits
    }

    private static var signOfLifePeriod: TimeSpan { .seconds(60) }

    /// Runs until a command says stop.
    mutating func run() {
        var now = MonotonicClock.now()
        var nextClock = Instant.zero
        var nextSignOfLife = now + Self.signOfLifePeriod
        while !hasStopped(at: now) {
            let timers = [signaling.nextTimeout, deadlines.earliest, lobby.nextTimeout, nextClock, stopsAt]
                .compactMap { $0 }.min()
            do {
                try poller.wait(until: unread.isEmpty ? timers : now, into: &events)
            } catch {
                logger.error("The web service cannot wait for requests and stops.", ["error": .text("\(error)")])
                return
            }
            now = MonotonicClock.now()
            statistics.turns &+= 1
            if now >= nextClock {
                signaling.setWallClock(unixSeconds: WallClock.unixSeconds(), at: now)
                nextClock = now + .seconds(5)
                if now >= nextSignOfLife {
                    storeSignOfLife()
                    nextSignOfLife = now + Self.signOfLifePeriod
                }
            }
            let again = unread
            unread = []
            for index in events.indices { handle(events[index], at: now) }
            for handle in again { serve(handle, at: now) }
            handleTimeouts(at: now)
            drainSignaling(at: now)
        }
    }

    private mutating func handle(_ event: PollEvent, at now: Instant) {
        let token = PollToken(bits: event.token)
        switch Kind(rawValue: token.kind) {
        case .listener: accept(token.handle, at: now)
        case .connection:
            if event.isBroken { hangUp(token.handle, at: now) }
            if event.isReadable { serve(token.handle, at: now) } else { transmit(token.handle, at: now) }
        case .mailbox: obey(at: now)
        case .lobby: serveLobby(token.handle, at: now)
        case nil: break
        }
    }

    mutating func handleTimeouts(at now: Instant) {
        if let due = signaling.nextTimeout, due <= now { signaling.handleTimeout(at: now) }
        lobby.handleTimeout(at: now)
        while let handle = deadlines.pop(at: now) { handleTimeout(of: handle, at: now) }
    }

    private mutating func obey(at now: Instant) {
        var commands: [WebCommand] = []
        mailbox.receive(into: &commands)
        for command in commands {
            switch command {
            case .reload(let policy):
                router.policy = policy
                signaling.iceServers = policy.minter
            case .drain: router.isDraining = true
            case .stop: stop(at: now)
            }
        }
    }

    /// Stops listening and ends all connections, WebSockets with 1001, so that their clients resume.
    private mutating func stop(at now: Instant) {
        stopsAt = now + configuration.stopTime
        for handle in listeners.handles { _ = listeners.remove(handle) }
        lobby.removeAll()
        signaling.shutdown(at: now)
        drainSignaling(at: now)
        for handle in connections.handles {
            _ = connections.update(handle) { connection in connection.stage.withHTTP { $0.shutDown() } }
            transmit(handle, at: now)
        }
    }

    private func hasStopped(at now: Instant) -> Bool {
        guard let stopsAt else { return false }
        return now >= stopsAt || connections.count == 0
    }
}

/// What other threads ask of the web service.
enum WebCommand: Sendable {
    case reload(WebPolicy)
    case drain
    case stop
}
