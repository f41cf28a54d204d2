public import Crypto
public import Diagnostics
import EventLoop
import Glibc
import NetTypes
import Synchronization
import TURNServer
public import Transport

/// The relay: as many shards as threads, started together, stopped together.
public final class RelayService: Sendable {
    private let mailboxes: [ShardMailbox]
    private let reports: [RelayReport]
    private let threads: ThreadList
    private let shared: TURNServerShared
    private let configuration: RelayConfiguration
    private let choice: (backEnd: DatagramBackEnd, refusal: SystemError?)
    private let nextShard = Atomic<UInt>(0)

    /// Opens all listeners and starts the threads.
    ///
    /// - Throws: `SocketError` if an address cannot be used, `RelayConfigurationError`, `TURNServerConfigurationError` or
    ///   `SystemError` otherwise; nothing is left running then.
    public init(_ configuration: RelayConfiguration, logger: Logger) throws {
        try configuration.validate()
        var configuration = configuration
        try configuration.makePortLookup()
        self.configuration = configuration
        // Shards share their ports, so the kernel would let a stranger who shares them as well take half of the traffic.
        for listener in configuration.listeners {
            if !listener.transport.isStream {
                try Self.awaitAvailable(listener.address)
            } else {
                try TCPListener.checkAvailable(listener.address)
            }
        }
        let shared = TURNServerShared(configuration.server)
        self.shared = shared
        let processors = LoopThread.availableProcessors
        var mailboxes: [ShardMailbox] = []
        var reports: [RelayReport] = []
        let threads = ThreadList()
        // The kernel spreads clients over the sockets that exist: the first packet is taken when all of them do, or a
        // client would find itself at another shard, without its allocation.
        var shards: [ShardBox] = []
        var choice: (backEnd: DatagramBackEnd, refusal: SystemError?) = (.epoll, nil)
        do {
            let siblings = try (0..<max(1, configuration.threads)).map { _ in
                try ShardMailbox(limit: 1024)
            }
            let forwards = try siblings.map { _ in
                try Mailbox<ForwardedDatagram>(limit: ForwardedDatagram.mailboxLimit)
            }
            var entropy = Entropy.system
            let steeringSeed = entropy.next()
            for mailbox in siblings {
                let report = RelayReport()
                let engine = try TURNServerEngine(
                    configuration.server,
                    shared: shared,
                    unixSeconds: WallClock.unixSeconds()
                )
                var shard = RelayShard(
                    configuration,
                    engine: engine,
                    poller: try Poller(),
                    mailbox: mailbox,
                    shards: siblings,
                    forwards: forwards,
                    steeringSeed: steeringSeed,
                    report: report,
                    logger: logger
                )
                try shard.open()
                if choice.refusal == nil { choice = (shard.backEnd, shard.ringRefusal) }
                shards.append(ShardBox(shard))
                mailboxes.append(mailbox)
                reports.append(report)
            }
            for (index, box) in shards.enumerated() {
                let processor = shards.count > 1 && index < processors.count ? processors[index] : nil
                try threads.start(name: "floe-relay-\(index)", processor: processor) { box.run() }
            }
        } catch {
            for mailbox in mailboxes { mailbox.order { $0.stops = true } }
            threads.join()
            throw error
        }
        self.choice = choice
        self.mailboxes = mailboxes
        self.reports = reports
        self.threads = threads
    }

    /// Asks for two seconds whether nobody has the address.
    ///
    /// The kernel takes the rings of a process apart, and closes the sockets in them, when that has ended already: a server
    /// that is started again at once would find its own port taken.
    private static func awaitAvailable(_ address: SocketAddress) throws(SocketError) {
        let end = MonotonicClock.now() + .seconds(2)
        while true {
            do throws(SocketError) {
                return try UDPSocket.checkAvailable(address)
            } catch {
                guard error.isAddressInUse, MonotonicClock.now() < end else { throw error }
                usleep(20_000)
            }
        }
    }

    /// Says how datagrams are received and sent, and why not by io_uring if it was to be.
    public func reportBackEnd(to logger: Logger) {
        let io = LogValue.text(choice.backEnd.rawValue)
        guard let refusal = choice.refusal else { return logger.info("Relaying datagrams.", ["io": io]) }
        logger.info(
            "Relaying datagrams without io_uring.",
            ["io": io, "reason": .text("\(refusal)"), "hint": .text(Self.hint(refusal))]
        )
    }

    /// What whoever runs the server can do about a refusal.
    private static func hint(_ refusal: SystemError) -> String {
        switch refusal.number {
        case 1, 13: "see 'sysctl kernel.io_uring_disabled', and the seccomp profile of the container or service"
        case 12: "there is too little memory, or 'ulimit -l' is too low"
        case 23, 24: "there are too few descriptors: see 'ulimit -n'"
        default: "it needs Linux 6.1"
        }
    }

    /// What all shards have done, at most half a second old.
    public var snapshot: RelaySnapshot {
        reports.reduce(into: RelaySnapshot()) { $0.add($1.snapshot) }
    }

    /// Takes what `TURNServerEngine.reload` takes of another configuration.
    ///
    /// - Throws: `TURNServerConfigurationError` or `RelayConfigurationError`; nothing has changed then.
    public func reload(_ configuration: RelayConfiguration) throws {
        try configuration.validate()
        let limits = configuration.server.limits
        shared.setQuotas(perUser: limits.allocationsPerUser, total: limits.allocations)
        for mailbox in mailboxes { mailbox.order { $0.configuration = configuration } }
    }

    /// Takes a client's connection that somebody else has accepted and found to carry TURN; no byte of that is read yet.
    ///
    /// Returns `false`, and the connection is closed, if a shard has more to do than it can note.
    public func adopt(_ connection: consuming StreamConnection) -> Bool {
        let shard = Int(nextShard.wrappingAdd(1, ordering: .relaxed).oldValue % UInt(mailboxes.count))
        connection.outputLimit = configuration.streamQueueBytes * 2
        connection.limitUnsent(bytes: RelayShard.unsentBytes)
        let stream = RelayStream(connection, at: MonotonicClock.now())
        return mailboxes[shard].push(.welcome(StreamParcel(stream)))
    }

    /// Uses another certificate for DTLS handshakes from now on; associations that exist stay.
    public func useDTLS(_ context: DTLSContext) {
        for mailbox in mailboxes { mailbox.order { $0.dtls = context } }
    }

    /// Makes no allocation any more: Allocate requests get 508, or 300 where there is a redirection.
    ///
    /// Everything else goes on; `isDrained` says when the last allocation has ended. There is no way back.
    public func drain() {
        for mailbox in mailboxes { mailbox.order { $0.drains = true } }
    }

    /// Whether `drain` has reached all shards, and none has an allocation any more; at most half a second old.
    public var isDrained: Bool {
        reports.allSatisfy { report in
            let snapshot = report.snapshot
            return snapshot.isDraining && snapshot.allocations == 0
        }
    }

    /// Tells all shards to end their streams and stop; `join` waits for it, two seconds at most.
    public func stop() {
        for mailbox in mailboxes { mailbox.order { $0.stops = true } }
    }

    /// Waits until all threads have ended.
    public func join() { threads.join() }
}
