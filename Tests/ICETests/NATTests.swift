import NetTypes
import STUN
import TestSupport
import Testing

@testable import ICE

@Suite struct NATTests {
    static let kinds: [TestNAT] = [
        .open, .cone(.endpointIndependent), .cone(.address), .cone(.addressAndPort), .symmetric,
    ]

    private func world(_ one: TestNAT, _ other: TestNAT, relay: Bool = false, seed: UInt64 = 1) -> TestNetwork {
        var net = TestNetwork(seed: seed)
        net.exchange()
        for (side, nat) in [(0, one), (1, other)] {
            let inner = side == 0 ? "10.0.0.1:1000" : "192.168.0.2:2000"
            let outer = side == 0 ? "192.0.2.1:1111" : "198.51.100.2:2222"
            if nat == .open {
                net.addHost(side, outer)
            } else {
                net.addHost(side, inner, nat: nat, outer: outer)
            }
        }
        if relay { net.addHost(0, "203.0.113.9:9000") { $0.type = .relayed } }
        net.endCandidates()
        return net
    }

    @Test func `Which NATs connect directly is what the model says, for every pair of them`() {
        for (row, one) in Self.kinds.enumerated() {
            for (column, other) in Self.kinds.enumerated() {
                var net = world(one, other)
                net.run(for: .seconds(5))
                // Symmetric meets a filter by port, or another symmetric one: no direct path.
                let isHopeless = row + column >= 7
                let isConnected = net.first.path() != nil && net.second.path() != nil
                #expect(isConnected == !isHopeless, "\(one) and \(other)")
            }
        }
    }

    @Test func `Both sides are connected 1.5 round trips after the last candidate, behind filters too`() {
        for one in Self.kinds.dropLast() {
            for other in Self.kinds.dropLast() {
                var net = world(one, other)
                let start = net.now
                net.run(for: .seconds(5)) { $0.connectedAt.0 != nil && $0.connectedAt.1 != nil }
                let last = max(net.connectedAt.0 ?? .distantFuture, net.connectedAt.1 ?? .distantFuture)
                // Host pairs come first in the burst, 5 ms in front of the pair that works.
                #expect(last - start <= .milliseconds(60 + 10), "\(one) and \(other): \(last - start)")
            }
        }
    }

    @Test func `A relay carries until the direct path is there, and is left for it`() {
        var net = TestNetwork()
        net.exchange()
        net.addHost(0, "203.0.113.9:9000") { $0.type = .relayed }
        net.addHost(1, "198.51.100.2:2000")
        let start = net.now
        net.run(for: .seconds(1))
        let relayed = net.first.path()
        #expect(relayed?.isRelayed == true)
        #expect((net.connectedAt.0 ?? .distantFuture) - start <= .milliseconds(60))
        let verdict = net.first.verdict
        #expect(verdict.outcome == .relayed)
        net.addHost(0, "192.0.2.1:1000")
        net.endCandidates()
        net.run(for: .seconds(2))
        let paths = (net.first.path(), net.second.path())
        #expect(paths.0?.isRelayed == false)
        #expect(paths.1?.destination == SocketAddress("192.0.2.1:1000"))
        #expect(net.first.verdict.outcome == .direct)
    }

    @Test func `A relay that was not signalled is known by its server's address`() {
        var net = TestNetwork()
        net.exchange()
        net.addHost(0, "203.0.113.9:9001") { $0.type = .relayed }
        net.addHost(0, "203.0.113.9:9000", signal: false) {
            $0.type = .relayed
            // Another foundation: it does not wait for the first one's checks.
            $0.server = at("203.0.113.9:443")
        }
        net.addHost(1, "198.51.100.2:2000")
        net.drops = { _, source, destination, _ in [source, destination].contains(at("203.0.113.9:9001")) }
        net.run(for: .seconds(2))
        #expect(net.second.path()?.destination == at("203.0.113.9:9000"))
        #expect(net.second.verdict.outcome == .relayed)
    }

    @Test func `Calls connect under loss, whatever the seed, and both sides agree on the path`() {
        var worst: UInt64 = 0
        for seed in seeds(120) {
            var net = world(.cone(.addressAndPort), .cone(.address), relay: seed % 2 == 0, seed: seed)
            net.loss = Double(seed % 4) * 0.1
            net.delay = .milliseconds(5 + seed % 60)
            let start = net.now
            net.run(for: .seconds(30)) { $0.connectedAt.0 != nil && $0.connectedAt.1 != nil }
            let isConnected = net.first.path() != nil && net.second.path() != nil
            #expect(isConnected, "seed \(seed)")
            worst = max(worst, (net.now - start).milliseconds)
            net.loss = 0
            net.run(for: .seconds(20))
            let (one, other) = (net.first.path(), net.second.path())
            let count = net.data.count
            net.sendData(0)
            net.sendData(1)
            net.run(for: .seconds(1))
            #expect(
                net.data.count == count + 2,
                "seed \(seed): \(String(describing: one)) \(String(describing: other))"
            )
        }
        #expect(worst < 30_000)
    }

    @Test func `Any order of descriptions, candidates and time leads to a path`() {
        for seed in seeds(100) {
            var net = TestNetwork(seed: seed)
            var entropy = Entropy.seeded(seed)
            var steps = [0, 1, 2, 3, 4, 5]
            steps.shuffle(using: &entropy)
            for step in steps {
                switch step {
                case 0: _ = net.first.setRemoteDescription(net.second.localDescription, at: net.now)
                case 1: _ = net.second.setRemoteDescription(net.first.localDescription, at: net.now)
                case 2: net.addHost(0, "10.0.0.1:1000", nat: .cone(.addressAndPort), outer: "192.0.2.1:1111")
                case 3: net.addHost(1, "10.0.0.2:2000", nat: .cone(.address), outer: "198.51.100.2:2222")
                case 4: net.addHost(0, "10.2.0.1:1000")
                default: net.addHost(1, "[2001:db8::1]:5")
                }
                net.run(for: .milliseconds(entropy.next() % 200))
            }
            net.endCandidates()
            // Pairs that would be better are tried to their end, at 39.5 s.
            net.run(for: .seconds(45))
            let states = [net.first.state, net.second.state]
            #expect(states == [.completed, .completed], "seed \(seed)")
        }
    }

    @Test func `Both sides in one role end with one of each (ice 47, 61)`() {
        for role in [ICERole.controlling, .controlled] {
            for seed in seeds(20) {
                var net = TestNetwork(ICEConfiguration(role: role), ICEConfiguration(role: role), seed: seed)
                net.start()
                net.run(for: .seconds(5))
                let roles = Set([net.first.role, net.second.role])
                #expect(roles.count == 2)
                let states = [net.first.state, net.second.state]
                #expect(states == [.completed, .completed], "seed \(seed)")
            }
        }
    }
}
