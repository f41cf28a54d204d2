import CallSimulation
import Connectivity
import ICE
import MDNS
import NetTypes
import STUN
import Simulation
import TURN

/// Two sessions in a simulated internet with a STUN and a TURN server, and signaling that takes its time.
final class Call {
    struct Setup {
        var first: GatewayConfiguration? = .init(nat: .portRestricted)
        var second: GatewayConfiguration? = .init(nat: .portRestricted)
        var families: Set<AddressFamily> = [.ipv4]
        /// Those of the first host, if they are others.
        var firstFamilies: Set<AddressFamily>?
        /// Ways to the TURN server, such as "turn:turn.example"; none without TURN.
        var turn: [String] = []
        var stun = ["stun:stun.example"]
        var seed: UInt64 = 1
        var change: (inout ICESessionConfiguration) -> Void = { _ in }
    }

    let network: SimulatedNetwork
    let stun = STUNServerProgram()
    let turn = TURNServerProgram()
    let first: SimulatedSession
    let second: SimulatedSession
    let hosts: [SimulatedHost]
    let signalingDelay = TimeSpan.milliseconds(30)

    init(_ setup: Setup = Setup()) throws {
        let network = SimulatedNetwork(seed: setup.seed)
        network.recorder.capturedSegments = []
        self.network = network
        let server = network.addHost("server", on: network.internet)
        server.run(stun)
        let relay = network.addHost("relay", on: network.internet)
        relay.run(turn)
        network.names["stun.example"] = .init([server.address(), server.address(.ipv6)].compactMap(\.self))
        network.names["turn.example"] = .init([relay.address(), relay.address(.ipv6)].compactMap(\.self))
        var hosts: [SimulatedHost] = []
        for (name, gateway) in [("alice", setup.first), ("bob", setup.second)] {
            let families = (name == "alice" ? setup.firstFamilies : nil) ?? setup.families
            let segment =
                gateway.map { network.addLAN("\(name)-lan", behind: $0, families: families) } ?? network.internet
            hosts.append(network.addHost(name, on: segment, families: families))
        }
        self.hosts = hosts
        func program(_ role: ICERole, _ seed: UInt64) throws -> SimulatedSession {
            var configuration = ICESessionConfiguration(ICEConfiguration(role: role))
            configuration.stunServers = try setup.stun.map { try STUNURI($0) }
            if !setup.turn.isEmpty {
                configuration.turnServers = [
                    TURNServer(try setup.turn.map { try TURNURI($0) }, username: "floe", password: "secret")
                ]
            }
            configuration.usesPortMapping = false
            setup.change(&configuration)
            return try SimulatedSession(configuration, seed: seed)
        }
        first = try program(.controlling, setup.seed &* 2 &+ 1)
        second = try program(.controlled, setup.seed &* 2 &+ 2)
        connect(first, to: second)
        connect(second, to: first)
    }

    private func connect(_ sender: SimulatedSession, to receiver: SimulatedSession) {
        sender.forward = { [unowned self] event in
            switch event {
            case .candidate(let candidate): signal { receiver.act { $0.addRemoteCandidate(candidate, at: $1) } }
            case .candidateRemoved(let candidate):
                signal { receiver.act { $0.removeRemoteCandidate(candidate, at: $1) } }
            case .gatheringDone(signalEnd: true):
                let fragment = sender.localDescription.credentials.usernameFragment
                signal { receiver.act { $0.endOfRemoteCandidates(usernameFragment: fragment, at: $1) } }
            default: break
            }
        }
    }

    func signal(_ body: @escaping () -> Void) { network.after(signalingDelay, body) }

    /// Starts both, each with its description on the way to the other.
    func start() {
        for (index, (program, other)) in [(first, second), (second, first)].enumerated() {
            hosts[index].run(program)
            let description = program.localDescription
            signal { other.act { _ = $0.setRemoteDescription(description, at: $1) } }
        }
    }

    /// Starts and waits for data both ways; whether they came.
    func connects(within span: TimeSpan = .seconds(10)) -> Bool {
        start()
        let isUp = network.run(for: span) { [self] in
            first.path != nil && second.path != nil
        }
        guard isUp else { return false }
        return talks()
    }

    /// Whether data go both ways now.
    func talks() -> Bool {
        let counts = (first.received.count, second.received.count)
        // RTP and DTLS by their first bytes; the first may be lost.
        for _ in 0..<20 {
            first.send([0x80] + Array("from the first".utf8))
            second.send([0x16] + Array("from the second".utf8))
            network.run(for: .milliseconds(200))
            if first.received.count > counts.0, second.received.count > counts.1 { return true }
        }
        return false
    }

    func types(_ program: SimulatedSession) -> Set<CandidateType> { Set(program.candidates.map(\.type)) }
}

extension SimulatedSession {
    var localDescription: ICEDescription {
        guard let description = session?.localDescription else { preconditionFailure("made with its session") }
        return description
    }
    var gatheringState: ICEGatheringState? { session?.gatheringState }
    var canTrickle: Bool? { session?.canTrickle ?? nil }
    var publicAddresses: Set<IPAddress> { session?.publicAddresses.addresses ?? [] }
    var candidates: [Candidate] { session?.localCandidates ?? [] }

    func has(_ event: SessionEvent) -> Bool { timeline.contains { $0.event == event } }

    /// The address that this side has published a name for.
    var concealed: ConcealedAddress? {
        for case .publishName(_, let address, _) in effects { return address }
        return nil
    }
}
