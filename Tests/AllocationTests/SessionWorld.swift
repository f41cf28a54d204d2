import Bytes
import Connectivity
import ICE
import NetTypes
import STUN
import TURN
import TURNServer

/// Two sessions with one address each, over a network on paper; the first has nothing but a relay if that is asked for.
final class SessionWorld {
    private static let relay = RelayAddress(local: IPAddress(ipv4: 0xC000_0201))
    private static let server = SocketAddress(IPAddress(ipv4: 0xC000_0201), port: 3478)
    private static let addresses = [
        SocketAddress(IPAddress(ipv4: 0xC633_6401), port: 4000),
        SocketAddress(IPAddress(ipv4: 0xCB00_7107), port: 5000),
    ]
    private static let base = BaseID(rawValue: 1)
    private static let tuple = ClientTuple(transport: .udp, remote: addresses[0], local: server)

    private var first: ICESession
    private var second: ICESession
    private var engine: TURNServerEngine
    private var socket: (id: RelayID, local: SocketAddress)?
    private var now = Instant.zero + .seconds(1)
    private var pacer = CheckPacer()
    private var buffer: [UInt8] = []
    private var relayBuffer = [UInt8](repeating: 0, count: 2048)
    private let payload = [UInt8](repeating: 0x80, count: 1000)

    init(isRelayed: Bool) throws {
        let user = try LongTermCredentials(username: "user", realm: "realm", password: "password")
        let credentials = TURNServerCredentials(
            realm: "realm",
            users: [user],
            nonceSecret: [UInt8](repeating: 1, count: 16)
        )
        let allow = [IPPrefix("203.0.113.0/24")].compactMap { $0 }
        let configuration = TURNServerConfiguration(
            credentials: credentials,
            relayAddresses: [Self.relay],
            gate: PeerAddressGate(allow: allow, relayAddresses: [Self.relay])
        )
        engine = try TURNServerEngine(
            configuration,
            shared: TURNServerShared(configuration, entropy: .seeded(1)),
            unixSeconds: 1_700_000_000,
            entropy: .seeded(1)
        )
        var settings = ICESessionConfiguration(ICEConfiguration(role: .controlling))
        settings.usesPortMapping = false
        if isRelayed {
            settings.policy = .relay
            let uri = TURNURI(URIHost("192.0.2.1"), transport: .udp)
            settings.turnServers = [TURNServer([uri], username: "user", password: "password")]
        }
        first = try ICESession(settings, entropy: .seeded(1), at: now)
        settings = ICESessionConfiguration(ICEConfiguration(role: .controlled))
        settings.usesPortMapping = false
        second = try ICESession(settings, entropy: .seeded(2), at: now)
        buffer.reserveCapacity(ICESession.maximumMessageByteCount)
        try connect()
    }

    private func connect() throws {
        for index in [0, 1] {
            let ip = Self.addresses[index].ip
            let interface = NetworkInterface(index: 1, name: "eth0", addresses: [.init(ip, prefixLength: 24)])
            with(index) { session, now in
                session.updateInterfaces([interface], at: now)
                session.gather(at: now)
            }
        }
        let (one, two) = (first.localDescription, second.localDescription)
        _ = second.setRemoteDescription(one, at: now)
        _ = first.setRemoteDescription(two, at: now)
        for _ in 0..<4000 {
            pump()
            now = now + .milliseconds(5)
            first.handleTimeout(at: now)
            second.handleTimeout(at: now)
            engine.handleTimeout(at: now)
        }
        guard first.path() != nil, second.path() != nil else { throw SetupError("The sessions did not connect.") }
    }

    private func with(_ index: Int, _ body: (inout ICESession, Instant) -> Void) {
        if index == 0 { body(&first, now) } else { body(&second, now) }
    }

