import Bytes
import Crypto
import Diagnostics
import EventLoop
import FastPath
import NetTypes
import SocketLookup
import Synchronization
import TURN
import TURNServer
import Transport

/// One thread of the relay with all that it owns, and nothing shared: sockets, engine, buffers, timers.
///
/// The loop: wait, read what is ready into the batch, hand each message to the engine, queue what comes out, flush once.
struct RelayShard: ~Copyable {
    /// The kinds of descriptor that the poller watches.
    enum Kind: UInt8 {
        case udpListener
        /// The listener for requests, beside the one for data.
        case requestListener
        /// The listener for Send indications.
        case sendListener
        case streamListener
        case stream
        case relay
        case mailbox
        case relayListener
        case peer
        case forwarded
        case lobby
        /// The poller itself, where a ring is waited for instead.
        case poller
        /// A socket that receives for all relays of an address.
        case receiver
        /// ICMP errors of all relays.
        case errors
    }

    struct StreamListener: ~Copyable {
        var socket: TCPListener
        let transport: TransportProtocol
    }

    let configuration: RelayConfiguration
    let streamLimits: StreamQueueLimits
    let logger: Logger
    let mailbox: ShardMailbox
    let report: RelayReport
    /// The mailboxes of all shards by their number, this one's included.
    let shards: [ShardMailbox]
    /// Those for datagrams of clients that have moved, likewise.
    let forwards: [Mailbox<ForwardedDatagram>]
    /// By what the kernel spreads clients over the threads.
    let steeringSeed: UInt64
    var engine: TURNServerEngine
    let poller: Poller
    var events = PollEvents(capacity: 256)
    var udpListeners: SlotPool<UDPSocket>
    var streamListeners: SlotPool<StreamListener>
    /// Listeners that are not looked at before the next report.
    var pausedListeners: [SlotHandle] = []
    /// Streams that have not said anything yet.
    var lobby: StreamLobby
    var streams: SlotPool<RelayStream>
    var associations: DTLSAssociations
    var relays: SlotPool<RelaySocket>
    /// What receives for all relays of an address, and reads their errors, where relays have no sockets to receive.
    var receivers: SlotPool<PortReceiver>
    var receiverHandles: [SlotHandle] = []
    var errorSockets: SlotPool<PortErrorSocket>
    var relayListeners: SlotPool<RelayListener>
    var peers: SlotPool<PeerStream>
    var peersByID: [PeerConnectionID: SlotHandle] = [:]
    var peerDeadlines = DeadlineQueue<SlotHandle>()
    /// The listeners' names, to find the one that answers a client without touching the pool.
    var udpRoutes: [UDPSocketHandle] = []
    var packets: DatagramReceiveBatch
    var sends: DatagramSendBatch
    /// Why there is no ring, if one was wanted.
    let ringRefusal: SystemError?
    /// What is added to the ring again before the next wait.
    var rearm = RingRearm()
    /// What the kernel relays for this shard.
    var fastFlows: FastFlows<FastPath>
    /// What a stream has brought, while it is worked on; and a response on its way out.
    var input: [UInt8] = []
    var response: [UInt8] = []
    /// Streams whose TLS holds bytes that no poller knows of.
    var unreadStreams: [SlotHandle] = []
    var dirtyStreams: [SlotHandle] = []
    var streamTimers = TimerWheel(start: MonotonicClock.now(), tick: .milliseconds(10))
    var streamsByPrefix: [IPAddress: Int] = [:]
    var acceptedStreams: [TransportProtocol: UInt64] = [:]
    var drops = DropCounters<RelayDrop>()
    /// What the kernel has dropped at relay sockets that are closed.
    var closedRelaysDrops: UInt64 = 0
    /// Refused credentials are logged so often and no more: whoever guesses them must not fill the disk.
    var refusalLog = TokenBucket(ratePerSecond: 10, burst: 100, at: .zero)
    /// How many were not logged since the last that was.
    var refusalsUnsaid = 0
    var nextReport = Instant.zero
    var stopsAt: Instant?

