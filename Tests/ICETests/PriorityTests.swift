import NetTypes
import Testing

@testable import ICE

@Suite struct PriorityTests {
    private func agent(_ change: (inout ICEConfiguration) -> Void = { _ in }) -> ICEAgent {
        var configuration = ICEConfiguration(role: .controlling)
        change(&configuration)
        return ICEAgent(configuration, entropy: .seeded(1), at: .zero)
    }

    @Test func `Formulas give the numbers of the texts (ice 18, 19, 31)`() {
        let host = CandidatePriority.candidate(typePreference: 126, localPreference: 65535, component: 1)
        #expect(host == 2_130_706_431)
        let relay = CandidatePriority.candidate(typePreference: 0, localPreference: 0, component: 256)
        #expect(relay == 1)
        #expect(CandidatePriority.pair(controlling: 2, controlled: 1) == 1 << 32 + 4 + 1)
        #expect(CandidatePriority.pair(controlling: 1, controlled: 2) == 1 << 32 + 4)
    }

    @Test func `Types are ordered, and TCP comes after UDP of its like (ice 20, 22, 120)`() {
        let order: [CandidateType] = [.host, .peerReflexive, .serverReflexive, .relayed]
        let preferences = order.map { CandidatePriority.type($0, .udp) }
        #expect(preferences == [126, 110, 100, 0])
        for type in order.dropLast() {
            #expect(CandidatePriority.type(type, .tcp) < CandidatePriority.type(type, .udp))
        }
    }

    @Test func `A single address has local preference 65535 (ice 19)`() {
        var agent = agent { $0.isDualStack = false }
        let candidate = agent.addLocalCandidate(
            LocalCandidate(.host, at("10.0.0.1:5")),
            base: BaseID(rawValue: 1),
            at: .zero
        )
        #expect(candidate?.priority == 2_130_706_431)
    }

