import NetTypes
import STUN
import Testing

@testable import ICE

@Suite struct LifeTests {
    @Test func `States follow the text from new to completed (ice 35, 57, 164, 165)`() throws {
        var lone = Lone()
        #expect(lone.agent.state == .new)
        lone.begin(candidate: false)
        #expect(lone.agent.state == .new)
        lone.add("1", Lone.remote)
        #expect(lone.agent.state == .checking)
        for check in lone.drain() { lone.answer(check) }
        #expect(lone.agent.state == .connected)
        for check in lone.drain() where check.isRequest { lone.answer(check) }
        #expect(lone.agent.state == .connected)
        lone.agent.localGatheringDone(at: lone.now)
        #expect(lone.agent.state == .connected)
        lone.agent.endOfRemoteCandidates(at: lone.now)
        #expect(lone.agent.state == .completed)
        let states: [ICEConnectionState] = lone.events().compactMap {
            if case .stateChanged(let state) = $0 { state } else { nil }
        }
        #expect(states == [.checking, .connected, .completed])
        lone.agent.close(at: lone.now)
        #expect(lone.agent.state == .closed)
        #expect(lone.add("2", Lone.remote) == .ignored(.closed))
    }

    @Test func `No failure before the PAC timer has ended, even without any pair (ice 74, 92, 137, 138, 166)`() {
        var lone = Lone()
        lone.begin(candidate: false)
        let start = lone.now
        lone.agent.localGatheringDone(at: lone.now)
        lone.agent.endOfRemoteCandidates(at: lone.now)
        #expect(lone.agent.state == .new)
        _ = lone.run(for: .milliseconds(39_499))
        #expect(lone.agent.state == .new)
        _ = lone.run(for: .milliseconds(1))
        #expect(lone.agent.state == .failed)
        #expect(lone.now - start == .milliseconds(39_500))
        #expect(lone.agent.verdict.contains(.noRemoteCandidates))
    }

    @Test func `A pair that appears while the PAC timer runs is checked as ever (ice 139)`() {
        var lone = Lone()
        lone.begin(candidate: false)
        lone.agent.localGatheringDone(at: lone.now)
        lone.agent.endOfRemoteCandidates(at: lone.now)
        _ = lone.run(for: .seconds(39))
        lone.deliver(lone.request())
        for check in lone.drain() where check.isRequest { lone.answer(check) }
        #expect(lone.agent.state == .connected)
        // A restart arms the timer again.
        _ = lone.agent.restart(at: lone.now)
        var description = Lone.peer
        description.credentials = credentials("NEXT")
        _ = lone.agent.setRemoteDescription(description, at: lone.now)
        #expect(lone.agent.patienceEnds == lone.now + .milliseconds(39_500))
    }

    @Test func `Without an end of candidates nothing has failed, with it and after the timer it has (ice 92, 166)`() {
        var lone = Lone { $0.patience = .seconds(1) }
        lone.begin()
        for check in lone.drain() { lone.answer(check, code: 400) }
        _ = lone.run(for: .seconds(5))
        #expect(lone.agent.state == .checking)
        lone.agent.localGatheringDone(at: lone.now)
        #expect(lone.agent.state == .checking)
        lone.agent.endOfRemoteCandidates(at: lone.now)
        #expect(lone.agent.state == .failed)
        // State is kept for those who ask why.
        #expect(lone.agent.pairSnapshots.count == 1)
        let verdict = lone.agent.verdict
        #expect(verdict.outcome == .failed && !verdict.findings.isEmpty)
    }

    @Test func `Nothing is taken after the peer's end of candidates (ice 103, 104)`() {
        var lone = Lone()
        lone.begin(candidate: false)
        lone.agent.endOfRemoteCandidates(at: lone.now)
        #expect(lone.add("1", Lone.remote) == .ignored(.afterEndOfCandidates))
    }

