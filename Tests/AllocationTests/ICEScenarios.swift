import Bytes
import CMallocCounter
import ICE
import NetTypes

/// Two agents and the wire between them, without delay.
final class ICEWorld {
    private var one: ICEAgent
    private var other: ICEAgent
    private var pacer = CheckPacer(interval: .zero)
    private var now = Instant.zero + .seconds(1)
    private var buffer = [UInt8](repeating: 0, count: 600)
    private var payload = [UInt8](repeating: 200, count: 100)
    private(set) var carried = 0
    /// How often the first agent was woken by its timer.
    private(set) var wakeUps = 0
    static let base = BaseID(rawValue: 1)
    private static let noise = [UInt8](repeating: 0, count: 60)

    init(hosts: Int = 2) throws {
        var configuration = ICEConfiguration(role: .controlling)
        one = ICEAgent(configuration, entropy: .seeded(1), at: now)
        configuration.role = .controlled
        other = ICEAgent(configuration, entropy: .seeded(2), at: now)
        let descriptions = (one.localDescription, other.localDescription)
        _ = one.setRemoteDescription(descriptions.1, at: now)
        _ = other.setRemoteDescription(descriptions.0, at: now)
        for index in 0..<hosts {
            let base = BaseID(rawValue: UInt32(index + 1))
            let first = LocalCandidate(.host, Self.address(0, index))
            let second = LocalCandidate(.host, Self.address(1, index))
            if let candidate = one.addLocalCandidate(first, base: base, at: now) {
                _ = other.addRemoteCandidate(candidate, at: now)
            }
            if let candidate = other.addLocalCandidate(second, base: base, at: now) {
                _ = one.addRemoteCandidate(candidate, at: now)
            }
        }
        one.localGatheringDone(at: now)
        other.localGatheringDone(at: now)
        one.endOfRemoteCandidates(at: now)
        other.endOfRemoteCandidates(at: now)
        run(for: .seconds(10))
        guard one.state == .completed, other.state == .completed else { throw SetupError("ICE agents do not connect.") }
    }

    private static func address(_ side: Int, _ index: Int) -> SocketAddress {
        SocketAddress(IPAddress(ipv4: 0x0A00_0000 + UInt32(side * 256 + index + 1)), port: 1000)
    }

    /// Lets both sides do what is due until so much time has passed.
    func run(for span: TimeSpan) {
        let end = now + span
        exchange()
        while true {
            let next = min(one.nextTimeout ?? .distantFuture, other.nextTimeout ?? .distantFuture)
            guard next <= end else { break }
            now = max(now, next)
            if let due = one.nextTimeout, due <= now { wakeUps += 1 }
            one.handleTimeout(at: now)
            other.handleTimeout(at: now)
            exchange()
        }
        now = end
    }

    private func exchange() {
        while carry(fromOne: true) || carry(fromOne: false) { carried += 1 }
        while one.pollEvent() != nil {}
        while other.pollEvent() != nil {}
    }

    private func carry(fromOne: Bool) -> Bool {
        var transmit: ICETransmit?
        let time = now
        // An array of its own, moved out and back: closures may not touch what they fill.
        var bytes: [UInt8] = []
        swap(&bytes, &buffer)
        var count = 0
        bytes.removeAll(keepingCapacity: true)
        bytes.append(addingCapacity: 600) { output in
            transmit =
                fromOne
                ? one.pollTransmit(at: time, pacer: &pacer, into: &output)
                : other.pollTransmit(at: time, pacer: &pacer, into: &output)
            count = output.count
        }
        defer { swap(&bytes, &buffer) }
        guard let transmit, count == transmit.byteCount else { return false }
        // One network: every address of the peer is reached from every base.
        let source = Self.address(fromOne ? 0 : 1, Int(transmit.base.rawValue) - 1)
        let base = BaseID(rawValue: (transmit.destination.ip.ipv4Bits & 255))
        if fromOne {
            _ = other.receive(bytes.span, on: base, from: source, at: time)
        } else {
            _ = one.receive(bytes.span, on: base, from: source, at: time)
        }
        return true
    }

    /// Sends one datagram of the application from one side to the other.
    func sendData() throws {
        guard let path = one.path() else { throw SetupError("An ICE agent has no path.") }
        let source = Self.address(0, Int(path.base.rawValue) - 1)
        let base = BaseID(rawValue: path.destination.ip.ipv4Bits & 255)
        let payload = payload
        let disposition = other.receive(payload.span, on: base, from: source, at: now)
        guard disposition == .data(component: 1) else { throw SetupError("Data is not taken.") }
    }

    /// Sends noise that looks like STUN.
    func sendNoise() {
        let source = Self.address(0, 0)
        let noise = Self.noise
        _ = other.receive(noise.span, on: Self.base, from: source, at: now)
    }
}

let iceScenarios = [
    Scenario("ICE: 5 s of a connected agent's life, consent checks and answers") {
        let world = try ICEWorld()
        let before = world.carried
        let blocks = blocksPerOperation { _ in world.run(for: .seconds(5)) }
        guard world.carried > before + 4000 else { throw SetupError("No consent checks were carried.") }
        return blocks
    },
    Scenario("ICE: a datagram of the application") {
        let world = try ICEWorld()
        return try blocksPerOperation { _ in try world.sendData() }
    },
    Scenario("ICE: blocks for making and connecting an agent, two candidates on each side", budget: 400) {
        var worlds: [ICEWorld] = []
        worlds.reserveCapacity(400)
        let blocks = try blocksPerOperation(200) { _ in worlds.append(try ICEWorld()) } / 2
        guard worlds.count == 400 else { throw SetupError("Agents are missing.") }
        return blocks
    },
    Scenario("ICE: wake-ups of an idle connected agent per minute", budget: 16) {
        let world = try ICEWorld()
        let before = world.wakeUps
        world.run(for: .seconds(60 * 60))
        return Double(world.wakeUps - before) / 60
    },
    Scenario("ICE: drop noise") {
        let world = try ICEWorld()
        return blocksPerOperation { _ in world.sendNoise() }
    },
    Scenario("ICE: bytes of an idle connected agent, two candidates on each side", budget: 4096) {
        let before = floe_allocated_bytes()
        var worlds: [ICEWorld] = []
        worlds.reserveCapacity(200)
        for _ in 0..<200 { worlds.append(try ICEWorld()) }
        let bytes = Double(floe_allocated_bytes() - before) / 400
        guard worlds.count == 200 else { throw SetupError("Agents are missing.") }
        // The world's buffer and its header are not the agents'.
        return bytes - 350
    },
]

/// How many checks, each a request and its answer through both agents, one core does in a second; without sockets.
func iceChecksPerSecond() throws -> Int {
    let world = try ICEWorld()
    let before = world.carried
    let start = ContinuousClock.now
    // About 20,000 consent checks of each side, and as many of the pairs kept beside the selected one.
    world.run(for: .seconds(100_000))
    let elapsed = ContinuousClock.now - start
    let seconds = Double(elapsed.components.seconds) + Double(elapsed.components.attoseconds) / 1e18
    return Int(Double(world.carried - before) / 2 / seconds)
}
