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

@Suite(.eachBackEnd) struct RelayStreamTests {
    @Test(arguments: [TransportProtocol.tcp, .tls])
    func `a stream's client allocates, and data goes both ways`(transport: TransportProtocol) throws {
        var shard = try TestShard { TestShard.addTLS(to: &$0) }
        let client = try ShardStream(shard.address(transport), isSecure: transport == .tls)
        let peer = try UDPClient(shard.address(.udp))
        try client.establish(&shard)
        let relayed = try client.allocate(&shard)
        try client.bind(0x4000, to: peer.address, &shard)
        client.send([0x40, 0, 0, 3, 1, 2, 3, 0])
        #expect(try peer.next(&shard) == [1, 2, 3])
        peer.send([9, 8, 7, 6, 5], to: relayed)
        #expect(try client.next(&shard) == [0x40, 0, 0, 5, 9, 8, 7, 6, 5, 0, 0, 0])
    }

    @Test func `messages that come in pieces of one byte are put together`() throws {
        var shard = try TestShard()
        let client = try ShardStream(shard.address(.tcp))
        let request = try STUNMessage(STUNMessageType(.binding, .request), .random(using: &client.entropy)).encoded()
        for byte in request + request {
            client.send([byte])
            _ = try shard.shard.turn(until: MonotonicClock.now() + .milliseconds(1))
        }
        #expect(try decode(client.next(&shard)).type.messageClass == .success)
        #expect(try decode(client.next(&shard)).type.messageClass == .success)
    }

    /// Each of them would leave a deadline behind that nothing ever takes away.
    @Test func `a stream has one timer however often its allocation comes and goes`() throws {
        var shard = try TestShard()
        let client = try ShardStream(shard.address(.tcp))
        for _ in 0..<5 {
            _ = try client.allocate(&shard)
            try client.delete(&shard)
        }
        let timers = shard.shard.streamTimers.count
        #expect(timers == 1)
        client.connection.finish()
        try shard.work { $0.streams.count == 0 }
        let left = shard.shard.streamTimers.count
        #expect(left == 0)
    }

    @Test func `the end of a stream ends its allocation and closes its relay`() throws {
        var shard = try TestShard()
        let client = try ShardStream(shard.address(.tcp))
        _ = try client.allocate(&shard)
        client.connection.finish()
        try shard.work { $0.streams.count == 0 && $0.relays.count == 0 }
        let allocations = shard.shard.engine.statistics.allocations
        let prefixes = shard.shard.streamsByPrefix.count
        #expect(allocations == 0 && prefixes == 0)
        #expect(shard.shared.allocationCount == 0 && shard.shared.livePortCount == 0)
    }

    @Test func `an answer to the last request reaches a client that has ended its side already`() throws {
        var shard = try TestShard()
        let client = try ShardStream(shard.address(.tcp))
        try client.establish(&shard)
        client.send(try STUNMessage(STUNMessageType(.binding, .request), .random(using: &client.entropy)).encoded())
        client.connection.finish()
        #expect(try decode(client.next(&shard)).type.messageClass == .success)
    }

    @Test func `turn 146: a stream that is no STUN is closed at once`() throws {
        var shard = try TestShard()
        let client = try ShardStream(shard.address(.tcp))
        client.send(Array(repeating: 0x80, count: 40))
        try client.waitForEnd(&shard)
        let count = shard.shard.drops[.brokenStream]
        #expect(count == 1)
    }

    /// Otherwise ten thousand strangers hold 64 KiB each, for a promise of the rest.
    @Test func `without an allocation nobody makes the server keep a long message`() throws {
        var shard = try TestShard()
        let stranger = try ShardStream(shard.address(.tcp))
        stranger.send([0x40, 0, 0xFF, 0x00, 1, 2, 3, 4])
        try stranger.waitForEnd(&shard)
        let client = try ShardStream(shard.address(.tcp))
        _ = try client.allocate(&shard)
        let peer = try UDPClient(shard.address(.udp))
        try client.bind(0x4000, to: peer.address, &shard)
        client.send([0x40, 0, 0x1F, 0x40] + Array(repeating: 5, count: 8000))
        client.send([0x40, 0, 0, 1, 7, 0, 0, 0])
        #expect(try peer.next(&shard) == Array(repeating: 5, count: 8000))
        #expect(try peer.next(&shard) == [7])
    }

    @Test func `one address has only so many streams`() throws {
        var shard = try TestShard { $0.streamsPerPrefix = 2 }
        let clients = try (0..<3).map { _ in try ShardStream(shard.address(.tcp)) }
        for client in clients[..<2] { try client.bind(&shard) }
        clients[2].send([0, 1, 0, 0])
        try clients[2].waitForEnd(&shard)
        let count = shard.shard.drops[.tooManyStreamsOfPrefix]
        #expect(count == 1)
        clients[0].connection.finish()
        try shard.work { $0.streams.count == 1 }
        try ShardStream(shard.address(.tcp)).bind(&shard)
    }

