import EventLoop
import NetTypes
import Testing

@testable import Server

/// What signals make of a server that has allocations.
@Suite struct DrainTests {
    private let start = Instant.zero + .seconds(100)

    @Test func `turn 214: without a time to drain SIGTERM is the end at once`() {
        var drain = Drain(time: .zero)
        #expect(drain.obey(.hangUp, at: start) == .reload)
        #expect(drain.nextLook(after: start) == nil)
        #expect(drain.end(isEmpty: true, at: start) == nil)
        #expect(drain.obey(.terminate, at: start) == .end)
    }

    @Test func `turn 214: with a time SIGTERM drains until the last allocation has ended, or the time is over`() {
        var drain = Drain(time: .seconds(60))
        #expect(drain.obey(.terminate, at: start) == .begin)
        #expect(drain.deadline == start + .seconds(60))
        #expect(drain.end(isEmpty: false, at: start + .seconds(59)) == nil)
        #expect(drain.end(isEmpty: true, at: start + .seconds(59)) == .drained)
        let late = start + .seconds(60)
        #expect(drain.nextLook(after: start + .milliseconds(59_900)) == late)
        #expect(drain.end(isEmpty: false, at: late) == .late)
    }

    @Test func `turn 214: SIGUSR1 drains for as long as there are allocations`() {
        var drain = Drain(time: .zero)
        #expect(drain.obey(.drain, at: start) == .begin)
        #expect(drain.obey(.drain, at: start) == .none)
        #expect(drain.obey(.hangUp, at: start) == .reload)
        let later = start + .seconds(86_400)
        #expect(drain.end(isEmpty: false, at: later) == nil)
        #expect(drain.end(isEmpty: true, at: later) == .drained)
    }

    @Test(arguments: [ControlSignal.drain, .terminate])
    func `a second request to end is the end, and SIGINT always is`(first: ControlSignal) {
        var drain = Drain(time: .seconds(60))
        #expect(drain.obey(first, at: start) == .begin)
        #expect(drain.obey(.terminate, at: start) == .end)
        #expect(drain.obey(.interrupt, at: start) == .end)
        var other = Drain(time: .seconds(60))
        #expect(other.obey(.interrupt, at: start) == .end)
    }
}
