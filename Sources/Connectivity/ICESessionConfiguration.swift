public import ICE
public import NetTypes
public import STUN
public import TURN

/// How a TURN server is reached.
public enum Carrier: UInt8, Hashable, Sendable, CaseIterable, CustomStringConvertible {
    /// Datagrams, over the socket of the host candidate.
    case udp
    /// A plain TCP connection.
    case tcp
    /// TLS over TCP.
    case tls
    /// DTLS (RFC 7350).
    case dtls

    /// Whether messages are cut out of a stream.
    public var isStream: Bool { self == .tcp || self == .tls }

    /// The name as people write it.
    public var description: String {
        switch self {
        case .udp: "UDP"
        case .tcp: "TCP"
        case .tls: "TLS"
        case .dtls: "DTLS"
        }
    }

    init(_ uri: TURNURI) {
        self =
            switch uri.carrier {
            case .udp: .udp
            case .tcp: .tcp
            case .tls: .tls
            case .dtls: .dtls
            }
    }

    /// For the rank of the candidate and the retransmissions of the client.
    var transport: TransportProtocol {
        switch self {
        case .udp, .dtls: .udp
        case .tcp: .tcp
        case .tls: .tls
        }
    }
}

/// A TURN server with all ways to it; the fastest gives the first candidate.
public struct TURNServer: Sendable, CustomReflectable {
    /// The ways.
    public var uris: [TURNURI]
    /// The user name, as it was given out with the password.
    public var username: String
    /// The password.
    public var password: String
    /// What an earlier session has learned of the server, which saves a round trip.
    public var challenge: LongTermChallenge?

    /// Makes a server.
    public init(_ uris: [TURNURI], username: String, password: String, challenge: LongTermChallenge? = nil) {
        self.uris = uris
        self.username = username
        self.password = password
        self.challenge = challenge
    }

    /// Shows the ways alone.
    public var customMirror: Mirror { Mirror(self, children: ["uris": uris.map(\.description)]) }
}

/// Which candidates are made (W3C's iceTransportPolicy; RFC 8828 §5.2).
public enum CandidatePolicy: UInt8, Hashable, Sendable {
    /// All: mode 1.
    case all
    /// Of TURN servers alone; also nothing of this host is shown as related address.
    case relay
    /// All but addresses of this host.
    case noHost
    /// Of interfaces with a default route alone: mode 2.
    case publicInterface
}

/// How host candidates are signalled.
public enum HostAddresses: UInt8, Hashable, Sendable {
    /// With their addresses.
    case shown
    /// With names of multicast DNS, one for each address.
    case concealed
}

/// Addresses of this host that STUN servers have seen as they are: there is nothing to conceal about them (ice 148).
public struct PublicAddresses: Hashable, Sendable {
    /// The servers that were asked; what they have told is worth nothing where others are asked.
    public let servers: Set<STUNURI>
    /// The addresses.
    public internal(set) var addresses: Set<IPAddress> = []

    init(servers: [STUNURI]) { self.servers = Set(servers) }
}

/// Guesses at ports that a NAT will use next, for NATs whose mapping depends on the destination.
public enum PortPrediction: Hashable, Sendable {
    /// None.
    case off
    /// When two servers saw ports at a small distance, so many more at the same distance are offered as candidates.
    case contiguous(count: Int)
}

/// How long each step of gathering is waited for: none holds up more than itself.
public struct GatheringDeadlines: Hashable, Sendable {
    /// A socket.
    public var socket = TimeSpan.seconds(1)
    /// The addresses of a server's name.
    public var resolution = TimeSpan.seconds(3)
    /// A connection to a TURN server, TLS included.
    public var connection = TimeSpan.seconds(5)
    /// A STUN server's answer.
    public var query = TimeSpan.seconds(3)
    /// A TURN server's allocation.
    public var allocation = TimeSpan.seconds(6)
    /// A gateway's mapping; later ones still become candidates if gathering is continual.
    public var mapping = TimeSpan.seconds(1)
    /// A name of our own.
    public var publication = TimeSpan.milliseconds(500)
    /// How much later than UDP streams to the same TURN server are tried, while UDP has given nothing.
    ///
    /// Longer than most round trips to a server; a server that has answered over UDP by then gets four times as long more.
    public var streamDelay = TimeSpan.milliseconds(150)
    /// How long after a failed connection to a TURN server the next is tried, if later candidates are still of use.
    ///
    /// Doubled with each failure, a quarter more or less by chance.
    public var reconnectionDelay = TimeSpan.seconds(1)
    /// How long after the first reflexive candidate more are waited for before what is there is good enough.
    public var grace = TimeSpan.milliseconds(50)
    /// When what is there is good enough in any case.
    public var goodEnough = TimeSpan.seconds(2)
    /// How long the end waits for TURN servers to delete what they hold; those that are silent forget it by themselves.
    public var closing = TimeSpan.seconds(2)
    /// The middle of the time between two questions that keep a NAT's binding until pairs are selected (ice 16).
    ///
    /// Each is drawn from 0.8 to 1.2 times it; 1 s to an hour. NATs forget UDP after 30 s (RFC 4787 §4.3 wants 2 min).
    public var bindingRefresh = TimeSpan.seconds(15)

