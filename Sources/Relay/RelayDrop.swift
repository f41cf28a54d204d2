import NetTypes

/// Why the driver drops what the engine would have taken or sent; raw values are the names in metrics.
enum RelayDrop: String, DropReason {
    /// A datagram longer than a receive buffer.
    case oversizedDatagram
    /// The send batch had no room even after a flush.
    case batchFull
    /// A stream's client reads too slowly, and too many bytes of relayed data waited for it: the oldest are dropped.
    case slowStream
    /// Relayed data that has waited too long for a stream's client.
    case staleMedia
    /// A stream that is closing, or gone.
    case closedStream
    /// A stream of bytes that is no STUN and no ChannelData.
    case brokenStream
    /// A stream that did not complete its first message in time, or silent without an allocation.
    case idleStream
    /// More streams than the shard bears.
    case tooManyStreams
    /// More streams than one address may have.
    case tooManyStreamsOfPrefix
    /// A stream for which the process has no descriptor left.
    case noDescriptor
    /// A listener that does not work.
    case brokenListener
    /// A datagram to be relayed that has come its last hop.
    case hopLimitReached
    /// Another shard has more datagrams waiting than it takes.
    case mailboxFull
    /// A datagram of a peer for a relayed address that has ended since it came.
    case closedRelay
    /// A datagram to a peer from a port that another program has taken; its relayed address ends.
    case portTaken
    /// A datagram to a peer, to send which there could be no socket.
    case noSender
    /// An ICMP message that says nothing about a datagram of ours.
    case strangeICMP
    /// An ICMP message about a datagram of ours, as it seems, whose checksum is wrong.
    case brokenICMP
    /// A datagram to an address that no listener has any more.
    case noRoute
    /// A TLS handshake or record that failed.
    case tlsFailure
    /// A DTLS ClientHello that no client sends.
    case malformedHello
    /// A DTLS datagram without an association: of one that was closed, or of a stranger.
    case noAssociation
    /// What was meant for a DTLS association that is gone.
    case closedAssociation
    /// A message that is longer than a DTLS record, or than its client takes (RFC 6066 §4).
    case oversizedRecord
    /// A DTLS handshake that failed, or a record that ended an association.
    case dtlsFailure
    /// A DTLS handshake that took too long.
    case handshakeTimeout
    /// A DTLS association without a first message in time, or silent without an allocation.
    case idleAssociation
    /// More DTLS associations than the shard bears.
    case tooManyAssociations
    /// More DTLS associations than one address may have.
    case tooManyAssociationsOfPrefix
    /// The oldest DTLS handshake, given up for a new one.
    case tooManyHandshakes
    /// More DTLS handshakes than one address may have open.
    case tooManyHandshakesOfPrefix
}
