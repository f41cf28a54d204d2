import Bytes
import NetTypes
import STUN

@testable import ICE

/// The address that `text` is.
func at(_ text: String) -> SocketAddress {
    guard let address = SocketAddress(text) else { preconditionFailure("no address: \(text)") }
    return address
}

/// Credentials with that fragment, and a password made of it.
func credentials(_ fragment: String) -> ICECredentials {
    let password = String(repeating: fragment.lowercased(), count: 6)
    guard let made = try? ICECredentials(usernameFragment: fragment, password: password) else {
        preconditionFailure("no credentials: \(fragment)")
    }
    return made
}

/// How a test NAT treats a host's UDP.
enum TestNAT: Hashable {
    /// None.
    case open
    /// One outer address for everything, filtered by what was sent to.
    case cone(Filter)
    /// Another outer address for each destination address and port, filtered by both.
    case symmetric

    enum Filter: Hashable {
        case endpointIndependent
        case address
        case addressAndPort
    }
}

/// A small internet for two agents: delay, loss, NATs; virtual time, one seed.
///
/// Each host has one interface; its sockets are bases. The real simulator is elsewhere: this one is for rules.
struct TestNetwork: ~Copyable {
    struct Packet {
        let due: Instant
        let order: Int
        /// Which side sends, 0 or 1.
        let side: Int
        let source: SocketAddress
        let destination: SocketAddress
        let bytes: [UInt8]
        let base: BaseID
    }

    struct Socket {
        let base: BaseID
        let address: SocketAddress
        var nat: TestNAT
        /// What it has sent to, and the outer address for each destination of a symmetric NAT.
        var mappings: [SocketAddress: SocketAddress] = [:]
        var outer: SocketAddress?
        var sentTo: Set<SocketAddress> = []
    }

    var first: ICEAgent
    var second: ICEAgent
    var sockets: ([Socket], [Socket]) = ([], [])
    var now = Instant.zero + .seconds(1000)
    var delay = TimeSpan.milliseconds(20)
    var loss = 0.0
    /// What is added to the delay of packets from, or to, an address.
    var slow: (SocketAddress) -> TimeSpan = { _ in .zero }
    /// What is not carried: the side that sends, and its bytes.
    var drops: (Int, SocketAddress, SocketAddress, [UInt8]) -> Bool = { _, _, _, _ in false }
    var events: ([ICEEvent], [ICEEvent]) = ([], [])
    var sent: [(time: Instant, side: Int, destination: SocketAddress, bytes: [UInt8])] = []
    var data: [(time: Instant, side: Int, bytes: [UInt8])] = []
    var pacers: (CheckPacer, CheckPacer) = (CheckPacer(), CheckPacer())
    var connectedAt: (Instant?, Instant?)
    private var queue: [Packet] = []
    private var order = 0
    private var entropy: Entropy
    private var nextPort: UInt16 = 40_000

    init(
        _ one: ICEConfiguration = ICEConfiguration(role: .controlling),
        _ other: ICEConfiguration = ICEConfiguration(role: .controlled),
        seed: UInt64 = 1
    ) {
        entropy = .seeded(seed &* 77)
        first = ICEAgent(one, entropy: .seeded(seed), at: .zero)
        second = ICEAgent(other, entropy: .seeded(seed ^ 0xFFFF), at: .zero)
    }

    mutating func with<Result>(_ side: Int, _ body: (inout ICEAgent) -> Result) -> Result {
        side == 0 ? body(&first) : body(&second)
    }

    /// Opens a socket of that side, and makes host and reflexive candidates of it.
    @discardableResult
    mutating func addHost(
        _ side: Int,
        _ text: String,
        nat: TestNAT = .open,
        outer: String? = nil,
        reflexive: Bool = true,
        network: UInt16 = 0,
        component: UInt16 = 1,
        signal: Bool = true,
        change: (inout LocalCandidate) -> Void = { _ in }
    ) -> [Candidate] {
        let address = at(text)
        let base = BaseID(rawValue: UInt32(side * 100 + (side == 0 ? sockets.0.count : sockets.1.count) + 1))
        var socket = Socket(base: base, address: address, nat: nat)
        socket.outer = outer.map(at)
        if side == 0 { sockets.0.append(socket) } else { sockets.1.append(socket) }
        var host = LocalCandidate(.host, address, component: component)
        host.network = network
        change(&host)
        var found: [Candidate] = []
        let time = now
        if let candidate = with(side, { $0.addLocalCandidate(host, base: base, at: time) }) { found.append(candidate) }
        if let outer = outer.map(at), reflexive {
            var mapped = LocalCandidate(.serverReflexive, outer, base: address, component: component)
            mapped.server = at("9.9.9.9:3478")
            mapped.network = network
            if let candidate = with(side, { $0.addLocalCandidate(mapped, base: base, at: time) }) {
                found.append(candidate)
            }
        }
        if signal { for candidate in found { signalCandidate(side, candidate) } }
        return found
    }

    /// Gives a candidate of one side to the other.
    mutating func signalCandidate(_ side: Int, _ candidate: Candidate) {
        let time = now
        _ = with(1 - side) { $0.addRemoteCandidate(candidate, at: time) }
    }

    /// Exchanges descriptions; candidates that were added are held until then.
    mutating func exchange() {
        let (one, other) = (first.localDescription, second.localDescription)
        _ = first.setRemoteDescription(other, at: now)
        _ = second.setRemoteDescription(one, at: now)
    }