    @Test func `Priorities are unique, families take turns, IPv6 is first (ice 18, 21, 140)`() {
        var agent = agent()
        var found: [Candidate] = []
        for index in 1...8 {
            for text in ["[2001:db8::\(index)]:5", "10.0.0.\(index):5"] {
                let host = LocalCandidate(.host, at(text))
                let base = BaseID(rawValue: UInt32(found.count))
                if let candidate = agent.addLocalCandidate(host, base: base, at: .zero) { found.append(candidate) }
            }
        }
        #expect(found.count == 16 && Set(found.map(\.priority)).count == 16)
        let families = found.sorted { $0.priority > $1.priority }.map { $0.socketAddress?.family }
        for place in families.indices { #expect(families[place] == (place % 2 == 0 ? .ipv6 : .ipv4)) }
    }

    @Test func `Costly networks and tunnels come later (ice 141)`() {
        var agent = agent()
        func priority(_ text: String, _ base: UInt32, _ change: (inout LocalCandidate) -> Void = { _ in }) -> UInt32 {
            var host = LocalCandidate(.host, at(text))
            change(&host)
            return agent.addLocalCandidate(host, base: BaseID(rawValue: base), at: .zero)?.priority ?? 0
        }
        let mobile = priority("10.0.0.1:5", 1) { $0.networkCost = 900 }
        let tunnel = priority("10.0.0.2:5", 2) { $0.isVPN = true }
        let plain = priority("10.0.0.3:5", 3)
        #expect(plain > tunnel && tunnel > mobile && mobile > 126 << 24)
    }

    @Test func `Directions of TCP have the order of RFC 6544 (ice 118, 119)`() {
        var agent = agent()
        func candidate(_ kind: TCPCandidateType, _ port: Int) -> Candidate? {
            var host = LocalCandidate(.host, at("10.0.0.1:\(port)"))
            host.transport = .tcp
            host.tcpType = kind
            return agent.addLocalCandidate(host, base: BaseID(rawValue: UInt32(port)), at: .zero)
        }
        let list = [candidate(.active, 1), candidate(.passive, 2), candidate(.simultaneousOpen, 3)].compactMap { $0 }
        #expect(list.map { $0.priority >> 21 & 7 } == [6, 4, 2])
        #expect(list.map(\.port) == [9, 2, 3])
        let reflexive = TCPCandidateType.allCases.map { CandidatePriority.direction($0, .serverReflexive) }
        #expect(reflexive == [4, 2, 6])
    }

    @Test func `Foundations are equal for equal type, base, server and transport only (ice 15)`() {
        var agent = agent { $0.componentCount = 2 }
        func foundation(
            _ type: CandidateType,
            _ address: String,
            _ base: String,
            _ server: String?,
            _ id: UInt32,
            tcp: Bool = false,
            component: UInt16 = 1
        ) -> String? {
            let address = at(address)
            var found = LocalCandidate(type, address, base: at(base), component: component)
            found.server = server.map { at($0) }
            if tcp {
                found.transport = .tcp
                found.tcpType = .passive
            }
            return agent.addLocalCandidate(found, base: BaseID(rawValue: id), at: .zero)?.foundation
        }
        let host = foundation(.host, "10.0.0.1:1", "10.0.0.1:1", nil, 1)
        #expect(host != nil && foundation(.host, "10.0.0.1:2", "10.0.0.1:2", nil, 2, component: 2) == host)
        #expect(foundation(.host, "10.0.0.2:1", "10.0.0.2:1", nil, 3) != host)
        #expect(foundation(.host, "10.0.0.1:3", "10.0.0.1:3", nil, 4, tcp: true) != host)
        let mapped = foundation(.serverReflexive, "192.0.2.1:1", "10.0.0.1:1", "9.9.9.9:1", 1)
        #expect(mapped != host)
        #expect(foundation(.serverReflexive, "192.0.2.1:2", "10.0.0.1:2", "9.9.9.9:2", 2, component: 2) == mapped)
        #expect(foundation(.serverReflexive, "192.0.2.1:3", "10.0.0.1:1", "9.9.9.8:1", 1) != mapped)
    }

    @Test func `A redundant candidate is dropped, another base keeps it (ice 13, 23, 94)`() {
        var agent = agent()
        let host = LocalCandidate(.host, at("10.0.0.1:1"))
        let (one, other) = (BaseID(rawValue: 1), BaseID(rawValue: 2))
        #expect(agent.addLocalCandidate(host, base: one, at: .zero) != nil)
        #expect(agent.addLocalCandidate(host, base: one, at: .zero) == nil)
        let same = LocalCandidate(.serverReflexive, host.address, base: host.address)
        #expect(agent.addLocalCandidate(same, base: one, at: .zero) == nil)
        #expect(agent.addLocalCandidate(LocalCandidate(.relayed, host.address), base: other, at: .zero) == nil)
        let mapped = LocalCandidate(.serverReflexive, at("192.0.2.1:1"), base: host.address)
        #expect(agent.addLocalCandidate(mapped, base: one, at: .zero) != nil)
        #expect(agent.addLocalCandidate(mapped, base: other, at: .zero) != nil)
    }

    @Test func `A candidate of an unknown component is refused (ice 7, 29)`() {
        var agent = agent { $0.componentCount = 2 }
        for component: UInt16 in [0, 1, 2, 3] {
            let address = at("10.0.0.1:\(component + 1)")
            let host = LocalCandidate(.host, address, component: component)
            let added = agent.addLocalCandidate(host, base: BaseID(rawValue: UInt32(component)), at: .zero)
            #expect((added != nil) == (1...2).contains(component))
        }
    }

    @Test func `A lite agent has one host candidate for each address, by RFC 6724 (ice 24)`() throws {
        func agent(isDualStack: Bool) -> ICEAgent {
            var configuration = ICEConfiguration(role: .controlled)
            (configuration.isLite, configuration.isDualStack) = (true, isDualStack)
            return ICEAgent(configuration, entropy: .seeded(1), at: .zero)
        }
        var lite = agent(isDualStack: true)
        var priorities: [UInt32] = []
        var foundations: Set<String> = []
        let addresses = ["[2001:db8::1]:5", "192.0.2.1:5", "[2002:c000:204::1]:5", "[2001::1]:5", "[fd00::1]:5"]
        for (place, text) in addresses.enumerated() {
            let base = BaseID(rawValue: UInt32(place + 1))
            let found = LocalCandidate(.host, at(text))
            let added = lite.addLocalCandidate(found, base: base, at: .zero)
            let candidate = try #require(added)
            priorities.append(candidate.priority)
            foundations.insert(candidate.foundation)
            // No second one of that address, and none that a server has told.
            let again = LocalCandidate(.host, SocketAddress(at(text).ip, port: 6))
            let second = lite.addLocalCandidate(again, base: base, at: .zero)
            #expect(second == nil)
            let reflexive = LocalCandidate(.serverReflexive, at("198.51.100.1:5"), base: at(text))
            let third = lite.addLocalCandidate(reflexive, base: base, at: .zero)
            #expect(third == nil)
        }
        #expect(priorities.map { $0 &>> 24 } == Array(repeating: 126, count: 5))
        #expect(priorities.map { $0 &>> 8 & 0xFFFF } == [40, 35, 30, 5, 3])
        #expect(foundations.count == 5)
        var single = agent(isDualStack: false)
        let found = LocalCandidate(.host, at("192.0.2.1:5"))
        let added = single.addLocalCandidate(found, base: BaseID(rawValue: 1), at: .zero)
        let alone = try #require(added)
        #expect(alone.priority == 126 &<< 24 | 65_535 &<< 8 | 255)
    }
}
