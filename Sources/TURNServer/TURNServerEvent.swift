public import Bytes
public import NetTypes

/// What the engine asks of its driver, and what it tells for logs.
public enum TURNServerEvent: Sendable, Equatable {
    /// Bind a UDP socket; answer with `relayOpened` or `relayOpenFailed`.
    ///
    /// The client waits for it.
    case openRelay(RelayRequest)
    /// Close the socket with this token; datagrams that it still delivers are dropped.
    case closeRelay(token: UInt64)
    /// Listen for TCP connections of peers; answer as to `openRelay`. `closeRelay` closes it.
    ///
    /// The address must allow connections to be made from it as well (SO_REUSEPORT).
    case openListener(RelayRequest)
    /// Connect to a peer from a relayed TCP address; answer with `peerConnected` or `peerConnectFailed`.
    ///
    /// Whatever the peer sends waits, unread, until `joinPeer`.
    case connectPeer(PeerConnectRequest)
    /// Copy bytes between this connection with a peer and this client's stream from now on, both ways.
    ///
    /// The success response to the client, which follows, goes before the first byte. What the client has sent behind its
    /// request belongs to the peer.
    case joinPeer(PeerConnectionID, ClientTuple)
    /// Close this connection with a peer; a client's stream that is joined to it ends with what it has to say.
    case closePeer(PeerConnectionID)
    /// `channelPaths(of:at:)` of an allocation may now say something else, and must not be believed any longer as it was.
    ///
    /// Comes before `closeRelay`; only with `tellsChannelPaths`.
    case channelPathsChanged(SlotHandle)
    /// It may now say more: channels besides, or later ends. What it said before is still true.
    case channelPathsExtended(SlotHandle)
    /// A client that has an allocation elsewhere may now use this 5-tuple too: its stream must be kept.
    case clientJoined(ClientTuple)
    /// It may no longer use this one.
    case clientLeft(ClientTuple)
    /// An allocation has followed its client from that 5-tuple to the one of the summary (RFC 8016).
    case allocationMoved(AllocationSummary, from: ClientTuple)
    /// An allocation was made; the client has its success response.
    case allocationCreated(AllocationSummary)
    /// A permission for a new peer address was installed; together with the summaries it says who talked to whom.
    case peerPermitted(user: String, client: ClientTuple, peer: IPAddress)
    /// An allocation is gone.
    case allocationEnded(AllocationSummary, AllocationEnd)
    /// A request showed wrong credentials.
    ///
    /// Told only of clients that have been proven to be at their address; not of the ordinary first request without any.
    case authenticationFailed(client: ClientTuple, RefusedCredentials)
}

/// A relay socket that the driver must open.
public struct RelayRequest: Sendable, Hashable {
    /// The name under which the socket's datagrams come in.
    public let id: RelayID
    /// The address and port to bind, exactly.
    public let local: SocketAddress
}

/// Names one TCP connection with a peer, made or accepted, until it is closed.
public struct PeerConnectionID: Hashable, Sendable {
    /// The identifier as one integer.
    public let bits: UInt64

    /// Makes the identifier whose `bits` these are.
    @inlinable
    public init(bits: UInt64) { self.bits = bits }
}

/// A connection that the driver must make.
public struct PeerConnectRequest: Sendable, Hashable {
    /// The name of the connection in everything that follows.
    public let id: PeerConnectionID
    /// The relayed address, as it is on this host: where the connection comes from, exactly.
    public let local: SocketAddress
    /// The peer.
    public let destination: SocketAddress
}

/// Why an allocation ended.
public enum AllocationEnd: String, Sendable, Hashable, CaseIterable {
    /// The client deleted it with a lifetime of 0.
    case deleted
    /// The client did not refresh it in time.
    case expired
    /// The client's connection was closed.
    case connectionClosed
    /// The operator or the driver ended it.
    case revoked
}

/// What a log line says about an allocation.
public struct AllocationSummary: Sendable, Hashable {
    /// The user without the expiry time of temporary credentials.
    public let user: String
    /// The client's 5-tuple.
    public let client: ClientTuple
    /// The relayed transport addresses as peers see them: one, or two of a dual allocation.
    public let relayed: [SocketAddress]
    /// How long the allocation has existed.
    public let age: TimeSpan
    /// What was relayed for it.
    public let traffic: RelayedTraffic
}

/// Packets and bytes of payload that were relayed, for each direction.
public struct RelayedTraffic: Sendable, Hashable {
    /// Datagrams from the client to peers.
    public var packetsToPeers: UInt64 = 0
    /// Their bytes.
    public var bytesToPeers: UInt64 = 0
    /// Datagrams from peers to the client.
    public var packetsToClient: UInt64 = 0
    /// Their bytes.
    public var bytesToClient: UInt64 = 0

    /// Nothing relayed yet.
    public init() {}

    mutating func countStream(toPeer: Int, toClient: Int) {
        bytesToPeers &+= UInt64(toPeer)
        bytesToClient &+= UInt64(toClient)
    }

    mutating func countToPeer(_ bytes: Int) {
        packetsToPeers &+= 1
        bytesToPeers &+= UInt64(bytes)
    }

    mutating func countToClient(_ bytes: Int) {
        packetsToClient &+= 1
        bytesToClient &+= UInt64(bytes)
    }
}

/// What is wrong with the credentials that a client has shown; it is told to the operator, never to the client.
public enum RefusedCredentials: String, Hashable, Sendable {
    /// There is no such user.
    case user = "unknown user"
    /// The time of temporary credentials is over.
    case expired = "expired"
    /// The user is known, but the message was not made with the password.
    case password = "wrong password"
    /// Everything is right but the realm.
    case realm = "wrong realm"
    /// The access token is of an unknown key, forged, for another server, or its time is over; or its key was not used.
    case token = "access token"
}