    private func pump() {
        for index in [0, 1] {
            while true {
                var effect: SessionEffect?
                with(index) { session, _ in effect = session.pollEffect() }
                guard let effect else { break }
                if case .bindUDP(let id, _) = effect {
                    with(index) { $0.bound(id, base: Self.base, local: Self.addresses[index], at: $1) }
                }
            }
            while true {
                var transmit: SessionTransmit?
                buffer.removeAll(keepingCapacity: true)
                buffer.append(addingCapacity: ICESession.maximumMessageByteCount) { output in
                    transmit =
                        index == 0
                        ? first.pollTransmit(at: now, pacer: &pacer, into: &output)
                        : second.pollTransmit(at: now, pacer: &pacer, into: &output)
                }
                guard let transmit else { break }
                _ = deliver(from: index, to: transmit.destination)
            }
            while true {
                var event: SessionEvent?
                with(index) { session, _ in event = session.pollEvent() }
                guard let event else { break }
                if case .candidate(let candidate) = event {
                    with(1 - index) { $0.addRemoteCandidate(candidate, at: $1) }
                }
            }
        }
    }

    /// Carries what stands in the buffer; whether data came out at the other end.
    private func deliver(from index: Int, to destination: SocketAddress) -> Bool {
        if destination == Self.server {
            guard case .relay(let transmit) = engine.receive(buffer.span, from: Self.tuple, at: now) else {
                answer()
                return false
            }
            guard let socket else { return false }
            return isData(
                second.receive(
                    buffer.span.extracting(transmit.payload),
                    on: Self.base,
                    from: socket.local,
                    at: now
                )
            )
        }
        if destination == socket?.local, let socket {
            for place in buffer.indices { relayBuffer[64 + place] = buffer[place] }
            var packet = relayBuffer.mutableSpan
            let outcome = engine.receiveFromPeer(
                &packet,
                payload: 64..<64 + buffer.count,
                relay: socket.id,
                source: Self.addresses[index],
                at: now
            )
            guard case .deliver(_, let range) = outcome else { return false }
            return isData(
                first.receive(relayBuffer.span.extracting(range), on: Self.base, from: Self.server, at: now)
            )
        }
        if destination == Self.addresses[1] {
            return isData(second.receive(buffer.span, on: Self.base, from: Self.addresses[index], at: now))
        }
        return isData(first.receive(buffer.span, on: Self.base, from: Self.addresses[index], at: now))
    }

    private func isData(_ disposition: SessionDisposition) -> Bool {
        if case .data = disposition { return true }
        return false
    }

    private func answer() {
        while let event = engine.pollEvent() {
            guard case .openRelay(let request) = event else { continue }
            socket = (request.id, request.local)
            engine.relayOpened(request.id, token: 1, at: now)
        }
        while true {
            let bytes = buildBytes(capacity: TURNServerEngine.maximumResponseByteCount) { output in
                _ = engine.pollTransmit(into: &output)
            }
            guard !bytes.isEmpty else { return }
            _ = first.receive(bytes.span, on: Self.base, from: Self.server, at: now)
        }
    }

    /// Sends a kilobyte to the other side, as a driver does.
    func send(from index: Int) throws {
        var result = SessionSend.noPath
        let payload = payload
        buffer.removeAll(keepingCapacity: true)
        buffer.append(addingCapacity: ICESession.maximumMessageByteCount) { output in
            let data = payload.span
            if index == 0 {
                result = first.send(data, at: now, into: &output)
            } else {
                result = second.send(data, at: now, into: &output)
            }
        }
        let destination: SocketAddress
        switch result {
        case .direct(_, let to):
            for byte in payload { buffer.append(byte) }
            destination = to
        case .written(let transmit): destination = transmit.destination
        case .held, .noPath, .tooLong: throw SetupError("Data were not sent: \(result).")
        }
        guard deliver(from: index, to: destination) else { throw SetupError("Data did not arrive.") }
    }
}

// What data cost in a session, both sides and the relay together.
let sessionScenarios = [
    Scenario("send a kilobyte between two ICE sessions") {
        let world = try SessionWorld(isRelayed: false)
        return try blocksPerOperation { try world.send(from: $0 & 1) }
    },
    Scenario("send a kilobyte between two ICE sessions through a relay") {
        let world = try SessionWorld(isRelayed: true)
        return try blocksPerOperation { try world.send(from: $0 & 1) }
    },
]