    /// Makes the defaults.
    public init() {}
}

/// How much a session makes and keeps.
public struct ICESessionLimits: Hashable, Sendable {
    /// Addresses of this host that candidates are made of.
    public var addresses = 16
    /// STUN servers that are asked from each address.
    public var stunServersPerAddress = 4
    /// Allocations at a time.
    public var relays = 12
    /// Connections to a TURN server that are tried in a row before that way is given up.
    public var connectionAttempts = 6
    /// Addresses of this host from which the same way to a TURN server is tried.
    public var addressesPerRelay = 2
    /// Addresses that are used of those to which a server's name leads.
    public var addressesPerName = 4
    /// TCP connections of ICE at a time.
    public var streams = 64
    /// How long an accepted connection may go without an authenticated check; in a full table the oldest such one goes
    /// sooner.
    public var unprovenStreamTime = TimeSpan.seconds(10)
    /// Bytes that are kept of a TCP stream until a frame is whole.
    public var streamBytes = 131_072
    /// Frames of data that came over streams and wait to be taken.
    public var waitingFrames = 256
    /// Names of the peer that are being resolved.
    public var names = 32

    /// Makes the defaults.
    public init() {}
}

/// Everything that an `ICESession` is told before it begins; the defaults suit a peer on a server or a device.
public struct ICESessionConfiguration: Sendable {
    /// The agent's part.
    public var ice: ICEConfiguration
    /// Servers that tell our address.
    public var stunServers: [STUNURI] = []
    /// Servers that relay.
    public var turnServers: [TURNServer] = []
    /// Which candidates are made.
    public var policy = CandidatePolicy.all
    /// How host candidates are signalled.
    public var hostAddresses = HostAddresses.shown
    /// What an earlier session has learned of our addresses (`ICESession.publicAddresses`): they are shown at once, without
    /// a name; forgotten if `stunServers` are not the same.
    public var publicAddresses: PublicAddresses?
    /// Whether loopback addresses become candidates, for two peers on one host.
    ///
    /// Departure: RFC 8445 §5.1.1.1 leaves them out, and so does the default.
    public var usesLoopback = false
    /// Whether there are TCP candidates (RFC 6544).
    public var usesTCP = false
    /// Whether gateways are asked for port mappings.
    public var usesPortMapping = true
    /// Whether a TURN server is reached over UDP from a socket of its own, as it must be where the driver shares those of
    /// hosts among sessions: a server holds one allocation for each pair of addresses (RFC 8656 §3.2).
    public var relaysHaveOwnSockets = false
    /// Whether later interfaces give candidates; the end of candidates is then never signalled.
    public var isContinual = true
    /// Guesses at ports, only with the owner's consent: they make the peer send to ports that may be others'.
    public var prediction = PortPrediction.off
    /// Sockets and probes by the hundred against one NAT whose mapping depends on the destination; `nil` for none.
    ///
    /// Only with the consent of both owners: the probes go to ports that may be others'. Of no use where the driver shares
    /// the sockets of hosts among sessions: there is one of each address.
    public var probing: PortProbing?
    /// The hop limit of a packet that opens our NAT before the peer's check comes, too low to reach the peer's.
    ///
    /// For NATs that block an address after an unexpected packet from it; `nil` for none.
    public var openerHopLimit: UInt8?
    /// The differentiated services code point of all that is sent: checks and their answers have the one of the data
    /// (RFC 8445 §7.2.3; ice 45); 0 to 63, the driver sees to it.
    public var dscp: UInt8 = 0
    /// The SOFTWARE attribute of Allocate requests.
    public var software: String?
    /// How long each step is waited for.
    public var deadlines = GatheringDeadlines()
    /// How much is made and kept.
    public var limits = ICESessionLimits()

    /// Makes a configuration with defaults for everything but the agent's part.
    public init(_ ice: ICEConfiguration) { self.ice = ice }
}