    /// Makes a shard that does not listen yet.
    init(
        _ configuration: RelayConfiguration,
        engine: consuming TURNServerEngine,
        poller: consuming Poller,
        mailbox: ShardMailbox,
        shards: [ShardMailbox] = [],
        forwards: [Mailbox<ForwardedDatagram>] = [],
        steeringSeed: UInt64 = 0,
        report: RelayReport,
        logger: Logger
    ) {
        self.configuration = configuration
        streamLimits = StreamQueueLimits(configuration)
        self.engine = engine
        self.mailbox = mailbox
        self.report = report
        self.shards = shards
        self.forwards = forwards
        self.steeringSeed = steeringSeed
        self.logger = logger
        associations = DTLSAssociations(configuration)
        // The kernel's way always does both.
        let isAlike = configuration.copiesTrafficClass && configuration.decrementsHopLimit
        fastFlows = FastFlows(isAlike ? configuration.fastPath : nil)
        self.poller = poller
        var refusal: SystemError?
        packets = Self.packets(configuration, &refusal)
        ringRefusal = refusal
        // Most of what a turn brings when datagrams come merged: a flush in between parts what could leave in one piece.
        sends = DatagramSendBatch(capacity: 1024, usesRing: packets.usesRing)
        var halfOpen = configuration.halfOpen
        halfOpen.time = configuration.firstMessageTime
        lobby = StreamLobby(
            halfOpen,
            kind: Kind.lobby.rawValue,
            outputLimit: configuration.streamQueueBytes * 2,
            at: MonotonicClock.now()
        )
        udpListeners = SlotPool(limit: 3 * Self.listenerLimit)
        streamListeners = SlotPool(limit: Self.listenerLimit)
        streams = SlotPool(limit: min(configuration.streams, 1 << 23))
        relays = SlotPool(limit: 1 << 23)
        receivers = SlotPool(limit: 1 << 16)
        errorSockets = SlotPool(limit: 2)
        relayListeners = SlotPool(limit: 1 << 23)
        peers = SlotPool(limit: min(configuration.server.limits.connections, 1 << 23))
        response.reserveCapacity(Self.responseBytes)
        input.reserveCapacity(StreamFraming.maximumFrameByteCount + Self.readBytes)
    }

    private static func packets(
        _ configuration: RelayConfiguration,
        _ refusal: inout SystemError?
    ) -> DatagramReceiveBatch {
        let merges = configuration.mergesDatagrams
        let mayUseRing = [.automatic, .ioUring].contains(configuration.datagramBackEnd)
        let gathering = configuration.gatheringTime
        guard mayUseRing else { return DatagramReceiveBatch(merging: merges, gathering: gathering) }
        do throws(SystemError) {
            return try DatagramReceiveBatch(ringOf: 1024, merging: merges, gathering: gathering)
        } catch {
            refusal = error
            return DatagramReceiveBatch(merging: merges, gathering: gathering)
        }
    }

    /// Opens the listeners.
    ///
    /// - Throws: `SocketError` if an address cannot be used, `SystemError` for lack of descriptors or of an io_uring that
    ///   the configuration insists on.
    mutating func open() throws {
        if let ringRefusal, configuration.datagramBackEnd == .ioUring { throw ringRefusal }
        if packets.usesRing { rearm.receiving.append(Self.token(.poller)) }
        try poller.add(mailbox.descriptor, token: Self.token(.mailbox), interest: .read)
        if engine.shard < forwards.count {
            try poller.add(forwards[engine.shard].descriptor, token: Self.token(.forwarded), interest: .read)
        }
        try openReceivers()
        for listener in configuration.listeners {
            if listener.transport.isStream { try openStreamListener(listener) } else { try openUDP(listener.address) }
        }
        excludeListeners()
    }

    /// How many addresses of a kind a shard listens at.
    private static let listenerLimit = 64
    private static var tooManyListeners: SystemError {
        SystemError("listen at more than \(listenerLimit) addresses", number: 7)
    }

    static let readBytes = 64 * 1024
    /// What a client's kernel buffer may hold unsent.
    static let unsentBytes = 16 * 1024

    static func token(_ kind: Kind, _ handle: SlotHandle = SlotHandle(index: 0, generation: 0)) -> UInt64 {
        PollToken(kind.rawValue, handle).bits
    }

    /// Opens three sockets: clients who send too much data, by whichever means, must not drown the requests of all.
    private mutating func openUDP(_ address: SocketAddress) throws {
        var options = UDPSocket.Options()
        options.reusesPort = true
        options.mergesReceived = configuration.mergesDatagrams
        options.reportsTrafficClass = configuration.copiesTrafficClass
        options.reportsHopLimit = configuration.decrementsHopLimit
        options.receiveBufferBytes = configuration.listenerBufferBytes
        options.sendBufferBytes = configuration.listenerBufferBytes
        let socket = try UDPSocket(boundTo: address, options: options)
        let name = socket.handle
        let isSteered = socket.steer(threads: max(1, configuration.threads), seed: steeringSeed)
        try watch(socket, .udpListener)
        udpRoutes.append(name)
        // Where the kernel does not tell them apart they share a socket.
        guard isSteered else { return }
        for kind in [Kind.requestListener, .sendListener] {
            try watch(try UDPSocket(boundTo: name.localAddress, options: options), kind)
        }
    }

