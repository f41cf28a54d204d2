import Connectivity
import ICE
public import NetTypes
import STUN
public import Simulation
import TURN

/// A scenario that is run: its world, its peers and how they fared.
public final class ScenarioRun {
    /// How a call ended.
    public struct Outcome: Sendable {
        /// The two hosts.
        public let hosts: [String]
        /// What became of it.
        public let outcome: Scenario.Expectation
        /// From the answerer's start to the first path.
        public let firstPath: TimeSpan?
        /// The longest time without data at the answerer, once some had come.
        public let longestGap: TimeSpan
        /// Why there is no path.
        public let verdict: String?
    }

    /// The scenario.
    public let scenario: Scenario
    /// Its world.
    public let network: SimulatedNetwork
    private var hosts: [String: SimulatedHost] = [:]
    private var segments: [String: SimulatedSegment] = [:]
    private var servers: [String: TURNServerProgram] = [:]
    private var peers: [(call: Scenario.Call, offerer: SimulatedPeer, answerer: SimulatedPeer)] = []

    /// Builds the world; `seed` overrides the scenario's.
    public init(_ scenario: Scenario, seed: UInt64? = nil, captures: Bool = false) {
        self.scenario = scenario
        network = SimulatedNetwork(seed: seed ?? scenario.seed)
        network.recorder.keepsNotes = true
        if captures { network.recorder.capturedSegments = [] }
        network.signaling = scenario.signaling
        build()
    }

    private func build() {
        for entry in scenario.networks {
            let segment = network.addLAN(
                entry.name,
                behind: entry.gateway,
                of: entry.outer.flatMap { segments[$0] },
                families: entry.families,
                up: entry.link
            )
            segment.isolatesHosts = entry.isIsolated
            segments[entry.name] = segment
        }
        var relays: Set<IPAddress> = []
        for (name, fault) in scenario.servers {
            let host = network.addHost(name, on: network.internet)
            let addresses = AddressFamily.allCases.compactMap { host.address($0) }
            network.names[name] = NameService.Entry(addresses)
            relays.formUnion(addresses)
            let server = host.run(TURNServerProgram())
            server.fault = fault
            servers[name] = server
        }
        for entry in scenario.hosts {
            let segment = entry.network.flatMap { segments[$0] } ?? network.internet
            let families = segment === network.internet ? entry.families : Set(segment.families)
            let host = network.addHost(entry.name, on: segment, families: families, up: entry.link)
            if let prefix = segment.gateway?.configuration.nat64?.prefix { network.names.dns64[entry.name] = prefix }
            hosts[entry.name] = host
        }
        for call in scenario.calls { start(call, relays) }
        for step in scenario.steps { network.after(step.time) { [unowned self] in perform(step.action) } }
    }

    private func start(_ call: Scenario.Call, _ relays: Set<IPAddress>) {
        let names = scenario.servers.map(\.name)
        func peer(_ other: String, isOfferer: Bool) -> SimulatedPeer {
            var options = SimulatedPeer.Options(peer: other, isOfferer: isOfferer) { configuration in
                configuration.stunServers = names.map { STUNURI(URIHost($0)) }
                configuration.turnServers = names.map { name in
                    let host = URIHost(name)
                    return TURNServer(
                        [
                            TURNURI(host, transport: .udp), TURNURI(host, transport: .tcp),
                            TURNURI(URIHost(name, port: 443), transport: .tls),
                        ],
                        username: "floe",
                        password: "secret"
                    )
                }
                configuration.usesTCP = call.usesTCP
                configuration.hostAddresses = call.isConcealed ? .concealed : .shown
                if call.isRelayOnly { configuration.policy = .relay }
            }
            options.exchange = call.exchange
            options.heartbeat = .milliseconds(100)
            let peer = SimulatedPeer(options)
            peer.relayHosts = relays
            return peer
        }
        let offerer = peer(call.answerer, isOfferer: true)
        let answerer = peer(call.offerer, isOfferer: false)
        hosts[call.answerer]?.run(answerer)
        hosts[call.offerer]?.run(offerer)
        peers.append((call, offerer, answerer))
    }

    /// Lets the scenario's time pass.
    public func run() { network.run(for: scenario.duration) }

