import Bytes
import Diagnostics
import EventLoop
import NetTypes
import STUN
import TURN
import TURNServer
import Testing
import Transport

@testable import Relay

/// TCP between clients and peers (RFC 6062), over real sockets.
@Suite(.eachBackEnd) struct TCPAllocationTests {
    /// A shard that relays TCP, a client with a TCP allocation, and a peer that listens.
    private struct Scene: ~Copyable {
        var shard: TestShard
        let control: ShardStream
        let relayed: SocketAddress
        var listener: TCPListener

        init(_ change: (inout RelayConfiguration) -> Void = { _ in }) throws {
            let listener = try TCPListener(boundTo: SocketAddress(TestShard.loopback, port: 0))
            var shard = try TestShard {
                $0.server.relaysTCP = true
                change(&$0)
            }
            let control = try ShardStream(shard.address(.tcp))
            relayed = try control.allocate(&shard, .tcp)
            self.control = control
            self.shard = shard
            self.listener = listener
        }

        /// Connects to the peer; returns the peer's end and the CONNECTION-ID.
        mutating func connect() throws -> (peer: RawStream, number: [UInt8]) {
            try control.ask(.connect, [.peer(listener.localAddress)])
            var socket: TCPSocket?
            try shard.work { _ in
                if case .accepted(let accepted) = listener.accept() { socket = consume accepted }
                return socket != nil
            }
            let answer = try decode(control.next(&shard))
            #expect(answer.type.messageClass == .success)
            let number = try #require(answer.attributes.first { $0.type == .connectionID }).value
            guard let socket = socket.take() else { throw SocketError(.connect, at: nil, number: 0) }
            return (RawStream(socket), number)
        }

        /// Binds a new stream of the client to a connection.
        mutating func bind(_ number: [UInt8], _ transport: TransportProtocol = .tcp) throws -> ShardStream {
            let client = try ShardStream(shard.address(transport), isSecure: transport == .tls)
            try client.establish(&shard)
            try client.challenge(&shard)
            let answer = try client.request(.connectionBind, [.init(.connectionID, number)], &shard)
            #expect(answer.type.messageClass == .success)
            client.isRaw = true
            return client
        }

        mutating func join(_ transport: TransportProtocol = .tcp) throws -> (peer: RawStream, client: ShardStream) {
            let (peer, number) = try connect()
            return (peer, try bind(number, transport))
        }
    }

    @Test(arguments: [TransportProtocol.tcp, .tls])
    func `turn 166, 170: bytes go both ways, as they are, from the relayed port`(transport: TransportProtocol) throws {
        var scene = try Scene { TestShard.addTLS(to: &$0) }
        let (peer, client) = try scene.join(transport)
        #expect(peer.connection.remoteAddress == scene.relayed)
        client.send([1, 2, 3])
        #expect(try peer.next(3, &scene.shard) == [1, 2, 3])
        peer.send([0x80, 0, 0xFF])
        #expect(try client.next(3, &scene.shard) == [0x80, 0, 0xFF])
    }

    @Test func `turn 167: what a peer says before the bind is delivered after it`() throws {
        var scene = try Scene()
        let (peer, number) = try scene.connect()
        peer.send([7, 7, 7])
        let client = try scene.bind(number)
        #expect(try client.next(3, &scene.shard) == [7, 7, 7])
    }

    @Test func `bytes behind a ConnectionBind request, in one piece with it, go to the peer`() throws {
        var scene = try Scene()
        let (peer, number) = try scene.connect()
        let client = try ShardStream(scene.shard.address(.tcp))
        try client.challenge(&scene.shard)
        try client.ask(.connectionBind, [.init(.connectionID, number)], followedBy: [1, 2, 3, 4, 5])
        #expect(try decode(client.next(&scene.shard)).type.messageClass == .success)
        #expect(try peer.next(5, &scene.shard) == [1, 2, 3, 4, 5])
    }

    @Test func `turn 169: a peer connects, is announced, bound, and heard`() throws {
        var scene = try Scene()
        let stranger = RawStream(try TCPSocket(connectingTo: scene.relayed))
        try stranger.waitForEnd(&scene.shard)
        try scene.control.permit(SocketAddress(TestShard.loopback, port: 0), &scene.shard)
        let peer = RawStream(try TCPSocket(connectingTo: scene.relayed))
        let attempt = try decode(scene.control.next(&scene.shard))
        #expect(attempt.type == STUNMessageType(.connectionAttempt, .indication))
        let number = try #require(attempt.attributes.first { $0.type == .connectionID }).value
        let client = try scene.bind(number)
        peer.send([5])
        #expect(try client.next(1, &scene.shard) == [5])
        client.send([6])
        #expect(try peer.next(1, &scene.shard) == [6])
    }

    @Test func `turn 166: a port that nobody listens on gets 447`() throws {
        var scene = try Scene()
        let closed = try TCPListener(boundTo: SocketAddress(TestShard.loopback, port: 0)).localAddress
        let answer = try scene.control.request(.connect, [.peer(closed)], &scene.shard)
        #expect(answer.attributes.first { $0.type == .errorCode }?.value.prefix(4) == [0, 0, 4, 47])
        let (left, named) = (scene.shard.shard.peers.count, scene.shard.shard.peersByID.count)
        #expect(left == 0 && named == 0)
    }

