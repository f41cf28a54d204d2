import Bytes
import Connectivity
import ICE
import MDNS
import NetTypes
import PortMapping
import STUN
import TURN

/// Cuts an input into steps: what to do, two bytes of length, so many bytes.
private struct Script {
    private let bytes: [UInt8]
    private var offset = 0

    init(_ input: Span<UInt8>) { bytes = input.toArray() }

    mutating func next() -> (action: UInt8, bytes: [UInt8])? {
        guard bytes.count - offset >= 3 else { return nil }
        let action = bytes[offset]
        let count = Int(bytes[offset + 1]) << 8 | Int(bytes[offset + 2])
        let start = offset + 3
        let end = min(bytes.count, start + count)
        offset = end
        return (action, Array(bytes[start..<end]))
    }
}

private func address(_ text: String) -> SocketAddress {
    guard let address = SocketAddress(text) else { fatalError("a bad address") }
    return address
}

private func time(of action: UInt8) -> TimeSpan { .milliseconds(UInt64(action >> 4) * 150) }

func runMDNS(_ input: Span<UInt8>) -> Bool {
    let link = MDNSLink(interface: 1, family: .ipv4)
    var engine = MDNSEngine(entropy: .seeded(1), at: .zero)
    var now = Instant.zero
    engine.addLink(link, prefixes: [IPPrefix(IPAddress(ipv4: 0x0A00_0000), length: 8)].compactMap(\.self), at: now)
    _ = engine.publish(ConcealedAddress(IPAddress(ipv4: 0x0A00_0001)), interface: 1, at: now)
    if let name = MDNSName("12345678-1234-4123-8123-123456789abc.local") {
        engine.resolve(name, isKept: true, at: now)
    }
    var script = Script(input)
    var steps = 0
    var sent = 0
    var isUnderstood = false
    while let (action, bytes) = script.next() {
        steps += 1
        let source = SocketAddress(IPAddress(ipv4: 0x0A00_0002), port: action & 2 == 0 ? 5353 : 40_000)
        let result = engine.receive(bytes.span, from: source, over: link, wasMulticast: action & 1 == 0, at: now)
        if result == .accepted { isUnderstood = true }
        let end = now + time(of: action)
        while let next = engine.nextTimeout, next <= end {
            now = max(now, next)
            engine.handleTimeout(at: now)
            precondition(engine.nextTimeout.map { $0 > now } ?? true, "a timer that does not move")
        }
        now = end
        sent += drain { engine.pollTransmit(at: now, into: &$0)?.byteCount }
        while engine.pollEvent() != nil {}
    }
    precondition(sent <= 8 * (steps + 16), "more answers than questions")
    return isUnderstood
}

private func drain(_ poll: (inout OutputSpan<UInt8>) -> Int?) -> Int {
    var count = 0
    while true {
        var written: Int?
        _ = buildBytes(capacity: ICESession.maximumMessageByteCount) { output in written = poll(&output) }
        guard written != nil else { return count }
        count += 1
        precondition(count < 10_000, "no end of datagrams")
    }
}

func runPortMapping(_ input: Span<UInt8>) -> Bool {
    let gateway = IPAddress(ipv4: 0xC0A8_0001)
    var now = Instant.zero
    var mapper = PortMapper(
        PortMapperConfiguration(gateway: SocketAddress(gateway, port: 0), client: IPAddress(ipv4: 0xC0A8_0002)),
        entropy: .seeded(1)
    )
    _ = mapper.map(.udp, internalPort: 4000, at: now)
    _ = mapper.map(.tcp, internalPort: 4001, at: now)
    var open: PortMapperStream?
    var isUnderstood = false
    func pump() {
        _ = drain { mapper.pollTransmit(at: now, into: &$0)?.byteCount }
        while let action = mapper.pollAction() {
            switch action {
            case .open(let stream, let target):
                precondition(target.ip == gateway, "a connection to somebody else")
                open = stream
                mapper.streamOpened(stream, at: now)
            case .send: break
            case .close(let stream): if open == stream { open = nil }
            }
        }
        while case .mapped(_, let mapping)? = mapper.pollEvent() {
            precondition(mapping.external.port != 0 && !mapping.external.ip.isLoopback, "an impossible mapping")
        }
    }
    pump()
    var script = Script(input)
    while let (action, bytes) = script.next() {
        switch action & 3 {
        case 0, 1:
            let source = SocketAddress(gateway, port: action & 3 == 0 ? 5351 : 1900)
            if mapper.receive(bytes.span, from: source, at: now) == .accepted { isUnderstood = true }
        case 2: if let open { mapper.streamReceived(open, bytes.span, at: now) }
        default: if let open { mapper.streamClosed(open, at: now) }
        }
        pump()
        let end = now + time(of: action)
        while let next = mapper.nextTimeout, next <= end {
            now = max(now, next)
            mapper.handleTimeout(at: now)
            pump()
        }
        now = end
    }
    mapper.close(at: now)
    pump()
    return isUnderstood
}

/// A driver that grants everything, and a network that the input plays.
private struct SessionExercise: ~Copyable {
    static let stun = address("203.0.113.1:3478")
    static let turn = address("203.0.113.2:3478")
    static let peer = address("198.51.100.7:5000")
    static let local = address("192.0.2.9:4000")