    @Test func `An end of candidates names its generation: early ones wait, others change nothing (ice 102)`() {
        var lone = Lone { $0.patience = .zero }
        lone.begin(candidate: false)
        lone.agent.localGatheringDone(at: lone.now)
        lone.agent.endOfRemoteCandidates(usernameFragment: "GONE", at: lone.now)
        _ = lone.run(for: .seconds(1))
        #expect(lone.agent.state == .new)
        lone.agent.endOfRemoteCandidates(usernameFragment: "PEER", at: lone.now)
        #expect(lone.agent.state == .failed)
        // The end of the next generation overtakes its description.
        lone.agent.endOfRemoteCandidates(usernameFragment: "NEXT", at: lone.now)
        var description = Lone.peer
        description.credentials = credentials("NEXT")
        #expect(lone.agent.setRemoteDescription(description, at: lone.now) == .restarted)
        #expect(lone.add("1", Lone.remote) == .ignored(.afterEndOfCandidates))
    }

    @Test func `A peer that asks for hours between checks does not get them (ice 86)`() {
        var lone = Lone()
        var description = Lone.peer
        description.pacing = .seconds(9_999_999)
        lone.begin(description)
        #expect(lone.agent.pacing == .milliseconds(500))
        for host in 1...8 { lone.add("\(host)", at("10.0.1.\(host):1")) }
        let checks = lone.run(for: .seconds(5)).filter(\.isRequest)
        #expect(Set(checks.map(\.destination)).count == 9)
    }

    @Test func `The states of several transports make one (ice 163)`() {
        func combined(_ states: ICEConnectionState...) -> ICEConnectionState { .combined(states) }
        #expect(combined() == .new && combined(.new, .closed) == .new && combined(.closed) == .new)
        #expect(ICEConnectionState.combined([.connected], isClosed: true) == .closed)
        // Each state of the order, with all that stand behind it.
        let order: [ICEConnectionState] = [.failed, .disconnected, .checking, .connected, .completed]
        for (place, state) in order.enumerated() {
            let rest = Array(order[place...]) + [.closed]
            #expect(.combined(rest) == state)
            #expect(.combined(rest.reversed()) == state)
        }
        #expect(combined(.new, .completed) == .checking)
        #expect(combined(.closed, .completed) == .completed && combined(.closed, .connected) == .connected)
    }

    @Test func `Candidates belong to their generation: early ones wait for it, old ones are ignored (ice 95)`() {
        var lone = Lone()
        _ = lone.agent.addLocalCandidate(LocalCandidate(.host, Lone.local), base: Lone.base, at: lone.now)
        #expect(lone.add("1", Lone.remote) { $0.usernameFragment = "PEER" } == .early)
        #expect(lone.add("1", at("10.0.0.9:1")) { $0.usernameFragment = "OTHER" } == .early)
        _ = lone.agent.setRemoteDescription(Lone.peer, at: lone.now)
        #expect(lone.agent.pairSnapshots.compactMap(\.remote) == [Lone.remote])
        #expect(lone.add("1", at("10.0.0.8:1")) { $0.usernameFragment = "PEER" } == .added)
    }

    @Test
    func
        `A restart changes both credentials, keeps the role, and the old path carries until the new (ice 28, 77, 114, 167)`()
    {
        var net = TestNetwork()
        net.start()
        net.run(for: .seconds(5))
        let old = net.first.localDescription.credentials
        let carrier = net.first.path()
        let fresh = net.first.restart(at: net.now)
        #expect(fresh.credentials.usernameFragment != old.usernameFragment)
        #expect(fresh.credentials.password != old.password)
        #expect(net.first.role == .controlling)
        #expect(net.first.state == .connected)
        #expect(net.first.path() == carrier)
        net.sendData(0)
        net.run(for: .seconds(1))
        #expect(net.data.count == 1)
        // The peer learns of it, and restarts by itself (ice 117).
        let disposition = net.second.setRemoteDescription(fresh, at: net.now)
        #expect(disposition == .restarted)
        #expect(net.second.path() != nil)
        net.run(for: .seconds(1))
        net.sendData(1)
        let answer = net.second.localDescription
        #expect(net.first.setRemoteDescription(answer, at: net.now) == .accepted)
        for (side, text) in [(0, "10.0.0.1:1000"), (1, "10.0.0.2:2000")] {
            let candidate = Candidate(
                foundation: "1",
                priority: 2_130_706_431,
                address: .ip(at(text).ip),
                port: at(text).port,
                type: .host
            )
            net.signalCandidate(side, candidate)
        }
        net.endCandidates()
        net.run(for: .seconds(2))
        let generations = net.first.pairs.filter { $0.flags.contains(.nominated) }.map(\.generation)
        #expect(generations.contains(1))
        net.run(for: .seconds(4))
        let left = net.first.generations.count
        #expect(left == 1)
        net.sendData(0)
        net.run(for: .seconds(30))
        #expect(net.data.count == 3)
        let states = [net.first.state, net.second.state]
        #expect(states == [.completed, .completed])
    }