    @Test(arguments: [TransportProtocol.tcp, .tls])
    func `back-pressure: a reader that stops costs bounded memory and loses nothing`(
        transport: TransportProtocol
    ) throws {
        var scene = try Scene {
            TestShard.addTLS(to: &$0)
            $0.streamQueueBytes = 32 * 1024
        }
        let (peer, client) = try scene.join(transport)
        let total = 8 << 20
        let piece = (0..<65_536).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8) }
        var sent = 0
        // The peer writes all it can while the client reads nothing.
        var stalls = 0
        try scene.shard.work { running in
            let count = peer.sendSome(piece[(sent % piece.count)...])
            sent += count
            stalls = count == 0 ? stalls + 1 : 0
            for handle in running.streams.handles {
                let queued = running.streams.read(handle) { $0.connection.queuedBytes } ?? 0
                #expect(queued <= 48 * 1024)
            }
            return stalls > 200
        }
        #expect(sent < 64 << 20)
        var received: [UInt8] = []
        try scene.shard.work { _ in
            if sent < total { sent += peer.sendSome(piece[(sent % piece.count)...]) }
            received += client.takeRaw()
            return sent >= total && received.count == sent
        }
        let isWhole = received.indices.allSatisfy { received[$0] == piece[$0 % piece.count] }
        #expect(isWhole)
    }

    @Test(arguments: [TransportProtocol.tcp, .tls])
    func `turn 172: half-closed, the other direction goes on until it ends`(transport: TransportProtocol) throws {
        var scene = try Scene { TestShard.addTLS(to: &$0) }
        let (peer, client) = try scene.join(transport)
        client.send([1])
        client.connection.finish()
        #expect(try peer.next(1, &scene.shard) == [1])
        try peer.waitForEnd(&scene.shard)
        peer.send([2, 3])
        #expect(try client.next(2, &scene.shard) == [2, 3])
        peer.connection.finish()
        try client.waitForEnd(&scene.shard)
        try scene.shard.work { $0.peers.count == 0 && $0.streams.count == 1 }
        let left = scene.shard.shard.engine.statistics.peerConnections
        #expect(left == 0)
    }

    @Test func `turn 172: the end of the peer's side reaches the client after the data`() throws {
        var scene = try Scene()
        let (peer, client) = try scene.join()
        peer.send([1, 2, 3])
        peer.connection.finish()
        #expect(try client.next(3, &scene.shard) == [1, 2, 3])
        try client.waitForEnd(&scene.shard)
        client.connection.finish()
        try scene.shard.work { $0.peers.count == 0 }
    }

    @Test func `turn 164: deleting the allocation ends its connections, listener and data streams`() throws {
        var scene = try Scene()
        let (peer, client) = try scene.join()
        scene.listener = try TCPListener(boundTo: SocketAddress(TestShard.loopback, port: 0))
        let (waiting, _) = try scene.connect()
        try scene.control.delete(&scene.shard)
        try peer.waitForEnd(&scene.shard)
        try waiting.waitForEnd(&scene.shard)
        try client.waitForEnd(&scene.shard)
        try scene.shard.work { $0.peers.count == 0 && $0.relayListeners.count == 0 }
        #expect(scene.shard.shared.livePortCount == 0 && scene.shard.shared.takenPortCount == 0)
    }

    @Test func `the allocation's bandwidth slows a connection down and drops nothing`() throws {
        var scene = try Scene { $0.server.limits.bytesPerSecondPerAllocation = 1_000_000 }
        let (peer, client) = try scene.join()
        let start = MonotonicClock.now()
        var (sent, received) = (0, 0)
        try scene.shard.work { _ in
            if sent < 1_500_000 { sent += peer.sendSome(Array(repeating: 1, count: 65_536)[...]) }
            received += client.takeRaw().count
            return sent >= 1_500_000 && received == sent
        }
        // A burst of one second's bytes, and what one turn may read beyond it; the rest at the rate.
        #expect(MonotonicClock.now() - start >= .milliseconds(200))
    }

    @Test func `a data stream that another shard has accepted finds the one with the connection`() throws {
        var scene = try Scene()
        let (peer, number) = try scene.connect()
        var other = try TestShard(sibling: scene.shard)
        let client = try ShardStream(other.address(.tcp))
        try client.challenge(&other)
        try client.ask(.connectionBind, [.init(.connectionID, number)])
        try other.work { running in
            client.receive()
            return running.streams.count == 0
        }
        let prefixes = other.shard.streamsByPrefix.count
        #expect(prefixes == 0)
        #expect(try decode(client.next(&scene.shard)).type.messageClass == .success)
        client.isRaw = true
        peer.send([9])
        #expect(try client.next(1, &scene.shard) == [9])
    }

    /// Nobody needs credentials for that, only the number of a shard.
    @Test func `streams that other shards hand over count for their address as all others do`() throws {
        var scene = try Scene { $0.streamsPerPrefix = 2 }
        let (_, number) = try scene.connect()
        var other = try TestShard(sibling: scene.shard)
        var clients: [ShardStream] = []
        for count: UInt64 in 1...3 {
            let client = try ShardStream(other.address(.tcp))
            let request = STUNMessage(
                STUNMessageType(.connectionBind, .request),
                .random(using: &client.entropy),
                attributes: [.init(.connectionID, number)]
            )
            client.send(try request.encoded())
            try other.work { $0.acceptedStreams[.tcp] == count && $0.streams.count == 0 }
            clients.append(client)
        }
        try scene.shard.work { $0.streams.count + Int($0.drops[.tooManyStreamsOfPrefix]) == 4 }
        let (streams, refused) = (scene.shard.shard.streams.count, scene.shard.shard.drops[.tooManyStreamsOfPrefix])
        #expect(streams == 2 && refused == 2)
    }
}