    private func perform(_ action: Scenario.Action) {
        switch action {
        case .reboot(let name, let newAddress):
            network.note("reboot\(newAddress ? ", new address" : "")", at: name)
            segments[name]?.gateway?.reboot(newAddress: newAddress)
        case .sleep(let name): with(name, "falls asleep") { $0.sleep() }
        case .wake(let name): with(name, "wakes up") { $0.wakeUp() }
        case .interface(let name, let isUp):
            with(name, "interface \(isUp ? "up" : "down")") { $0.setInterface("eth0", isUp: isUp) }
        case .renumber(let name): with(name, "gets other addresses") { $0.renumber("eth0") }
        case .jump(let name, let span): with(name, "clock jumps") { $0.jumpClock(by: span) }
        case .fault(let name, let fault):
            network.note("fault: \(fault)", at: name)
            servers[name]?.fault = fault
        case .link(let name, let change):
            network.note("link changes", at: name)
            if let gateway = segments[name]?.gateway { network.setLink(of: gateway) { change.apply(to: &$0) } }
            if let host = hosts[name] { network.setLink(of: host) { change.apply(to: &$0) } }
        case .restart(let name):
            for (call, offerer, answerer) in peers {
                if call.offerer == name { hosts[name]?.perform(offerer) { $0.restart($1) } }
                if call.answerer == name { hosts[name]?.perform(answerer) { $0.restart($1) } }
            }
        }
    }

    private func with(_ name: String, _ text: String, _ body: (SimulatedHost) -> Void) {
        network.note(text, at: name)
        if let host = hosts[name] { body(host) }
    }

    // MARK: Results

    /// How each call stands now.
    public var outcomes: [Outcome] {
        peers.map { call, offerer, answerer in
            let isConnected = offerer.path != nil && answerer.path != nil
            let start = max(offerer.started ?? .zero, answerer.started ?? .zero)
            let first = [offerer.firstPath, answerer.firstPath].compactMap(\.self).min()
            return Outcome(
                hosts: [call.offerer, call.answerer],
                outcome: !isConnected ? .failed : offerer.isDirect && answerer.isDirect ? .direct : .relayed,
                firstPath: first.map { $0 - start },
                longestGap: answerer.longestGap(until: network.now),
                verdict: isConnected ? nil : offerer.verdict?.summary
            )
        }
    }

    /// The expectations that do not hold, as sentences with file and line.
    public var disappointments: [String] {
        let outcomes = outcomes
        return scenario.expectations.compactMap { expected in
            guard let outcome = outcomes.first(where: { $0.hosts == expected.hosts })?.outcome else { return nil }
            let holds =
                outcome == expected.outcome
                || expected.outcome == .connected && (outcome == .direct || outcome == .relayed)
            let names = expected.hosts.joined(separator: " and ")
            return holds
                ? nil
                : "\(scenario.file):\(expected.line): \(names) should be \(expected.outcome.rawValue) and are "
                    + "\(outcome.rawValue) (seed \(network.seed))."
        }
    }

    /// What has happened, a line each.
    public var timeline: String {
        let entries = network.recorder.entries
        let width = (entries.map(\.place.count).max() ?? 0) + 2
        var text = "seed \(network.seed)\n"
        for entry in entries {
            guard case .note(let note) = entry.what else { continue }
            let time = Recorder.seconds(entry.time)
            text += Self.pad(time, 14) + Self.pad(entry.place, width) + note + "\n"
        }
        for outcome in outcomes {
            let first = outcome.firstPath.map { ", first path after \($0.milliseconds) ms" } ?? ""
            let gap = outcome.longestGap > .zero ? ", longest gap \(outcome.longestGap.milliseconds) ms" : ""
            text += "\(outcome.hosts.joined(separator: " and ")): \(outcome.outcome.rawValue)\(first)\(gap)\n"
            if let verdict = outcome.verdict { text += verdict + "\n" }
        }
        return text
    }

    /// The same as JSON.
    public var json: String {
        let events = network.recorder.entries.compactMap { entry -> String? in
            guard case .note(let note) = entry.what else { return nil }
            let micros = (entry.time - Instant(nanoseconds: 1_000_000_000)).nanoseconds / 1000
            return "{\"microseconds\":\(micros),\"place\":\(Self.quoted(entry.place)),\"event\":\(Self.quoted(note))}"
        }
        let calls = outcomes.map { outcome in
            let first = outcome.firstPath.map { "\($0.milliseconds)" } ?? "null"
            let hosts = outcome.hosts.map(Self.quoted).joined(separator: ",")
            let verdict = outcome.verdict.map(Self.quoted) ?? "null"
            return
                "{\"hosts\":[\(hosts)],\"outcome\":\"\(outcome.outcome.rawValue)\",\"firstPathMilliseconds\":\(first),"
                + "\"longestGapMilliseconds\":\(outcome.longestGap.milliseconds),\"verdict\":\(verdict)}"
        }
        return "{\"seed\":\(network.seed),\"events\":[\(events.joined(separator: ","))],"
            + "\"calls\":[\(calls.joined(separator: ","))]}\n"
    }

    private static func pad(_ text: String, _ width: Int) -> String {
        text + String(repeating: " ", count: max(1, width - text.count))
    }

    private static func quoted(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"", "\\": result += "\\\(scalar)"
            case _ where scalar.value < 32:
                result += "\\u00" + (scalar.value < 16 ? "0" : "") + String(scalar.value, radix: 16)
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }
}
