import Bytes
import Crypto
import Diagnostics
import EventLoop
import FoundationEssentials
import Glibc
import NetTypes
import STUN
import ServiceTestSupport
import Synchronization
import TURN
import TURNServer
import Testing
import Transport

@testable import Relay

@Suite(.eachBackEnd) struct RelayServiceTests {
    @Test func `shards share one quota`() throws {
        let relay = try TestRelay {
            $0.threads = 2
            $0.server.limits.allocationsPerUser = 4
        }
        // The kernel spreads them over both shards; that none of so many comes to one of them is beyond belief.
        let clients = try (0..<24).map { _ in try relay.client() }
        let codes = try clients.map { try $0.request(.allocate, [.requestedTransport]).code }
        #expect(codes == Array(repeating: 0, count: 4) + Array(repeating: 486, count: 20))
        #expect(eventually { relay.service.snapshot.allocations == 4 })
        #expect(relay.service.snapshot.engines.count == 2)
        #expect(eventually { relay.service.snapshot.engines.allSatisfy { $0.errors(401) > 0 } })
        // Another user has a quota of his own, and what one shard gives back another can give out.
        #expect(try relay.client(user: "bob").request(.allocate, [.requestedTransport]).code == 0)
        for client in clients[..<4] { #expect(try client.request(.refresh, [.lifetime(0)]).code == 0) }
        let again = try clients[20...].map { try $0.request(.allocate, [.requestedTransport]).code }
        #expect(again == [0, 0, 0, 0])
    }

    @Test func `the quota of all users together holds`() throws {
        let relay = try TestRelay { $0.server.limits.allocations = 1 }
        _ = try relay.client().allocate()
        #expect(try relay.client(user: "bob").request(.allocate, [.requestedTransport]).code == 508)
    }

    @Test(arguments: TestRelay.Path.all)
    func `a port that is taken is refused`(path: TestRelay.Path) throws {
        let relay = try TestRelay()
        let taken = try relay.address(path)
        var configuration = relay.configuration
        configuration.listeners = [.init(path.transport, taken)]
        let error = #expect(throws: SocketError.self) {
            _ = try RelayService(configuration, logger: .silent)
        }
        #expect(error?.isAddressInUse == true && error?.address == taken)
        #expect(try relay.client(path).bind().code == 0)
    }

    /// Holds a port, as the rings of a server that has ended do for a moment.
    private final class Predecessor: Sendable {
        private let socket: Mutex<UDPSocket?>
        let address: SocketAddress

        init(_ ip: IPAddress) throws {
            let socket = try UDPSocket(boundTo: SocketAddress(ip, port: 0))
            address = socket.localAddress
            self.socket = Mutex(socket)
        }

        func letGo() { socket.withLock { $0 = nil } }
    }

    @Test func `a port that its predecessor lets go late is waited for`() throws {
        let relay = try TestRelay()
        let predecessor = try Predecessor(relay.address(.udp).ip)
        var configuration = relay.configuration
        configuration.listeners = [.init(.udp, predecessor.address)]
        #expect(throws: SocketError.self) { try UDPSocket.checkAvailable(predecessor.address) }
        let thread = try LoopThread(name: "predecessor") {
            usleep(100_000)
            predecessor.letGo()
        }
        let found = try? RelayService(configuration, logger: .silent)
        thread.join()
        let service = try #require(found)
        #expect(eventually { service.snapshot.backEnds.count == 1 })
        service.stop()
        service.join()
    }

