public import NetTypes
public import STUN

/// Which relayed transport addresses a client asks for (RFC 8656 §7.1).
public enum RequestedFamilies: Hashable, Sendable {
    /// Whatever the server gives to who does not say: IPv4 by the text.
    case unspecified
    /// One of this family (REQUESTED-ADDRESS-FAMILY).
    case only(AddressFamily)
    /// One of each (ADDITIONAL-ADDRESS-FAMILY); the server may grant one of them.
    case dual
}

/// Which port a client asks for (RFC 8656 §7.1).
public enum RequestedPort: Hashable, Sendable {
    /// Any.
    case any
    /// An even one.
    case even
    /// An even one, with the next higher one held in reserve under a token.
    case evenReservingNext
    /// The one that was held in reserve.
    case reserved(ReservationToken)

    /// Whether the request can be made without what it asks for, when the server has no such port.
    public var isSpecial: Bool { self != .any }
}

/// Everything that a TURN client is told before it begins.
public struct TURNClientConfiguration: Sendable {
    /// The server's transport address; over a stream, the one that the driver is connected to.
    public var server: SocketAddress
    /// What carries the messages to the server.
    public var transport: TransportProtocol
    /// How the client shows that it may use the server.
    public var credentials: TURNClientCredentials
    /// What an earlier client of the same user and server has learned, to be answered in one round trip.
    public var challenge: LongTermChallenge?
    /// What is relayed: datagrams, or connections of TCP, for which `transport` must be TCP or TLS (RFC 6062 §4.1).
    ///
    /// For connections `port` and `dontFragment` have no meaning and are not sent.
    public var relayed = RelayedTransport.udp
    /// The families of relayed addresses to ask for.
    public var families = RequestedFamilies.unspecified
    /// The families that can be used at all: an allocation of another one is deleted at once (RFC 8656 §7.3).
    public var usableFamilies = Set(AddressFamily.allCases)
    /// The port to ask for.
    public var port = RequestedPort.any
    /// The lifetime to ask for, in seconds; `nil` leaves it to the server.
    public var lifetimeSeconds: UInt32?
    /// Whether to ask for a ticket, with which the allocation can be kept when our address changes (RFC 8016).
    ///
    /// A server that forbids it is asked again without.
    public var mobility = false
    /// Whether to ask for DONT-FRAGMENT; an allocation without it is made if the server does not know it.
    public var dontFragment = false
    /// Whether `server` is an anycast address, which has to send us elsewhere (RFC 8155 §6).
    ///
    /// An allocation that is made there all the same is deleted: its next packet might reach another server.
    public var isAnycast = false
    /// The SOFTWARE attribute of Allocate requests; `nil` leaves it out.
    public var software: String?
    /// Whether requests carry FINGERPRINT.
    public var fingerprint = false
    /// How long and how often to ask.
    public var retransmission = RetransmissionPolicy()
    /// What is known of the round-trip time to the server.
    public var estimator = RoundTripEstimator()
    /// How much the client keeps.
    public var limits = TURNClientLimits()

    /// Makes a configuration; everything that is not given has its documented default.
    public init(server: SocketAddress, transport: TransportProtocol = .udp, username: String, password: String) {
        self.init(server: server, transport: transport, .password(password, username: username))
    }

    /// Makes a configuration of a holder of any kind of credentials.
    public init(server: SocketAddress, transport: TransportProtocol = .udp, _ credentials: TURNClientCredentials) {
        self.server = server
        self.transport = transport
        self.credentials = credentials
    }
}

extension TURNClientConfiguration: CustomReflectable {
    /// Shows nothing, so that no dump shows the password.
    public var customMirror: Mirror { Mirror(self, children: []) }
}

/// How a client shows that it may use a server.
public enum TURNClientCredentials: Sendable {
    /// A password and the user name that it was given out with (RFC 8489 §9.2).
    case password(String, username: String)
    /// An access token of an authorization server (RFC 7635).
    case grant(AccessGrant)
}

/// How much a client keeps; what goes beyond is refused to its owner, or dropped and counted.
public struct TURNClientLimits: Hashable, Sendable {
    /// Requests that wait for a response at a time (RFC 8489 §6.2).
    public var transactions = 10
    /// Peer addresses with a permission.
    public var permissions = 256
    /// Channels, with those whose number must rest.
    public var channels = 256
    /// Peers that a connection is being asked for, or for which that has just failed.
    public var connects = 64
    /// Peers in one CreatePermission request; sixteen of IPv6 fit into the least MTU with usual credentials.
    public var peersPerRequest = 16
    /// Bytes of data that are kept for peers whose permission is on its way.
    public var heldBytes = 16_384
    /// Events that wait to be taken.
    public var events = 1024

    /// Makes the defaults.
    public init() {}
}
