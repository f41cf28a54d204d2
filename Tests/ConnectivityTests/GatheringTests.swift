import Bytes
import CallSimulation
import Connectivity
import Diagnostics
import ICE
import NetTypes
import STUN
import Simulation
import TURN
import TURNServer
import TestSupport
import Testing

@Suite struct GatheringTests {
    private func alone(_ setup: Call.Setup = .init(), _ change: (Call) -> Void = { _ in }) throws -> Call {
        let call = try Call(setup)
        change(call)
        call.hosts[0].run(call.first)
        return call
    }

    private func milliseconds(_ call: Call, _ isWanted: (SessionEvent) -> Bool) -> UInt64? {
        call.first.timeline.first { isWanted($0.1) }.map {
            ($0.time - Instant(nanoseconds: 1_000_000_000)).milliseconds
        }
    }

    private func isDone(_ event: SessionEvent) -> Bool {
        if case .gatheringDone = event { return true }
        return false
    }

    private func failures(_ call: Call) -> [GatheringFailure] {
        call.first.timeline.compactMap { event in
            if case .serverFailed(_, _, let failure) = event.1 { failure } else { nil }
        }
    }

    @Test
    func `host, reflexive and relayed candidates of one address, each with a foundation of its own (ice 1, 8, 15)`()
        throws
    {
        let call = try alone(.init(turn: ["turn:turn.example"]))
        call.network.run(for: .seconds(2))
        let candidates = call.first.candidates
        #expect(call.types(call.first) == [.host, .serverReflexive, .relayed])
        #expect(Set(candidates.map(\.priority)).count == candidates.count)
        // The TURN server tells the same reflexive address once more: one candidate of both (ice 23).
        #expect(candidates.filter { $0.type == .serverReflexive }.count == 1)
        #expect(call.first.has(.gatheringDone(signalEnd: false)))
    }

    @Test func `a silent STUN server holds up nothing but itself`() throws {
        let call = try alone(.init(turn: ["turn:turn.example"])) { $0.stun.conduct = .silent }
        call.network.run(for: .seconds(20))
        #expect(milliseconds(call) { $0 == .goodEnough } ?? .max < 400)
        #expect(milliseconds(call, isDone) ?? .max <= 3100)
        #expect(call.types(call.first).contains(.serverReflexive), "the TURN server has told it")
    }

    @Test func `a dead TURN server holds up nothing but itself, and no stream is left behind`() throws {
        let call = try alone(.init(turn: ["turn:turn.example", "turn:turn.example?transport=tcp"])) { call in
            call.turn.fault = .dead
        }
        call.network.run(for: .seconds(60))
        #expect(milliseconds(call) { $0 == .goodEnough } ?? .max < 200)
        #expect(milliseconds(call, isDone) ?? .max <= 6700)
        #expect(failures(call).contains(.silent))
        #expect(call.types(call.first) == [.host, .serverReflexive])
    }

    @Test(arguments: ["stun.example", "turn.example"])
    func `a resolver that does not answer holds up nothing but its name`(_ name: String) throws {
        let call = try alone(.init(turn: ["turn:turn.example"])) { call in
            call.first.ignores = { effect in
                if case .resolve(_, name) = effect { true } else { false }
            }
        }
        call.network.run(for: .seconds(10))
        #expect(milliseconds(call) { $0 == .goodEnough } ?? .max < 400)
        #expect(milliseconds(call, isDone) ?? .max <= 3100)
        #expect(failures(call) == [.unreachable(.timedOut)])
        #expect(call.first.effects.contains { if case .cancel = $0 { true } else { false } })
    }

    @Test func `a name that leads to 0.0.0.0, as blockers make it, is no server`() throws {
        let call = try alone { $0.network.names["stun.example"] = .init([IPAddress(ipv4: 0)]) }
        call.network.run(for: .seconds(3))
        #expect(failures(call) == [.unreachable(.notFound)])
        #expect(milliseconds(call, isDone) ?? .max < 200)
    }

    @Test func `a driver that answers nothing at all: gathering ends all the same`() throws {
        let call = try alone(.init(turn: ["turn:turn.example"])) { $0.first.ignores = { _ in true } }
        call.network.run(for: .seconds(10))
        #expect(call.first.timeline.contains { isDone($0.1) })
        #expect(call.first.candidates.isEmpty)
    }

