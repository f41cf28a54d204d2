import Bytes
import EventLoop
import NetTypes
import Synchronization
import TURNServer
import Transport

/// A TCP connection between a relayed address and a peer (RFC 6062), and what it is copied from and to.
struct PeerStream: ~Copyable {
    var connection: StreamConnection
    let id: PeerConnectionID
    var isConnecting: Bool
    /// The client's stream that is joined to it; until then nothing is read, and the peer's window fills.
    var client: SlotHandle?
    /// What the poller watches it for; `nil` if it does not.
    var interest: Interest?
    /// What the poller watches the client's stream for.
    var clientInterest: Interest?
    /// Whether the peer, or the client, has ended its direction.
    var peerHasEnded = false
    var clientHasEnded = false
    /// When the bandwidth of the allocation lets more be read.
    var resumes = Instant.zero
    /// When bytes have moved last.
    var lastMove: Instant
    var hasDeadline = false

    init(_ connection: consuming StreamConnection, _ id: PeerConnectionID, isConnecting: Bool, at now: Instant) {
        self.connection = connection
        self.id = id
        self.isConnecting = isConnecting
        lastMove = now
    }

    /// When it is to be looked at though nothing has happened.
    func deadline(at now: Instant) -> Instant? {
        if resumes > now { return resumes }
        return peerHasEnded || clientHasEnded ? lastMove + Self.halfClosedTime : nil
    }

    /// How long one direction may be silent after the other has ended.
    static let halfClosedTime = TimeSpan.seconds(60)
}

/// A socket that takes connections of peers.
struct RelayListener: ~Copyable {
    var socket: TCPListener
    let id: RelayID
}

/// Carries a client's stream to the shard that it belongs with.
final class StreamParcel: Sendable {
    private let stream: Mutex<RelayStream?>

    init(_ stream: consuming sending RelayStream) { self.stream = Mutex(stream) }

    /// The stream, for the first who asks.
    func open() -> RelayStream? { stream.withLock { $0.take() } }
}
