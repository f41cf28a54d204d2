import Bytes
import Connectivity
import MDNS
import NetTypes
import PortMapping
import Simulation

/// Multicast DNS of a peer's host.
final class NameDriver {
    private var engine: MDNSEngine
    private var waiting: [MDNSName: [EffectID]] = [:]
    let socket: SocketID?

    init(_ host: HostContext) {
        engine = MDNSEngine(entropy: .seeded(host.randomSeed()), at: host.now)
        socket = try? host.openUDP(port: MDNSLink.port)
        for (number, interface) in host.interfaces.enumerated() {
            for prefix in interface.segment.families.compactMap({ interface.segment.prefix($0) }) {
                let link = MDNSLink(interface: UInt32(number + 1), family: prefix.base.family)
                engine.addLink(link, prefixes: [prefix], at: host.now)
                if let socket { host.joinGroup(link.group.ip, with: socket) }
            }
        }
    }

    var nextTimeout: Instant? { engine.nextTimeout }

    func handleTimeout(_ host: HostContext) { engine.handleTimeout(at: host.now) }

    func publish(
        _ id: EffectID,
        _ address: ConcealedAddress,
        _ interface: UInt32,
        _ host: HostContext,
        into session: inout ICESession?
    ) {
        if let name = engine.publish(address, interface: interface, at: host.now) {
            session?.published(id, name, at: host.now)
        } else {
            session?.failed(id, .exhausted, at: host.now)
        }
    }

    func resolve(_ id: EffectID, _ name: MDNSName, _ host: HostContext) {
        waiting[name, default: []].append(id)
        engine.resolve(name, at: host.now)
    }

    func receive(_ bytes: [UInt8], _ source: SocketAddress, _ local: SocketAddress, _ host: HostContext) {
        let number =
            host.interfaces.firstIndex { $0.segment.prefix(source.family)?.contains(source.ip) == true } ?? 0
        let link = MDNSLink(interface: UInt32(number + 1), family: source.family)
        _ = engine.receive(
            bytes.span,
            from: source,
            over: link,
            wasMulticast: local.ip == link.group.ip,
            at: host.now
        )
    }

    func drain(_ host: HostContext, into session: inout ICESession?) {
        while true {
            var order: MDNSTransmit?
            let bytes = buildBytes(capacity: MDNSEngine.maximumDatagramByteCount) { output in
                order = engine.pollTransmit(at: host.now, into: &output)
            }
            guard let order else { break }
            let target = SocketAddress(order.destination.ip, port: order.destination.port)
            if let socket { try? host.send(Array(bytes[...]), to: target, from: socket, timeToLive: 255) }
        }
        while let event = engine.pollEvent() {
            switch event {
            case .resolved(let name, let address):
                for id in waiting.removeValue(forKey: name) ?? [] { session?.nameResolved(id, address, at: host.now) }
            case .failed(let name, _), .lost(let name):
                for id in waiting.removeValue(forKey: name) ?? [] { session?.failed(id, .notFound, at: host.now) }
            }
        }
    }
}

/// The port mapper of one interface of a peer's host.
final class MapperDriver {
    private var mapper: PortMapper
    private var effects: [MappingID: EffectID] = [:]
    private var streams: [StreamID: PortMapperStream] = [:]
    let socket: SocketID?

    init(gateway: IPAddress, client: IPAddress, _ host: HostContext) {
        let configuration = PortMapperConfiguration(gateway: SocketAddress(gateway, port: 0), client: client)
        mapper = PortMapper(configuration, entropy: .seeded(host.randomSeed()))
        socket = try? host.openUDP(on: client)
    }

    var nextTimeout: Instant? { mapper.nextTimeout }

    func handleTimeout(_ host: HostContext) { mapper.handleTimeout(at: host.now) }

    func map(_ id: EffectID, _ transport: MappedTransport, _ port: UInt16, _ host: HostContext) -> Bool {
        guard let mapping = mapper.map(transport, internalPort: port, at: host.now) else { return false }
        effects[mapping] = id
        return true
    }

    func unmap(_ id: EffectID, _ host: HostContext) {
        for mapping in effects.keys.sorted() where effects[mapping] == id {
            effects[mapping] = nil
            mapper.unmap(mapping, at: host.now)
        }
    }

    func receive(_ bytes: [UInt8], _ source: SocketAddress, _ host: HostContext) {
        _ = mapper.receive(bytes.span, from: source, at: host.now)
    }

    func connected(_ stream: StreamID, _ host: HostContext) {
        if let name = streams[stream] { mapper.streamOpened(name, at: host.now) }
    }

    func receive(_ bytes: [UInt8], _ stream: StreamID, _ host: HostContext) {
        if let name = streams[stream] { mapper.streamReceived(name, bytes.span, at: host.now) }
    }

    func ended(_ stream: StreamID, _ host: HostContext) {
        if let name = streams.removeValue(forKey: stream) { mapper.streamClosed(name, at: host.now) }
    }

    func drain(_ host: HostContext, into session: inout ICESession?) {
        while true {
            var order: Transmit?
            let bytes = buildBytes(capacity: PortMapper.maximumDatagramByteCount) { output in
                order = mapper.pollTransmit(at: host.now, into: &output)
            }
            guard let order else { break }
            if let socket { try? host.send(Array(bytes[...]), to: order.destination, from: socket) }
        }
        while let action = mapper.pollAction() { perform(action, host) }
        while let event = mapper.pollEvent() {
            switch event {
            case .mapped(let id, let mapping):
                if let effect = effects[id] { session?.mapped(effect, mapping, at: host.now) }
            case .failed(let id, _): if let effect = effects[id] { session?.failed(effect, .notFound, at: host.now) }
            case .lost(let id, _): if let effect = effects[id] { session?.mappingLost(effect, at: host.now) }
            case .closed: break
            }
        }
    }

    private func perform(_ action: PortMapperAction, _ host: HostContext) {
        switch action {
        case .open(let name, let target):
            do throws(SocketFailure) {
                streams[try host.connect(to: target, from: mapper.configuration.client)] = name
            } catch {
                mapper.streamClosed(name, at: host.now)
            }
        case .send(let name, let bytes): if let stream = stream(name) { host.write(bytes, to: stream) }
        case .close(let name):
            guard let stream = stream(name) else { return }
            streams[stream] = nil
            host.finish(stream)
        }
    }

    private func stream(_ name: PortMapperStream) -> StreamID? { streams.first { $0.value == name }?.key }
}

extension SimulatedSession {
    func startNames(_ host: HostContext) { if names == nil { names = NameDriver(host) } }

    func map(
        _ id: EffectID,
        _ transport: MappedTransport,
        _ local: SocketAddress,
        _ interface: UInt32,
        _ host: HostContext
    ) {
        // The simulated gateways map IPv4 alone.
        guard local.family == .ipv4 else {
            session?.failed(id, .notFound, at: host.now)
            return
        }
        let place = Int(interface) - 1
        let known = host.interfaces.indices.contains(place) ? host.interfaces[place] : nil
        if mappers[interface] == nil, let known,
            let gateway = known.segment.gateway?.insideAddresses.first(where: { $0.family == .ipv4 }),
            let client = known.addresses.first(where: { $0.ip.family == .ipv4 })
        {
            mappers[interface] = MapperDriver(gateway: gateway, client: client.ip, host)
        }
        if mappers[interface]?.map(id, transport, local.port, host) != true {
            session?.failed(id, .notFound, at: host.now)
        }
    }
}
