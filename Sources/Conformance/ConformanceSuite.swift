import Crypto
import EventLoop
public import NetTypes

/// Tries the rules on a server, one after the other.
public struct ConformanceSuite: Sendable {
    /// The server.
    public let target: ConformanceTarget
    /// The numbers of the rules to try; empty for all.
    public var only: Set<Int> = []
    /// Over what they are tried.
    public var transports = TransportProtocol.allCases
    /// Whether rules are tried that take minutes.
    public var includesSlow = false

    /// Makes a suite.
    public init(_ target: ConformanceTarget) { self.target = target }

    /// Every rule that there is a trial for.
    public static var rules: [Rule] { RuleTable.all }

    /// Tries everything; `progress` is told each result as it comes.
    ///
    /// Takes a minute or so; blocks the calling thread.
    public func run(progress: (RuleResult) -> Void = { _ in }) -> ConformanceReport {
        run(rules: Self.rules, progress: progress)
    }

    func run(
        rules: [Rule] = Self.rules,
        tamper: Probe.Tamper? = nil,
        progress: (RuleResult) -> Void = { _ in }
    ) -> ConformanceReport {
        let tls = try? TLSContext(clientTrust: .anything)
        let ports = UsedPorts()
        func makeProbe(_ transport: TransportProtocol) -> Probe {
            Probe(target, transport, tls: tls, ports: ports, tamper: tamper)
        }
        var results: [RuleResult] = []
        for transport in transports where target.address(for: transport) != nil {
            let obstacle = obstacle(makeProbe(transport))
            for rule in rules where rule.transports.contains(transport) {
                guard only.isEmpty || only.contains(rule.number) else { continue }
                let result: RuleResult
                if rule.isSlow, !includesSlow {
                    result = RuleResult(rule, transport, .notApplicable, "it takes minutes: tried with --slow")
                } else if let obstacle, rule.number != 93 {
                    result = RuleResult(rule, transport, .blocked, obstacle)
                } else {
                    result = attempt(rule, makeProbe(transport))
                }
                results.append(result)
                progress(result)
            }
        }
        return ConformanceReport(server: target.address, results: results)
    }

    /// Why nothing can be tried over a transport: found out once instead of by each rule's deadline.
    private func obstacle(_ probe: Probe) -> String? {
        do throws(Finding) {
            try probe.client().fence()
            return nil
        } catch {
            switch error {
            case .failed(let reason), .blocked(let reason), .notApplicable(let reason):
                return "the server does not answer over \(probe.transport): \(reason)"
            }
        }
    }

    private func attempt(_ rule: Rule, _ probe: Probe) -> RuleResult {
        let start = MonotonicClock.now()
        var verdict = RuleVerdict.pass
        var reason = ""
        do throws(Finding) {
            try rule.body(probe)
            if probe.observations == 0 { (verdict, reason) = (.blocked, "nothing was observed") }
        } catch {
            switch error {
            case .failed(let text): (verdict, reason) = (.fail, text)
            case .notApplicable(let text): (verdict, reason) = (.notApplicable, text)
            case .blocked(let text): (verdict, reason) = (.blocked, text)
            }
        }
        let elapsed = MonotonicClock.now() - start
        var result = RuleResult(rule, probe.transport, verdict, reason)
        (result.sent, result.came, result.milliseconds) = (probe.lastSent, probe.lastCame, elapsed.milliseconds)
        probe.close()
        return result
    }
}