    @Test func `The same description again changes nothing (ice 117)`() {
        var lone = Lone()
        lone.connect()
        let own = lone.agent.localDescription
        #expect(lone.agent.setRemoteDescription(Lone.peer, at: lone.now) == .unchanged)
        #expect(lone.agent.localDescription == own && lone.agent.path() != nil)
    }

    @Test func `The initiator controls, a full agent controls a lite one (ice 27, 28)`() {
        var description = Lone.peer
        description.isLite = true
        var full = Lone(.controlled)
        full.begin(description)
        #expect(full.agent.role == .controlling)
        var lite = Lone(.controlling) { $0.isLite = true }
        lite.begin()
        #expect(lite.agent.role == .controlled)
        var both = Lone(.controlling) { $0.isLite = true }
        both.begin(description)
        #expect(both.agent.role == .controlling)
    }

    @Test func `A lite agent answers, never checks, and takes the nomination (ice 39, 68, 83, 136)`() {
        var one = ICEConfiguration(role: .controlled)
        one.isLite = true
        var net = TestNetwork(ICEConfiguration(role: .controlling), one)
        net.start()
        net.run(for: .milliseconds(30))
        #expect(net.second.path() == nil)
        net.run(for: .seconds(60))
        #expect(net.count(1, .request) == 0)
        let paths = (net.first.path(), net.second.path())
        #expect(paths.0 != nil && paths.1?.destination == SocketAddress("10.0.0.1:1000"))
        #expect(net.first.state == .completed)
        net.sendData(1)
        net.run(for: .seconds(1))
        #expect(net.data.count == 1)
    }

    @Test func `Two lite agents take their best pair without a check (ice 75)`() {
        var one = ICEConfiguration(role: .controlling)
        one.isLite = true
        var other = ICEConfiguration(role: .controlled)
        other.isLite = true
        var net = TestNetwork(one, other)
        net.start()
        net.run(for: .seconds(1))
        #expect(net.count(0, .request) == 0 && net.count(1, .request) == 0)
        net.sendData(0)
        net.sendData(1)
        net.run(for: .seconds(1))
        #expect(net.data.count == 2)
    }

    @Test func `Two components connect, and one alone is not enough (ice 6, 69, 82)`() {
        var configuration = ICEConfiguration(role: .controlling)
        configuration.componentCount = 2
        var other = configuration
        other.role = .controlled
        var net = TestNetwork(configuration, other)
        net.exchange()
        net.addHost(0, "10.0.0.1:1000")
        net.addHost(1, "10.0.0.2:2000")
        net.run(for: .seconds(1))
        #expect(net.first.state == .checking)
        net.addHost(0, "10.0.0.1:1001", component: 2)
        net.addHost(1, "10.0.0.2:2001", component: 2)
        net.endCandidates()
        net.run(for: .seconds(1))
        let paths = (net.first.path(component: 1), net.first.path(component: 2))
        #expect(paths.0?.destination.port == 2000 && paths.1?.destination.port == 2001)
        #expect(net.first.state == .completed)
        let none = (net.first.path(component: 0), net.first.path(component: 3))
        #expect(none.0 == nil && none.1 == nil)
    }

    @Test func `Candidates of either side can be taken back`() {
        var net = TestNetwork()
        net.exchange()
        let candidates = net.addHost(0, "10.0.0.1:1000")
        net.addHost(1, "10.0.0.2:2000")
        net.run(for: .seconds(1))
        #expect(net.first.path() != nil)
        net.first.removeLocalCandidate(candidates[0], at: net.now)
        net.second.removeRemoteCandidate(candidates[0], at: net.now)
        #expect(net.first.path() == nil && net.second.path() == nil)
        #expect(net.first.state == .disconnected)
        // And a new one connects again.
        net.addHost(0, "10.0.0.7:1000")
        net.run(for: .seconds(2))
        #expect(net.first.path() != nil && net.second.path() != nil)
    }
}