    private mutating func watch(_ listener: consuming UDPSocket, _ kind: Kind) throws {
        let name = listener.handle
        guard let handle = udpListeners.insert(listener) else { throw Self.tooManyListeners }
        let token = Self.token(kind, handle)
        // Requests cost less in one call than as completions, and have buffers when data has taken all of the ring's.
        guard kind != .udpListener || !packets.usesRing else { return rearm.receiving.append(token) }
        try poller.add(name.descriptor, token: token, interest: .read)
    }

    private mutating func openStreamListener(_ listener: RelayConfiguration.Listener) throws {
        var options = TCPListener.Options()
        options.reusesPort = true
        options.connections.unsentLowWaterBytes = Self.unsentBytes
        let socket = try TCPListener(boundTo: listener.address, options: options)
        let descriptor = socket.descriptor
        let element = StreamListener(socket: socket, transport: listener.transport)
        guard let handle = streamListeners.insert(element) else { throw Self.tooManyListeners }
        try poller.add(descriptor, token: Self.token(.streamListener, handle), interest: .read)
    }

    /// Runs until a command says stop.
    mutating func run() {
        do {
            while try turn(until: .distantFuture) {}
        } catch {
            logger.error("The relay cannot wait for packets and stops.", ["error": .text("\(error)")])
        }
        publish(at: MonotonicClock.now())
    }

    /// Waits until there is something to do, at most until `limit`, and does all of it; returns `false` at the end.
    ///
    /// - Throws: `SystemError` if nothing can be waited for any more.
    mutating func turn(until limit: Instant) throws(SystemError) -> Bool {
        let isLate = !unreadStreams.isEmpty || !rearm.broken.isEmpty
        try wait(until: isLate ? .zero : min(limit, nextTimeout))
        let now = MonotonicClock.now()
        if now >= nextReport {
            publish(at: now)
            resumeListeners()
        }
        serveUnreadStreams(at: now)
        if packets.usesRing { try serveRing(at: now) }
        // Clients' data first: what one has sent before it ends its allocation is relayed, if the turn brings it.
        // But Send indications last: clients do not all wait until they know that the permission is there.
        for index in events.indices where Self.kind(events[index]) == .udpListener { handle(events[index], at: now) }
        for index in events.indices where ![.udpListener, .sendListener].contains(Self.kind(events[index])) {
            handle(events[index], at: now)
        }
        for index in events.indices where Self.kind(events[index]) == .sendListener { handle(events[index], at: now) }
        if let due = engine.nextTimeout, due <= now { engine.handleTimeout(at: now) }
        lobby.handleTimeout(at: now)
        closeIdleStreams(at: now)
        servePeerDeadlines(at: now)
        serveAssociations(at: now)
        drainEngine(at: now)
        flushStreams(at: now)
        // Streams that have gone may have left relays to close; nothing of it is written to streams.
        drainEngine(at: now)
        updateFastFlows(at: now)
        flushDatagrams()
        return !hasStopped(at: now)
    }

    private var nextTimeout: Instant {
        var next = nextReport
        if let timeout = engine.nextTimeout { next = min(next, timeout) }
        if let timeout = lobby.nextTimeout { next = min(next, timeout) }
        if let timeout = streamTimers.nextDeadline { next = min(next, timeout) }
        if let timeout = peerDeadlines.earliest { next = min(next, timeout) }
        if let timeout = associations.timers.nextDeadline { next = min(next, timeout) }
        if let timeout = fastFlows.nextTimeout { next = min(next, timeout) }
        if let stopsAt { next = min(next, stopsAt) }
        return next
    }

    private static func kind(_ event: PollEvent) -> Kind? { Kind(rawValue: PollToken(bits: event.token).kind) }

