public import NetTypes

/// Everything an operator can decide about the server; immutable while it runs.
public struct TURNServerConfiguration: Sendable {
    /// Which users may allocate.
    public var credentials: TURNServerCredentials
    /// The addresses to relay on: at least one, of either family or both.
    public var relayAddresses: [RelayAddress]
    /// The ports of relayed transport addresses.
    ///
    /// Below 1024 is refused (RFC 8656 §7.2).
    public var relayPorts: ClosedRange<UInt16> = 49152...65535
    /// Peers that may be reached.
    public var gate: PeerAddressGate
    /// Where NAT behaviour can be discovered (RFC 5780): at most one entry for each family.
    ///
    /// Without any, CHANGE-REQUEST is an unknown attribute.
    public var discovery: [DiscoveryAddresses] = []
    /// Other servers for clients that find no room here; `nil` for none.
    public var redirection: TURNServerRedirection?
    /// Whether Binding requests of RFC 3489, without the magic cookie, are answered over UDP.
    ///
    /// Off by default: hardly anybody needs it, and everything else without a cookie is noise.
    public var answersRFC3489 = false
    /// How long things live.
    public var lifetimes = TURNServerLifetimes()
    /// What one client, one user and all together may take.
    public var limits = TURNServerLimits()
    /// The SOFTWARE attribute of authenticated Allocate and Refresh responses; `nil` leaves it out.
    public var software: String?
    /// Whether the driver can send datagrams that must not be fragmented; if not, DONT-FRAGMENT is unknown to the server.
    public var supportsDontFragment = true
    /// Whether clients may have relayed TCP addresses (RFC 6062); if not, a request for one gets 442.
    ///
    /// Off by default: browsers do not use them, and they let a user connect to any TCP service that the gate admits.
    public var relaysTCP = false
    /// Whether allocations may follow their clients to other addresses (RFC 8016); if not, who asks for it gets 405.
    ///
    /// Off by default: a mobile client whose connection ends holds its allocation until that expires.
    public var allowsMobility = false
    /// Whether an Allocate request that names no address family gets one of the client's own.
    ///
    /// Departure: RFC 8656 §7.2 wants IPv4 then. Browsers never name a family, so IPv6-only hosts need this; off by default.
    public var followsClientFamily = false
    /// Whether channels may have the numbers 0x5000 to 0x7FFE as well.
    ///
    /// Departure: RFC 8656 §12 reserves them. Clients of RFC 5766, such as older tools of coturn, use them; off by default.
    public var acceptsLegacyChannels = false
    /// Whether `channelPathsChanged` is told, for a driver that can relay without the engine.
    public var tellsChannelPaths = false

    /// Makes a configuration; everything that is not given has its documented default.
    public init(credentials: TURNServerCredentials, relayAddresses: [RelayAddress], gate: PeerAddressGate? = nil) {
        self.credentials = credentials
        self.relayAddresses = relayAddresses
        self.gate = gate ?? PeerAddressGate(relayAddresses: relayAddresses)
    }
}

/// How long things live; the values that RFC 8656 fixes (permissions 300 s, channels 600 s) are not here.
public struct TURNServerLifetimes: Sendable {
    /// The lifetime of an allocation whose client asks for none or for less (RFC 8656 §6: 600 s).
    public var `default`: TimeSpan = .seconds(600)
    /// The longest lifetime that is granted (RFC 8656 §7.2: at most an hour).
    public var maximum: TimeSpan = .seconds(3600)
    /// How long a port is held for a RESERVATION-TOKEN (RFC 8656 §7.2: at least 30 s).
    public var reservation: TimeSpan = .seconds(30)

    /// Makes the defaults.
    public init() {}
}

/// A steady rate with a burst.
public struct RateLimit: Sendable, Hashable {
    /// How many come in each second.
    public var perSecond: Double
    /// How many may come at once after a pause.
    public var burst: Double

    /// Makes a limit.
    public init(perSecond: Double, burst: Double) {
        self.perSecond = perSecond
        self.burst = burst
    }
}

/// What one client, one user and all together may take.
public struct TURNServerLimits: Sendable {
    /// Allocations of one user at a time, over all shards (486).
    ///
    /// A browser makes up to twelve for one call.
    public var allocationsPerUser = 256
    /// Allocations of all users at a time, over all shards (508).
    public var allocations = 50_000
    /// Peer addresses with a permission in one allocation (508); at most 4096.
    public var permissionsPerAllocation = 256
    /// Channels of one allocation (508).
    public var channelsPerAllocation = 256
    /// TCP connections with peers of one allocation, those that are being made included (508).
    public var connectionsPerAllocation = 64
    /// TCP connections with peers of one shard (508).
    public var connections = 10_000
    /// TCP connections to peers that may fail or be under way, for the clients of one /32 or /64, and for one user (508).
    ///
    /// Each Connect request takes a unit, which a success gives back: what is left is the pace of a port scan.
    public var failedConnects = RateLimit(perSecond: 0.5, burst: 60)
    /// Bytes of payload that one allocation relays in each second, both directions together; `nil` for no limit.
    ///
    /// It also bounds what two servers can do whose relays were bound to each other (RFC 8656 §21.1.7).
    public var bytesPerSecondPerAllocation: UInt64?
    /// Bytes of payload that all allocations of one user relay in each second, over all shards; `nil` for no limit.
    public var bytesPerSecondPerUser: UInt64?
    /// Bytes of payload that the server relays in each second, over all shards; `nil` for no limit.
    public var bytesPerSecond: UInt64?
    /// New peer addresses of one allocation, by permission or channel (508); `nil` for no limit.
    ///
    /// A call has a few dozen candidates at once and hardly any later; a scan of a network has nothing else.
    public var newPeers: RateLimit? = RateLimit(perSecond: 5, burst: 100)
    /// Answers to unauthenticated TURN requests from one /32 or /64.
    ///
    /// One address may hide a whole office.
    public var unauthenticatedAnswers = RateLimit(perSecond: 200, burst: 1000)
    /// Answers to Binding requests from one /32 or /64.
    public var bindingAnswers = RateLimit(perSecond: 200, burst: 1000)
    /// Binding responses to one /32 or /64 from another address or port than was asked, or to another port, or padded.
    public var discoveryAnswers = RateLimit(perSecond: 5, burst: 50)
    /// How many source prefixes a shard tells apart for each of these limits; memory is 24 bytes for each.
    public var limitedPrefixes = 16_384
    /// How long a port rests before another allocation gets it, as long as others are free.
    public var portRest: TimeSpan = .seconds(30)
    /// How many ports are tried when the host refuses one as in use, before the client gets 508.
    public var portAttempts = 16

