import Bytes
import NetTypes
import STUN
import Testing

@Suite("Transactions of a client")
struct TransactionTests {
    private let start = Instant(nanoseconds: 7_000_000_000)

    @Test func `requests go out at the times of RFC 8489 §6_2_1 (turn 12)`() {
        var timer = RetransmissionTimer(RetransmissionPolicy(), timeout: .zero, isReliable: false, at: start)
        var times: [UInt64] = []
        var last = timer.deadline
        while timer.fire(at: last) == .retransmit {
            times.append((last - start).milliseconds)
            last = timer.deadline
        }
        #expect(times == [500, 1500, 3500, 7500, 15_500, 31_500])
        #expect(last - start == .milliseconds(39_500))
        #expect(timer.sentCount == 7)
    }

    @Test func `nothing fires early, to the nanosecond (turn 13)`() {
        var timer = RetransmissionTimer(RetransmissionPolicy(), timeout: .zero, isReliable: false, at: start)
        #expect(timer.fire(at: Instant(nanoseconds: timer.deadline.nanoseconds - 1)) == .wait)
        #expect(timer.fire(at: timer.deadline) == .retransmit)
    }

    @Test func `a known round trip lengthens the first wait, and never shortens it (turn 12, 14)`() {
        let cases: [(UInt64, UInt64)] = [(0, 500), (80, 500), (900, 900)]
        for (known, first) in cases {
            let timeout = TimeSpan.milliseconds(known)
            let timer = RetransmissionTimer(RetransmissionPolicy(), timeout: timeout, isReliable: false, at: start)
            #expect((timer.deadline - start).milliseconds == first)
        }
    }

    @Test func `over a stream there is one wait of 39_5 s (turn 16)`() {
        var timer = RetransmissionTimer(RetransmissionPolicy(), timeout: .zero, isReliable: true, at: start)
        #expect(timer.deadline - start == .milliseconds(39_500))
        #expect(timer.fire(at: timer.deadline) == .timedOut)
    }

    @Test func `counts and factors of a policy hold`() {
        var policy = RetransmissionPolicy()
        policy.requestCount = 2
        policy.lastWaitFactor = 3
        policy.initialTimeout = .milliseconds(100)
        var timer = RetransmissionTimer(policy, timeout: .zero, isReliable: false, at: start)
        #expect(timer.fire(at: timer.deadline) == .retransmit)
        #expect(timer.deadline - start == .milliseconds(400))
        #expect(timer.fire(at: timer.deadline) == .timedOut)
    }

    @Test func `the estimate follows RFC 6298 and is stale after ten minutes (turn 14)`() {
        var estimator = RoundTripEstimator()
        #expect(estimator.timeout(at: start) == .zero)
        estimator.add(.milliseconds(400), at: start)
        #expect(estimator.roundTrip == .milliseconds(400))
        #expect(estimator.timeout(at: start) == .milliseconds(1200))
        estimator.add(.milliseconds(800), at: start)
        #expect(estimator.roundTrip == .milliseconds(450))
        #expect(estimator.timeout(at: start) == .milliseconds(450 + 4 * 250))
        #expect(estimator.timeout(at: start + .seconds(600)) == .zero)
        estimator.add(.milliseconds(100), at: start + .seconds(601))
        #expect(estimator.roundTrip == .milliseconds(100))
    }

    @Test func `at most so many wait, and each is found by identifier and method (turn 11, 26)`() throws {
        var transactions = ClientTransactions<Int>(isReliable: false, limit: 3)
        for index in 0..<3 {
            let isBegun = transactions.begin(id(index), .binding, [UInt8(index)], index, at: start)
            #expect(isBegun)
        }
        let isBegun = transactions.begin(id(3), .binding, [], 3, at: start)
        #expect(!isBegun)
        for (method, number, expected) in [
            (.binding, 1, 1), (.allocate, 1, nil), (.binding, 9, nil),
        ] as [(STUNMethod, Int, Int?)] {
            let response = try STUNMessage(STUNMessageType(method, .success), id(number), attributes: []).encoded()
            let view = try STUNMessageView(response.span)
            let found = transactions.find(view)?.context
            #expect(found == expected)
        }
        transactions.finish(id(1), at: start)
        let hasRoom = transactions.hasRoom
        #expect(hasRoom)
    }

    @Test func `a request that was sent twice tells nothing about the round trip (Karn, turn 13)`() {
        var transactions = ClientTransactions<Int>(isReliable: false)
        _ = transactions.begin(id(1), .binding, [1], 0, at: start)
        let later = start + .milliseconds(500)
        guard case .retransmit(let bytes)? = transactions.pollDue(at: later) else {
            Issue.record("nothing is sent again")
            return
        }
        #expect(bytes == [1])
        transactions.finish(id(1), at: later + .milliseconds(10))
        var roundTrip = transactions.estimator.roundTrip
        #expect(roundTrip == nil)
        _ = transactions.begin(id(2), .binding, [2], 0, at: later)
        transactions.finish(id(2), at: later + .milliseconds(40))
        roundTrip = transactions.estimator.roundTrip
        #expect(roundTrip == .milliseconds(40))
    }

    @Test func `the end tells of violated integrity (turn 54)`() {
        for isViolated in [false, true] {
            var transactions = ClientTransactions<Int>(isReliable: true)
            _ = transactions.begin(id(1), .binding, [1], 0, at: start)
            if isViolated { transactions.noteViolation(id(1)) }
            guard case .failed(_, let failure)? = transactions.pollDue(at: start + .seconds(40)) else {
                Issue.record("no end")
                return
            }
            #expect(failure == (isViolated ? .integrityViolated : .timedOut))
            let isOver = transactions.count == 0
            #expect(isOver)
        }
    }

    private func id(_ number: Int) -> TransactionID { TransactionID(high: 5, low: UInt32(number)) }
}
