public import NetTypes

/// Names what datagrams leave through: a UDP socket, a TCP listener or connection, a relayed allocation.
///
/// Chosen by the driver; agents that share a socket share its number.
public struct BaseID: RawRepresentable, Hashable, Sendable {
    /// The driver's number.
    public let rawValue: UInt32

    /// Takes the driver's number.
    @inlinable
    public init(rawValue: UInt32) { self.rawValue = rawValue }
}

/// A candidate of our own as the gatherer has found it; the agent adds foundation and priority.
public struct LocalCandidate: Hashable, Sendable {
    /// Host, server-reflexive or relayed; peer-reflexive ones are found by the agent.
    public var type: CandidateType
    /// UDP or TCP.
    public var transport = CandidateTransport.udp
    /// Who connects; `nil` for UDP.
    public var tcpType: TCPCandidateType?
    /// 1 to 256.
    public var component: UInt16 = 1
    /// The transport address.
    public var address: SocketAddress
    /// Where it leaves this host: the host candidate's address, for a relayed one the relayed address itself.
    public var baseAddress: SocketAddress
    /// What is signalled as related address; `nil` stands for the base, zeros for an address that is hidden.
    public var related: SocketAddress?
    /// The STUN or TURN server that it came from.
    public var server: SocketAddress?
    /// How a TURN server is reached: what goes over a stream comes last.
    public var serverProtocol = TransportProtocol.udp
    /// A number of the network that it belongs to.
    public var network: UInt16 = 0
    /// What that network costs, 0 to 999.
    public var networkCost: UInt16 = 0
    /// Whether that network is a tunnel.
    public var isVPN = false
    /// The multicast DNS name that is signalled in place of the address.
    public var concealedName: String?

    /// Makes a candidate; without `base`, the address is its own base.
    public init(_ type: CandidateType, _ address: SocketAddress, base: SocketAddress? = nil, component: UInt16 = 1) {
        self.type = type
        self.address = address
        baseAddress = base ?? address
        self.component = component
    }
}

/// Where data goes.
public struct ICEPath: Hashable, Sendable {
    /// Through what.
    public let base: BaseID
    /// To whom; on a relayed base, the peer behind the relay.
    public let destination: SocketAddress
    /// Whether the local candidate is one of a TURN server.
    public let isRelayed: Bool
}

/// A message that was written and is to be sent.
public struct ICETransmit: Hashable, Sendable {
    /// Through what.
    public let base: BaseID
    /// To whom.
    public let destination: SocketAddress
    /// How many bytes were written.
    public let byteCount: Int
}

/// What became of received bytes.
public enum ICEDisposition: Hashable, Sendable {
    /// A message of ICE: there may be something to transmit and there may be events.
    case consumed
    /// The application's: it came from the peer, over a path that the peer has proven to own.
    case data(component: UInt16)
    /// Dropped and counted.
    case refused(ICEDrop)
}

/// Why bytes were dropped.
public enum ICEDrop: UInt8, Hashable, Sendable, CaseIterable {
    /// The agent is closed.
    case closed
    /// It begins like STUN and is none.
    case malformed
    /// FINGERPRINT is missing or wrong.
    case badFingerprint
    /// A method other than Binding.
    case unexpectedMethod
    /// A request for another session.
    case unknownUsernameFragment
    /// A request without MESSAGE-INTEGRITY or USERNAME.
    case missingCredentials
    /// MESSAGE-INTEGRITY is wrong.
    case badIntegrity
    /// A request that lacks what it must have, or has too much.
    case badRequest
    /// A request with attributes that must be understood and are not.
    case unknownAttribute
    /// A request on something that is no base of a candidate.
    case unknownBase
    /// A response to nothing that was asked.
    case unknownTransaction
    /// A response that came from elsewhere than its request went (ice 48).
    case asymmetricResponse
    /// A response without what it must have.
    case malformedResponse
    /// Data from an address that has not proven to be the peer's.
    case unvalidatedData
    /// A request that would need more candidates or pairs than are allowed.
    case limitReached
    /// Answers to be sent wait already, more than are kept.
    case tooManyResponses
    /// A response for a path whose consent has ended (ice 133).
    case consentEnded

    /// The name in logs and metrics.
    public var name: String { String(describing: self) }
}

/// What became of a candidate of the peer.
public enum RemoteCandidateDisposition: Hashable, Sendable {
    /// It is paired.
    case added
    /// The same address was there; what is new about it was noted.
    case merged
    /// Kept until the description that it belongs to comes.
    case early
    /// Its name is to be resolved; then add what `Candidate.resolved(to:)` gives.
    case needsResolution(String)
    /// Nothing was done.
    case ignored(RemoteCandidateRefusal)
}

/// Why a candidate of the peer was not used.
public enum RemoteCandidateRefusal: UInt8, Hashable, Sendable, CaseIterable {
    /// The agent is closed.
    case closed
    /// The stream has no such component.
    case unknownComponent
    /// It came after the peer's end of candidates (ice 104).
    case afterEndOfCandidates
    /// It belongs to another generation.
    case otherGeneration
    /// An address to which nothing can be sent: unspecified, multicast, port 0.
    case unusableAddress
    /// A name that is not resolved: not one label in `.local`.
    case unsupportedName
    /// There are too many.
    case limitReached
}

/// What became of a description of the peer.
public enum RemoteDescriptionDisposition: Hashable, Sendable {
    /// The first of this generation.
    case accepted
    /// The same as before.
    case unchanged
    /// The peer has restarted, and so has this agent: signal `localDescription` (ice 117).
    case restarted
}

/// What a driver was told when it tried to send.
public enum SendFailure: Hashable, Sendable {
    /// No route, or an ICMP message that says so.
    case unreachable
    /// Nobody listens at that port.
    case refused
    /// The system, or the TURN server, does not permit it.
    case notPermitted
    /// The datagram was longer than a link permits; the size that fits, if known.
    case messageTooBig(mtu: UInt16?)
    /// The connection has ended.
    case closed
}

/// The agent's state: `RTCIceTransportState` of the W3C text (ice 164 to 166).
public enum ICEConnectionState: UInt8, Hashable, Sendable, CaseIterable {
    /// No candidate of the peer yet.
    case new
    /// Pairs are being checked.
    case checking
    /// Data can flow; a better path may still be found.
    case connected
    /// Data can flow, and all that could be tried has been.
    case completed
    /// The path does not answer at present.
    case disconnected
    /// No path is left; only a restart helps.
    case failed
    /// Ended by its owner.
    case closed
}

/// What an agent tells its owner.
public enum ICEEvent: Hashable, Sendable {
    /// The state is another.
    case stateChanged(ICEConnectionState)
    /// Data goes another way; `nil`: nowhere.
    case pathChanged(component: UInt16, ICEPath?)
    /// A pair was nominated on both sides; bind a TURN channel now (ice 81).
    case selected(component: UInt16, ICEPath)
    /// A check will be sent from a relayed candidate: the server must permit its peer (ice 43).
    case permissionNeeded(base: BaseID, peer: SocketAddress)
    /// A connection is wanted; answer with `connected` or `connectFailed`.
    case connect(base: BaseID, destination: SocketAddress, attempt: UInt32)
    /// No pair uses the base any more; it may be closed unless another session uses it (ice 76, 126).
    case baseUnused(BaseID)
    /// The peer saw us at an address that was not known (ice 52).
    case foundPeerReflexive(base: BaseID, address: SocketAddress)
    /// The role is another, after a conflict (ice 47, 61).
    case roleChanged(ICERole)
    /// The path was lost and none is left: restart (RFC 7675 §5.1).
    case restartAdvised
}
