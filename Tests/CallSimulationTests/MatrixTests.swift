import CallSimulation
import NetTypes
import Simulation
import Testing

/// Every pair of kinds of NAT, in every way of exchanging candidates, both versions of IP, in good and in bad weather.
@Suite struct MatrixTests {
    enum Weather: String, CaseIterable {
        case good
        case lossAndSkew
    }

    enum Families: String, CaseIterable {
        case ipv4
        case ipv6
        case both

        var set: Set<AddressFamily> {
            switch self {
            case .ipv4: [.ipv4]
            case .ipv6: [.ipv6]
            case .both: [.ipv4, .ipv6]
            }
        }
    }

    static let kinds: [NATBehavior?] = [nil] + NATBehavior.allKinds.map { $0 }

    /// The table of which pairs connect directly, as literature has it, to check the model with: D direct, R relayed.
    static let table = [
        "DDDDDDDDDD", "DDDDDDDDDD", "DDDDDDDDDD", "DDDDRRRRRR", "DDDRDDRDDR", "DDDRDRRDRR", "DDDRRRRRRR", "DDDRDDRRRR",
        "DDDRDRRRRR", "DDDRRRRRRR",
    ]

    @Test func `the model agrees with the table of pairs`() {
        let rows = Self.kinds.map { left in
            Self.kinds.map { right in PunchingModel.isDirect(left, right) ? "D" : "R" }.joined()
        }
        #expect(rows == Self.table)
    }

    @Test(arguments: CandidateExchange.allCases, Families.allCases)
    func `every pair connects, directly where it can`(_ exchange: CandidateExchange, _ families: Families) {
        for weather in Weather.allCases {
            for (row, left) in Self.kinds.enumerated() {
                for (column, right) in Self.kinds.enumerated() {
                    var run = CallRun(access(left, families), access(right, families))
                    run.exchange = exchange
                    if weather == .lossAndSkew {
                        run.loss = 0.03
                        run.skew = .milliseconds(UInt64(40 * (row + column)))
                    }
                    let seed = UInt64(row * 10 + column + 1)
                    let result = run.run(seed: seed)
                    let expected = families != .ipv4 || PunchingModel.isDirect(left, right)
                    let name = "\(run.offerer.name) to \(run.answerer.name), seed \(seed), \(weather)"
                    #expect(result.isConnected, "\(name)")
                    #expect(result.isDirect == expected, "\(name)")
                }
            }
        }
    }

    private func access(_ behavior: NATBehavior?, _ families: Families) -> Access {
        guard let behavior else { return Access("open", nil, families: families.set) }
        return .nat(behavior, families.set)
    }
}
