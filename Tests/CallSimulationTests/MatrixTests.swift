import CallSimulation
import NetTypes
import Simulation
import Testing

/// Every pair of kinds of NAT, in every way of exchanging candidates, both versions of IP, in good and in bad weather.
@Suite struct MatrixTests {
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
            Self.kinds.map { right in PathFloor(left, right).bothPaths != nil ? "D" : "R" }.joined()
        }
        #expect(rows == Self.table)
    }

    /// Both versions of IP, apart and together; in good weather, and with loss and an answerer that starts late.
    static let conditions = Families.allCases.flatMap { families in [false, true].map { (families, $0) } }

    @Test(arguments: CandidateExchange.allCases, conditions)
    func `every pair connects, directly where it can; no kind of NAT keeps from trying (ice 161)`(
        _ exchange: CandidateExchange,
        _ condition: (families: Families, isBad: Bool)
    ) {
        for (row, left) in Self.kinds.enumerated() {
            for (column, right) in Self.kinds.enumerated() {
                var run = CallRun(access(left, condition.families), access(right, condition.families))
                run.exchange = exchange
                if condition.isBad {
                    run.loss = 0.03
                    run.skew = .milliseconds(UInt64(40 * (row + column)))
                }
                let seed = UInt64(row * 10 + column + 1)
                let result = run.run(seed: seed)
                let expected = condition.families != .ipv4 || PathFloor(left, right).bothPaths != nil
                let name = "\(run.offerer.name) to \(run.answerer.name), seed \(seed), bad weather: \(condition.isBad)"
                #expect(result.isConnected, "\(name)")
                #expect(result.isDirect == expected, "\(name)")
                // No timer of half a second is waited for where nothing is lost.
                if !condition.isBad, exchange == .trickle {
                    #expect(result.bothPaths.map { $0 < .milliseconds(300) } == true, "\(name)")
                }
            }
        }
    }

    @Test func `each direct cell is at the floor, but for pacing`() {
        // What a round trip costs and what one and a half do, by hand: a round trip takes 40 ms, to the server as well.
        let open = PathFloor(nil, nil)
        #expect(open.firstPath == .milliseconds(40) && open.bothPaths == .milliseconds(50 + 40))
        let restricted = PathFloor(.portRestricted, .portRestricted)
        let (name, trip, signal, half) = (UInt64(20), UInt64(40), UInt64(50), UInt64(20))
        #expect(restricted.firstPath == .milliseconds(name + trip + signal + trip))
        #expect(restricted.bothPaths == .milliseconds(name + trip + signal + trip + half))
        let matrix = CallMatrix()
        for (row, left) in Self.kinds.enumerated() {
            for (column, right) in Self.kinds.enumerated() {
                let floor = PathFloor(left, right)
                let result = matrix.rows[row].results[column]
                let name = "\(matrix.rows[row].name) to \(matrix.kinds[column].name)"
                #expect((result.bothDirect != nil) == (floor.bothPaths != nil), "\(name)")
                guard let least = floor.bothPaths, let measured = result.bothDirect else { continue }
                #expect(measured >= least, "\(name): no agent is faster than the model")
                // Where the first check cannot come through, the agent waits for two and a half round trips, the model for one.
                let isRepeated = [2].contains(row) && [5, 6, 8, 9].contains(column)
                let limit = least.milliseconds + (isRepeated ? 75 : 5)
                #expect(measured.milliseconds <= limit, "\(name): \(measured) over \(least)")
            }
        }
    }

    private func access(_ behavior: NATBehavior?, _ families: Families) -> Access {
        guard let behavior else { return Access("open", nil, families: families.set) }
        return .nat(behavior, families.set)
    }
}
