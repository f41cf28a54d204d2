import NetTypes
import STUN

/// A NAT with one inside and one external address, as RFC 4787 describes its kinds.
struct SimulatedNAT {
    var mapping = NATMapping.endpointIndependent
    var filtering = NATFiltering.endpointIndependent
    var hairpins = false
    /// After how long without a datagram from inside a mapping is forgotten.
    var lifetime = TimeSpan.seconds(120)
    let external: IPAddress

    private struct Key: Hashable {
        let inside: SocketAddress
        let ip: IPAddress?
        let port: UInt16?
    }

    private struct Flow {
        let inside: SocketAddress
        var used: Instant
        var peers: Set<SocketAddress> = []
    }

    private var ports: [Key: UInt16] = [:]
    private var flows: [UInt16: Flow] = [:]
    private var nextPort: UInt16 = 20_000

    init(external: IPAddress) { self.external = external }

    /// The external source of a datagram from inside.
    mutating func outgoing(_ inside: SocketAddress, to peer: SocketAddress, at now: Instant) -> SocketAddress {
        let key: Key
        switch mapping {
        case .endpointIndependent: key = Key(inside: inside, ip: nil, port: nil)
        case .addressDependent: key = Key(inside: inside, ip: peer.ip, port: nil)
        case .addressAndPortDependent: key = Key(inside: inside, ip: peer.ip, port: peer.port)
        }
        var port = ports[key]
        if let known = port, let flow = flows[known], now - flow.used >= lifetime { port = nil }
        let chosen = port ?? nextPort
        if port == nil {
            nextPort += 7
            ports[key] = chosen
            flows[chosen] = Flow(inside: inside, used: now)
        }
        flows[chosen]?.used = now
        flows[chosen]?.peers.insert(peer)
        return SocketAddress(external, port: chosen)
    }

    /// To whom inside a datagram from outside goes; `nil` if it is dropped.
    func incoming(_ port: UInt16, from peer: SocketAddress, at now: Instant) -> SocketAddress? {
        guard let flow = flows[port], now - flow.used < lifetime else { return nil }
        switch filtering {
        case .endpointIndependent: return flow.inside
        case .addressDependent: return flow.peers.contains { $0.ip == peer.ip } ? flow.inside : nil
        case .addressAndPortDependent: return flow.peers.contains(peer) ? flow.inside : nil
        }
    }
}
