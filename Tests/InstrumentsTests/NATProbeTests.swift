import EventLoop
import NetTypes
import STUN
import Testing
import Transport

@testable import Instruments

@Suite struct NATProbeTests {
    @Test func `where nobody answers that is what is found, after the time of all repetitions`() throws {
        let deaf = try UDPSocket(boundTo: SocketAddress(.loopback(.ipv4), port: 0))
        var probe = NATProbe(deaf.localAddress)
        probe.options.policy.requestCount = 1
        probe.options.policy.lastWaitFactor = 1
        let report = try probe.run()
        #expect(!report.hasUDP && report.mapping == .untested)
        #expect(report.local?.ip == .loopback(.ipv4))
    }
}
