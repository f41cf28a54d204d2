import Bytes
import NetTypes
import STUN
import Testing

@testable import ICE

@Suite struct StreamTests {
    private static let listener = BaseID(rawValue: 10)
    private static let active = BaseID(rawValue: 11)
    private static let connection = BaseID(rawValue: 20)
    private static let peer = at("10.0.0.2:2000")

    private func tcp(_ kind: TCPCandidateType, _ address: String) -> LocalCandidate {
        var candidate = LocalCandidate(.host, at(address))
        candidate.transport = .tcp
        candidate.tcpType = kind
        return candidate
    }

    /// An agent with an active and a passive candidate, whose peer has those of `kinds`.
    private func lone(_ kinds: [TCPCandidateType], change: (inout ICEConfiguration) -> Void = { _ in }) -> Lone {
        var lone = Lone(change: change)
        _ = lone.agent.setRemoteDescription(Lone.peer, at: lone.now)
        _ = lone.agent.addLocalCandidate(tcp(.active, "10.0.0.1:9"), base: Self.active, at: lone.now)
        _ = lone.agent.addLocalCandidate(tcp(.passive, "10.0.0.1:4000"), base: Self.listener, at: lone.now)
        for kind in kinds {
            lone.add("t\(kind)", Self.peer) {
                $0.transport = .tcp
                $0.tcpType = kind
            }
        }
        return lone
    }

    private func attemptNumber(_ events: [ICEEvent]) -> UInt32? {
        for event in events {
            if case .connect(_, _, let attempt) = event { return attempt }
        }
        return nil
    }

    @Test func `Active pairs with passive, passive pairs are left to the peer (ice 123)`() {
        for (kind, count) in [(TCPCandidateType.passive, 1), (.active, 0), (.simultaneousOpen, 0)] {
            let lone = lone([kind])
            let pairs = lone.agent.pairCount
            #expect(pairs == count)
        }
    }

    @Test func `An active candidate connects, then checks once and never repeats (ice 124)`() throws {
        var lone = lone([.passive])
        #expect(lone.drain().isEmpty)
        let attempt = try #require(attemptNumber(lone.events()))
        #expect(lone.run(for: .seconds(3)).isEmpty)
        lone.agent.connected(
            attempt: attempt,
            connection: Self.connection,
            from: at("10.0.0.1:51000"),
            at: lone.now
        )
        let check = try #require(lone.drain().first)
        #expect(check.base == Self.connection && check.destination == Self.peer)
        #expect(lone.run(for: .seconds(30)).isEmpty)
        lone.answer(check, mapped: at("10.0.0.1:51000"))
        #expect(lone.agent.path()?.base == Self.connection)
        #expect(lone.receive([200], on: Self.connection, from: Self.peer) == .data(component: 1))
        // The connection is lost: the path with it (ice 126).
        lone.agent.removeBase(Self.connection, at: lone.now)
        #expect(lone.agent.path() == nil)
    }

    @Test func `A check over TCP fails after 39.5 s, a refused connection at once (ice 124, 127)`() throws {
        var lone = lone([.passive])
        _ = lone.drain()
        let attempt = try #require(attemptNumber(lone.events()))
        lone.agent.connectFailed(attempt: attempt, at: lone.now)
        #expect(lone.agent.pairSnapshots[0].state == .failed)
        #expect(lone.agent.verdict.contains(.connectionsFailed))
        var other = self.lone([.passive])
        _ = other.drain()
        let start = other.now
        while let next = other.agent.nextTimeout, other.agent.pairSnapshots[0].state != .failed {
            other.now = next
            other.agent.handleTimeout(at: next)
            _ = other.drain()
        }
        #expect(other.now - start == .milliseconds(39_500))
    }

    @Test func `A connection whose time is over is waited for again when the peer asks, and not made twice (ice 66)`()
        throws
    {
        var lone = lone([.passive])
        _ = lone.drain()
        let attempt = try #require(attemptNumber(lone.events()))
        _ = lone.run(for: .milliseconds(39_500))
        #expect(lone.agent.pairSnapshots[0].state == .failed)
        #expect(lone.deliver(lone.request(), on: Self.active, from: Self.peer) == .consumed)
        _ = lone.drain()
        #expect(lone.agent.pairSnapshots[0].state == .inProgress)
        #expect(attemptNumber(lone.events()) == nil)
        lone.agent.connected(attempt: attempt, connection: Self.connection, from: at("10.0.0.1:51000"), at: lone.now)
        let check = try #require(lone.drain().first { $0.isRequest })
        lone.answer(check, mapped: at("10.0.0.1:51000"))
        #expect(lone.agent.path()?.base == Self.connection)
    }

    @Test func `A connection to our listener makes a peer-reflexive candidate, answered on it (ice 125)`() throws {
        var lone = lone([.active])
        let source = at("10.0.0.2:52000")
        let isTaken = lone.agent.accepted(connection: Self.connection, on: Self.listener, from: source, at: lone.now)
        #expect(isTaken)
        #expect(lone.deliver(lone.request(), on: Self.connection, from: source) == .consumed)
        let sent = lone.drain()
        #expect(sent.count == 2 && sent.allSatisfy { $0.base == Self.connection && $0.destination == source })
        let remote = try #require(lone.agent.remotes.last)
        #expect(remote.type == .peerReflexive && remote.transport == .tcp && remote.tcpType == .active)
        for check in sent where check.isRequest { lone.answer(check, mapped: at("10.0.0.1:4000")) }
        #expect(lone.agent.path()?.base == Self.connection)
    }

    @Test func `A connection that is not taken is told (ice 125)`() {
        var lone = lone([.active]) { $0.pairLimit = 3 }
        func take(_ number: UInt32, on listener: BaseID) -> Bool {
            let source = at("10.0.0.2:52000")
            return lone.agent.accepted(
                connection: BaseID(rawValue: number),
                on: listener,
                from: source,
                at: lone.now
            )
        }
        #expect(!take(20, on: BaseID(rawValue: 99)))
        #expect(take(20, on: Self.listener) && take(21, on: Self.listener) && take(22, on: Self.listener))
        #expect(!take(23, on: Self.listener))
        lone.agent.removeBase(BaseID(rawValue: 21), at: lone.now)
        #expect(take(23, on: Self.listener))
        lone.agent.close(at: lone.now)
        #expect(!take(24, on: Self.listener))
    }

    @Test func `Frames are cut out of a stream however it is cut (ice 124)`() {
        let payloads: [[UInt8]] = [[1, 2, 3], [], Array(repeating: 7, count: 300), [9]]
        var stream: [UInt8] = []
        for payload in payloads {
            stream +=
                buildBytes(capacity: 2) { StreamFrames.writeHeader(byteCount: payload.count, into: &$0) } + payload
        }
        for step in [1, 2, 3, 7, 100, stream.count] {
            var frames = StreamFrames()
            var found: [[UInt8]] = []
            for start in stride(from: 0, to: stream.count, by: step) {
                let piece = Array(stream[start..<min(start + step, stream.count)])
                frames.append(piece.span)
                while frames.withNext({ found.append($0.toArray()) }) {}
            }
            #expect(found == payloads.filter { !$0.isEmpty })
        }
    }
}
