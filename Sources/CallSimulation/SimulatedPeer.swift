import Bytes
public import Connectivity
import ICE
import MDNS
public import NetTypes
import PortMapping
import STUN
public import Simulation

/// How candidates travel to the other side (RFC 8838 §16).
public enum CandidateExchange: String, Sendable, Hashable, CaseIterable {
    /// Each as soon as it is known.
    case trickle
    /// The offer waits for its candidates, the answer does not.
    case half
    /// Both wait.
    case none
}

/// One end of a call on a simulated host: a session, and the signaling that it needs.
///
/// Run one as offerer and one as answerer; they find each other by the names of their hosts. Both may be started at any
/// time. What has happened stands in `timeline` and in the properties behind it.
public final class SimulatedPeer: SimulatedSession {
    /// What a peer is told.
    public struct Options: Sendable {
        /// The name of the other host.
        public var peer: String
        /// Whether it begins; then it is the controlling side.
        public var isOfferer: Bool
        /// How candidates travel.
        public var exchange = CandidateExchange.trickle
        /// How often a datagram is sent while there is a path; `nil` for never.
        public var heartbeat: TimeSpan?
        /// Whether a restart follows when the session advises it.
        public var restartsWhenAdvised = true
        /// Through which HTTP proxy TCP and TLS connections are made.
        public var proxy: SocketAddress?
        /// A last change of the session's configuration.
        public var configure: @Sendable (inout ICESessionConfiguration) -> Void

        /// Makes options.
        public init(
            peer: String,
            isOfferer: Bool,
            configure: @escaping @Sendable (inout ICESessionConfiguration) -> Void = { _ in }
        ) {
            self.peer = peer
            self.isOfferer = isOfferer
            self.configure = configure
        }
    }

    /// What the peer was told.
    public let options: Options
    /// When the peer began: the offerer when it was started, the answerer when the offer came.
    public private(set) var started: Instant?
    /// When there was a path for the first time.
    public private(set) var firstPath: Instant?
    /// When there was a path that no TURN server relays, for the first time.
    public private(set) var firstDirectPath: Instant?
    /// The addresses of TURN servers: a path to one of them is relayed on the other side.
    public var relayHosts: Set<IPAddress> = []

    private var hasSentDescription = false
    private var unsent = PeerMessage()
    private var nextHeartbeat: Instant?
    private var restartAt: Instant?
    private var lastRestart: Instant?
    private var heartbeatCount: UInt64 = 0
    private var early: [PeerMessage] = []

    /// Makes a peer.
    public init(_ options: Options) {
        self.options = options
        super.init()
        proxy = options.proxy
    }

    // MARK: What is known

    /// Whether data goes from host to host, without a TURN server on either side.
    public var isDirect: Bool { path.map { !$0.isRelayed && !relayHosts.contains($0.destination.ip) } ?? false }

    /// The longest time between two datagrams of the other side, from the first one on.
    public func longestGap(until end: Instant) -> TimeSpan {
        var longest = TimeSpan.zero
        for (earlier, later) in zip(received, received.dropFirst()) {
            longest = max(longest, later.time - earlier.time)
        }
        return received.last.map { max(longest, end - $0.time) } ?? .zero
    }

    /// When the session, or a service beside it, is to be called.
    public override var nextTimeout: Instant? {
        [super.nextTimeout, nextHeartbeat, restartAt].compactMap(\.self).min()
    }

    // MARK: Events

    /// Drives the session, and takes what is signalled.
    public override func handle(_ event: HostEvent, _ host: HostContext) {
        switch event {
        case .started: if options.isOfferer { begin(host) }
        case .signal(let bytes, let sender): if sender == options.peer { take(PeerMessage(bytes), host) }
        case .timeout: handleTimeout(host)
        case .interfacesChanged, .woke, .datagram, .unreachable, .connected, .accepted, .bytes, .ended, .resolved:
            return super.handle(event, host)
        }
        drain(host)
    }

    override func handleTimeout(_ host: HostContext) {
        super.handleTimeout(host)
        if let due = restartAt, due <= host.now { beginRestart(host) }
        if let due = nextHeartbeat, due <= host.now, let interval = options.heartbeat {
            nextHeartbeat = host.now + interval
            heartbeatCount += 1
            // A first byte that is neither STUN's nor DTLS's (RFC 7983 §7).
            send(buildBytes(capacity: 8) { $0.append(bigEndian: 0x8000_0000_0000_0000 | heartbeatCount) }, host)
        }
    }

