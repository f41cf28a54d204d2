import EventLoop
import NetTypes
import STUN
import ServiceTestSupport
import TURN
import Testing
import Transport

@testable import Relay

@Suite(.eachBackEnd) struct StreamTests {
    @Test(arguments: TestRelay.Path.streams)
    func `messages are found however the stream is cut`(path: TestRelay.Path) throws {
        let relay = try TestRelay()
        let client = try relay.client(path)
        let peer = try DatagramEnd(on: .loopback(path.family))
        _ = try client.allocate(path.family)
        try client.bindChannel(0x4002, to: peer.localAddress)
        let binding = try client.message(.binding, authenticates: false)
        // Two ChannelData with padding around a request: a byte at a time, then in pieces of all sizes, then at once.
        let first = RelayClient.channelData([1, 2, 3], on: 0x4002) + [0]
        let last = RelayClient.channelData([4, 5, 6, 7, 8], on: 0x4002) + [0, 0, 0]
        let bytes = first + binding + last
        for size in [1, 3, 7, 21, bytes.count] {
            for start in stride(from: 0, to: bytes.count, by: size) {
                try client.wire.send(unpadded: Array(bytes[start..<min(start + size, bytes.count)]))
            }
            #expect(try client.response(to: binding).mapped == client.localAddress)
            #expect(try peer.receive().bytes == [1, 2, 3])
            #expect(try peer.receive().bytes == [4, 5, 6, 7, 8])
        }
    }

    @Test func `a client that does not read loses media and keeps its control messages`() throws {
        let relay = try TestRelay { $0.streamQueueBytes = 32 * 1024 }
        let wire = StreamWire(try relay.stream(.tcp, receiveBufferBytes: 4096))
        let client = try RelayClient(wire)
        let relayed = try client.allocate()
        let peer = try DatagramEnd()
        try client.bindChannel(0x4000, to: peer.localAddress)
        var sent = 0
        let overflows = eventually {
            for _ in 0..<100 { peer.send([UInt8](repeating: 1, count: 1000), to: relayed) }
            sent += 100
            return relay.service.snapshot.drops[RelayDrop.slowStream.rawValue, default: 0] > 0
        }
        try #require(overflows)
        let refresh = try client.request(.refresh, [.lifetime(900)])
        #expect(refresh.code == 0 && refresh.lifetime == 900)
        let heard = client.waitingArrivals
        #expect(heard < sent)
        // Once it reads again, media flows again.
        peer.send([2], to: relayed)
        for _ in 0...sent where try client.nextArrival() == .channel(0x4000, [2]) { return }
        Issue.record("media did not come back")
    }

    @Test(arguments: TestRelay.Path.streams)
    func `the end of a stream is the end of its allocation`(path: TestRelay.Path) throws {
        let relay = try TestRelay()
        let relayed: SocketAddress
        do {
            let client = try relay.client(path)
            relayed = try client.allocate(path.family)
            #expect(eventually { relay.service.snapshot.allocations == 1 })
            #expect(eventually { relay.service.snapshot.streams[path.transport] == 1 })
        }
        #expect(eventually { (try? UDPSocket.checkAvailable(relayed)) != nil })
        #expect(eventually { relay.service.snapshot.allocations == 0 && relay.service.snapshot.streams.isEmpty })
    }

    @Test(arguments: [TestRelay.Path.tcp, .tls])
    func `a client that has ended its side still gets its answer`(path: TestRelay.Path) throws {
        let relay = try TestRelay()
        let stream = try relay.stream(path)
        let client = try RelayClient(StreamWire(stream))
        let binding = try client.message(.binding, authenticates: false)
        try stream.send(binding)
        stream.finish()
        #expect(try client.response(to: binding).code == 0)
        #expect(try stream.receive() == nil)
    }

    @Test func `a stream that says nothing is closed`() throws {
        let relay = try TestRelay { $0.firstMessageTime = .milliseconds(100) }
        #expect(try relay.stream().receive() == nil)
        #expect(relay.dropped(.silentStream))
    }

    @Test func `a stream with half a message is closed`() throws {
        let relay = try TestRelay { $0.firstMessageTime = .milliseconds(100) }
        let stream = try relay.stream()
        try stream.send([0, 1, 0, 0, 0x21, 0x12])
        #expect(try stream.receive() == nil)
    }

    @Test func `a TCP client that never begins TLS is closed`() throws {
        let relay = try TestRelay { $0.firstMessageTime = .milliseconds(100) }
        let stream = try StreamClient(to: relay.address(.tls))
        #expect(try stream.receive() == nil)
        #expect(relay.dropped(.silentStream))
    }

    @Test func `a silent stream is closed, one with an allocation is not`() throws {
        let relay = try TestRelay {
            $0.firstMessageTime = .seconds(2)
            $0.idleTime = .milliseconds(200)
        }
        let busy = try relay.client(.tcp)
        _ = try busy.allocate()
        let idle = try relay.client(.tcp)
        _ = try idle.bind()
        #expect(throws: ClientError.ended) { try idle.nextArrival() }
        // The other one has been silent for longer.
        #expect(try busy.request(.refresh, [.lifetime(0)]).code == 0)
        #expect(throws: ClientError.ended) { try busy.nextArrival() }
        #expect(relay.dropped(.idleStream, 2))
    }

    @Test(
        arguments: [
            [0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x43],  // a magic cookie with one bit more
            [0x16, 3, 1, 2, 0, 1, 0, 1],  // TLS, to the port that speaks none
            [0x80, 0x60, 0, 1], [0xFF],
        ] as [[UInt8]]
    )
    func `what is no STUN ends the stream`(bytes: [UInt8]) throws {
        let relay = try TestRelay()
        let stream = try relay.stream()
        try stream.send(bytes)
        #expect((try? stream.receive()) ?? nil == nil, "closed or reset, but not answered")
        #expect(relay.dropped(.brokenStream))
    }

    @Test func `plain text to the TLS port is refused and counted`() throws {
        let relay = try TestRelay()
        let stream = try StreamClient(to: relay.address(.tls))
        try stream.send(Array("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".utf8))
        #expect(relay.dropped(StreamLobbyDrop.tlsFailure))
    }

    @Test func `one address has only so many streams`() throws {
        let relay = try TestRelay { $0.streamsPerPrefix = 2 }
        let clients = try [relay.client(.tcp), relay.client(.tcp)]
        for client in clients { _ = try client.bind() }
        let third = try relay.stream()
        #expect((try? third.receive()) == .some(nil))
        #expect(relay.dropped(.tooManyStreamsOfPrefix))
        for client in clients { #expect(try client.bind().code == 0) }
    }

    @Test func `streams in all are bounded`() throws {
        let relay = try TestRelay { $0.streams = 1 }
        let client = try relay.client(.tcp)
        _ = try client.bind()
        #expect((try? relay.stream().receive()) == .some(nil))
        #expect(relay.dropped(.tooManyStreams))
        #expect(try client.bind().code == 0)
    }
}

extension Wire {
    /// Sends pieces of messages: a stream's bytes as they are.
    func send(unpadded bytes: [UInt8]) throws {
        let wire = try #require(self as? StreamWire)
        try wire.stream.send(bytes)
    }
}
