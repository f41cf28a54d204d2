import Bytes
import NetTypes
import PortMapping

/// A host, its gateway, and the wire between them, in virtual time.
final class GatewayWorld {
    static let inside = IPAddress(ipv4: 0xC0A8_0001)
    static let client = IPAddress(ipv4: 0xC0A8_0017)
    static let outside = IPAddress(ipv4: 0xCB00_7105)

    var gateway: PortMappingGateway
    var mapper: PortMapper
    var now = Instant.zero + .seconds(1000)
    var events: [PortMapperEvent] = []
    var sent: [(at: Instant, to: SocketAddress, bytes: [UInt8])] = []
    var delay = TimeSpan.milliseconds(2)
    /// Which of the datagrams of either side are lost, by their number.
    var loses: (Int) -> Bool = { _ in false }
    /// Whether the web server takes connections.
    var takesConnections = true
    /// Changes what the gateway answers.
    var rewrite: ([UInt8]) -> [UInt8] = { $0 }
    private var carried = 0
    private var inFlight: [(at: Instant, from: SocketAddress, bytes: [UInt8])] = []
    private var streams: [(at: Instant, stream: PortMapperStream, bytes: [UInt8]?)] = []
    private var requests: [PortMapperStream: [UInt8]] = [:]

    init(
        _ protocols: Set<PortMappingProtocol> = Set(PortMappingProtocol.allCases),
        seed: UInt64 = 1,
        _ change: (inout PortMapperConfiguration) -> Void = { _ in }
    ) {
        var behaviour = PortMappingGateway.Behaviour()
        behaviour.protocols = protocols
        gateway = PortMappingGateway(
            inside: Self.inside,
            external: Self.outside,
            behaviour: behaviour,
            at: .zero
        )
        var configuration = PortMapperConfiguration(gateway: SocketAddress(Self.inside, port: 0), client: Self.client)
        change(&configuration)
        mapper = PortMapper(configuration, entropy: .seeded(seed))
    }

    var table: [PortMappingGateway.Entry] { gateway.mappings(at: now) }

    func map(_ port: UInt16 = 4000, _ transport: MappedTransport = .udp) -> MappingID? {
        mapper.map(transport, internalPort: port, at: now)
    }

    /// Gives a datagram to the mapper, as if it came from the gateway's port of PCP.
    func deliver(_ bytes: [UInt8], from text: String = "192.168.0.1:5351") -> Disposition<PortMapperDrop> {
        mapper.receive(bytes.span, from: SocketAddress(text) ?? SocketAddress(Self.inside, port: 0), at: now)
    }

    func settle() {
        while true {
            var transmit: Transmit?
            let bytes = buildBytes(capacity: PortMapper.maximumDatagramByteCount) { output in
                transmit = mapper.pollTransmit(at: now, into: &output)
            }
            guard let transmit else { break }
            sent.append((now, transmit.destination, bytes))
            answer(bytes, to: transmit.destination)
        }
        while let action = mapper.pollAction() { perform(action) }
        while let event = mapper.pollEvent() { events.append(event) }
    }

    private func answer(_ bytes: [UInt8], to destination: SocketAddress) {
        carried += 1
        guard !loses(carried - 1) else { return }
        let client = SocketAddress(Self.client, port: 50_000)
        let isSearch = destination.port == 1900
        let reply =
            isSearch ? gateway.answerSearch(bytes.span) : gateway.answer(bytes.span, from: client, at: now)
        guard let reply else { return }
        carried += 1
        guard !loses(carried - 1) else { return }
        inFlight.append((now + delay, SocketAddress(Self.inside, port: isSearch ? 1901 : 5351), rewrite(reply)))
    }

    private func perform(_ action: PortMapperAction) {
        switch action {
        case .open(let stream, _):
            if takesConnections { requests[stream] = [] }
            streams.append((now + delay, stream, takesConnections ? [] : nil))
        case .send(let stream, let bytes):
            requests[stream]? += bytes
            let client = SocketAddress(Self.client, port: 50_001)
            guard let whole = requests[stream], let reply = gateway.answerHTTP(whole, from: client, at: now) else {
                return
            }
            let bytes = rewrite(reply)
            // In two pieces, as streams come.
            streams.append((now + delay, stream, Array(bytes[..<(bytes.count / 2)])))
            streams.append((now + delay, stream, Array(bytes[(bytes.count / 2)...])))
        case .close(let stream):
            requests[stream] = nil
            streams.removeAll { $0.stream == stream }
        }
    }

    func run(for span: TimeSpan) {
        let end = now + span
        settle()
        while true {
            let times = inFlight.map(\.at) + streams.map(\.at) + [mapper.nextTimeout].compactMap(\.self)
            guard let next = times.min(), next <= end else { break }
            now = max(now, next)
            step()
            settle()
        }
        now = end
    }

    private func step() {
        if let index = inFlight.firstIndex(where: { $0.at <= now }) {
            let packet = inFlight.remove(at: index)
            _ = mapper.receive(packet.bytes.span, from: packet.from, at: now)
        } else if let index = streams.firstIndex(where: { $0.at <= now }) {
            let (_, stream, bytes) = streams.remove(at: index)
            switch bytes {
            case nil: mapper.streamClosed(stream, at: now)
            case []?: mapper.streamOpened(stream, at: now)
            case let bytes?: mapper.streamReceived(stream, bytes.span, at: now)
            }
        } else {
            mapper.handleTimeout(at: now)
        }
    }
}
