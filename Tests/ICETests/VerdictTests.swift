import NetTypes
import STUN
import Testing

@testable import ICE

@Suite struct VerdictTests {
    private let server = at("9.9.9.9:3478")

    /// An agent whose checks nobody answers, after its patience has ended.
    private func silent(_ facts: [GatheringFact] = []) -> Lone {
        var lone = Lone { $0.patience = .seconds(1) }
        for fact in facts { lone.agent.note(fact) }
        lone.begin()
        lone.agent.localGatheringDone(at: lone.now)
        lone.agent.endOfRemoteCandidates(at: lone.now)
        _ = lone.run(for: .seconds(45))
        return lone
    }

    @Test func `A silent peer`() {
        let lone = silent()
        let verdict = lone.agent.verdict
        #expect(verdict.outcome == .failed && verdict.contains(.peerSilent) && !verdict.contains(.udpBlocked))
        let evidence = verdict.findings.first?.evidence ?? []
        #expect(evidence.contains(.count(.requestsSent, 7)))
        #expect(!verdict.summary.isEmpty)
    }

    @Test func `No candidates of our own, or of the peer, or none that fit`() {
        var none = Lone()
        none.agent.note(.noInterfaces)
        _ = none.agent.setRemoteDescription(Lone.peer, at: none.now)
        let verdict = none.agent.verdict
        #expect(verdict.contains(.noLocalCandidates) && verdict.contains(.noRemoteCandidates))
        #expect(verdict.findings[0].evidence.contains(.fact(.noInterfaces)))
        var unfit = Lone()
        unfit.begin(candidate: false)
        unfit.add("1", at("[2001:db8::1]:5"))
        #expect(unfit.agent.verdict.contains(.nothingToPair))
        #expect(Lone().agent.verdict.outcome == .idle)
    }

    @Test func `UDP is blocked when no server and no peer answers over it`() {
        let fact = GatheringFact.serverSilent(server: "stun.example.org:3478", transport: .udp)
        let verdict = silent([fact]).agent.verdict
        #expect(verdict.contains(.udpBlocked) && verdict.contains(.serverUnreachable))
        // Another server that answers over UDP shows that it is the first one's fault.
        let answered = GatheringFact.serverAnswered(
            server: server,
            base: Lone.base,
            mapped: at("192.0.2.1:1")
        )
        let other = silent([fact, answered]).agent.verdict
        #expect(!other.contains(.udpBlocked) && other.contains(.serverUnreachable))
    }

    @Test func `A server that refuses, and how`() {
        let fact = GatheringFact.serverRefused(server: "turn:3478", transport: .udp, code: .unauthenticated)
        let verdict = silent([fact]).agent.verdict
        let finding = verdict.findings.first { $0.cause == .serverRefuses }
        #expect(finding?.evidence == [.fact(fact)])
    }

    @Test func `A hard NAT is known from ordinary STUN traffic`() {
        let one = GatheringFact.serverAnswered(server: server, base: Lone.base, mapped: at("192.0.2.1:1"))
        let two = GatheringFact.serverAnswered(
            server: at("9.9.9.8:3478"),
            base: Lone.base,
            mapped: at("192.0.2.1:2")
        )
        let hard = silent([one, two])
        #expect(hard.agent.verdict.contains(.hardNAT))
        #expect(hard.agent.mappingObservations.count == 2)
        #expect(!silent([one]).agent.verdict.contains(.hardNAT))
    }

    @Test func `An asymmetric path: the peer's checks come, ours find no answer`() {
        var lone = Lone { $0.patience = .seconds(1) }
        lone.begin()
        _ = lone.drain()
        lone.deliver(lone.request())
        _ = lone.run(for: .seconds(60))
        let verdict = lone.agent.verdict
        #expect(verdict.contains(.asymmetricPath) && !verdict.contains(.peerSilent))
    }

    @Test func `Trouble with credentials, with sizes, with the system`() {
        var lone = Lone()
        lone.begin()
        for check in lone.drain() { lone.answer(check, code: 401, key: nil) }
        lone.agent.sendFailed(on: Lone.base, to: Lone.remote, .messageTooBig(mtu: 1280), at: lone.now)
        lone.agent.sendFailed(on: Lone.base, to: Lone.remote, .notPermitted, at: lone.now)
        let verdict = lone.agent.verdict
        let credentials = verdict.findings.first { $0.cause == .credentialTrouble }
        #expect(credentials?.evidence.contains(.errorCode(.unauthenticated)) == true)
        let size = verdict.findings.first { $0.cause == .packetTooBig }
        #expect(size?.evidence.contains(.mtu(1280)) == true)
        #expect(verdict.contains(.sendingRefused))
    }

    @Test func `A refusing peer, names that stay names, a lost path`() {
        var lone = Lone()
        lone.begin()
        for check in lone.drain() { lone.answer(check, code: 400) }
        lone.agent.note(.nameNotResolved)
        let verdict = lone.agent.verdict
        #expect(verdict.contains(.peerRefuses) && verdict.contains(.namesNotResolved))
        lone.agent.close(at: lone.now)
        #expect(lone.agent.verdict.outcome == .closed)
    }

    @Test func `Two hard NATs explain themselves on both sides`() {
        var net = TestNetwork()
        net.exchange()
        net.addHost(0, "10.0.0.1:1000", nat: .symmetric, outer: "192.0.2.1:1111")
        net.addHost(1, "10.0.0.2:2000", nat: .symmetric, outer: "198.51.100.2:2222")
        for (side, mapped) in [(0, "192.0.2.1:4"), (1, "198.51.100.2:4")] {
            let base = BaseID(rawValue: UInt32(side * 100 + 1))
            for (index, server) in ["9.9.9.9:3478", "9.9.9.8:3478"].enumerated() {
                let seen = at("\(mapped)\(index)")
                net.with(side) {
                    $0.note(.serverAnswered(server: at(server), base: base, mapped: seen))
                }
            }
        }
        net.endCandidates()
        net.run(for: .seconds(120))
        for side in 0...1 {
            let verdict = net.with(side) { $0.verdict }
            #expect(verdict.outcome == .failed && verdict.contains(.hardNAT) && verdict.contains(.peerSilent))
        }
    }
}