    @Test func `a configuration that cannot work is refused before anything is opened`() throws {
        let relay = try TestRelay()
        var configuration = relay.configuration
        configuration.server.relayAddresses = []
        #expect(throws: TURNServerConfigurationError.noRelayAddress) {
            _ = try RelayService(configuration, logger: .silent)
        }
    }

    @Test func `a new certificate is for new connections, those that exist go on`() throws {
        let relay = try TestRelay()
        let old = try relay.client(.tls)
        _ = try old.bind()
        let fresh = try TestRelay.identity()
        relay.configuration.tls?.replace(
            try TLSContext(serverIdentities: [fresh], applicationProtocols: ["stun.turn"])
        )
        #expect(eventually { (try? relay.stream(.tls, trusting: fresh)) != nil })
        #expect(throws: ClientError.self) { try relay.stream(.tls) }
        #expect(try old.bind().code == 0)
    }

    @Test(arguments: [1, 2])
    func `stopping ends all streams and frees all ports`(threads: Int) throws {
        let relay = try TestRelay { $0.threads = threads }
        let streams = try [relay.stream(.tcp), relay.stream(.tls), relay.stream(.tcp)]
        let client = try RelayClient(StreamWire(streams[0]))
        let relayed = try client.allocate()
        for stream in streams[1...] { _ = try RelayClient(StreamWire(stream)).bind() }
        relay.service.stop()
        for stream in streams {
            #expect(try stream.receive() == nil)
            stream.finish()
        }
        relay.service.join()
        try UDPSocket.checkAvailable(relayed)
        for listener in relay.configuration.listeners where listener.transport == .udp {
            try UDPSocket.checkAvailable(listener.address)
        }
        relay.service.stop()
        relay.service.join()
    }

    @Test func `stopping does not wait for a client that does not end its side`() throws {
        let relay = try TestRelay()
        let client = try relay.client(.tcp)
        _ = try client.bind()
        let begun = MonotonicClock.now()
        relay.service.stop()
        relay.service.join()
        #expect(MonotonicClock.now() - begun < .seconds(10))
    }

    @Test func `everything that was opened is closed`() async {
        // In a process of its own: other tests have descriptors too.
        await #expect(processExitsWith: .success) {
            let base = try descriptorCount()
            for _ in 0..<3 {
                let relay = try TestRelay { $0.threads = 2 }
                let running = try descriptorCount()
                for path in TestRelay.Path.all {
                    let client = try relay.client(path)
                    _ = try client.allocate(path.family)
                    if path.transport == .udp { _ = try client.request(.refresh, [.lifetime(0)]) }
                }
                #expect(eventually { (try? descriptorCount()) == running })
            }
            #expect(try descriptorCount() == base)
        }
    }

    @Test func `metrics tell what happened`() throws {
        let relay = try TestRelay()
        let client = try relay.client(.tcp)
        let relayed = try client.allocate()
        let peer = try DatagramEnd()
        try client.permit(peer.localAddress)
        try client.send([1, 2, 3], to: peer.localAddress)
        _ = try peer.receive()
        peer.send([1, 2, 3, 4], to: relayed)
        _ = try client.nextArrival()
        let lines = [
            "floe_turn_allocations 1", "floe_turn_permissions 1", "floe_turn_channels 0",
            "floe_turn_allocations_total 1", "floe_turn_relayed_packets_total{direction=\"to_peer\"} 1",
            "floe_turn_relayed_bytes_total{direction=\"to_peer\"} 3",
            "floe_turn_relayed_bytes_total{direction=\"to_client\"} 4", "floe_turn_streams{transport=\"tcp\"} 1",
            "floe_turn_streams_total{transport=\"tcp\"} 1", "floe_turn_streams_total{transport=\"tls\"} 0",
            "floe_turn_errors_total{code=\"401\"} 1", "floe_turn_driver_drops_total{reason=\"slowStream\"} 0",
            "floe_turn_kernel_drops_total{socket=\"listener\"} 0",
        ]
        var page: [String] = []
        _ = eventually {
            var text = MetricsText()
            relay.service.snapshot.write(to: &text)
            page = text.text.split(separator: "\n").map(String.init)
            return lines.allSatisfy(page.contains)
        }
        for line in lines { #expect(page.contains(line)) }
    }
}

/// How many sockets and reserved descriptors the process has; the runtime opens timers of its own when it likes.
private func descriptorCount() throws -> Int {
    let folder = "/proc/self/fd/"
    return try FileManager.default.contentsOfDirectory(atPath: folder).count { name in
        // The descriptor that lists the folder is gone by now.
        let target = (try? FileManager.default.destinationOfSymbolicLink(atPath: folder + name)) ?? ""
        return target.hasPrefix("socket:") || target == "/dev/null"
    }
}