    var session: ICESession
    var pacer = CheckPacer()
    var now = Instant.zero
    var isUnderstood = false
    /// The transaction of the message that was sent last, so that the input can answer it.
    var lastID: [UInt8] = Array(repeating: 0, count: 12)
    var nextBase: UInt32 = 10
    var streams: [BaseID] = []
    var listener: BaseID?

    init() {
        var configuration = ICESessionConfiguration(ICEConfiguration(role: .controlling))
        configuration.usesTCP = true
        configuration.stunServers = [STUNURI(URIHost("203.0.113.1"))]
        let host = URIHost("203.0.113.2")
        configuration.turnServers = [
            TURNServer(
                [TURNURI(host, transport: .udp), TURNURI(host, transport: .tcp)],
                username: "user",
                password: "password"
            )
        ]
        guard let session = try? ICESession(configuration, entropy: .seeded(1), at: .zero) else {
            fatalError("a bad configuration")
        }
        self.session = session
        self.session.updateInterfaces(
            [NetworkInterface(index: 1, name: "eth0", addresses: [.init(Self.local.ip, prefixLength: 24)])],
            at: .zero
        )
        self.session.gather(at: .zero)
        pump()
    }

    mutating func pump() {
        while let effect = session.pollEffect() { perform(effect) }
        var count = 0
        while true {
            var written = false
            let bytes = buildBytes(capacity: ICESession.maximumMessageByteCount) { output in
                written = session.pollTransmit(at: now, pacer: &pacer, into: &output) != nil
            }
            guard written else { break }
            if bytes.count >= 20 { lastID = Array(bytes[8..<20]) }
            count += 1
            precondition(count < 10_000, "no end of datagrams")
        }
        while true {
            var component: UInt16?
            _ = buildBytes(capacity: 65_535) { component = session.pollData(into: &$0) }
            guard component != nil else { break }
        }
        while session.pollEvent() != nil {}
    }

    private mutating func base() -> BaseID {
        nextBase += 1
        return BaseID(rawValue: nextBase)
    }

    private mutating func perform(_ effect: SessionEffect) {
        switch effect {
        case .bindUDP(let id, _): session.bound(id, base: BaseID(rawValue: 1), local: Self.local, at: now)
        case .listenTCP(let id, _):
            let base = base()
            listener = base
            session.bound(id, base: base, local: Self.local, at: now)
        case .connect(let id, _, _, _):
            let base = base()
            streams.append(base)
            session.connected(id, base: base, local: Self.local, at: now)
        case .resolve(let id, _), .publishName(let id, _, _), .resolveName(let id, _), .mapPort(let id, _, _, _):
            session.failed(id, .notFound, at: now)
        case .close(let base): streams.removeAll { $0 == base }
        case .unmapPort, .cancel: break
        }
    }

    mutating func step(_ action: UInt8, _ bytes: [UInt8]) {
        var bytes = bytes
        if action & 8 != 0, bytes.count >= 20 { bytes.replaceSubrange(8..<20, with: lastID) }
        let udp = BaseID(rawValue: 1)
        switch action & 7 {
        case 0: take(session.receive(bytes.span, on: udp, from: Self.stun, at: now), bytes.count)
        case 1: take(session.receive(bytes.span, on: udp, from: Self.turn, at: now), bytes.count)
        case 2: take(session.receive(bytes.span, on: udp, from: Self.peer, at: now), bytes.count)
        case 3: if let stream = streams.first { session.receiveStream(bytes.span, on: stream, at: now) }
        case 4: if let stream = streams.last { session.receiveStream(bytes.span, on: stream, at: now) }
        case 5:
            if let candidate = try? Candidate(text: String(decoding: bytes, as: UTF8.self)) {
                session.addRemoteCandidate(candidate, at: now)
                isUnderstood = true
            } else if let description = try? ICEDescription(
                session: String(decoding: bytes, as: UTF8.self).split(separator: "\n").map(String.init)
            ) {
                _ = session.setRemoteDescription(description, at: now)
                isUnderstood = true
            }
        case 6:
            guard let listener else { return }
            let connection = base()
            streams.append(connection)
            session.accepted(connection, on: listener, from: Self.peer, at: now)
        default: if let stream = streams.popLast() { session.closed(stream, at: now) }
        }
        pump()
        let end = now + time(of: action)
        while let next = session.nextTimeout, next <= end {
            now = max(now, next)
            session.handleTimeout(at: now)
            pump()
        }
        now = end
    }

    private mutating func take(_ disposition: SessionDisposition, _ count: Int) {
        switch disposition {
        case .consumed: isUnderstood = true
        case .data(_, let range): precondition(range.lowerBound >= 0 && range.upperBound <= count, "data outside")
        case .ignored: break
        }
    }

    mutating func finish() {
        session.close(at: now)
        pump()
        let end = now + .seconds(120)
        while let next = session.nextTimeout, next <= end {
            now = max(now, next)
            session.handleTimeout(at: now)
            pump()
        }
        let timeout = session.nextTimeout
        precondition(timeout == nil, "a closed session does not come to rest")
    }
}

func runConnectivity(_ input: Span<UInt8>) -> Bool {
    var exercise = SessionExercise()
    var script = Script(input)
    while let (action, bytes) = script.next() { exercise.step(action, bytes) }
    exercise.finish()
    return exercise.isUnderstood
}
