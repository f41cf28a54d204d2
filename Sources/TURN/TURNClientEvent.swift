public import NetTypes
public import STUN

/// What a server has granted.
public struct TURNAllocation: Hashable, Sendable {
    /// The relayed transport addresses: one, or two of a dual allocation, IPv4 first.
    public let relayed: [SocketAddress]
    /// Our address as the server sees it, if it is of a known family.
    public let mapped: SocketAddress?
    /// How long the allocation lasts without a refresh, in seconds.
    public let lifetimeSeconds: UInt32
    /// The token of the next higher port, if it was asked for.
    public let reservationToken: ReservationToken?
    /// The family of a dual allocation that was not granted, and why.
    public let refused: RefusedFamily?
    /// Whether the server takes DONT-FRAGMENT in Send indications: `false` also if it was not asked.
    public let supportsDontFragment: Bool

    /// A family that was not granted (ADDRESS-ERROR-CODE).
    public struct RefusedFamily: Hashable, Sendable {
        /// The family.
        public let family: AddressFamily
        /// The reason: 440 is for good, after 508 wait a minute (RFC 8656 §7.3).
        public let code: ErrorCode
    }

    /// The relayed address of a family.
    public func relayed(_ family: AddressFamily) -> SocketAddress? { relayed.first { $0.family == family } }
}

/// What a TURN client tells its owner.
public enum TURNClientEvent: Hashable, Sendable {
    /// There is an allocation.
    case allocated(TURNAllocation)
    /// The allocation lasts for so many seconds from now.
    case refreshed(lifetimeSeconds: UInt32)
    /// The allocation has followed us to the new address, with its permissions and channels; it lasts for so many seconds.
    case moved(lifetimeSeconds: UInt32)
    /// The server relays to and from this address.
    case permitted(IPAddress)
    /// The server does not, or no longer.
    case permissionFailed(IPAddress, TURNClientFailure)
    /// Data for this peer goes over a channel.
    case channelBound(SocketAddress, ChannelNumber)
    /// It does not, or no longer; a permission may still be there.
    case channelFailed(SocketAddress, TURNClientFailure)
    /// The server is connected to this peer: bind a new connection to it, within 30 s (RFC 6062 §4.3).
    case connected(SocketAddress, ConnectionID)
    /// It is not.
    case connectFailed(SocketAddress, TURNClientFailure)
    /// This peer has connected to the relayed address: whoever wants that binds a new connection to it, within 30 s.
    case connectionAttempt(SocketAddress, ConnectionID)
    /// An ICMP message came back for a datagram to this peer (RFC 8656 §11.6).
    case peerUnreachable(SocketAddress, ICMPReport)
    /// There is no allocation any more, and nothing else will follow.
    case ended(TURNClientEnd)
}

/// How the life of a client ends.
public enum TURNClientEnd: Hashable, Sendable {
    /// Its owner has closed it; the server has deleted the allocation, as far as it answered.
    case closed
    /// Against its will.
    case failed(TURNClientFailure)
}

/// Why something did not work.
public enum TURNClientFailure: Error, Hashable, Sendable {
    /// There was no response that could be used.
    case transaction(TransactionFailure)
    /// The server has refused.
    case refused(ErrorCode)
    /// The server sends its clients to another one; over TLS its certificate is for `domain`, if given (RFC 8489 §10).
    case redirected(to: SocketAddress, domain: String?)
    /// The server would send us elsewhere, but nothing proves that it is the server who says so (turn 81).
    case unprotectedRedirect
    /// A server at an anycast address has not sent us to an address of its own (RFC 8155 §6).
    case notRedirected
    /// The connection to the server does not work any more: reset it, and allocate anew over another (RFC 8489 §6.2.2).
    case connectionDead
    /// A TCP allocation was asked for over a transport that carries none (RFC 6062 §4.1).
    case streamNeeded
    /// The allocation has no address of a family that can be used; it was deleted (RFC 8656 §7.3).
    case unusableAddressFamily
    /// The server has no allocation for us any more (437).
    case allocationLost
    /// The allocation was not refreshed in time.
    case expired
    /// Client and server disagree about channels; the allocation was deleted (RFC 8656 §12.3).
    case outOfSync
}

extension TURNClientFailure: CustomStringConvertible {
    /// What went wrong, in words.
    public var description: String {
        switch self {
        case .transaction(let failure): failure.description
        case .refused(let code): "the server refused: \(code)"
        case .redirected(let server, _): "the server sends its clients to \(server)"
        case .unprotectedRedirect: "somebody would send us to another server without proof of being the server"
        case .notRedirected: "the server at an anycast address has not named an address of its own"
        case .connectionDead: "the connection to the server does not work any more"
        case .streamNeeded: "connections are relayed only to who is connected over TCP or TLS"
        case .unusableAddressFamily: "the server gave an address of a family that cannot be used"
        case .allocationLost: "the server has no allocation for this client any more"
        case .expired: "the allocation was not refreshed in time"
        case .outOfSync: "client and server disagree about channels"
        }
    }
}

/// What became of bytes from the server.
public enum TURNClientDisposition: Hashable, Sendable {
    /// They were understood; there may be something to transmit and there may be events.
    case accepted
    /// They carry data of a peer, which stands in this range of them.
    case data(from: SocketAddress, Range<Int>)
    /// They were dropped; the reason is counted.
    case ignored(TURNClientDrop)
}

/// What became of data for a peer.
public enum TURNSendResult: Hashable, Sendable {
    /// So many bytes were written, to be sent to the server now.
    case written(byteCount: Int)
    /// They will come out of `pollTransmit`, behind the request for the permission.
    case held
    /// They were not taken, and the reason is counted.
    case refused(TURNClientDrop)
}

/// Why bytes were dropped: from the server, or for a peer.
public enum TURNClientDrop: String, DropReason {
    /// Their first byte is neither of STUN nor of a channel (turn 144).
    case notTURN
    /// They do not come from the server.
    case wrongSource
    /// A STUN message that is malformed.
    case malformedSTUN
    /// FINGERPRINT is wrong.
    case badFingerprint
    /// A request, or an indication that is not for clients.
    case unexpectedClass
    /// No request of that identifier and method waits (turn 26).
    case unknownTransaction
    /// A response that the password does not confirm (turn 79).
    case integrityViolated
    /// A 400 that nothing protects (turn 78).
    case unprotectedBadRequest
    /// A response whose nonce announces password algorithms that are not there (turn 77).
    case biddenDown
    /// A Data indication without peer, without data, or with attributes that must be understood and are not.
    case malformedIndication
    /// Data of a peer without permission (turn 131).
    case noPermission
    /// ChannelData with a reserved number, or cut off.
    case malformedChannelData
    /// ChannelData of a channel that is not bound.
    case unboundChannel
    /// There is no allocation.
    case noAllocation
    /// Our address has changed, and the server has not confirmed the new one yet (RFC 8016 §3.2.2).
    case moving
    /// Datagrams for a peer, where connections are relayed (RFC 6062 §4.5).
    case wrongRelayedTransport
    /// The peer's family is none of the allocation's.
    case wrongFamily
    /// Data that is too long for one message, or for the room that was given.
    case tooLong
    /// More data than is kept until a permission is there, or more permissions than are kept.
    case limitReached
    /// A message or an event that nobody took in time.
    case notTaken
}
