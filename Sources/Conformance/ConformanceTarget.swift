public import NetTypes
public import STUN

/// A user's name and password.
public struct ConformanceAccount: Sendable, Hashable {
    /// The name, as USERNAME carries it.
    public let username: String
    /// The password.
    public let password: String

    /// Makes an account.
    public init(username: String, password: String) {
        self.username = username
        self.password = password
    }
}

/// The server under test, and what is known of it.
public struct ConformanceTarget: Sendable {
    /// Where it takes UDP and TCP.
    public var address: SocketAddress
    /// Where it takes TLS, `nil` if nowhere.
    public var tlsAddress: SocketAddress?
    /// Where it takes DTLS, `nil` if nowhere.
    public var dtlsAddress: SocketAddress?
    /// The name for TLS (SNI); the certificate is not verified, since it is no rule's matter.
    public var serverName: String
    /// Who may allocate.
    public var account: ConformanceAccount
    /// Another user, for the rules that need two.
    public var otherAccount: ConformanceAccount?
    /// An access token (RFC 7635), for the rules about them.
    public var grant: AccessGrant?
    /// For how many seconds the access token is good, if that is known.
    public var grantSeconds: UInt32?
    /// The secret of temporary credentials, for the rules about them.
    public var secret: String?
    /// The realm that is due; `nil` for any.
    public var realm: String?
    /// Addresses of this host on which the suite has peers; at least one.
    public var peerAddresses: [IPAddress]
    /// An address of this host from which the server can be reached as well, for a client elsewhere.
    public var otherClientAddress: IPAddress?
    /// How many allocations a user may have at a time; `nil` if unknown, which leaves that rule out.
    public var quota: Int?
    /// How long the server has for an answer.
    public var answerTime = TimeSpan.milliseconds(2000)
    /// How long a client listens on for an answer that must not come, after the server has answered something later.
    public var quietTime = TimeSpan.milliseconds(100)

    /// Makes a target; everything else has its documented default.
    public init(address: SocketAddress, account: ConformanceAccount, peerAddresses: [IPAddress]) {
        self.address = address
        self.account = account
        self.peerAddresses = peerAddresses
        serverName = address.ip.description
    }

    /// The family that allocations of the test must relay.
    var peerFamily: AddressFamily { peerAddresses.first?.family ?? .ipv4 }

    /// Where the server takes a transport, `nil` if nowhere.
    func address(for transport: TransportProtocol) -> SocketAddress? {
        switch transport {
        case .udp, .tcp: address
        case .tls: tlsAddress
        case .dtls: dtlsAddress
        }
    }
}
