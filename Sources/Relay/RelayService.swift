public import Crypto
public import Diagnostics
import EventLoop
import NetTypes
import TURNServer
import Transport

/// The relay: as many shards as threads, started together, stopped together.
public final class RelayService: Sendable {
    private let mailboxes: [Mailbox<RelayShard.Command>]
    private let reports: [RelayReport]
    private let threads: ThreadList

    /// Opens all listeners and starts the threads.
    ///
    /// - Throws: `SocketError` if an address cannot be used, `RelayConfigurationError`, `TURNServerConfigurationError` or
    ///   `SystemError` otherwise; nothing is left running then.
    public init(_ configuration: RelayConfiguration, logger: Logger) throws {
        try configuration.validate()
        // Shards share their ports, so the kernel would let a stranger who shares them as well take half of the traffic.
        for listener in configuration.listeners {
            if !listener.transport.isStream {
                try UDPSocket.checkAvailable(listener.address)
            } else {
                try TCPListener.checkAvailable(listener.address)
            }
        }
        let shared = TURNServerShared(configuration.server)
        let processors = LoopThread.availableProcessors
        var mailboxes: [Mailbox<RelayShard.Command>] = []
        var reports: [RelayReport] = []
        let threads = ThreadList()
        // The kernel spreads clients over the sockets that exist: the first packet is taken when all of them do, or a
        // client would find itself at another shard, without its allocation.
        var shards: [ShardBox] = []
        do {
            let siblings = try (0..<max(1, configuration.threads)).map { _ in
                try Mailbox<RelayShard.Command>(limit: 64)
            }
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
                    report: report,
                    logger: logger
                )
                try shard.open()
                shards.append(ShardBox(shard))
                mailboxes.append(mailbox)
                reports.append(report)
            }
            for (index, box) in shards.enumerated() {
                let processor = shards.count > 1 && index < processors.count ? processors[index] : nil
                try threads.start(name: "floe-relay-\(index)", processor: processor) { box.run() }
            }
        } catch {
            for mailbox in mailboxes { _ = mailbox.push(.stop) }
            threads.join()
            throw error
        }
        self.mailboxes = mailboxes
        self.reports = reports
        self.threads = threads
    }

    /// What all shards have done, at most half a second old.
    public var snapshot: RelaySnapshot {
        reports.reduce(into: RelaySnapshot()) { $0.add($1.snapshot) }
    }

    /// Uses another certificate for TLS connections from now on; those that exist stay.
    public func useTLS(_ context: TLSContext) {
        for mailbox in mailboxes { _ = mailbox.push(.useTLS(context)) }
    }

    /// Uses another certificate for DTLS handshakes from now on; associations that exist stay.
    public func useDTLS(_ context: DTLSContext) {
        for mailbox in mailboxes { _ = mailbox.push(.useDTLS(context)) }
    }

    /// Tells all shards to end their streams and stop; `join` waits for it, two seconds at most.
    public func stop() {
        for mailbox in mailboxes { _ = mailbox.push(.stop) }
    }

    /// Waits until all threads have ended.
    public func join() { threads.join() }
}
