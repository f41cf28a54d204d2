public import NetTypes

/// Why the server drops bytes without an answer; raw values are the names in logs and metrics.
public enum TURNServerDrop: String, DropReason {
    /// The first byte belongs to no protocol that the server speaks (RFC 8656 §12, table 3).
    case notTURN
    /// Not a well-formed STUN message (RFC 8489 §6.3).
    case malformedSTUN
    /// The FINGERPRINT is wrong.
    case badFingerprint
    /// A method that the server does not have.
    case unsupportedMethod
    /// A response, or a class that the method does not have.
    case unexpectedClass
    /// Too many answers to Binding requests from this prefix.
    case bindingRateLimit
    /// Too many answers to this prefix from elsewhere, or to elsewhere (RFC 5780).
    case discoveryRateLimit
    /// Too many answers to unauthenticated requests from this prefix.
    case unauthenticatedRateLimit
    /// The same Allocate request again while the first one waits for its relay socket.
    case retransmission
    /// Data from a client that has no allocation.
    case noAllocation
    /// A Send indication that lacks an attribute or has a malformed or unknown one.
    case malformedIndication
    /// A ChannelData message that is shorter than it says.
    case truncatedChannelData
    /// A channel number that is not bound.
    case unboundChannel
    /// A peer without permission.
    case noPermission
    /// A peer on our own relay address whose port is no open relay.
    case deadRelay
    /// The allocation has no relayed address of the peer's family.
    case wrongFamily
    /// Datagrams for an allocation whose relayed addresses speak TCP.
    case wrongTransport
    /// More TCP connections from peers than the allocation or the shard may have.
    case tooManyConnections
    /// An ICMP message of a kind that clients are not told of.
    case unreportedICMP
    /// A payload that does not fit into one datagram or message.
    case payloadTooLarge
    /// The allocation has relayed as many bytes as it may for now.
    case bandwidthLimit
    /// The user's allocations have relayed as many bytes as they may for now.
    case userBandwidthLimit
    /// The server has relayed as many bytes as it may for now.
    case totalBandwidthLimit
    /// A datagram on a relay that has been closed.
    case unknownRelay
    /// The driver's buffer has no room for the header in front of the payload.
    case noHeadroom
    /// Responses pile up because the driver does not take them.
    case outboxFull
}
