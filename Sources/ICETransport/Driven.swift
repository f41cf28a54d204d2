import Bytes
import Connectivity
import EventLoop
import ICE
import MDNS
import NetTypes
import Transport

/// What comes to a loop from other threads.
enum LoopMessage: Sendable {
    case open(Driven)
    case signal(Driven)
    case stop
}

/// A session with what its loop holds for it.
///
/// Unchecked: made by one thread, handed to the loop through its mailbox, and used by the loop's thread alone from then on.
final class Driven: @unchecked Sendable {
    var session: ICESession
    let core: ConnectionCore
    var handle: SlotHandle?
    var bases: [BaseID: Endpoint] = [:]
    /// Connections that are being made, by their places in the loop's pool.
    var pending: [EffectID: SlotHandle] = [:]
    /// Its number among those that share sockets.
    let tag: AgentTag
    /// The byte of the IP header that all its packets have; the ECN bits are not used.
    let trafficClass: UInt8
    /// Its user name fragments there, the newest last.
    var fragments: [String] = []
    /// Multicast DNS names that were published for it.
    var names: [MDNSName] = []
    var timer: TimerHandle?
    var deadline = Instant.distantFuture
    /// Whether it stands in the row of those that wait for the pacer.
    var isPaced = false
    var isClosing = false
    /// Data that were received in this turn.
    var arrived: [[UInt8]] = []
    var failures: [ICEServerFailure] = []

    init(
        _ configuration: ICESessionConfiguration,
        _ core: ConnectionCore,
        tag: AgentTag = .none,
        at now: Instant
    ) throws {
        session = try ICESession(configuration, tag: tag, at: now)
        self.tag = tag
        self.core = core
        trafficClass = configuration.dscp &<< 2
    }

    /// All that is known of the session.
    var report: ICEReport {
        let pairs = session.pairs
        let path = session.path()
        let verdict = session.verdict
        // Before the nomination too: data goes over any pair that is valid.
        let used = path.map { path in pairs.filter { $0.base == path.base && $0.isValid } } ?? []
        return ICEReport(
            state: session.state,
            role: session.role,
            // The relay may be the peer's.
            isRelayed: path.map { $0.isRelayed || verdict.outcome == .relayed },
            selected: used.first { $0.remote == path?.destination } ?? used.first(where: \.isNominated),
            verdict: verdict,
            statistics: session.statistics,
            pairs: pairs,
            candidates: session.localCandidates,
            mappings: session.mappingObservations,
            serverFailures: failures,
            publicAddresses: session.publicAddresses,
            recording: session.recording()
        )
    }
}

/// A UDP socket of a session.
final class DatagramEnd {
    let socket: UDPSocket
    let base: BaseID
    unowned let driven: Driven

    init(_ socket: consuming UDPSocket, _ base: BaseID, _ driven: Driven) {
        self.socket = socket
        self.base = base
        self.driven = driven
    }
}

/// A TCP listener of a session.
final class ListenerEnd {
    var listener: TCPListener
    let base: BaseID
    unowned let driven: Driven

    init(_ listener: consuming TCPListener, _ base: BaseID, _ driven: Driven) {
        self.listener = listener
        self.base = base
        self.driven = driven
    }
}

/// A TCP or TLS connection of a session.
final class StreamEnd {
    var connection: StreamConnection
    let base: BaseID
    unowned let driven: Driven
    /// The effect that waits for it, while it is being made.
    var effect: EffectID?
    var wantsWrite = true
    /// Its place in the loop's pool.
    var handle: SlotHandle?

    init(_ connection: consuming StreamConnection, _ base: BaseID, _ driven: Driven, effect: EffectID?) {
        self.connection = connection
        self.base = base
        self.driven = driven
        self.effect = effect
    }
}

/// A DTLS association of a session with a TURN server.
final class SecureEnd {
    var connection: DTLSConnection
    let server: SocketAddress
    let base: BaseID
    unowned let driven: Driven
    /// The effect that waits for it, while it is being made.
    var effect: EffectID?
    /// Its place in the loop's pool.
    var handle: SlotHandle?
    var timer: TimerHandle?
    var deadline: Instant?

    init(
        _ connection: consuming DTLSConnection,
        to server: SocketAddress,
        _ base: BaseID,
        _ driven: Driven,
        _ id: EffectID
    ) {
        self.connection = connection
        self.server = server
        self.base = base
        self.driven = driven
        effect = id
    }
}

/// What a poller's token of a loop names.
enum Socket {
    case datagrams(DatagramEnd)
    case listener(ListenerEnd)
    case stream(StreamEnd)
    case secure(SecureEnd)
    case shared(SharedEnd)
    case sharedListener(SharedListener)
    case undecided(UndecidedStream)
}

/// A socket and its place in the loop's pool; `nil` for one that is not the session's alone.
struct Endpoint {
    let socket: Socket
    let handle: SlotHandle?
}
