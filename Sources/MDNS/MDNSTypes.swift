public import NetTypes

/// One interface in one family: where multicast DNS has a socket of its own (RFC 6762 §3, §14).
public struct MDNSLink: Hashable, Sendable {
    /// The interface's number in the system.
    public let interface: UInt32
    /// IPv4 or IPv6.
    public let family: AddressFamily

    /// Makes a link.
    public init(interface: UInt32, family: AddressFamily) {
        self.interface = interface
        self.family = family
    }

    /// The group and port to which everything is sent: 224.0.0.251:5353 or [ff02::fb]:5353.
    public var group: SocketAddress {
        family == .ipv4
            ? SocketAddress(IPAddress(ipv4: 0xE000_00FB), port: MDNSLink.port)
            : SocketAddress(IPAddress(ipv6: 0xFF02_0000_0000_0000, 0xFB), port: MDNSLink.port, scope: interface)
    }

    /// The port of multicast DNS.
    public static let port: UInt16 = 5353
}

/// A datagram that the engine has written: on which link, and to where.
public struct MDNSTransmit: Hashable, Sendable {
    /// The link whose socket sends it, with 255 as TTL or hop limit (RFC 6762 §11).
    public let link: MDNSLink
    /// The group, or one host.
    public let destination: SocketAddress
    /// How many bytes were written.
    public let byteCount: Int
}

/// What the engine tells.
public enum MDNSEvent: Hashable, Sendable {
    /// A name stands for this address.
    case resolved(MDNSName, ConcealedAddress)
    /// Nobody has told what the name stands for, or more was told than is believed.
    case failed(MDNSName, MDNSFailure)
    /// A name that is kept up to date stands for nothing any more.
    case lost(MDNSName)
}

/// Why a name was not resolved; for logs without the name, never for a page (ice 152).
public enum MDNSFailure: Hashable, Sendable {
    /// No answer came in time.
    case timedOut
    /// There is more than one address (ice 151).
    case ambiguous
    /// There are as many lookups as are allowed.
    case limitReached
    /// The name is no UUID (ice 151).
    case notUUID
}

/// Why a datagram, or a part of one, was dropped.
public enum MDNSDrop: String, DropReason {
    /// It is no DNS message, or a malformed one.
    case malformed
    /// Its operation or response code is not zero.
    case notSupported
    /// It has more records than are read.
    case tooManyRecords
    /// It came over a link that is not known.
    case unknownLink
    /// A response by unicast from another network (RFC 6762 §11), or a query from there that wants an answer by unicast.
    case offLink
    /// A response that was not sent from port 5353 (RFC 6762 §6).
    case wrongPort
    /// More answers are wanted than are given in a second.
    case rateLimited
    /// The cache is full.
    case cacheFull
    /// Somebody else claims a name of ours; with 122 random bits that is no accident.
    case conflict
    /// A datagram that nobody took in time.
    case notTaken
}

/// How much the engine keeps and sends.
public struct MDNSLimits: Hashable, Sendable {
    /// Names of our own.
    public var publishedNames = 64
    /// Names that are being looked up or kept up to date.
    public var lookups = 64
    /// Names of others that are remembered.
    public var cachedNames = 256
    /// Answers by unicast in a second.
    public var unicastAnswersPerSecond = 20.0
    /// Answers that wait for their time.
    public var pendingAnswers = 64
    /// Datagrams that wait to be sent.
    public var datagrams = 128
    /// How long a name is looked up.
    public var lookupTime = TimeSpan.seconds(10)

    /// Makes the defaults.
    public init() {}
}
