public import NetTypes

/// On how much of the other side something depends (RFC 4787 §4.1, §5).
public enum Dependence: String, Sendable, Hashable, CaseIterable {
    /// On nothing.
    case endpointIndependent
    /// On its address.
    case addressDependent
    /// On its address and port.
    case addressAndPortDependent
}

/// How a NAT chooses the outer port of a new mapping.
public enum PortAllocation: Sendable, Hashable {
    /// The inner port if it is free, else a random one.
    case preserve
    /// The inner port, even if another mapping has it: what comes in is told apart by the sender (RFC 4787 §4.2.1).
    case preserveOverload
    /// The next one up.
    case contiguous
    /// So many up.
    case delta(Int)
    /// Any.
    case random
    /// Any out of a block of so many that belongs to the inner host (RFC 7857 §3, carrier-grade NATs).
    case block(size: Int)
}

/// Whether inner hosts may reach each other by their outer addresses (RFC 4787 §6).
public enum Hairpin: String, Sendable, Hashable, CaseIterable {
    /// They may not.
    case none
    /// They may, and see the inner address: answers go the wrong way.
    case internalSource
    /// They may, and see the outer address.
    case externalSource
}

/// What an uninvited packet that comes in leaves behind.
public enum UninvitedEffect: Sendable, Hashable {
    /// Nothing.
    case nothing
    /// Its sender's packets are dropped for a while, invited or not.
    case blocksSender(TimeSpan)
    /// A state that takes its port: what an inner host then sends to that peer leaves from another port.
    ///
    /// So does Linux if its INPUT chain does not drop.
    case takesPort(TimeSpan)
}

/// What becomes of a packet that may not come in.
public enum RefusalAnswer: String, Sendable, Hashable, CaseIterable {
    /// It disappears.
    case drop
    /// A TCP SYN gets a reset, everything else an ICMP error.
    case reset
    /// It gets an ICMP error.
    case unreachable
}

/// Which packets keep a mapping alive (RFC 4787 §4.3).
public struct MappingRefresh: OptionSet, Sendable, Hashable {
    /// The bits.
    public let rawValue: UInt8

    /// Makes a set of bits.
    public init(rawValue: UInt8) { self.rawValue = rawValue }

    /// Those that go out.
    public static let outbound = MappingRefresh(rawValue: 1)
    /// Those that come in.
    public static let inbound = MappingRefresh(rawValue: 2)
    /// All.
    public static let both: MappingRefresh = [.outbound, .inbound]
}

/// Everything in which one NAT differs from another (RFC 4787, RFC 5382, RFC 7857).
///
///     var nat = NATBehavior(mapping: .endpointIndependent, filtering: .addressAndPortDependent)
///     nat.ports = .contiguous
///     nat.udpTimeout = .seconds(30)
public struct NATBehavior: Sendable, Hashable {
    /// When an inner endpoint gets another outer one.
    public var mapping: Dependence
    /// Who may send to an outer endpoint.
    public var filtering: Dependence
    /// How outer ports are chosen.
    public var ports = PortAllocation.random
    /// Whether an even inner port gets an even outer one (RFC 4787 §4.2.2).
    public var keepsParity = false
    /// Whether an inner host always has the same outer address, if there are several (RFC 4787 §4.1).
    public var pairsAddresses = true
    /// Whether and how packets turn round.
    public var hairpin = Hairpin.externalSource
    /// How long a UDP mapping lasts without traffic.
    public var udpTimeout = TimeSpan.seconds(300)
    /// How long a peer may send to a mapping after it was last sent to; `nil` means as long as the mapping lasts.
    public var filterTimeout: TimeSpan?
    /// What counts as traffic.
    public var refresh = MappingRefresh.both
    /// How many mappings an inner host may have.
    public var mappingsPerHost = 10_000
    /// What becomes of uninvited UDP packets.
    public var refusal = RefusalAnswer.drop
    /// What uninvited packets leave behind.
    public var uninvited = UninvitedEffect.nothing
    /// What becomes of uninvited TCP connections.
    public var tcpRefusal = RefusalAnswer.drop
    /// Whether a connection that both sides open at once comes through (RFC 5382 §4.2).
    public var allowsSimultaneousOpen = true
    /// How long an established TCP connection lasts without traffic.
    public var tcpEstablishedTimeout = TimeSpan.seconds(7440)
    /// How long a TCP connection lasts that is being opened or closed.
    public var tcpTransitoryTimeout = TimeSpan.seconds(240)
    /// Whether inner IPv4 addresses in payloads are replaced, as some "application layer gateways" do.
    public var rewritesPayloads = false
    /// After how many mappings the NAT begins to behave like a symmetric one, against RFC 4787 REQ-7.
    public var degradesAfter: Int?

    /// Makes a behaviour; everything but mapping and filtering has its documented default.
    public init(mapping: Dependence, filtering: Dependence) {
        self.mapping = mapping
        self.filtering = filtering
    }

    /// All combinations of mapping and filtering, in the order of their names.
    public static let allKinds = Dependence.allCases.flatMap { mapping in
        Dependence.allCases.map { NATBehavior(mapping: mapping, filtering: $0) }
    }

    /// Lets everybody in.
    public static let fullCone = NATBehavior(mapping: .endpointIndependent, filtering: .endpointIndependent)
    /// Lets in who was written to from the same address.
    public static let addressRestricted = NATBehavior(mapping: .endpointIndependent, filtering: .addressDependent)
    /// Lets in who was written to.
    public static let portRestricted = NATBehavior(mapping: .endpointIndependent, filtering: .addressAndPortDependent)
    /// Has another outer port for each peer.
    public static let symmetric = NATBehavior(mapping: .addressAndPortDependent, filtering: .addressAndPortDependent)

    /// A Linux router: keeps the port while it is free for that peer, with the timeouts of its connection tracking.
    public static let linux: NATBehavior = {
        var behavior = NATBehavior(mapping: .addressAndPortDependent, filtering: .addressAndPortDependent)
        behavior.ports = .preserveOverload
        behavior.hairpin = .none
        behavior.udpTimeout = .seconds(120)
        return behavior
    }()

    /// A Linux router that answers for itself: see `UninvitedEffect.takesPort`.
    public static let leakyLinux: NATBehavior = {
        var behavior = linux
        behavior.uninvited = .takesPort(.seconds(30))
        return behavior
    }()

    /// A carrier's NAT as RFC 6888 asks for: the same outer endpoint for everybody, a block of ports for each customer.
    public static let carrier: NATBehavior = {
        var behavior = NATBehavior(mapping: .endpointIndependent, filtering: .endpointIndependent)
        behavior.ports = .block(size: 512)
        behavior.mappingsPerHost = 512
        return behavior
    }()
}
