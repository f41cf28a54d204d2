public import NetTypes

/// What became of a message from a client.
public enum ClientDisposition: Equatable, Sendable {
    /// It was understood: there may be a response and there may be events.
    case accepted
    /// It was dropped without an answer; the engine has counted the reason.
    case ignored(TURNServerDrop)
    /// Its payload goes to a peer, now.
    case relay(RelayTransmit)
    /// The message belongs with the shard of this number, and so does the stream that it has come in.
    ///
    /// A stream goes there with this message first of all; a datagram goes to that shard's `receiveForwarded`.
    case handOver(shard: Int)
}

/// A datagram that the driver must send from a relay socket.
public struct RelayTransmit: Equatable, Sendable {
    /// The driver's token of the relay socket.
    public let token: UInt64
    /// The peer.
    public let destination: SocketAddress
    /// Where in the received message the payload is; may be empty, then an empty datagram is sent.
    public let payload: Range<Int>
    /// Whether the datagram must not be fragmented on its way.
    public let dontFragment: Bool
}

/// What became of a datagram from a peer.
public enum PeerDisposition: Equatable, Sendable {
    /// These bytes of the buffer, framed for the client, go to it on its own transport.
    case deliver(to: ClientTuple, bytes: Range<Int>)
    /// It was dropped; the engine has counted the reason.
    case ignored(TURNServerDrop)
}
