public import ICE
public import MDNS
public import NetTypes
public import PortMapping

/// The session's name for something that it wants of the driver.
public struct EffectID: RawRepresentable, Hashable, Sendable {
    /// A number that is not used again.
    public let rawValue: UInt32

    /// Takes a number.
    public init(rawValue: UInt32) { self.rawValue = rawValue }
}

/// What a connection is to be.
public enum StreamKind: Hashable, Sendable {
    /// A UDP socket for this one server, if those of hosts are shared (`ICESessionConfiguration.relaysHaveOwnSockets`).
    case udp
    /// Plain TCP.
    case tcp
    /// TLS over TCP; the certificate must be for this name, or for the address if it is an address.
    case tls(serverName: String)
    /// DTLS over UDP; likewise.
    case dtls(serverName: String)
}

/// What a session wants done by its driver; each is answered once, but for those that say otherwise.
public enum SessionEffect: Hashable, Sendable {
    /// A UDP socket on this address; port 0 leaves the port to the system. Answer: `bound` or `failed`.
    case bindUDP(EffectID, SocketAddress)
    /// A TCP listener on this address, whose port other sockets may connect from. Answer: `bound` or `failed`.
    case listenTCP(EffectID, SocketAddress)
    /// A connection; port 0 of `from` leaves the port to the system. Answer: `connected` or `failed`.
    case connect(EffectID, StreamKind, from: SocketAddress, to: SocketAddress)
    /// The addresses of a name, of both families. Answer: `resolved` or `failed`.
    case resolve(EffectID, name: String)
    /// A multicast DNS name for an address of ours. Answer: `published` or `failed`.
    case publishName(EffectID, ConcealedAddress, interface: UInt32)
    /// The address of a peer's multicast DNS name. Answer: `nameResolved` or `failed`.
    case resolveName(EffectID, MDNSName)
    /// A mapping of this local address by the gateway of its interface.
    ///
    /// Answers: `mapped`, as often as it changes, `mappingLost`, or `failed`.
    case mapPort(EffectID, MappedTransport, local: SocketAddress, interface: UInt32)
    /// The end of a mapping; no answer.
    case unmapPort(EffectID)
    /// The end of a socket, a listener or a connection, or of one that has ended by itself; no answer.
    case close(BaseID)
    /// An answer is not wanted any more; if it comes all the same, what it brings is closed.
    case cancel(EffectID)
}

/// Why the driver could not do what was wanted.
public enum EffectFailure: UInt8, Error, Hashable, Sendable {
    /// Nobody takes the connection.
    case refused
    /// There is no route.
    case unreachable
    /// It took too long.
    case timedOut
    /// There is no such name, gateway or service.
    case notFound
    /// TLS or DTLS was not established.
    case tlsFailed
    /// The system does not permit it.
    case notPermitted
    /// There are no more sockets or ports; of a port that sessions share, each has one socket.
    case exhausted
}

/// Why a server gave no candidate.
public enum GatheringFailure: Hashable, Sendable {
    /// It has not answered in time.
    case silent
    /// It has refused, with the number of the error.
    case refused(code: UInt16)
    /// It was not reached.
    case unreachable(EffectFailure)
    /// It has answered what cannot be used.
    case unusableAnswer
    /// Its URI asks for a transport that is not used here.
    case unsupportedURI
}

/// What a session tells its owner.
public enum SessionEvent: Hashable, Sendable {
    /// A candidate of ours, to be signalled at once.
    case candidate(Candidate)
    /// A candidate that is no more, to be signalled if the protocol can.
    case candidateRemoved(Candidate)
    /// What is there will do for an owner that does not trickle: send the description now.
    case goodEnough
    /// No more candidates for now; if `signalEnd`, end-of-candidates is to be signalled.
    case gatheringDone(signalEnd: Bool)
    /// The agent's state is another.
    case stateChanged(ICEConnectionState)
    /// Data goes another way; `nil`: nowhere.
    case pathChanged(component: UInt16, ICEPath?)
    /// A pair was nominated on both sides.
    case selected(component: UInt16, ICEPath)
    /// The role is another, after a conflict.
    case roleChanged(ICERole)
    /// No path is left: restart.
    case restartAdvised
    /// A server gave nothing (W3C's icecandidateerror).
    case serverFailed(server: String, Carrier, GatheringFailure)
    /// `close` has done what it could: everything may be thrown away.
    case closed
}

/// What became of received bytes.
public enum SessionDisposition: Hashable, Sendable {
    /// They were understood.
    case consumed
    /// They carry data of the peer, which stand in this range of them.
    case data(component: UInt16, Range<Int>)
    /// They were dropped; the reason is counted.
    case ignored(SessionDrop)
}

/// Why bytes were dropped.
public enum SessionDrop: String, DropReason {
    /// The base is none of this session's.
    case unknownBase
    /// The agent did not take them; its own statistics tell why.
    case agent
    /// A response to nothing that was asked, on a socket that may be shared.
    case unknownTransaction
    /// A server's message that its client did not take.
    case server
    /// A stream that cannot be followed any more; it was closed.
    case brokenStream
    /// A connection that a stranger may have opened: it brought no authenticated check in time.
    case silentStream
    /// The oldest such connection, closed because a newer one needed its place.
    case displacedStream
    /// Data that came over streams and that nobody took.
    case notTaken
    /// A message for a relay that is no more, or that holds as much as it may.
    case noRelay
    /// A check from a relay to an address that a peer has concealed (ice 153).
    case concealedPeer
    /// More connections, names or relays than are allowed.
    case limitReached
    /// An answer to an effect that is not waited for.
    case unknownEffect
}

/// A message that was written and is to be sent.
public struct SessionTransmit: Hashable, Sendable {
    /// The socket or the connection.
    public let base: BaseID
    /// To whom; for a connection, its other end.
    public let destination: SocketAddress
    /// How many bytes were written.
    public let byteCount: Int
    /// With which TTL or hop limit, if not the system's.
    public let hopLimit: UInt8?
}

/// What became of data for the peer.
public enum SessionSend: Hashable, Sendable {
    /// Send the data themselves from this socket to that address: nothing was written.
    case direct(BaseID, to: SocketAddress)
    /// Send what was written.
    case written(SessionTransmit)
    /// They will come out of `pollTransmit`.
    case held
    /// There is no path.
    case noPath
    /// They do not fit into a message, or into the room that was given.
    case tooLong
}
