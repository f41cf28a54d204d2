import Bytes
import Diagnostics
import EventLoop
import NetTypes
import STUN
import ServiceTestSupport
import TURN
import TURNServer
import Testing

@testable import Relay

/// One shard that takes its turns on the test's own thread.
private final class ManualShard {
    var shard: RelayShard
    let address: SocketAddress

    init(ports: [UInt16]) throws {
        var configuration = try TestRelay.configuration(ports: ports, TestRelay.identity())
        configuration.listeners = configuration.listeners.filter { $0.transport == .tcp }
        address = configuration.listeners[0].address
        shard = RelayShard(
            configuration,
            engine: try TURNServerEngine(
                configuration.server,
                shared: TURNServerShared(configuration.server),
                unixSeconds: WallClock.unixSeconds()
            ),
            poller: try Poller(),
            mailbox: try ShardMailbox(limit: 4),
            report: RelayReport(),
            logger: .silent
        )
        try shard.open()
    }

    /// Takes turns until so many requests were answered.
    func run(untilAnswered count: UInt64) throws {
        while answered < count { _ = try shard.turn(until: .distantFuture) }
    }

    private var answered: UInt64 {
        let statistics = shard.engine.statistics
        return statistics.successes + statistics.errors.reduce(0) { $0 + $1.count }
    }
}

@Suite(.eachBackEnd) struct RelayShardTests {
    @Test func `allocations that come and go on one stream leave nothing behind`() throws {
        let relay = try withFreePorts(2) { try ManualShard(ports: $0) }
        let client = try RelayClient(StreamWire(try StreamClient(to: relay.address)))
        var requests: UInt64 = 0
        client.beforeReceiving = {
            requests += 1
            try relay.run(untilAnswered: requests)
        }
        for _ in 0..<50 {
            _ = try client.allocate()
            #expect(try client.request(.refresh, [.lifetime(0)]).code == 0)
        }
        let (relays, deadlines) = (relay.shard.relays.count, relay.shard.streamTimers.count)
        #expect(relays == 0)
        #expect(deadlines <= 2)
    }
}
