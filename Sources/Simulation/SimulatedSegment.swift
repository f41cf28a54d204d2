public import NetTypes

/// A place where hosts and gateways meet: the Internet, a home's LAN, a carrier's inner network.
public final class SimulatedSegment {
    /// The name in traces.
    public let name: String
    /// Whether hosts reach only the gateway, not each other.
    public var isolatesHosts = false
    /// Whether packets for addresses that nobody has are answered with an ICMP error.
    public var reportsUnreachable = false
    /// The gateway to the rest of the world; `nil` for the Internet itself.
    public internal(set) var gateway: SimulatedGateway?

    let index: Int
    let prefixes: [IPPrefix]
    /// Who answers for the segment itself in ICMP errors.
    let routers: [IPAddress]
    /// Attachments by address.
    var places: [IPAddress: Int] = [:]
    /// Prefixes that lie behind an attachment.
    var routes: [(prefix: IPPrefix, attachment: Int)] = []
    /// All attachments of hosts, for multicast.
    var members: [Int] = []
    private var nextHost: [AddressFamily: UInt64] = [:]

    init(_ name: String, index: Int, prefixes: [IPPrefix], firstHost: UInt64, routers: [IPAddress]) {
        self.name = name
        self.index = index
        self.prefixes = prefixes
        self.routers = routers
        for family in AddressFamily.allCases { nextHost[family] = firstHost }
    }

    /// The addresses of the segment's hosts, if it has some of that family.
    public func prefix(_ family: AddressFamily) -> IPPrefix? { prefixes.first { $0.base.family == family } }

    /// The families that hosts get addresses of.
    public var families: [AddressFamily] { prefixes.map(\.base.family) }

    /// An address that nobody has had yet.
    func freshAddress(_ family: AddressFamily) -> IPAddress? {
        guard let prefix = prefix(family) else { return nil }
        while true {
            let number = nextHost[family, default: 2]
            nextHost[family] = number + 1
            let address =
                family == .ipv4
                ? IPAddress(ipv4: prefix.base.ipv4Bits &+ UInt32(truncatingIfNeeded: number))
                : IPAddress(ipv6: prefix.base.high, prefix.base.low &+ number)
            guard prefix.contains(address) else { return nil }
            if places[address] == nil { return address }
        }
    }

    /// Which attachment a packet leaves by; `nil` if nobody has the address.
    func route(_ destination: IPAddress) -> Int? {
        if let place = places[destination] { return place }
        var best: (length: Int, attachment: Int)?
        for route in routes where route.prefix.length > best?.length ?? -1 && route.prefix.contains(destination) {
            best = (route.prefix.length, route.attachment)
        }
        return best?.attachment
    }
}

/// Where a host's interface or one side of a gateway meets a segment: two links, one for each direction.
final class Attachment {
    enum Owner {
        case host(SimulatedHost, interface: Int)
        case insideOf(SimulatedGateway)
        case outsideOf(SimulatedGateway)
    }

    let index: Int
    let segment: SimulatedSegment
    let owner: Owner
    /// From the owner to the segment, and back.
    let up: Int
    let down: Int

    init(index: Int, segment: SimulatedSegment, owner: Owner, up: Int, down: Int) {
        self.index = index
        self.segment = segment
        self.owner = owner
        self.up = up
        self.down = down
    }

    var isHost: Bool {
        if case .host = owner { true } else { false }
    }
}