    @Test func `who has no room for an allocation is asked for our address (ice 12)`() throws {
        let call = try alone(.init(turn: ["turn:turn.example"], stun: [])) { $0.turn.fault = .full }
        call.network.run(for: .seconds(5))
        #expect(failures(call).contains(.refused(code: 508)))
        #expect(call.types(call.first) == [.host, .serverReflexive])
    }

    @Test func `new transactions are paced (ice 11, 87)`() throws {
        let stun = (1...4).map { "stun:stun.example:\(3477 + $0)" }
        let call = try alone(.init(turn: ["turn:turn.example"], stun: stun))
        call.network.run(for: .seconds(1))
        var firsts: [SocketAddress: Instant] = [:]
        for (at, transmit) in call.first.sent where firsts[transmit.destination] == nil {
            firsts[transmit.destination] = at
        }
        let times = firsts.values.sorted()
        #expect(times.count == 5)
        for (one, next) in zip(times, times.dropFirst()) { #expect(next - one >= .milliseconds(5)) }
    }

    @Test func `the wait before a request is sent again is never below 500 ms (ice 88)`() throws {
        let call = try alone { $0.stun.conduct = .silent }
        call.network.run(for: .seconds(3))
        let times = call.first.sent.map(\.time)
        #expect(times.count == 3)
        #expect(times[1] - times[0] >= .milliseconds(500))
    }

    @Test func `an answer of RFC 3489, without XOR, is understood (ice 10)`() throws {
        let call = try alone { $0.stun.conduct = .antique }
        call.network.run(for: .seconds(1))
        #expect(call.types(call.first) == [.host, .serverReflexive])
    }

    @Test func `lies of a server about our address make no candidate that nobody could have`() throws {
        for text in ["0.0.0.0:5", "127.0.0.1:5", "224.0.0.1:5", "203.0.113.9:0"] {
            let lie = try #require(SocketAddress(text))
            let call = try alone { $0.stun.conduct = .lying(lie) }
            call.network.run(for: .seconds(1))
            #expect(call.types(call.first) == [.host])
        }
    }

    @Test func `bindings are refreshed until a pair is selected (ice 16)`() throws {
        let call = try alone()
        call.network.run(for: .seconds(100))
        #expect(call.stun.requestCount >= 6)
        let connected = try Call()
        #expect(connected.connects())
        connected.network.run(for: .seconds(20))
        let before = connected.stun.requestCount
        connected.network.run(for: .seconds(100))
        #expect(connected.stun.requestCount == before)
    }

    @Test func `a NAT that was rebooted gives another address: the old candidate is taken back (ice 16)`() throws {
        let call = try alone()
        call.network.run(for: .seconds(3))
        let old = try #require(call.first.candidates.first { $0.type == .serverReflexive })
        let segment = try #require(call.network.segments.first { $0.gateway != nil })
        segment.gateway?.reboot(newAddress: true)
        call.network.run(for: .seconds(30))
        #expect(call.first.has(.candidateRemoved(old)))
        let new = try #require(call.first.candidates.first { $0.type == .serverReflexive })
        #expect(new.address != old.address)
    }

    @Test func `an interface that comes or goes brings or takes its candidates (ice 17)`() throws {
        let call = try alone()
        call.network.run(for: .seconds(2))
        #expect(call.first.candidates.count == 2)
        call.hosts[0].setInterface("eth0", isUp: false)
        call.network.run(for: .seconds(1))
        #expect(call.first.candidates.isEmpty)
        #expect(call.first.effects.contains { if case .close = $0 { true } else { false } })
        call.hosts[0].setInterface("eth0", isUp: true)
        call.network.run(for: .seconds(3))
        #expect(call.first.candidates.count == 2)
    }

    @Test func `without trickling a session tells when what is there will do, soon after the first reflexive one`()
        throws
    {
        let call = try alone(.init(turn: ["turn:turn.example", "turns:turn.example"]))
        call.network.run(for: .seconds(5))
        let reflexive = milliseconds(call) { event in
            if case .candidate(let candidate) = event { candidate.type == .serverReflexive } else { false }
        }
        let enough = try #require(milliseconds(call) { $0 == .goodEnough })
        #expect(enough <= (reflexive ?? 0) + 60)
    }

    @Test func `without UDP, what is there will do as soon as a stream has brought a relay`() throws {
        var setup = Call.Setup(turn: ["turn:turn.example", "turn:turn.example?transport=tcp"])
        setup.first = GatewayConfiguration(nat: .linux, firewall: .udpBlocked())
        let call = try alone(setup)
        call.network.run(for: .seconds(10))
        #expect(call.types(call.first).contains(.relayed))
        #expect(milliseconds(call) { $0 == .goodEnough } ?? .max < 900)
    }

    @Test func `UDP was fast enough: no stream to the TURN server is opened`() throws {
        let call = try alone(.init(turn: ["turn:turn.example", "turns:turn.example"]))
        call.network.run(for: .seconds(5))
        #expect(!call.first.effects.contains { if case .connect = $0 { true } else { false } })
    }

    private func isRelayed(_ event: SessionEvent) -> Bool {
        if case .candidate(let candidate) = event { candidate.type == .relayed } else { false }
    }

    private func connections(_ call: Call) -> Int {
        call.first.effects.count { if case .connect = $0 { true } else { false } }
    }

    @Test
    func `where UDP is blocked the relay is there 150 ms and the handshakes' round trips after the start (ice 143)`()
        throws
    {
        var gateway = GatewayConfiguration(nat: .portRestricted)
        gateway.firewall = .only(ports: [443], requiresTLS: true)
        let call = try alone(
            .init(first: gateway, turn: ["turn:turn.example", "turns:turn.example:443?transport=tcp"])
        )
        call.network.run(for: .seconds(5))
        // A name, the wait, then TCP, TLS and two requests of 40 ms each.
        let expected: UInt64 = 20 + 150 + 4 * 40 + 10
        let relayed = try #require(milliseconds(call, isRelayed))
        #expect(relayed <= expected)
    }

    @Test func `what the system says of UDP starts the streams at once`() throws {
        let call = try alone(.init(turn: ["turn:turn.example", "turns:turn.example"], stun: [])) {
            $0.turn.fault = .dead
        }
        call.network.run(for: .milliseconds(60))
        #expect(connections(call) == 0)
        let sent = try #require(call.first.sent.first { $0.1.destination.port == 3478 }).1
        call.first.act { $0.sendFailed(on: sent.base, to: sent.destination, .unreachable, at: $1) }
        #expect(connections(call) == 1)
    }

    @Test func `a server that answers over UDP and is far away is not reached by a stream too`() throws {
        let call = try alone(.init(turn: ["turn:turn.example", "turns:turn.example"]))
        call.network.setLink(of: call.hosts[0]) { $0.delay = .milliseconds(30) }
        call.network.run(for: .seconds(5))
        #expect(call.types(call.first).contains(.relayed))
        #expect(connections(call) == 0)
    }

    @Test func `a stream that is overtaken by UDP is ended, and its allocation deleted`() throws {
        let call = try alone(.init(turn: ["turn:turn.example", "turn:turn.example?transport=tcp"]))
        call.network.setLink(of: call.hosts[0]) { $0.delay = .milliseconds(100) }
        call.network.run(for: .seconds(5))
        #expect(connections(call) == 1)
        #expect(call.turn.statistics?.allocations == 1)
    }

    @Test func `a connection to a TURN server that is not there in time is tried again, and gathering does not wait`()
        throws
    {
        var ignored = 0
        let call = try alone(.init(turn: ["turns:turn.example"])) { call in
            call.first.ignores = { effect in
                guard case .connect = effect, ignored < 2 else { return false }
                ignored += 1
                return true
            }
        }
        call.network.run(for: .seconds(30))
        #expect(connections(call) == 3)
        #expect(milliseconds(call, isDone) ?? .max <= 5200)
        // Five seconds twice, one and two seconds between them, a quarter more or less.
        let relayed = try #require(milliseconds(call, isRelayed))
        #expect((12_000...14_100).contains(relayed))
        #expect(failures(call) == [.unreachable(.timedOut)], "told once")
    }

    @Test func `a connection that is refused again and again is given up`() throws {
        let call = try alone(.init(turn: ["turn:turn.example:4000?transport=tcp"]))
        call.network.run(for: .seconds(600))
        #expect(connections(call) == 6)
    }

    @Test func `the allocation of a server that answers too late is deleted`() throws {
        let call = try alone(.init(turn: ["turn:turn.example"])) { $0.turn.fault = .slow(.milliseconds(3500)) }
        call.network.run(for: .milliseconds(6500))
        #expect(failures(call).contains(.silent))
        #expect(call.turn.statistics?.allocations == 1)
        call.network.run(for: .seconds(20))
        #expect(call.turn.statistics?.allocations == 0)
        #expect(!call.types(call.first).contains(.relayed))
    }

    @Test func `a session that is not continual signals the end, and nothing behind it (ice 95, 103)`() throws {
        let call = try alone(.init { $0.isContinual = false })
        call.network.run(for: .seconds(5))
        #expect(call.first.has(.gatheringDone(signalEnd: true)))
        let count = call.first.timeline.count
        call.hosts[0].addAddress(IPAddress(ipv4: 0xC0A8_01C8), .stable, to: "eth0")
        call.network.run(for: .seconds(5))
        #expect(call.first.timeline.count == count)
    }

    @Test func `a lite session asks no server and no gateway (ice 24)`() throws {
        var setup = Call.Setup(first: nil, turn: ["turn:turn.example"])
        setup.change = {
            $0.ice.isLite = true
            $0.usesPortMapping = true
        }
        let call = try alone(setup)
        call.network.run(for: .seconds(5))
        #expect(call.types(call.first) == [.host])
        #expect(call.first.sent.isEmpty)
        #expect(!call.first.effects.contains { if case .mapPort = $0 { true } else { false } })
    }

    @Test func `gathering is new, goes on, is complete, and a restart begins it again (ice 162)`() throws {
        let call = try Call()
        #expect(call.first.gatheringState == .new)
        call.hosts[0].run(call.first)
        #expect(call.first.gatheringState == .gathering)
        call.network.run(for: .seconds(5))
        #expect(call.first.gatheringState == .complete)
        call.first.act { _ = $0.restart(at: $1) }
        #expect(call.first.gatheringState == .gathering)
        #expect(ICEGatheringState.combined([]) == .new)
        #expect(ICEGatheringState.combined([.complete, .complete]) == .complete)
        #expect(ICEGatheringState.combined([.complete, .new]) == .new)
        #expect(ICEGatheringState.combined([.complete, .new, .gathering]) == .gathering)
    }

    @Test func `each generation signals its candidates, the best first, and then its end (ice 106, 169)`() throws {
        let call = try alone(
            .init(turn: ["turn:turn.example"], stun: ["stun:stun.example", "stun:stun.example:9"]) {
                $0.isContinual = false
            }
        )
        call.network.run(for: .seconds(8))
        let first = call.first.localDescription.credentials.usernameFragment
        // Before its end a generation tells which server gave nothing.
        let failure = call.first.timeline.firstIndex { if case .serverFailed = $0.1 { true } else { false } }
        let done = try #require(call.first.timeline.firstIndex { $0.1 == .gatheringDone(signalEnd: true) })
        #expect(try #require(failure) < done)
        #expect(done == call.first.timeline.count - 1)
        let count = call.first.timeline.count
        call.first.act { _ = $0.restart(at: $1) }
        call.network.run(for: .seconds(8))
        let second = call.first.localDescription.credentials.usernameFragment
        #expect(first != second)
        var priorities: [UInt32] = []
        for (_, event) in call.first.timeline[count...] {
            guard case .candidate(let candidate) = event else { continue }
            #expect(candidate.usernameFragment == second)
            priorities.append(candidate.priority)
        }
        #expect(priorities.count >= 3 && priorities == priorities.sorted(by: >))
        #expect(call.first.timeline.last?.1 == .gatheringDone(signalEnd: true))
        #expect(call.first.timeline.count { $0.1 == .gatheringDone(signalEnd: true) } == 2)
    }

    @Test func `no host candidates without hosts: the reflexive one hides its base (ice 144, 147)`() throws {
        let call = try alone(.init { $0.policy = .noHost })
        call.network.run(for: .seconds(2))
        #expect(call.types(call.first) == [.serverReflexive])
        #expect(call.first.candidates.first?.related == SocketAddress(.unspecified(.ipv4), port: 9))
    }

    @Test func `a concealed address whose name cannot be had is not signalled (ice 146)`() throws {
        let call = try alone(.init { $0.hostAddresses = .concealed }) { call in
            call.first.ignores = { if case .publishName = $0 { true } else { false } }
        }
        call.network.run(for: .seconds(2))
        #expect(call.types(call.first) == [.serverReflexive])
    }

    @Test func `ports are predicted only with consent, at the distance that two servers saw`() throws {
        var nat = NATBehavior.symmetric
        nat.ports = .contiguous
        var setup = Call.Setup(first: .init(nat: nat), stun: ["stun:stun.example", "stun:turn.example"])
        let plain = try alone(setup)
        plain.network.run(for: .seconds(2))
        #expect(plain.first.candidates.filter { $0.type == .serverReflexive }.count == 2)
        setup.change = { $0.prediction = .contiguous(count: 3) }
        let call = try alone(setup)
        call.network.run(for: .seconds(2))
        let ports = call.first.candidates.filter { $0.type == .serverReflexive }.map(\.port).sorted()
        #expect(ports.count == 5)
        for (one, next) in zip(ports, ports.dropFirst()) { #expect(next == one + 1) }
    }

    @Test func `an opener dies on the way: sent once for each candidate, with a low hop limit`() throws {
        let call = try Call(.init { $0.openerHopLimit = 3 })
        #expect(call.connects())
        let openers = call.first.sent.filter { $0.1.hopLimit == 3 }
        #expect(!openers.isEmpty && openers.count <= 2)
    }

    @Test func `closing deletes allocations and closes sockets; nothing is left to do`() throws {
        let call = try alone(.init(turn: ["turn:turn.example"]))
        call.network.run(for: .seconds(2))
        let before = call.turn.statistics
        #expect(before != nil)
        call.first.act { $0.close(at: $1) }
        call.network.run(for: .seconds(5))
        #expect(call.first.has(.closed))
        let timeout = call.first.nextTimeout
        #expect(timeout == nil)
        #expect(call.first.effects.filter { if case .close = $0 { true } else { false } }.count == 1)
    }

    @Test(arguments: [TURNServerProgram.Fault.dead, .slow(.seconds(60))], [TimeSpan.milliseconds(500), .seconds(10)])
    func `a server that is silent holds up the end by two seconds at most`(
        _ fault: TURNServerProgram.Fault,
        _ closeAfter: TimeSpan
    ) throws {
        let call = try alone(.init(turn: ["turn:turn.example", "turn:turn.example?transport=tcp"])) { call in
            call.turn.fault = fault
        }
        call.network.run(for: closeAfter)
        call.first.act { $0.close(at: $1) }
        let isOver = call.network.run(for: .milliseconds(2100)) { call.first.has(.closed) }
        #expect(isOver)
        let timeout = call.first.nextTimeout
        #expect(timeout == nil)
        let opened = call.first.effects.filter { if case .connect = $0 { true } else { false } }.count
        let ended = call.first.effects.filter { effect in
            switch effect {
            case .close, .cancel: true
            default: false
            }
        }
        #expect(ended.count == opened + 1, "the host's socket and all connections")
    }

    @Test func `with sockets of hosts shared, each relay over UDP has one of its own`() throws {
        var setup = Call.Setup(turn: ["turn:turn.example"])
        setup.change = {
            $0.relaysHaveOwnSockets = true
            $0.policy = .relay
        }
        let call = try Call(setup)
        #expect(call.connects())
        #expect(call.first.path?.isRelayed == true)
        let hosts = call.first.effects.filter { if case .connect(_, .udp, _, _) = $0 { true } else { false } }
        #expect(hosts.count == 1)
        #expect(call.types(call.first) == [.relayed])
    }

    @Test func `a restart signals all candidates again under the new fragment, and the call goes on (ice 77)`() throws {
        let call = try Call()
        #expect(call.connects())
        let before = call.first.timeline.count
        call.first.act { session, now in
            let description = session.restart(at: now)
            call.signal { call.second.act { _ = $0.setRemoteDescription(description, at: $1) } }
        }
        call.network.run(for: .milliseconds(100))
        let answer = call.second.localDescription
        call.first.act { _ = $0.setRemoteDescription(answer, at: $1) }
        call.network.run(for: .seconds(5))
        #expect(call.talks())
        let fragment = call.first.localDescription.credentials.usernameFragment
        let again = call.first.timeline[before...].compactMap { event in
            if case .candidate(let candidate) = event.1 { candidate } else { nil }
        }
        #expect(again.count >= 2)
        #expect(again.allSatisfy { $0.usernameFragment == fragment })
    }

    @Test func `a restart makes anew what was freed after the last selection (ice 76, 77)`() throws {
        let call = try Call(.init(turn: ["turn:turn.example"]) { $0.isContinual = false })
        #expect(call.connects())
        call.network.run(for: .seconds(30))
        #expect(call.turn.statistics?.allocations == 0, "a direct path needs no relay")
        call.first.act { session, now in
            let description = session.restart(at: now)
            call.signal { call.second.act { _ = $0.setRemoteDescription(description, at: $1) } }
        }
        call.network.run(for: .milliseconds(100))
        let answer = call.second.localDescription
        call.first.act { _ = $0.setRemoteDescription(answer, at: $1) }
        call.network.run(for: .seconds(1))
        #expect(call.types(call.first) == [.host, .serverReflexive, .relayed])
        #expect(call.talks())
    }

    @Test func `one hard NAT is passed by chance, only with consent, and what was opened for it is closed`() throws {
        var hard = NATBehavior.symmetric
        hard.ports = .random
        var setup = Call.Setup(first: .init(nat: hard), stun: ["stun:stun.example", "stun:turn.example"])
        let plain = try Call(setup)
        #expect(!plain.connects(within: .seconds(45)))
        setup.change = { $0.probing = PortProbing() }
        let call = try Call(setup)
        #expect(call.connects(within: .seconds(45)))
        #expect(call.first.path?.isRelayed == false)
        call.network.run(for: .seconds(3))
        let opened = call.first.effects.filter { if case .bindUDP = $0 { true } else { false } }.count
        let closed = call.first.effects.filter { if case .close = $0 { true } else { false } }.count
        #expect(opened == 257)
        #expect(closed == 255)
        #expect(call.first.candidates.count <= 3, "none of them was signalled")
        #expect(call.talks())
    }

    /// Gathers on both sides, then lets the descriptions cross; how long it took until both had a path.
    private func connectPooled(_ call: Call) -> TimeSpan {
        for index in [0, 1] { call.hosts[index].run([call.first, call.second][index]) }
        call.network.run(for: .seconds(3))
        let begun = call.network.now
        for (program, other) in [(call.first, call.second), (call.second, call.first)] {
            let description = program.localDescription
            let candidates = program.candidates
            call.signal {
                other.act { session, now in
                    _ = session.setRemoteDescription(description, at: now)
                    for candidate in candidates { session.addRemoteCandidate(candidate, at: now) }
                }
            }
        }
        _ = call.network.run(for: .seconds(5)) { call.first.path != nil && call.second.path != nil }
        return call.network.now - begun
    }

    @Test func `whether the peer takes candidates one by one is what it has said (ice 91, 171)`() throws {
        let call = try Call()
        #expect(call.first.canTrickle == nil)
        var description = call.second.localDescription
        _ = call.first.session?.setRemoteDescription(description, at: .zero)
        #expect(call.first.canTrickle == true)
        description.options.remove(.trickle)
        _ = call.second.session?.setRemoteDescription(description, at: .zero)
        #expect(call.second.canTrickle == false)
    }

    @Test func `with candidates pooled, both peers connect one and a half round trips after the last description`()
        throws
    {
        let call = try Call()
        // Each way is two LAN links of no delay and two gateway links of 10 ms: a round trip is 40 ms.
        #expect(connectPooled(call).milliseconds <= call.signalingDelay.milliseconds + 60 + 15)
    }

    @Test func `over two relays, the check leaves right behind the request for its permission (ice 43)`() throws {
        let call = try Call(.init(turn: ["turn:turn.example"]) { $0.policy = .relay })
        // Client to server are 20 ms: to the peer and back 80 ms, and nothing before that.
        #expect(connectPooled(call).milliseconds <= call.signalingDelay.milliseconds + 80 + 30)
    }
}
