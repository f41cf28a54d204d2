public import Connectivity
public import Crypto
public import Diagnostics
public import EventLoop
import ICE
public import NetTypes
import Synchronization
import Transport

/// How a loop's sockets are made.
public struct ICELoopOptions: Sendable {
    /// Judges certificates of TURN servers over TLS; without it they fail.
    public var tls: TLSContext?
    /// Judges certificates of TURN servers over DTLS; without it they fail.
    public var dtls: DTLSContext?
    /// Which interfaces are used, by their names; those of containers and tests may be left out.
    public var usesInterface: @Sendable (String) -> Bool = { _ in true }
    /// One UDP and one TCP port for all connections; 0 leaves it to the system, `nil` gives each connection its own.
    ///
    /// Datagrams find their connection by transaction, then user name fragment, then address; TCP connections by the user
    /// name fragment of their first check. TURN servers are reached over sockets of their own.
    public var sharedPort: UInt16?
    /// How many accepted TCP connections of the shared port may not have said yet whom they are for; with more, the oldest
    /// goes of the prefix (/24 of IPv4, /56 of IPv6) that has most.
    public var undecidedStreams = 512
    /// How long such a connection may take to say it.
    public var undecidedPatience = TimeSpan.seconds(10)
    /// The ports of UDP sockets that are not shared; `nil` leaves them to the system.
    public var ports: ClosedRange<UInt16>?
    /// How many connections the loop carries.
    public var connections = 8192
    /// The receive buffer asked for each UDP socket, in bytes.
    public var receiveBufferBytes = 1 << 20

    /// Makes the defaults.
    public init() {}
}

/// A loop has as many connections as it may.
public struct ICELoopFull: Error, Hashable, Sendable, CustomStringConvertible {
    /// What is the matter, in words.
    public var description: String { "the loop carries as many connections as it may" }
}

/// A loop was stopped, or its thread has ended for want of descriptors: it makes no connection any more.
public struct ICELoopStopped: Error, Hashable, Sendable, CustomStringConvertible {
    /// What is the matter, in words.
    public var description: String { "the loop was stopped: connections need a new one" }
}

/// One thread that drives ICE connections: sockets, timers, names and the pacing that all of them share.
///
/// A process needs one (RFC 8445 §14.2 paces all checks of a process together).
public final class ICELoop: Sendable {
    private let mailbox: LoopMailbox
    private let thread: Mutex<LoopThread?>
    private let count: ConnectionCount
    private let limit: Int
    private let agents: SharedAgents?

    /// Starts the thread.
    ///
    /// - Throws: `SystemError` if the process has no thread or descriptor left.
    public init(_ options: ICELoopOptions = ICELoopOptions()) throws(SystemError) {
        limit = options.connections
        // Each connection has at most one signal and one opening in there.
        mailbox = LoopMailbox(try Mailbox(limit: options.connections * 2 + 8))
        count = ConnectionCount()
        agents = options.sharedPort == nil ? nil : SharedAgents(limit: options.connections)
        let runner = try LoopRunner(options, mailbox, count, agents)
        thread = Mutex(try LoopThread(name: "floe-ice") { runner.run() })
    }

    deinit { _ = mailbox.push(.stop) }

    /// Makes a connection that does nothing before `gather` or `setRemoteDescription`.
    ///
    /// - Throws: `CredentialError` if a TURN server's user name or password cannot be used, `ICELoopFull`, and
    ///   `ICELoopStopped` after `stop`.
    public func connection(
        _ configuration: ICESessionConfiguration,
        limits: ICEConnectionLimits = ICEConnectionLimits()
    ) throws -> ICEConnection {
        guard !mailbox.isClosed else { throw ICELoopStopped() }
        let core = ConnectionCore(limits)
        guard count.begin(limit: limit) else { throw ICELoopFull() }
        let driven: Driven
        do {
            driven = try makeDriven(configuration, core)
        } catch {
            count.end()
            throw error
        }
        let description = driven.session.localDescription
        guard mailbox.push(.open(driven)) else {
            count.end()
            agents?.remove(driven.tag)
            if mailbox.isClosed { throw ICELoopStopped() }
            throw ICELoopFull()
        }
        let mailbox = mailbox
        return ICEConnection(description, core: core) { [weak driven] in
            if let driven { _ = mailbox.push(.signal(driven)) }
        }
    }

    private func makeDriven(_ configuration: ICESessionConfiguration, _ core: ConnectionCore) throws -> Driven {
        guard let agents else { return try Driven(configuration, core, at: MonotonicClock.now()) }
        var configuration = configuration
        configuration.relaysHaveOwnSockets = true
        guard let tag = agents.insert() else { throw ICELoopFull() }
        // A fragment that another connection has is drawn in one of billions of cases: it is drawn again.
        for _ in 0..<4 {
            do {
                let driven = try Driven(configuration, core, tag: tag, at: MonotonicClock.now())
                if agents.add(driven.session.localDescription.credentials.usernameFragment, tag) { return driven }
            } catch {
                agents.remove(tag)
                throw error
            }
        }
        agents.remove(tag)
        throw ICELoopFull()
    }

    /// Datagrams, TCP connections and ICMP errors on shared ports that were for no connection, by reason.
    public var sharedDrops: DropCounters<SharedDrop> { agents?.drops ?? DropCounters() }

    /// How many connections there are.
    public var connectionCount: Int { count.value.load(ordering: .relaxed) }

    /// Closes all connections and ends the thread; waits two seconds at most for servers to be told.
    public func stop() {
        _ = mailbox.push(.stop)
        mailbox.close()
        thread.withLock { $0.take() }?.join()
    }
}

/// What the owner's threads tell the loop; closed when the loop reads it no more, or only to its end.
final class LoopMailbox: Sendable {
    private let messages: Mailbox<LoopMessage>
    private let isOver = Mutex(false)

    init(_ messages: Mailbox<LoopMessage>) { self.messages = messages }

    var descriptor: Int32 { messages.descriptor }
    var isClosed: Bool { isOver.withLock { $0 } }

    /// From now on no connection is taken: what was taken before is read before the end.
    func close() { isOver.withLock { $0 = true } }

    /// Adds a message; `false` if there is no room, or for a new connection if there is no loop any more.
    func push(_ message: LoopMessage) -> Bool {
        guard case .open = message else { return messages.push(message) }
        return isOver.withLock { !$0 && messages.push(message) }
    }

    func receive(into batch: inout [LoopMessage]) { messages.receive(into: &batch) }
}

/// How many connections a loop has, or will have when it has read its mail.
final class ConnectionCount: Sendable {
    let value = Atomic(0)

    func begin(limit: Int) -> Bool {
        if value.add(1, ordering: .relaxed).newValue <= limit { return true }
        value.subtract(1, ordering: .relaxed)
        return false
    }

    func end() { value.subtract(1, ordering: .relaxed) }
}
