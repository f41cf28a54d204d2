import Connectivity
import Diagnostics
import EventLoop
import ICE
import ICETransport
import NetTypes
import ServiceTestSupport
import Testing
import Transport

/// ICMP errors on sockets that many agents share.
@Suite(.serialized) struct SharedErrorTests {
    /// A connection of a loop whose peer has one candidate, at that port of this host.
    private static func connection(_ loop: ICELoop, to port: UInt16) throws -> ICEConnection {
        let pair = try Pair(loop)
        pair.first.setRemoteDescription(pair.second.localDescription)
        var candidate = Candidate(
            foundation: "1",
            component: 1,
            transport: .udp,
            priority: 100,
            address: .ip(.loopback(.ipv4)),
            port: port,
            type: .host,
            related: nil
        )
        candidate.usernameFragment = pair.second.localDescription.credentials.usernameFragment
        pair.first.addRemoteCandidate(candidate)
        pair.first.gather()
        return pair.first
    }

    /// Looks again and again until a condition holds; `false` if it does not within a generous time.
    private static func becomes(_ condition: () async -> Bool) async -> Bool {
        let deadline = MonotonicClock.now() + StreamClient.patience
        while await !condition() {
            guard MonotonicClock.now() < deadline else { return false }
            try? await Task.sleep(for: .milliseconds(2))
        }
        return true
    }

    private static func refusals(_ report: ICEReport?) -> Bool {
        report?.verdict.findings.contains { $0.cause == .sendingRefused } == true
    }

    @Test func `a port that nobody listens at is told to the agent that has asked there, and to no other`() async throws
    {
        var options = ICELoopOptions()
        options.usesInterface = { $0 == "lo" }
        options.sharedPort = 0
        let loop = try ICELoop(options)
        let silent = try UDPSocket(boundTo: SocketAddress(.loopback(.ipv4), port: 0))
        // Closed at once: it was free just now.
        let dead = try UDPSocket(boundTo: SocketAddress(.loopback(.ipv4), port: 0)).localAddress
        let waiting = try Self.connection(loop, to: silent.localAddress.port)
        let refused = try Self.connection(loop, to: dead.port)
        // Both have asked, in whatever order the loop came to them.
        #expect(await Self.becomes { Self.refusals(await refused.report()) })
        #expect(await Self.becomes { await waiting.report()?.statistics.requestsSent ?? 0 > 0 })
        #expect(!Self.refusals(await waiting.report()))
        #expect(loop.sharedDrops[.unknownSender] == 0)
        await refused.close()
        await waiting.close()
        loop.stop()
        // Until here it has kept its port.
        #expect(silent.localAddress != dead)
    }
}
