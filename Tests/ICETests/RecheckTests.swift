import NetTypes
import STUN
import Testing

@testable import ICE

/// Silent pairs are checked anew where descriptions are carried by hand.
@Suite struct RecheckTests {
    private static func patient(_ configuration: inout ICEConfiguration) {
        configuration.patience = .seconds(900)
        configuration.recheckInterval = .seconds(20)
    }

    /// When checks began, in milliseconds: new transactions, not repetitions.
    private func starts(_ lone: inout Lone, for span: TimeSpan, to remote: SocketAddress = Lone.remote) -> [UInt64] {
        let (start, end) = (lone.now, lone.now + span)
        var seen: Set<TransactionID> = []
        var times: [UInt64] = []
        func note(_ list: [Lone.Sent], at now: Instant) {
            for sent in list where sent.isRequest && sent.destination == remote {
                if seen.insert(sent.message.transactionID).inserted { times.append((now - start).milliseconds) }
            }
        }
        note(lone.drain(), at: lone.now)
        while let next = lone.agent.nextTimeout, next <= end {
            lone.now = max(lone.now, next)
            lone.agent.handleTimeout(at: lone.now)
            note(lone.drain(), at: lone.now)
        }
        lone.now = end
        return times
    }

    @Test func `a silent pair is checked anew 20 s after it has failed, as long as patience lasts`() {
        var lone = Lone(change: Self.patient)
        lone.begin()
        lone.agent.localGatheringDone(at: lone.now)
        lone.agent.endOfRemoteCandidates(at: lone.now)
        let times = starts(&lone, for: .seconds(890))
        #expect(times.count == 15)
        #expect(times.prefix(3) == [0, 59_500, 119_000])
        #expect(lone.agent.state == .checking)
        let later = starts(&lone, for: .seconds(600))
        #expect(later.count <= 1)
        #expect(lone.agent.state == .failed)
        let next = lone.agent.nextTimeout
        #expect(next == nil)
    }

    @Test func `by default it is not`() {
        var lone = Lone { $0.patience = .seconds(900) }
        lone.begin()
        let times = starts(&lone, for: .seconds(600))
        #expect(times == [0])
    }

    @Test(arguments: [false, true])
    func `many silent pairs are checked anew by Ta, all at most once in 20 s`(_ haveOneFoundation: Bool) {
        var lone = Lone(change: Self.patient)
        lone.begin(candidate: false)
        for index in 1...50 {
            lone.add(haveOneFoundation ? "1" : "\(index)", at("10.0.1.\(index):5"), priority: UInt32(index))
        }
        var checks: [(time: Instant, to: SocketAddress)] = []
        var seen: Set<TransactionID> = []
        var steps = 0
        let end = lone.now + .seconds(300)
        while let next = lone.agent.nextTimeout, next <= end {
            steps += 1
            lone.now = max(lone.now, next)
            lone.agent.handleTimeout(at: lone.now)
            for sent in lone.drain() where seen.insert(sent.message.transactionID).inserted {
                checks.append((lone.now, sent.destination))
            }
        }
        #expect(checks.count >= 150)
        #expect(steps < 10 * checks.count)
        for (one, other) in zip(checks, checks.dropFirst()) { #expect(other.time - one.time >= .milliseconds(5)) }
        let times = Dictionary(grouping: checks, by: \.to).mapValues { $0.map(\.time) }
        #expect(times.count == 50)
        for list in times.values {
            for (one, other) in zip(list, list.dropFirst()) { #expect(other - one >= .milliseconds(59_500)) }
        }
    }

    @Test func `what has failed by an answer stays failed`() throws {
        var lone = Lone(change: Self.patient)
        lone.begin()
        let check = try #require(lone.drain().first)
        #expect(lone.answer(check, from: at("10.0.0.2:2001")) == .refused(.asymmetricResponse))
        let times = starts(&lone, for: .seconds(300))
        #expect(times.isEmpty)
    }

    @Test func `with a valid pair nothing is checked anew`() {
        var one = ICEConfiguration(role: .controlling)
        Self.patient(&one)
        var net = TestNetwork(one, one, seed: 3)
        net.start()
        let dead = at("10.0.0.99:9")
        var candidate = Candidate(foundation: "9", priority: 9, address: .ip(dead.ip), port: dead.port, type: .host)
        candidate.component = 1
        net.signalCandidate(1, candidate)
        net.run(for: .seconds(300))
        let carries = net.first.path() != nil
        #expect(carries)
        #expect(Set(net.sent.filter { $0.destination == dead }.map(\.bytes)).count <= 3)
    }

    @Test func `a life with such checks is lived again to the same bytes`() throws {
        var one = ICEConfiguration(role: .controlling)
        Self.patient(&one)
        one.isRecorded = true
        var net = TestNetwork(one, ICEConfiguration(role: .controlled), seed: 8)
        net.loss = 1
        net.start()
        net.run(for: .seconds(180))
        let silent = net.first.path() == nil
        #expect(silent)
        net.loss = 0
        net.run(for: .seconds(60))
        let carries = net.first.path() != nil
        #expect(carries)
        let found = net.first.recording()
        let recording = try #require(found)
        #expect(try ICEAgent.replay(recording) == recording)
    }
}