    @Test func `a listener that was looked away from takes connections again after the next report`() throws {
        var shard = try TestShard { $0.listeners.removeFirst() }
        _ = try shard.shard.turn(until: .zero)
        let listener = try #require(shard.shard.streamListeners.handles.first)
        shard.shard.pause(listener)
        let client = try ShardStream(shard.address(.tcp))
        // On a busy machine the next report may be due before that.
        let due = min(MonotonicClock.now() + .milliseconds(50), shard.shard.nextReport)
        var turns = 0
        while MonotonicClock.now() < due {
            let isRunning = try shard.shard.turn(until: due)
            #expect(isRunning)
            turns += 1
        }
        let streams = shard.shard.streams.count
        #expect(streams == 0)
        // Neither did the loop turn in vain; the kernel may interrupt it once for an io_uring that this thread has closed.
        #expect(turns <= 3)
        try client.bind(&shard)
    }

    @Test func `a stream that says nothing is given up, one with an allocation is not`() throws {
        var shard = try TestShard {
            $0.firstMessageTime = .milliseconds(50)
            $0.idleTime = .milliseconds(50)
        }
        let (silent, talker) = (try ShardStream(shard.address(.tcp)), try ShardStream(shard.address(.tcp)))
        _ = try talker.allocate(&shard)
        let halting = try ShardStream(shard.address(.tcp))
        halting.send([0, 1, 0, 0])
        try silent.waitForEnd(&shard)
        try halting.waitForEnd(&shard)
        let wait = MonotonicClock.now() + .milliseconds(100)
        try shard.work { _ in MonotonicClock.now() > wait }
        try talker.delete(&shard)
        try talker.waitForEnd(&shard)
        let (idle, unheard) = (shard.shard.drops[.idleStream], shard.shard.lobby.drops[.silentStream])
        #expect(idle == 2 && unheard == 1)
    }

    @Test func `a client that does not read loses media, and its memory is bounded`() throws {
        var shard = try TestShard { $0.streamQueueBytes = 16 * 1024 }
        let client = try ShardStream(shard.address(.tcp))
        let relayed = try client.allocate(&shard)
        let peer = try UDPClient(shard.address(.udp))
        try client.bind(0x4000, to: peer.address, &shard)
        let datagram = [UInt8](repeating: 1, count: 1400)
        try shard.work { running in
            for _ in 0..<64 { peer.send(datagram, to: relayed) }
            return running.drops[.slowStream] > 100
        }
        let handle = try #require(shard.shard.streams.handles.first)
        let queued = shard.shard.streams.read(handle) { $0.connection.queuedBytes }
        #expect(try #require(queued) <= 16 * 1024)
        // What came through is whole messages, and the stream goes on.
        client.receive()
        try client.permit(peer.address, &shard, skipping: { $0[0] == 0x40 })
    }

    @Test func `a client that takes no responses is given up, not left without them`() throws {
        var shard = try TestShard {
            $0.streamQueueBytes = 4096
            $0.server.limits.bindingAnswers = RateLimit(perSecond: 1e6, burst: 1e6)
        }
        let client = try ShardStream(shard.address(.tcp))
        try client.establish(&shard)
        let request = try STUNMessage(STUNMessageType(.binding, .request), .random(using: &client.entropy)).encoded()
        let many = Array(repeatElement(request, count: 1000).joined())
        try shard.work { running in
            client.connection.flush()
            if client.connection.queuedBytes < 100_000 { client.send(many) }
            return running.acceptedStreams == [.tcp: 1] && running.streams.count == 0
        }
        let count = shard.shard.drops[.slowStream]
        #expect(count >= 1)
    }

    @Test func `a stream whose TLS holds more than a turn's bytes is served once in each turn`() throws {
        var shard = try TestShard { TestShard.addTLS(to: &$0) }
        let client = try ShardStream(shard.address(.tls), isSecure: true)
        try client.establish(&shard)
        let request = try STUNMessage(STUNMessageType(.binding, .indication), .random(using: &client.entropy)).encoded()
        let many = Array(repeatElement(request, count: 3000).joined())
        var longest = 0
        for _ in 0..<200 {
            client.connection.flush()
            if client.connection.queuedBytes < 100_000 { client.send(many) }
            _ = try shard.shard.turn(until: MonotonicClock.now() + .milliseconds(1))
            longest = max(longest, shard.shard.unreadStreams.count)
        }
        #expect(longest == 1)
    }

    @Test func `stopping ends the streams and then the shard`() throws {
        var shard = try TestShard()
        let client = try ShardStream(shard.address(.tcp))
        try client.bind(&shard)
        shard.shard.mailbox.order { $0.stops = true }
        try client.waitForEnd(&shard)
        client.connection.finish()
        var isRunning = true
        while isRunning { isRunning = try shard.shard.turn(until: MonotonicClock.now() + .milliseconds(5)) }
        let streams = shard.shard.streams.count
        #expect(streams == 0)
    }
}

extension TestClient {
    /// Permits a peer and passes over other messages in front of the answer.
    func permit(
        _ peer: SocketAddress,
        _ shard: inout TestShard,
        skipping isOther: ([UInt8]) -> Bool
    ) throws {
        try ask(.createPermission, [.peer(peer)])
        var message = try next(&shard)
        while isOther(message) { message = try next(&shard) }
        #expect(try decode(message).type.messageClass == .success)
    }
}
