public import Connectivity
import ICE
public import NetTypes
import STUN
public import Simulation
import TURN

/// How one side of a call reaches the Internet.
public struct Access: Sendable, Hashable {
    /// The name in tables.
    public var name: String
    /// The gateway; `nil` puts the host on the Internet itself.
    public var gateway: GatewayConfiguration?
    /// The carrier's NAT behind which the gateway stands, if there is one.
    public var carrier: NATBehavior?
    /// The families that the host has.
    public var families: Set<AddressFamily>
    /// Whether nothing but an HTTP proxy can be reached.
    public var usesProxy = false

    /// Makes an access.
    public init(
        _ name: String,
        _ gateway: GatewayConfiguration?,
        carrier: NATBehavior? = nil,
        families: Set<AddressFamily> = [.ipv4]
    ) {
        self.name = name
        self.gateway = gateway
        self.carrier = carrier
        self.families = families
    }

    /// A host with a public address.
    public static let open = Access("open", nil)

    /// Behind a NAT of this kind, whose IPv6 firewall filters the same way.
    public static func nat(_ behavior: NATBehavior, _ families: Set<AddressFamily> = [.ipv4]) -> Access {
        Access(behavior.shortName, GatewayConfiguration(nat: behavior, statefulFirewall: behavior), families: families)
    }

    /// What people have: firewalls, routers, carriers' NATs, blocked UDP, proxies, mobile networks.
    public static let everyday: [Access] = {
        var carrierOfTwo = Access("cgn-sym", GatewayConfiguration(nat: .linux), carrier: .symmetric)
        carrierOfTwo.families = [.ipv4]
        var proxy = Access("proxy", GatewayConfiguration(nat: .linux))
        proxy.usesProxy = true
        let blocked = GatewayConfiguration(nat: .linux, firewall: .udpBlocked())
        let only443 = GatewayConfiguration(nat: .linux, firewall: .only(ports: [443], requiresTLS: true))
        let only80 = GatewayConfiguration(nat: .linux, firewall: .only(ports: [80, 443]))
        let mobile = GatewayConfiguration(nat64: .init())
        return [
            open, Access("fw", .statefulOnly), nat(.fullCone).named("full"), nat(.addressRestricted).named("addr"),
            nat(.portRestricted).named("port"), nat(.linux).named("linux"), nat(.leakyLinux).named("leaky"),
            nat(.symmetric).named("sym"), Access("cgn", GatewayConfiguration(nat: .linux), carrier: .carrier),
            carrierOfTwo, Access("udpblock", blocked), Access("tcp443", only443), Access("tcp80443", only80), proxy,
            nat(.linux, [.ipv4, .ipv6]).named("dual"), Access("v6nat64", mobile, families: [.ipv6]),
        ]
    }()

    private func named(_ name: String) -> Access {
        var access = self
        access.name = name
        return access
    }

    /// The open host and the nine kinds of NAT.
    public static let everyKind = [open] + NATBehavior.allKinds.map { nat($0) }
}

extension NATBehavior {
    /// Mapping and filtering in letters, `EIM/APDF` for example.
    public var shortName: String { mapping.letters + "M/" + filtering.letters + "F" }
}

extension Dependence {
    fileprivate var letters: String {
        switch self {
        case .endpointIndependent: "EI"
        case .addressDependent: "AD"
        case .addressAndPortDependent: "APD"
        }
    }
}

/// One call between two hosts with one STUN and TURN server: everything that decides how it goes.
public struct CallRun: Sendable {
    /// The side that offers.
    public var offerer: Access
    /// The side that answers.
    public var answerer: Access
    /// How candidates travel.
    public var exchange = CandidateExchange.trickle
    /// How many packets each access loses, 0 to 1.
    public var loss = 0.0
    /// How much later than the offer the answerer hears of it.
    public var skew = TimeSpan.zero
    /// How long a packet takes from a host to the middle of the Internet.
    public var delay = TimeSpan.milliseconds(10)
    /// How long a message takes over the signaling channel.
    public var signalingDelay = TimeSpan.milliseconds(50)
    /// How long it may take.
    public var limit = TimeSpan.seconds(30)
    /// Whether there is a server at all.
    public var hasServer = true
    /// Changes both sides' configurations.
    public var configure: @Sendable (inout ICESessionConfiguration) -> Void = { _ in }

    /// Makes a call between two accesses.
    public init(_ offerer: Access, _ answerer: Access) {
        self.offerer = offerer
        self.answerer = answerer
    }

    /// How a call went.
    public struct Result: Sendable {
        /// Whether both sides have a path.
        public var isConnected: Bool
        /// Whether no TURN server is on it, on either side.
        public var isDirect: Bool
        /// From the later start to the first path of either side.
        public var firstPath: TimeSpan?
        /// From the later start to paths on both sides.
        public var bothPaths: TimeSpan?
        /// From the later start to the first path of either side that no TURN server relays.
        public var firstDirect: TimeSpan?
        /// From the later start to such paths on both sides.
        public var bothDirect: TimeSpan?
        /// How many events the run took.
        public var eventCount: UInt64
        /// How many packets were sent.
        public var packetCount: UInt64
    }

    /// The name of the server.
    public static let serverName = "turn.simulated"

    /// Builds the world of the call; nothing has happened in it yet.
    public func makeWorld(seed: UInt64) -> CallWorld { CallWorld(self, seed: seed) }

    /// Runs the call until it has settled.
    ///
    /// It has settled when both sides have finished their checks; a relayed path is given the time to become direct.
    public func run(seed: UInt64) -> Result {
        let world = makeWorld(seed: seed)
        world.start()
        world.network.run(for: limit) { world.isSettled }
        return world.result
    }
}

