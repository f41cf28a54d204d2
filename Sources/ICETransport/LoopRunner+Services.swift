import Bytes
import Connectivity
import EventLoop
import MDNS
import NetTypes
import PortMapping
import Transport

/// What is the process's rather than a session's: multicast DNS, and the mappings of gateways.
extension LoopRunner {
    /// How many addresses of this host ask their gateways at a time.
    private static let gatewayLimit = 32

    // MARK: Multicast DNS

    private var startedNames: MulticastNames {
        if let multicast { return multicast }
        let started = MulticastNames(token: PollToken(TokenKind.multicast).bits)
        started.use(interfaces, poller, at: now)
        multicast = started
        return started
    }

    func publish(_ id: EffectID, _ address: ConcealedAddress, _ interface: UInt32, _ driven: Driven) {
        guard let name = startedNames.publish(address, on: interface, at: now) else {
            return driven.session.failed(id, .notFound, at: now)
        }
        driven.names.append(name)
        driven.session.published(id, name, at: now)
    }

    func resolve(_ id: EffectID, _ name: MDNSName, _ driven: Driven) {
        guard let handle = driven.handle else { return }
        startedNames.resolve(name, handle, id, at: now)
    }

    func processNames() {
        for (handle, effect, address) in multicast?.process(at: now) ?? [] {
            guard let driven = sessions.read(handle, { $0 }) else { continue }
            if let address {
                driven.session.nameResolved(effect, address, at: now)
            } else {
                driven.session.failed(effect, .notFound, at: now)
            }
            drain(driven)
        }
    }

    // MARK: Gateways

    func map(
        _ id: EffectID,
        _ transport: MappedTransport,
        _ local: SocketAddress,
        _ interface: UInt32,
        _ driven: Driven
    ) {
        guard let handle = driven.handle, let place = gateway(of: local.ip, interface),
            let mapping = gateways[place]?.client.map(transport, local.port, at: now)
        else { return driven.session.failed(id, .notFound, at: now) }
        gateways[place]?.askers[mapping] = GatewayAsker(session: handle, effect: id)
    }

    /// The client of an address's gateway; `nil` without a gateway.
    private func gateway(of ip: IPAddress, _ interface: UInt32) -> UInt32? {
        if let known = gateways.first(where: { $0.value.address == ip && !$0.value.isEnding }) { return known.key }
        guard gateways.count < Self.gatewayLimit,
            let router = NetworkInterfaces.gateway(ip.family, of: interface)
        else { return nil }
        lastGateway &+= 1
        let token = PollToken(TokenKind.gateway, SlotHandle(index: lastGateway & 0xFF_FFFF, generation: 0)).bits
        let configuration = PortMapperConfiguration(gateway: router, client: ip)
        guard let client = try? GatewayClient(configuration, interface: interface, token: token, poller) else {
            return nil
        }
        gateways[lastGateway & 0xFF_FFFF] = Gateway(client: client, address: ip)
        return lastGateway & 0xFF_FFFF
    }

    func unmap(_ id: EffectID, _ driven: Driven) {
        for (place, gateway) in gateways {
            for (mapping, asker) in gateway.askers where asker.session == driven.handle && asker.effect == id {
                gateways[place]?.askers[mapping] = nil
                gateway.client.unmap(mapping, at: now)
                gateways[place]?.isEnding = gateway.client.count == 0
            }
        }
    }

    func processGateways() {
        for (place, gateway) in gateways {
            for event in gateway.client.process(poller, at: now) { tell(event, place) }
            if gateway.client.isClosed { gateways[place] = nil }
        }
    }

    private func tell(_ event: PortMapperEvent, _ place: UInt32) {
        let id: MappingID
        switch event {
        case .mapped(let mapping, _), .failed(let mapping, _), .lost(let mapping, _): id = mapping
        case .closed: return
        }
        guard let asker = gateways[place]?.askers[id], let driven = sessions.read(asker.session, { $0 }) else { return }
        switch event {
        case .mapped(_, let mapping):
            gateways[place]?.hasGranted = true
            driven.session.mapped(asker.effect, mapping, at: now)
        case .failed:
            unmap(asker.effect, driven)
            driven.session.failed(asker.effect, .notFound, at: now)
        case .lost: driven.session.mappingLost(asker.effect, at: now)
        case .closed: break
        }
        drain(driven)
    }

    /// Gives back what gateways hold, at the end of the loop.
    func closeServices() {
        multicast?.stop(at: now)
        for place in gateways.keys {
            gateways[place]?.client.close(at: now)
            gateways[place]?.isEnding = true
        }
    }

    /// When the services want to be called.
    var servicesTimeout: Instant {
        var next = multicast?.nextTimeout ?? .distantFuture
        for gateway in gateways.values { next = min(next, gateway.client.nextTimeout) }
        if let names { next = min(next, names.nextTimeout(at: now)) }
        return next
    }
}

/// The client of one address's gateway, and who has asked for its mappings.
struct Gateway {
    let client: GatewayClient
    let address: IPAddress
    var askers: [MappingID: GatewayAsker] = [:]
    /// Whether nobody wants anything of it any more.
    var isEnding = false
    /// Whether it has something to give back: for that the end of the loop waits.
    var hasGranted = false
}

/// Who has asked for a mapping.
struct GatewayAsker {
    let session: SlotHandle
    let effect: EffectID
}
