import NetTypes
import STUN
import TestSupport
import Testing

@testable import ICE

@Suite struct ConnectTests {
    @Test func `Two hosts connect in one and a half round trips and conclude`() {
        var net = TestNetwork()
        let start = net.now
        net.start()
        net.run(for: .seconds(1))
        let (first, second) = net.connectedAt
        #expect(first != nil && second != nil)
        #expect((first ?? .distantFuture) - start <= .milliseconds(40))
        #expect((second ?? .distantFuture) - start <= .milliseconds(40))
        let states = [net.first.state, net.second.state]
        #expect(states == [.completed, .completed])
        let events = net.events
        #expect(events.0.contains { if case .selected = $0 { true } else { false } })
        #expect(events.1.contains { if case .selected = $0 { true } else { false } })
    }
}