    mutating func endCandidates() {
        let time = now
        for side in 0...1 {
            with(side) {
                $0.localGatheringDone(at: time)
                $0.endOfRemoteCandidates(at: time)
            }
        }
    }

    /// A plain pair of hosts.
    mutating func start() {
        exchange()
        addHost(0, "10.0.0.1:1000")
        addHost(1, "10.0.0.2:2000")
        endCandidates()
    }

    // MARK: Time

    /// Lets time pass until `end` or until `stop` says so.
    mutating func run(for span: TimeSpan, until stop: (borrowing TestNetwork) -> Bool = { _ in false }) {
        let end = now + span
        drain()
        while !stop(self) {
            var next = end + .milliseconds(1)
            if let due = queue.first?.due { next = min(next, due) }
            if let due = first.nextTimeout { next = min(next, due) }
            if let due = second.nextTimeout { next = min(next, due) }
            guard next <= end else { break }
            now = max(now, next)
            while let packet = queue.first, packet.due <= now {
                queue.removeFirst()
                deliver(packet)
            }
            if let due = first.nextTimeout, due <= now { first.handleTimeout(at: now) }
            if let due = second.nextTimeout, due <= now { second.handleTimeout(at: now) }
            drain()
        }
        if !stop(self) { now = end }
    }

    mutating func drain() {
        for side in 0...1 {
            while true {
                var transmit: ICETransmit?
                let time = now
                let bytes = buildBytes(capacity: 1500) { output in
                    if side == 0 {
                        transmit = first.pollTransmit(at: time, pacer: &pacers.0, into: &output)
                    } else {
                        transmit = second.pollTransmit(at: time, pacer: &pacers.1, into: &output)
                    }
                }
                guard let transmit else { break }
                send(side, transmit.base, transmit.destination, bytes)
            }
            while let event = with(side, { $0.pollEvent() }) {
                if case .pathChanged(_, .some) = event {
                    if side == 0, connectedAt.0 == nil { connectedAt.0 = now }
                    if side == 1, connectedAt.1 == nil { connectedAt.1 = now }
                }
                if side == 0 { events.0.append(event) } else { events.1.append(event) }
            }
        }
    }

    /// Sends application data of one side over its path; `false` without a path.
    @discardableResult
    mutating func sendData(_ side: Int, _ byte: UInt8 = 200) -> Bool {
        guard let path = with(side, { $0.path() }) else { return false }
        send(side, path.base, path.destination, [byte, 1, 2, 3])
        return true
    }

    // MARK: The net

    mutating func send(_ side: Int, _ base: BaseID, _ destination: SocketAddress, _ bytes: [UInt8]) {
        sent.append((now, side, destination, bytes))
        let list = side == 0 ? sockets.0 : sockets.1
        guard let place = list.firstIndex(where: { $0.base == base }) else { return }
        guard !drops(side, list[place].address, destination, bytes) else { return }
        guard loss == 0 || Double(entropy.next() % 10_000) / 10_000 >= loss else { return }
        let source =
            side == 0
            ? Self.outer(&sockets.0[place], destination, &nextPort)
            : Self.outer(&sockets.1[place], destination, &nextPort)
        order += 1
        let packet = Packet(
            due: now + delay + slow(list[place].address) + slow(destination),
            order: order,
            side: side,
            source: source,
            destination: destination,
            bytes: bytes,
            base: base
        )
        let index = queue.firstIndex { $0.due > packet.due } ?? queue.count
        queue.insert(packet, at: index)
    }

    private static func outer(
        _ socket: inout Socket,
        _ destination: SocketAddress,
        _ nextPort: inout UInt16
    ) -> SocketAddress {
        socket.sentTo.insert(destination)
        switch socket.nat {
        case .open: return socket.address
        case .cone: return socket.outer ?? socket.address
        case .symmetric:
            if let mapped = socket.mappings[destination] { return mapped }
            nextPort += 1
            let mapped = SocketAddress((socket.outer ?? socket.address).ip, port: nextPort)
            socket.mappings[destination] = mapped
            return mapped
        }
    }

    private mutating func deliver(_ packet: Packet) {
        let side = 1 - packet.side
        let list = side == 0 ? sockets.0 : sockets.1
        guard let socket = list.first(where: { accepts($0, packet) }) else { return }
        let time = now
        let disposition = with(side) {
            $0.receive(packet.bytes.span, on: socket.base, from: packet.source, at: time)
        }
        if case .data = disposition { data.append((now, side, packet.bytes)) }
        drain()
    }

    private func accepts(_ socket: Socket, _ packet: Packet) -> Bool {
        switch socket.nat {
        case .open: return socket.address == packet.destination
        case .cone(let filter):
            guard socket.outer == packet.destination else { return false }
            switch filter {
            case .endpointIndependent: return !socket.sentTo.isEmpty
            case .address: return socket.sentTo.contains { $0.ip == packet.source.ip }
            case .addressAndPort: return socket.sentTo.contains(packet.source)
            }
        case .symmetric:
            return socket.mappings.contains { $0.value == packet.destination && $0.key == packet.source }
        }
    }

    /// The requests that a side has sent, read.
    func requests(_ side: Int) -> [STUNMessage] {
        sent.filter { $0.side == side }.compactMap { try? STUNMessage(decoding: $0.bytes.span) }.filter {
            $0.type.messageClass == .request
        }
    }

    func count(_ side: Int, _ messageClass: STUNClass) -> Int {
        sent.filter { $0.side == side }.compactMap { try? STUNMessage(decoding: $0.bytes.span) }.count {
            $0.type.messageClass == messageClass
        }
    }
}
