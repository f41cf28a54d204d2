import NetTypes
import Simulation

/// The statements.
extension Scenario {
    static let statements = ["seed", "run", "nat", "host", "server", "signaling", "call", "at", "expect"]

    mutating func read(_ line: inout ScenarioLine) throws(ScenarioError) {
        let statement = try line.take("a statement")
        switch statement {
        case "seed":
            let word = try line.take("the seed")
            guard let number = UInt64(word) else { throw line.error("'\(word)' is no seed; write a number.") }
            seed = number
        case "run": duration = try line.span(of: try line.take("the time"))
        case "nat": try readNetwork(&line)
        case "host": try readHost(&line)
        case "server":
            let name = try newName(&line)
            servers.append((name, try Self.fault(&line)))
        case "signaling": try readSignaling(&line)
        case "call": try readCall(&line)
        case "at": try readStep(&line)
        case "expect": try readExpectation(&line)
        default:
            throw line.error(
                "there is no statement '\(statement)'; they are \(Self.statements.joined(separator: ", "))."
            )
        }
    }

    private func newName(_ line: inout ScenarioLine) throws(ScenarioError) -> String {
        let name = try line.take("a name")
        let taken = networks.map(\.name) + hosts.map(\.name) + servers.map(\.name)
        guard !taken.contains(name) else { throw line.error("there is a '\(name)' already; choose another name.") }
        return name
    }

    private func known(_ name: String, _ names: [String], _ what: String, _ line: ScenarioLine) throws(ScenarioError) {
        guard names.contains(name) else {
            let list = names.isEmpty ? "there are none yet" : "known are \(names.joined(separator: ", "))"
            throw line.error("there is no \(what) '\(name)'; \(list). It must stand above this line.")
        }
    }

    // MARK: Networks and hosts

    private static let kinds: [(String, NATBehavior?)] = [
        ("none", nil), ("full-cone", .fullCone), ("address-restricted", .addressRestricted),
        ("port-restricted", .portRestricted), ("symmetric", .symmetric), ("linux", .linux),
        ("leaky-linux", .leakyLinux), ("carrier", .carrier),
    ]

    private static let dependences: [(String, Dependence)] = [
        ("ei", .endpointIndependent), ("ad", .addressDependent), ("apd", .addressAndPortDependent),
    ]

    private mutating func readNetwork(_ line: inout ScenarioLine) throws(ScenarioError) {
        let name = try newName(&line)
        var behavior: NATBehavior? = .portRestricted
        if let word = line.setting("kind") {
            guard let kind = Self.kinds.first(where: { $0.0 == word }) else {
                let list = Self.kinds.map(\.0).joined(separator: ", ")
                throw line.error("there is no kind of NAT '\(word)'; write \(list).")
            }
            behavior = kind.1
        }
        if let mapping = try line.choice("mapping", Self.dependences) { behavior?.mapping = mapping }
        if let filtering = try line.choice("filtering", Self.dependences) { behavior?.filtering = filtering }
        let ports: [(String, PortAllocation)] = [
            ("preserve", .preserve), ("overload", .preserveOverload), ("contiguous", .contiguous),
            ("random", .random), ("block", .block(size: 512)),
        ]
        if let rule = try line.choice("ports", ports) { behavior?.ports = rule }
        let hairpins: [(String, Hairpin)] = [
            ("none", .none), ("inside", .internalSource), ("outside", .externalSource),
        ]
        if let hairpin = try line.choice("hairpin", hairpins) { behavior?.hairpin = hairpin }
        if let timeout = try line.span("timeout") { behavior?.udpTimeout = timeout }
        let policies: [(String, FirewallPolicy)] = [
            ("none", .open), ("udp-blocked", .udpBlocked()), ("udp-rejected", .udpBlocked(.reject)),
            ("only-443", .only(ports: [443], requiresTLS: true)), ("only-80-443", .only(ports: [80, 443])),
        ]
        let policy = try line.choice("firewall", policies) ?? .open
        var gateway = GatewayConfiguration(nat: behavior, statefulFirewall: behavior, firewall: policy)
        if try line.choice("nat64", [("yes", true), ("no", false)]) == true {
            gateway = GatewayConfiguration(firewall: policy, nat64: .init(behavior ?? .carrier))
        }
        let outer = line.setting("of")
        if let outer { try known(outer, networks.map(\.name), "network", line) }
        let isIsolated = try line.choice("isolated", [("yes", true), ("no", false)]) ?? false
        let families = try Self.families(&line)
        var link = LinkConditions(delay: .milliseconds(10))
        try Self.change(&line).apply(to: &link)
        networks.append(
            Network(
                name: name,
                gateway: gateway,
                outer: outer,
                link: link,
                families: families,
                isIsolated: isIsolated
            )
        )
    }

    private static func families(_ line: inout ScenarioLine) throws(ScenarioError) -> Set<AddressFamily> {
        let choices: [(String, Set<AddressFamily>)] = [("4", [.ipv4]), ("6", [.ipv6]), ("both", [.ipv4, .ipv6])]
        return try line.choice("ip", choices) ?? [.ipv4]
    }

