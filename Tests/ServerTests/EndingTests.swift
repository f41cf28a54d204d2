import EventLoop
import NetTypes
import Synchronization
import Testing

@testable import Server

/// A server that is told to stop ends, whatever its parts do.
@Suite struct EndingTests {
    private final class Gate: Sendable {
        private let isOpen = Atomic(false)

        func open() { isOpen.store(true, ordering: .releasing) }

        func wait() {
            guard let poller = try? Poller() else { return }
            var events = PollEvents(capacity: 1)
            while !isOpen.load(ordering: .acquiring) {
                try? poller.wait(until: MonotonicClock.now() + .milliseconds(5), into: &events)
            }
        }
    }

    @Test func `a stop that succeeds is complete`() throws {
        let outcome = try Ending.run(within: .seconds(20), Poller(), isInterrupted: { false }, stop: {})
        #expect(outcome == .complete)
    }

    @Test func `a stop that hangs is given up in time`() throws {
        let gate = Gate()
        defer { gate.open() }
        let outcome = try Ending.run(within: .milliseconds(100), Poller(), isInterrupted: { false }) { gate.wait() }
        #expect(outcome == .late)
    }

    @Test func `a second signal ends the wait at once`() throws {
        let gate = Gate()
        defer { gate.open() }
        let signal = try Mailbox<Bool>(limit: 1)
        let poller = try Poller()
        try poller.add(signal.descriptor, token: 0, interest: .read)
        #expect(signal.push(true))
        let begin = MonotonicClock.now()
        let outcome = try Ending.run(within: .seconds(60), poller) {
            var messages: [Bool] = []
            signal.receive(into: &messages)
            return !messages.isEmpty
        } stop: {
            gate.wait()
        }
        #expect(outcome == .interrupted)
        #expect(MonotonicClock.now() - begin < .seconds(20))
    }
}