    // MARK: The call

    private func begin(_ host: HostContext) {
        guard started == nil else { return }
        started = host.worldTime
        var configuration = ICESessionConfiguration(
            ICEConfiguration(role: options.isOfferer ? .controlling : .controlled)
        )
        configuration.usesPortMapping = false
        configuration.isContinual = false
        if options.exchange == .none { configuration.ice.options.remove(.trickle) }
        options.configure(&configuration)
        session = try? ICESession(configuration, entropy: .seeded(host.randomSeed()), at: host.now)
        session?.updateInterfaces(interfaces(host), at: host.now)
        session?.gather(at: host.now)
        if options.isOfferer, options.exchange == .trickle { sendDescription(host) }
    }

    /// Takes a message of the other side.
    private func take(_ message: PeerMessage, _ host: HostContext) {
        if started == nil {
            // Candidates may overtake the offer.
            guard message.description != nil else { return early.append(message) }
            begin(host)
        }
        if message.wantsRestart, options.isOfferer {
            // Both sides often want one for the same reason.
            if let lastRestart, host.now < lastRestart + .seconds(1) { return }
            return beginRestart(host)
        }
        if let description = message.description {
            let isNew = session?.setRemoteDescription(description, at: host.now) != .unchanged
            let mayAnswer = options.exchange != .none || hasSentDescription
            if isNew, !options.isOfferer, mayAnswer { sendDescription(host) }
        }
        for candidate in message.candidates { session?.addRemoteCandidate(candidate, at: host.now) }
        if let fragment = message.endOf { session?.endOfRemoteCandidates(usernameFragment: fragment, at: host.now) }
        let waiting = early
        early = []
        for message in waiting { take(message, host) }
    }

    /// Begins a new generation, as the user of a failed call does.
    public func restart(_ host: HostContext) {
        beginRestart(host)
        drain(host)
    }

    private func beginRestart(_ host: HostContext) {
        restartAt = nil
        lastRestart = host.now
        guard options.isOfferer else {
            var message = PeerMessage()
            message.wantsRestart = true
            return host.signal(message.bytes, to: options.peer)
        }
        _ = session?.restart(at: host.now)
        unsent = PeerMessage()
        hasSentDescription = false
        if options.exchange == .trickle { sendDescription(host) }
    }

    private func sendDescription(_ host: HostContext) {
        unsent.description = session?.localDescription
        hasSentDescription = true
        host.signal(unsent.bytes, to: options.peer)
        unsent = PeerMessage()
    }

    private func signal(_ host: HostContext, _ change: (inout PeerMessage) -> Void) {
        change(&unsent)
        guard hasSentDescription else { return }
        host.signal(unsent.bytes, to: options.peer)
        unsent = PeerMessage()
    }

    override func note(_ event: SessionEvent, _ host: HostContext) {
        super.note(event, host)
        switch event {
        case .candidate(let candidate): signal(host) { $0.candidates.append(candidate) }
        case .goodEnough:
            // An offer of half trickle is whole, the end of its candidates included (RFC 8838 §16).
            if options.exchange != .half { sendIfWaiting(host) }
        case .gatheringDone(let signalEnd):
            let fragment = session?.localDescription.credentials.usernameFragment
            if signalEnd { signal(host) { $0.endOf = fragment } }
            sendIfWaiting(host)
        case .pathChanged(_, let path):
            guard path != nil else { return }
            restartAt = nil
            firstPath = firstPath ?? host.worldTime
            if isDirect { firstDirectPath = firstDirectPath ?? host.worldTime }
            if options.heartbeat != nil { nextHeartbeat = nextHeartbeat ?? host.now }
        case .restartAdvised:
            // A host without any way out would advise it again at once.
            if options.restartsWhenAdvised { restartAt = max(host.now, (lastRestart ?? .zero) + .seconds(1)) }
        case .candidateRemoved, .stateChanged, .selected, .roleChanged, .serverFailed, .closed: break
        }
    }

    /// Sends a description that has waited for candidates; an answer also waits for the offer.
    private func sendIfWaiting(_ host: HostContext) {
        guard !hasSentDescription, options.exchange != .trickle else { return }
        sendDescription(host)
    }
}