    static func change(_ line: inout ScenarioLine) throws(ScenarioError) -> LinkChange {
        let answers = [("yes", true), ("no", false)]
        return LinkChange(
            delay: try line.span("delay"),
            jitter: try line.span("jitter"),
            loss: try line.fraction("loss"),
            bitsPerSecond: try line.number("rate"),
            mtu: try line.number("mtu"),
            reorders: try line.choice("reorder", answers),
            isBlackHole: try line.choice("blackhole", answers)
        )
    }

    private mutating func readHost(_ line: inout ScenarioLine) throws(ScenarioError) {
        let name = try newName(&line)
        var network: String?
        if line.take(if: "behind") {
            let word = try line.take("the network")
            try known(word, networks.map(\.name), "network", line)
            network = word
        }
        var link = network == nil ? LinkConditions(delay: .milliseconds(10)) : .ideal
        try Self.change(&line).apply(to: &link)
        hosts.append(Host(name: name, network: network, families: try Self.families(&line), link: link))
    }

    private static func fault(_ line: inout ScenarioLine) throws(ScenarioError) -> TURNServerProgram.Fault {
        if line.take(if: "dead") { return .dead }
        if line.take(if: "full") { return .full }
        if line.take(if: "well") { return .none }
        if let slow = try line.span("slow") { return .slow(slow) }
        return .none
    }

    // MARK: Calls

    private mutating func readSignaling(_ line: inout ScenarioLine) throws(ScenarioError) {
        if let delay = try line.span("delay") { signaling.delay = delay }
        if let jitter = try line.span("jitter") { signaling.jitter = jitter }
        if let loss = try line.fraction("loss") { signaling.loss = loss }
        if let reorders = try line.choice("reorder", [("yes", true), ("no", false)]) { signaling.reorders = reorders }
    }

    private mutating func readCall(_ line: inout ScenarioLine) throws(ScenarioError) {
        let (offerer, answerer) = (try line.take("the caller"), try line.take("the callee"))
        for name in [offerer, answerer] { try known(name, hosts.map(\.name), "host", line) }
        let answers = [("yes", true), ("no", false)]
        calls.append(
            Call(
                offerer: offerer,
                answerer: answerer,
                exchange: try line.choice("exchange", CandidateExchange.allCases.map { ($0.rawValue, $0) })
                    ?? .trickle,
                usesTCP: try line.choice("tcp", answers) ?? false,
                isConcealed: try line.choice("mdns", answers) ?? false,
                isRelayOnly: try line.choice("relay-only", answers) ?? false
            )
        )
    }

    private mutating func readExpectation(_ line: inout ScenarioLine) throws(ScenarioError) {
        let word = try line.take("what is expected")
        guard let outcome = Expectation(rawValue: word) else {
            let list = Expectation.allCases.map(\.rawValue).joined(separator: ", ")
            throw line.error("'\(word)' cannot be expected; write \(list).")
        }
        let names = [try line.take("the caller"), try line.take("the callee")]
        guard calls.contains(where: { [$0.offerer, $0.answerer] == names }) else {
            throw line.error("there is no 'call \(names[0]) \(names[1])' above this line.")
        }
        expectations.append(Expected(line: line.number, outcome: outcome, hosts: names))
    }

    // MARK: Steps

    private mutating func readStep(_ line: inout ScenarioLine) throws(ScenarioError) {
        let time = try line.span(of: try line.take("the time"))
        let verb = try line.take("what is to happen")
        let name = try line.take("to whom")
        let action: Action
        switch verb {
        case "reboot":
            try known(name, networks.map(\.name), "network", line)
            action = .reboot(name, newAddress: line.take(if: "new-address"))
        case "fault":
            try known(name, servers.map(\.name), "server", line)
            action = .fault(name, try Self.fault(&line))
        case "link":
            try known(name, networks.map(\.name) + hosts.map(\.name), "network or host", line)
            action = .link(name, try Self.change(&line))
        case "sleep", "wake", "down", "up", "renumber", "jump", "restart":
            try known(name, hosts.map(\.name), "host", line)
            action = try hostAction(verb, name, &line)
        default:
            throw line.error(
                "nothing is called '\(verb)'; write reboot, fault, link, sleep, wake, down, up, renumber, jump or restart."
            )
        }
        steps.append(Step(time: time, action: action))
    }

    private func hostAction(
        _ verb: String,
        _ name: String,
        _ line: inout ScenarioLine
    ) throws(ScenarioError) -> Action {
        switch verb {
        case "sleep": .sleep(name)
        case "wake": .wake(name)
        case "down": .interface(name, isUp: false)
        case "up": .interface(name, isUp: true)
        case "renumber": .renumber(name)
        case "jump": .jump(name, try line.span(of: try line.take("by how much")))
        default: .restart(name)
        }
    }
}
