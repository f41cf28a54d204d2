import CallSimulation
import Connectivity
import ICE
import NetTypes
import STUN
import Simulation
import Testing

@Suite struct KeepaliveTests {
    /// A NAT that filters by address and port, and forgets what was silent for half a minute.
    private static let forgetful: GatewayConfiguration = {
        var nat = NATBehavior.portRestricted
        nat.udpTimeout = .seconds(30)
        nat.filterTimeout = .seconds(30)
        return GatewayConfiguration(nat: nat)
    }()

    /// Two sessions that gather and signal nothing by themselves.
    private func strangers(
        turn: [String] = [],
        stun: [String] = ["stun:stun.example"],
        _ change: @escaping (inout ICESessionConfiguration) -> Void = { _ in }
    ) throws -> Call {
        let call = try Call(
            .init(first: Self.forgetful, second: Self.forgetful, turn: turn, stun: stun, change: change)
        )
        for (host, program) in zip(call.hosts, [call.first, call.second]) {
            program.forward = { _ in }
            host.run(program)
        }
        return call
    }

    /// Hands over all that one side has, at once, as a code does that somebody has copied.
    private func hand(_ sender: SimulatedSession, to receiver: SimulatedSession) {
        let (description, candidates) = (sender.localDescription, sender.candidates)
        receiver.act { session, now in
            _ = session.setRemoteDescription(description, at: now)
            for candidate in candidates { session.addRemoteCandidate(candidate, at: now) }
            session.endOfRemoteCandidates(at: now)
        }
    }

    private func meets(_ call: Call) -> Bool {
        call.network.run(for: .seconds(60)) { call.first.path != nil && call.second.path != nil }
            && call.first.path?.isRelayed == false && call.second.path?.isRelayed == false
    }

    @Test func `descriptions that come five minutes late connect, as bindings of 30 s are kept (ice 16)`() throws {
        for (refresh, isKept) in [(TimeSpan.seconds(15), true), (.seconds(3600), false)] {
            let call = try strangers { $0.deadlines.bindingRefresh = refresh }
            call.network.run(for: .seconds(300))
            hand(call.first, to: call.second)
            hand(call.second, to: call.first)
            #expect(meets(call) == isKept)
        }
    }

    @Test func `a code that is handed back after three minutes connects, as silent pairs are checked anew`() throws {
        for (interval, isMet) in [(TimeSpan.seconds(20), true), (.zero, false)] {
            let call = try strangers {
                $0.ice.patience = .seconds(900)
                $0.ice.recheckInterval = interval
            }
            call.network.run(for: .seconds(2))
            // The second answers at once, and begins its checks.
            hand(call.first, to: call.second)
            call.network.run(for: .seconds(180))
            hand(call.second, to: call.first)
            #expect(meets(call) == isMet)
        }
    }

    @Test func `what a TURN server alone has told is kept as well, by Refresh (ice 16)`() throws {
        for (refresh, isKept) in [(TimeSpan.seconds(15), true), (.seconds(3600), false)] {
            let call = try strangers(turn: ["turn:turn.example"], stun: []) {
                $0.deadlines.bindingRefresh = refresh
            }
            call.network.run(for: .seconds(200))
            hand(call.first, to: call.second)
            hand(call.second, to: call.first)
            call.network.run(for: .seconds(20))
            #expect((call.first.path?.isRelayed == false) == isKept)
        }
    }

    @Test func `a server that is silent for a while is asked again, and its candidate stays (ice 16)`() throws {
        let call = try strangers()
        call.network.run(for: .seconds(5))
        let candidates = call.first.candidates
        #expect(candidates.contains { $0.type == .serverReflexive })
        call.stun.conduct = .silent
        call.network.run(for: .seconds(100))
        #expect(call.first.candidates == candidates)
        call.stun.conduct = .honest
        let before = call.stun.requestCount
        call.network.run(for: .seconds(100))
        // Two sides, each at most every 18 s, the first perhaps only when the last unanswered question was given up.
        #expect(call.stun.requestCount - before >= 6)
    }

    @Test func `questions are about 15 s apart, each time by another span (ice 16)`() throws {
        let call = try strangers()
        call.network.run(for: .seconds(400))
        let times = call.first.sent.map(\.time)
        #expect(times.count >= 21)
        let spans = zip(times.dropFirst(), times).map { $0 - $1 }
        #expect(spans.allSatisfy { $0 >= .seconds(12) && $0 <= .milliseconds(18_100) })
        #expect(Set(spans.map(\.milliseconds)).count > 10)
    }

    @Test func `a session with its pair asks no server, after a restart it does again (ice 16)`()
        throws
    {
        let call = try Call(.init(first: Self.forgetful, second: Self.forgetful))
        #expect(call.connects())
        call.network.run(for: .seconds(20))
        let before = call.stun.requestCount
        call.network.run(for: .seconds(300))
        #expect(call.stun.requestCount == before)
        // The other side does not answer the restart: the new candidates wait.
        call.first.forward = { _ in }
        call.first.act { _ = $0.restart(at: $1) }
        call.network.run(for: .seconds(100))
        #expect(call.stun.requestCount - before >= 6)
        call.first.act { $0.close(at: $1) }
        call.second.act { $0.close(at: $1) }
        call.network.run(for: .seconds(5))
        let last = call.stun.requestCount
        call.network.run(for: .seconds(100))
        #expect(call.stun.requestCount == last)
    }
}
