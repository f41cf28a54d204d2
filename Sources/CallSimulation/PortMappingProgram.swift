import Bytes
public import NetTypes
public import PortMapping
public import Simulation

/// PCP, NAT-PMP and UPnP of a gateway: what is granted becomes an open port of the simulated NAT.
///
/// Run it on the host that `addGatewayHost` gives.
public final class PortMappingProgram: SimulatedProgram {
    /// What the gateway answers; may be changed while it runs.
    public var behaviour: PortMappingGateway.Behaviour {
        didSet { gateway?.behaviour = behaviour }
    }
    private let simulated: SimulatedGateway
    private var gateway: PortMappingGateway?
    private var socket: SocketID?
    private var searches: SocketID?
    private var requests: [StreamID: [UInt8]] = [:]
    private var open: [PortMappingGateway.Entry] = []

    /// Makes the services of a gateway.
    public init(of gateway: SimulatedGateway, behaviour: PortMappingGateway.Behaviour = .init()) {
        simulated = gateway
        self.behaviour = behaviour
    }

    /// The mappings that are in force.
    public func mappings(at now: Instant) -> [PortMappingGateway.Entry] { gateway?.mappings(at: now) ?? [] }

    /// Takes requests.
    public func handle(_ event: HostEvent, _ host: HostContext) {
        switch event {
        case .started: start(host)
        case .datagram(let socket, let bytes, let client, let local, _):
            let answer =
                socket == searches
                ? gateway?.answerSearch(bytes.span) : gateway?.answer(bytes.span, from: client, at: host.now)
            synchronize(host.now)
            guard let answer else { return }
            try? host.send(answer, to: client, from: socket, source: local.ip.family == client.family ? nil : local.ip)
        case .accepted(let stream, _, _): requests[stream] = []
        case .bytes(let stream, let bytes):
            requests[stream]? += bytes
            guard let request = requests[stream], let client = host.addresses(of: stream)?.remote,
                let answer = gateway?.answerHTTP(request, from: client, at: host.now)
            else { return }
            requests[stream] = nil
            synchronize(host.now)
            host.write(answer, to: stream)
            host.finish(stream)
        default: break
        }
    }

    private func start(_ host: HostContext) {
        guard let inside = simulated.insideAddresses.first(where: { $0.family == .ipv4 }),
            let outside = simulated.outerAddress
        else { return }
        let gateway = PortMappingGateway(inside: inside, external: outside, behaviour: behaviour, at: host.now)
        socket = try? host.openUDP(on: inside, port: 5351)
        searches = try? host.openUDP(port: 1900)
        if let searches { host.joinGroup(IPAddress(ipv4: 0xEFFF_FFFA), with: searches) }
        _ = try? host.listen(on: inside, port: gateway.httpPort)
        self.gateway = gateway
    }

    /// Opens and closes ports of the NAT as the services have granted.
    private func synchronize(_ now: Instant) {
        let wanted = gateway?.mappings(at: now) ?? []
        for entry in open where !wanted.contains(entry) {
            let same = wanted.contains { $0.inside == entry.inside && $0.transport == entry.transport }
            if !same { simulated.closePort(entry.transport == .tcp ? .tcp : .udp, for: entry.inside) }
        }
        for entry in wanted where !open.contains(entry) {
            _ = simulated.openPort(
                entry.transport == .tcp ? .tcp : .udp,
                for: entry.inside,
                suggested: entry.externalPort,
                lifetime: entry.expires - now
            )
        }
        open = wanted
    }
}
