public import NetTypes

/// Where a candidate was found (RFC 8445 §4).
public enum CandidateType: UInt8, Hashable, Sendable, CaseIterable {
    /// An address of an interface.
    case host
    /// What a NAT shows to a STUN or TURN server.
    case serverReflexive
    /// What a NAT shows to the peer.
    case peerReflexive
    /// An address of a TURN server.
    case relayed
}

/// What carries the datagrams of a candidate.
public enum CandidateTransport: UInt8, Hashable, Sendable, CaseIterable {
    /// UDP.
    case udp
    /// TCP with frames (RFC 6544).
    case tcp
}

/// Who opens the connection of a TCP candidate (RFC 6544 §4.5).
public enum TCPCandidateType: UInt8, Hashable, Sendable, CaseIterable {
    /// Opens connections.
    case active
    /// Takes connections.
    case passive
    /// Opens a connection at the same time as the peer.
    case simultaneousOpen

    /// The kind that the peer's candidate must have (RFC 6544 §6.2).
    public var counterpart: TCPCandidateType {
        switch self {
        case .active: .passive
        case .passive: .active
        case .simultaneousOpen: .simultaneousOpen
        }
    }
}

/// A candidate's host part: an address, or a name to be resolved.
public enum CandidateAddress: Hashable, Sendable {
    /// An address.
    case ip(IPAddress)
    /// A multicast DNS name that ends in `.local`, or a fully qualified domain name.
    case name(String)
}

/// An attribute of a candidate that has no field of its own.
public struct CandidateExtension: Hashable, Sendable {
    /// A token.
    public let name: String
    /// Visible characters.
    public let value: String

    /// Makes an attribute.
    public init(name: String, value: String) {
        self.name = name
        self.value = value
    }
}

/// A candidate as it is signalled (RFC 8839 §5.1).
public struct Candidate: Hashable, Sendable {
    /// Equal for candidates of like kind: 1 to 32 characters.
    public var foundation: String
    /// 1 to 256.
    public var component: UInt16
    /// UDP or TCP.
    public var transport: CandidateTransport
    /// Who connects; `nil` for UDP.
    public var tcpType: TCPCandidateType?
    /// 1 to 2^31 - 1.
    public var priority: UInt32
    /// The host part.
    public var address: CandidateAddress
    /// The port; 9 for an active TCP candidate.
    public var port: UInt16
    /// Where it was found.
    public var type: CandidateType
    /// The address that this one was found from; for diagnosis only.
    public var related: SocketAddress?
    /// The user name fragment of the generation that the candidate belongs to ("ufrag").
    public var usernameFragment: String?
    /// The number of the generation ("generation").
    public var generation: UInt32?
    /// Which of its sender's networks it belongs to ("network-id").
    public var networkID: UInt16?
    /// What that network costs, 0 to 999 ("network-cost").
    public var networkCost: UInt16?
    /// Whether the address stands for a name that was resolved: it must not be shown (ice 152).
    public private(set) var isResolved = false
    /// Attributes that are not understood here, in order.
    public var extensions: [CandidateExtension] = []

    /// Makes a candidate.
    public init(
        foundation: String,
        component: UInt16 = 1,
        transport: CandidateTransport = .udp,
        tcpType: TCPCandidateType? = nil,
        priority: UInt32,
        address: CandidateAddress,
        port: UInt16,
        type: CandidateType,
        related: SocketAddress? = nil
    ) {
        self.foundation = foundation
        self.component = component
        self.transport = transport
        self.tcpType = tcpType
        self.priority = priority
        self.address = address
        self.port = port
        self.type = type
        self.related = related
    }

    /// The transport address; `nil` for a name.
    public var socketAddress: SocketAddress? {
        guard case .ip(let ip) = address else { return nil }
        return SocketAddress(ip, port: port)
    }

    /// The candidate with its name replaced by what the name stands for.
    public func resolved(to ip: IPAddress) -> Candidate {
        var copy = self
        copy.address = .ip(ip)
        copy.isResolved = true
        return copy
    }

    /// Whether the name is one that multicast DNS may be asked for: one label and `.local`.
    public var hasMulticastName: Bool {
        guard case .name(let name) = address, name.utf8.count > 6, name.lowercased().hasSuffix(".local") else {
            return false
        }
        return !name.dropLast(6).utf8.contains(UInt8(ascii: "."))
    }
}