    private mutating func handle(_ event: PollEvent, at now: Instant) {
        let token = PollToken(bits: event.token)
        switch Kind(rawValue: token.kind) {
        case .udpListener, .sendListener: receiveFromClients(token.handle, gathered: true, at: now)
        // Many at once or not, they are not made to wait for each other: that is for what is relayed.
        case .requestListener: receiveFromClients(token.handle, gathered: false, at: now)
        case .relay:
            if event.isBroken { _ = receiveErrors(token.handle, at: now) }
            receiveFromPeers(token.handle, at: now)
        case .receiver: receiveFromPorts(token.handle, at: now)
        case .errors: receivePortErrors(token.handle, at: now)
        case .poller: break
        case .stream: serveStream(token.handle, event, at: now)
        case .streamListener: acceptStreams(token.handle, at: now)
        case .mailbox: obey(at: now)
        case .relayListener: acceptPeers(token.handle, at: now)
        case .peer: servePeer(token.handle, at: now)
        case .forwarded: receiveForwarded(at: now)
        case .lobby: serveLobby(token.handle, at: now)
        case nil: break
        }
    }

    private mutating func obey(at now: Instant) {
        var arrivals: [ShardMailbox.Arrival] = []
        let orders = mailbox.receive(into: &arrivals)
        for arrival in arrivals {
            switch arrival {
            case .welcome(let parcel): welcome(parcel, at: now)
            case .adopt(let parcel): adopt(parcel, at: now)
            }
        }
        // It was checked before it was sent.
        if let configuration = orders.configuration { try? engine.reload(configuration.server) }
        if let context = orders.dtls { associations.context = context }
        if orders.drains {
            engine.acceptsAllocations = false
            // Who waits for the last allocation to end must not see numbers of before.
            publish(at: now)
        }
        if orders.stops { stop(at: now) }
    }

    private mutating func stop(at now: Instant) {
        stopsAt = now + .seconds(2)
        for handle in streamListeners.handles { _ = streamListeners.remove(handle) }
        lobby.removeAll()
        for handle in peers.handles { closePeer(handle, at: now) }
        for handle in streams.handles { endStream(handle, at: now) }
        for handle in associations.pool.handles { closeAssociation(handle, at: now) }
    }

    private func hasStopped(at now: Instant) -> Bool {
        guard let stopsAt else { return false }
        return now >= stopsAt || streams.count == 0
    }

    private mutating func publish(at now: Instant) {
        nextReport = now + .milliseconds(500)
        engine.setWallClock(unixSeconds: WallClock.unixSeconds())
        countFastFlows(at: now)
        var snapshot = RelaySnapshot()
        snapshot.fastPath = configuration.fastPath.map { _ in (UInt64(fastFlows.count), fastFlows.packets) }
        snapshot.fastPathRefusals = Dictionary(uniqueKeysWithValues: fastFlows.refusals.all.map { ($0.name, $0.count) })
        snapshot.engines = [engine.statistics]
        snapshot.isDraining = !engine.acceptsAllocations
        for handle in streams.handles {
            let transport = streams.read(handle) { $0.client.transport } ?? .tcp
            snapshot.streams[transport, default: 0] += 1
        }
        for handle in udpListeners.handles {
            snapshot.kernelDrops.atListeners &+= udpListeners.read(handle) { $0.handle.droppedDatagrams } ?? 0
        }
        snapshot.kernelDrops.atRelays = closedRelaysDrops
        for handle in receiverHandles {
            snapshot.kernelDrops.atRelays &+= receivers.read(handle) { $0.socket.handle.droppedDatagrams } ?? 0
        }
        for handle in errorSockets.handles {
            snapshot.kernelDrops.ofErrors &+= errorSockets.read(handle) { $0.droppedMessages } ?? 0
        }
        snapshot.backEnds = [backEnd.rawValue: 1]
        snapshot.acceptedStreams = acceptedStreams
        snapshot.halfOpen = UInt64(lobby.count)
        snapshot.dtls = associations.statistics
        let all = drops.all + lobby.drops.all
        snapshot.drops = Dictionary(all.map { ($0.name, $0.count) }, uniquingKeysWith: +)
        snapshot.receiveErrors = Dictionary(packets.errors.all.map { ($0.name, $0.count) }, uniquingKeysWith: +)
        // Of what receiving brings only this is a loss.
        let lost = DatagramError.mergedBeyondRoom.rawValue
        snapshot.drops[lost] = snapshot.receiveErrors.removeValue(forKey: lost)
        snapshot.sendErrors = Dictionary(sends.errors.all.map { ($0.name, $0.count) }, uniquingKeysWith: +)
        report.publish(snapshot)
    }
}

/// The latest snapshot of one shard, for other threads to read.
final class RelayReport: Sendable {
    private let latest = Mutex(RelaySnapshot())

    var snapshot: RelaySnapshot { latest.withLock { $0 } }

    func publish(_ snapshot: RelaySnapshot) { latest.withLock { $0 = snapshot } }
}