    /// Makes the defaults.
    public init() {}
}

/// What is wrong with a configuration, in words for the operator.
public enum TURNServerConfigurationError: Error, Hashable, Sendable, CustomStringConvertible {
    /// There is no address to relay on.
    case noRelayAddress
    /// A relay address is a wildcard or a multicast address.
    case unusableRelayAddress(IPAddress)
    /// The local and the external form are of different families.
    case mixedFamilies(RelayAddress)
    /// Two relay addresses are the same on this host or to peers.
    case repeatedRelayAddress(IPAddress)
    /// The two addresses or the two ports of NAT behaviour discovery are the same, or of two families.
    case badDiscovery(DiscoveryAddresses)
    /// The port range touches the well-known ports.
    case wellKnownPorts(ClosedRange<UInt16>)
    /// The realm is empty or too long.
    case badRealm
    /// The nonce secret is too short.
    case badNonceSecret
    /// SOFTWARE is too long.
    case softwareTooLong
    /// A static user's keys were made for another realm.
    case userOfAnotherRealm
    /// The server's name for tokens is empty or too long, or there is no key.
    case badThirdParty
    /// A lifetime is outside what RFC 8656 allows.
    case badLifetimes

    /// What is wrong and what to do.
    public var description: String {
        switch self {
        case .noRelayAddress: "no relay address: name at least one address of this host to relay on"
        case .unusableRelayAddress(let ip): "relay address \(ip) is no address of one host: name the address itself"
        case .mixedFamilies(let relay):
            "relay address \(relay.local) cannot be known as \(relay.external): use two addresses of one family"
        case .repeatedRelayAddress(let ip): "relay address \(ip) is given twice: name each address once"
        case .badDiscovery(let pair):
            "NAT discovery with \(pair.first.external) and \(pair.second.external), ports \(pair.firstPort) and \(pair.secondPort), cannot work: use two addresses of one family and two ports"
        case .wellKnownPorts(let range):
            "relay ports \(range.lowerBound)-\(range.upperBound) include ports below 1024: use 49152-65535 or another range above"
        case .badRealm: "the realm must have 1 to 127 characters: use the server's domain name"
        case .badNonceSecret: "the nonce secret is too short: give 16 bytes or more"
        case .softwareTooLong: "the software name is too long: use at most 127 characters"
        case .userOfAnotherRealm: "a user's keys belong to another realm: make them anew for this one"
        case .badThirdParty: "access tokens need a server name of 1 to 255 bytes and at least one key"
        case .badLifetimes:
            "lifetimes must be: default at most maximum, maximum at most a day, reservation at least 30 seconds"
        }
    }
}

extension TURNServerConfiguration {
    /// Checks what the types cannot.
    ///
    /// - Throws: the first thing that is wrong.
    public func validate() throws(TURNServerConfigurationError) {
        guard !relayAddresses.isEmpty else { throw .noRelayAddress }
        var seen: Set<IPAddress> = []
        for relay in relayAddresses {
            guard relay.local.family == relay.external.family else { throw .mixedFamilies(relay) }
            for ip in Set([relay.local, relay.external]) {
                guard !ip.isUnspecified, !isMulticast(ip) else { throw .unusableRelayAddress(ip) }
                guard seen.insert(ip).inserted else { throw .repeatedRelayAddress(ip) }
            }
        }
        for pair in discovery where !pair.isUsable { throw .badDiscovery(pair) }
        guard relayPorts.lowerBound >= 1024 else { throw .wellKnownPorts(relayPorts) }
        guard (1...127).contains(credentials.realm.count), credentials.realm.utf8.count <= 509 else { throw .badRealm }
        let name = software ?? ""
        guard name.count <= 127, name.utf8.count <= 509 else { throw .softwareTooLong }
        guard credentials.isConsistent else { throw .userOfAnotherRealm }
        guard credentials.thirdParty?.isUsable != false else { throw .badThirdParty }
        let (first, last) = (lifetimes.default, lifetimes.maximum)
        guard first > .zero, first <= last, last <= .seconds(86_400), lifetimes.reservation >= .seconds(30) else {
            throw .badLifetimes
        }
    }

    private func isMulticast(_ ip: IPAddress) -> Bool {
        ip.family == .ipv4 ? ip.low &>> 28 == 0xE : ip.high &>> 56 == 0xFF
    }
}
