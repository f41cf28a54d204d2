public import Diagnostics
import EventLoop
public import Store
import Synchronization

/// The control plane: call page, signaling, metrics and credentials, on a thread of its own.
public final class WebService: Sendable {
    private let mailbox: Mailbox<WebCommand>
    private let thread: Mutex<LoopThread?>

    /// Opens all listeners, takes up stored sessions and starts the thread; `metrics` adds what others have counted.
    ///
    /// - Throws: `SocketError` if an address cannot be used, `StoreError` or `SystemError` otherwise.
    public init(
        _ configuration: WebConfiguration,
        store: consuming sending Database,
        logger: Logger,
        metrics: @escaping @Sendable (inout MetricsText) -> Void
    ) throws {
        mailbox = try Mailbox(limit: 64)
        var server = WebServer(
            configuration,
            store: store,
            mailbox: mailbox,
            poller: try Poller(),
            logger: logger,
            metrics: metrics
        )
        try server.open()
        let box = ServerBox(server)
        thread = Mutex(try LoopThread(name: "floe-web") { box.run() })
    }

    /// Takes another policy; connections that exist stay.
    public func reload(_ policy: WebPolicy) { _ = mailbox.push(.reload(policy)) }

    /// Has `/healthz` say from now on that the server is to end, so that balancers send nobody new.
    public func drain() { _ = mailbox.push(.drain) }

    /// Tells the service to end its connections and stop; `join` waits for it.
    public func stop() { _ = mailbox.push(.stop) }

    /// Waits until the thread has ended.
    public func join() { thread.withLock { $0.take() }?.join() }
}

/// Carries the server into the thread that then owns it.
private final class ServerBox: Sendable {
    private let server: Mutex<WebServer?>

    init(_ server: consuming sending WebServer) { self.server = Mutex(server) }

    func run() {
        guard var server = server.withLock({ $0.take() }) else { return }
        server.run()
    }
}
