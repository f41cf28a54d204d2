import Bytes
import ICE
import MDNS
import NetTypes
import STUN
import TURN

/// What a base is, for the packet path: a trivial value.
enum BaseKind {
    /// A UDP socket on an address of this host, by its place in `hosts`.
    case host(Int)
    /// A relayed address.
    case relay(SlotHandle)
    /// A connection to a TURN server.
    case carrier(SlotHandle)
    /// A connection to the peer.
    case stream(SlotHandle)
    /// A TCP listener, by its place in `hosts`.
    case listener(Int)
}

struct BaseEntry {
    let id: BaseID
    var kind: BaseKind
}

/// A server whose messages come in over a host's socket among those of peers.
struct ServerRoute {
    enum Client {
        case query(SlotHandle)
        case relay(SlotHandle)
    }

    let base: BaseID
    let server: SocketAddress
    let client: Client
}

/// An address of this host with what is bound to it.
struct Host {
    let selected: SelectedAddress
    let network: UInt16
    /// The UDP socket, once it is there.
    var base: BaseID?
    var local: SocketAddress?
    var listener: BaseID?
    /// The session's own base of the active TCP candidate.
    var active: BaseID?
    var name: MDNSName?
    var isGone = false
}

/// A candidate that was given to the agent.
struct Offer {
    let found: LocalCandidate
    let base: BaseID
    var signalled: Candidate
    /// The relay, query or mapping that it came from.
    let origin: Origin
}

enum Origin: Hashable {
    case host(Int)
    case query(SlotHandle)
    case relay(SlotHandle)
    case mapping(EffectID)
}

/// A STUN server that is asked from one base.
struct Query: ~Copyable {
    var client: STUNClient
    let host: Int
    let base: BaseID
    let name: String
    var hasStarted = false
    /// Whether gathering waits for it.
    var isPending = true
    var mapped: SocketAddress?
    /// When it was asked, until it has answered.
    var askedAt: Instant?
}

/// A TURN client with the way to its server.
struct Relay: ~Copyable {
    var client: TURNClient
    let server: Int
    let carrier: Carrier
    let name: String
    let host: Int
    /// The host's socket, or the connection.
    let base: BaseID
    var hasStarted = false
    /// How many connections of this way have failed in a row.
    var attempt = 0
    var isPending = true
    /// Whether the server has answered anything, so that this way to it is open.
    var hasAnswered = false
    /// The session's bases of the relayed addresses.
    var relayed: [(base: BaseID, address: SocketAddress)] = []
    /// What of a stream does not make a message yet.
    var unread: [UInt8] = []
    /// Whether nothing needs it and it was closed.
    var isClosing = false
}

/// A way to a TURN server that was not gone yet.
struct RelayPlan {
    let server: Int
    let carrier: Carrier
    let name: String
    /// The name that a certificate must be for.
    let tlsName: String
    let address: SocketAddress
    let host: Int
    var startAt: Instant
    /// How many connections of this way have failed in a row; gathering waits for none but the first.
    var attempt = 0
    /// Whether it was put off because UDP is on its way.
    var isPutOff = false
}

/// A connection to the peer.
struct PeerStream: ~Copyable {
    let base: BaseID
    let remote: SocketAddress
    let host: Int
    var frames = StreamFrames()
    /// What came and was not taken out of `frames`.
    var byteCount = 0
}

/// What an effect is for.
enum Purpose {
    case bind(host: Int)
    case listen(host: Int)
    case connectRelay(RelayPlan)
    case connectPeer(attempt: UInt32, host: Int, remote: SocketAddress)
    case resolveServer(ServerName)
    case resolvePrefix
    case publish(host: Int)
    case resolvePeer(Candidate)
    case map(host: Int, base: BaseID)
    case probe(host: Int)
}

struct PendingEffect {
    let purpose: Purpose
    /// Whether gathering waits for it.
    var holdsGathering: Bool
}

/// A server of the configuration.
enum ServerName: Hashable {
    case stun(Int)
    case turn(server: Int, uri: Int)
}

enum SessionTimer: Sendable {
    case effect(EffectID)
    case query(SlotHandle)
    case keepalive
    case relay(SlotHandle)
    case plans
    case probing
    case closing
    case goodEnough(generation: Int)
    case grace(generation: Int)
}
