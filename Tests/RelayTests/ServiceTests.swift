import Diagnostics
import EventLoop
import NetTypes
import ServiceTestSupport
import TURNServer
import Testing
import Transport

@testable import Relay

@Suite(.eachBackEnd) struct SeveralShardsTests {
    /// The address of a port that nobody had a moment ago.
    private func freeAddress() throws -> SocketAddress {
        try UDPSocket(boundTo: SocketAddress(TestShard.loopback, port: 0)).localAddress
    }

    @Test func `several shards start, count and stop`() throws {
        let (service, address) = try withFreePorts(1) { ports in
            let address = SocketAddress(TestShard.loopback, port: ports[0])
            let configuration = try TestShard.configuration {
                $0.threads = 3
                $0.listeners = [.init(.udp, address), .init(.tcp, address)]
            }
            return (try RelayService(configuration, logger: .silent), address)
        }
        var shard = try TestShard()
        for _ in 0..<12 { try UDPClient(address).bind(&shard) }
        try ShardStream(address).bind(&shard)
        service.stop()
        service.join()
        let snapshot = service.snapshot
        #expect(snapshot.engines.count == 3)
        #expect(snapshot.engines.reduce(0) { $0 + $1.successes } == 13)
        #expect(snapshot.acceptedStreams == [.tcp: 1])
    }

    @Test func `an address that somebody has stops the start, and nothing is left`() throws {
        let taken = try UDPSocket(boundTo: SocketAddress(TestShard.loopback, port: 0))
        let free = try freeAddress()
        let configuration = try TestShard.configuration {
            $0.listeners = [.init(.udp, free), .init(.udp, taken.localAddress)]
        }
        #expect(throws: SocketError.self) { try RelayService(configuration, logger: .silent) }
        try UDPSocket.checkAvailable(free)
    }

    @Test func `TLS without an identity is refused at the start, not at the first client`() throws {
        let address = try freeAddress()
        let configuration = try TestShard.configuration { $0.listeners = [.init(.tls, address)] }
        #expect(throws: RelayConfigurationError.noIdentity(address)) {
            try RelayService(configuration, logger: .silent)
        }
    }
}
