public import NetTypes
import Simulation

/// A world, calls in it and what happens to them, read from a text with one statement a line.
///
/// The README of this module lists the statements.
public struct Scenario: Sendable {
    struct Network: Sendable {
        var name: String
        var gateway: GatewayConfiguration
        var outer: String?
        var link: LinkConditions
        var families: Set<AddressFamily>
        var isIsolated: Bool
    }

    struct Host: Sendable {
        var name: String
        var network: String?
        var families: Set<AddressFamily>
        var link: LinkConditions?
    }

    struct Call: Sendable {
        var offerer: String
        var answerer: String
        var exchange: CandidateExchange
        var usesTCP: Bool
        var isConcealed: Bool
        var isRelayOnly: Bool
    }

    enum Action: Sendable {
        case reboot(String, newAddress: Bool)
        case sleep(String)
        case wake(String)
        case interface(String, isUp: Bool)
        case renumber(String)
        case jump(String, TimeSpan)
        case fault(String, TURNServerProgram.Fault)
        case link(String, LinkChange)
        case restart(String)
    }

    struct Step: Sendable {
        var time: TimeSpan
        var action: Action
    }

    /// What a call is to be like at the end.
    public enum Expectation: String, Sendable, Hashable, CaseIterable {
        /// Without relay.
        case direct
        /// Through a TURN server.
        case relayed
        /// One of both.
        case connected
        /// Without path.
        case failed
    }

    struct Expected: Sendable {
        var line: Int
        var outcome: Expectation
        var hosts: [String]
    }

    /// The name of the file, for messages.
    public let file: String
    /// The seed that the text names.
    public internal(set) var seed: UInt64 = 1
    /// How long the world runs.
    public internal(set) var duration = TimeSpan.seconds(30)
    var networks: [Network] = []
    var hosts: [Host] = []
    var servers: [(name: String, fault: TURNServerProgram.Fault)] = []
    var calls: [Call] = []
    var steps: [Step] = []
    var expectations: [Expected] = []
    var signaling = SignalingConditions()

    /// Reads a scenario.
    ///
    /// - Throws: `ScenarioError` with the line that cannot be understood.
    public init(_ text: String, file: String) throws(ScenarioError) {
        self.file = file
        for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
            var line = ScenarioLine(line, file: file, number: index + 1)
            guard !line.isEmpty else { continue }
            try read(&line)
            try line.finish()
        }
        guard !calls.isEmpty else {
            throw ScenarioError(file: file, line: 1, message: "there is no call; add a line such as 'call alice bob'.")
        }
    }
}

/// Changes of a link that a statement names; what it does not name stays.
struct LinkChange: Sendable {
    var delay: TimeSpan?
    var jitter: TimeSpan?
    var loss: Double?
    var bitsPerSecond: Int?
    var mtu: Int?
    var reorders: Bool?
    var isBlackHole: Bool?

    func apply(to link: inout LinkConditions) {
        if let delay { link.delay = delay }
        if let jitter { link.jitter = .uniform(jitter) }
        if let loss { link.loss = loss > 0 ? .random(loss) : .none }
        if let bitsPerSecond { link.bitsPerSecond = UInt64(bitsPerSecond) }
        if let mtu { link.mtu = mtu }
        if let reorders { link.reorders = reorders }
        if let isBlackHole { link.oversize = isBlackHole ? .drop : .report }
    }
}