/// The network, the hosts and the programs of a `CallRun`.
public final class CallWorld {
    /// The network.
    public let network: SimulatedNetwork
    /// The offering host.
    public let left: SimulatedHost
    /// The answering host.
    public let right: SimulatedHost
    /// The offering peer.
    public let offerer: SimulatedPeer
    /// The answering peer.
    public let answerer: SimulatedPeer
    /// The server's host, if there is one.
    public let serverHost: SimulatedHost?
    /// The server, if there is one.
    public let server: TURNServerProgram?
    private let run: CallRun
    private var finished: Instant?

    init(_ run: CallRun, seed: UInt64) {
        self.run = run
        network = SimulatedNetwork(seed: seed)
        network.signaling.delay = run.signalingDelay
        network.names.delay = .milliseconds(20)
        var quiet = LinkConditions(delay: run.delay)
        let server = run.hasServer ? network.addHost("server", on: network.internet, up: quiet) : nil
        serverHost = server
        let addresses = AddressFamily.allCases.compactMap { server?.address($0) }
        network.names[CallRun.serverName] = NameService.Entry(addresses)
        self.server = server?.run(TURNServerProgram())
        let proxy = [run.offerer, run.answerer].contains(where: \.usesProxy) ? Self.proxy(network) : nil
        quiet.loss = run.loss > 0 ? .random(run.loss) : .none
        left = Self.host("left", run.offerer, network, quiet, proxy)
        right = Self.host("right", run.answerer, network, quiet, proxy)
        offerer = SimulatedPeer(Self.options(run, peer: "right", isOfferer: true, run.offerer.usesProxy ? proxy : nil))
        answerer = SimulatedPeer(
            Self.options(run, peer: "left", isOfferer: false, run.answerer.usesProxy ? proxy : nil)
        )
        offerer.relayHosts = Set(addresses)
        answerer.relayHosts = Set(addresses)
    }

    private static func proxy(_ network: SimulatedNetwork) -> SocketAddress? {
        let host = network.addHost("proxy", on: network.internet, families: [.ipv4])
        host.run(ConnectProxyProgram())
        return host.address().map { SocketAddress($0, port: 3128) }
    }

    private static func host(
        _ name: String,
        _ access: Access,
        _ network: SimulatedNetwork,
        _ link: LinkConditions,
        _ proxy: SocketAddress?
    ) -> SimulatedHost {
        guard var gateway = access.gateway else {
            return network.addHost(name, on: network.internet, families: access.families, up: link)
        }
        if access.usesProxy, let proxy { gateway.firewall = .only(hosts: [proxy.ip]) }
        let carrier = access.carrier.map { network.addCarrier(name + "-carrier", $0, up: .ideal) }
        let lan = network.addLAN(
            name + "-lan",
            behind: gateway,
            of: carrier,
            families: access.families,
            up: link
        )
        let host = network.addHost(name, on: lan, families: access.families)
        if let prefix = gateway.nat64?.prefix { network.names.dns64[name] = prefix }
        return host
    }

    private static func options(
        _ run: CallRun,
        peer: String,
        isOfferer: Bool,
        _ proxy: SocketAddress?
    ) -> SimulatedPeer.Options {
        var options = SimulatedPeer.Options(peer: peer, isOfferer: isOfferer) { configuration in
            if run.hasServer {
                let host = URIHost(CallRun.serverName)
                configuration.stunServers = [STUNURI(host)]
                configuration.turnServers = [
                    TURNServer(
                        [
                            TURNURI(host, transport: .udp), TURNURI(host, transport: .tcp),
                            TURNURI(URIHost(CallRun.serverName, port: 443), transport: .tls),
                        ],
                        username: "floe",
                        password: "secret"
                    )
                ]
            }
            run.configure(&configuration)
        }
        options.exchange = run.exchange
        options.proxy = proxy
        return options
    }

    /// Starts both sides; the answerer hears of the offer after the skew.
    public func start() {
        network.signaling.downUntil = network.now + run.skew
        right.run(answerer)
        left.run(offerer)
    }

    /// Whether nothing better is to be waited for.
    ///
    /// Both sides have a direct path, or ten seconds ago they have finished their checks or given up.
    public var isSettled: Bool {
        if offerer.isDirect, answerer.isDirect { return true }
        let isOver =
            offerer.state == .failed && answerer.state == .failed
            || offerer.state == .completed && answerer.state == .completed
        guard isOver else {
            finished = nil
            return false
        }
        finished = finished ?? network.now
        return network.now - (finished ?? network.now) >= .seconds(10)
    }

    /// How it went so far.
    public var result: CallRun.Result {
        let start = max(offerer.started ?? .zero, answerer.started ?? .distantFuture)
        func first(_ times: Instant?...) -> TimeSpan? { times.compactMap(\.self).min().map { $0 - start } }
        func both(_ one: Instant?, _ other: Instant?) -> TimeSpan? {
            guard let one, let other else { return nil }
            return max(one, other) - start
        }
        return CallRun.Result(
            isConnected: offerer.path != nil && answerer.path != nil,
            isDirect: offerer.isDirect && answerer.isDirect,
            firstPath: first(offerer.firstPath, answerer.firstPath),
            bothPaths: both(offerer.firstPath, answerer.firstPath),
            firstDirect: first(offerer.firstDirectPath, answerer.firstDirectPath),
            bothDirect: both(offerer.firstDirectPath, answerer.firstDirectPath),
            eventCount: network.eventCount,
            packetCount: network.packetCount
        )
    }
}
