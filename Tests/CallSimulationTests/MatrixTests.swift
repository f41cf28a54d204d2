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
            Self.kinds.map { right in PunchingModel.isDirect(left, right) ? "D" : "R" }.joined()
        }
        #expect(rows == Self.table)
    }

    @Test(arguments: CandidateExchange.allCases, Families.allCases)
    func `every pair connects, directly where it can`(_ exchange: CandidateExchange, _ families: Families) {
        for (row, left) in Self.kinds.enumerated() {
            for (column, right) in Self.kinds.enumerated() {
                var run = CallRun(access(left, families), access(right, families))
                run.exchange = exchange
                // Each pair has good weather in some of the combinations and bad weather in the others.
                let isBad = (row + column + exchange.rawValue.count + families.rawValue.count) % 2 == 0
                if isBad {
                    run.loss = 0.03
                    run.skew = .milliseconds(UInt64(40 * (row + column)))
                }
                let seed = UInt64(row * 10 + column + 1)
                let result = run.run(seed: seed)
                let expected = families != .ipv4 || PunchingModel.isDirect(left, right)
                let name = "\(run.offerer.name) to \(run.answerer.name), seed \(seed), bad weather: \(isBad)"
                #expect(result.isConnected, "\(name)")
                #expect(result.isDirect == expected, "\(name)")
                // No timer of half a second is waited for where nothing is lost.
                if !isBad, exchange == .trickle {
                    #expect(result.bothPaths.map { $0 < .milliseconds(300) } == true, "\(name)")
                }
            }
        }
    }

    @Test func `calls connect in the least number of round trips`() {
        // An access takes 10 ms each way, so a round trip takes 40, to the server as well; a name 20; signaling 50.
        let (trip, half, name, signal) = (40, 20, 20, 50)
        func times(_ left: Access, _ right: Access) -> [UInt64?] {
            let result = CallRun(left, right).run(seed: 1)
            return [result.firstPath?.milliseconds, result.bothPaths?.milliseconds]
        }
        // The answerer checks at once; the offerer when it has the answer.
        #expect(times(.open, .open) == [UInt64(trip), UInt64(signal + trip)])
        // The offerer's first check gets through: it needs the answerer's reflexive candidate, and the answerer half a
        // round trip more for the triggered check.
        let restricted = Access.nat(.portRestricted)
        let first = name + trip + signal + trip
        #expect(times(restricted, restricted) == [UInt64(first), UInt64(first + half)])
    }

    private func access(_ behavior: NATBehavior?, _ families: Families) -> Access {
        guard let behavior else { return Access("open", nil, families: families.set) }
        return .nat(behavior, families.set)
    }
}
