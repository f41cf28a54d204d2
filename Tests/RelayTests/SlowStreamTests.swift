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

@Suite(.eachBackEnd) struct SlowStreamTests {
    /// A client that does not read, and a peer that sends it numbered datagrams.
    private final class Scene {
        let client: ShardStream
        let peer: UDPClient
        private let relayed: SocketAddress
        private var sent: UInt32 = 0

        init(_ shard: inout TestShard, _ transport: TransportProtocol) throws {
            client = try ShardStream(shard.address(transport), isSecure: transport == .tls)
            try client.establish(&shard)
            relayed = try client.allocate(&shard)
            peer = try UDPClient(shard.address(.udp))
            try client.bind(0x4000, to: peer.address, &shard)
        }

        func send(_ count: Int) {
            for _ in 0..<count {
                sent += 1
                let number = (0..<4).map { UInt8(truncatingIfNeeded: sent >> UInt32(24 - 8 * $0)) }
                peer.send(number + [UInt8](repeating: 7, count: 1196), to: relayed)
            }
        }

        /// Reads until the datagram with the last number has come; the numbers, and how many responses came among them.
        func readAll(_ shard: inout TestShard) throws -> (numbers: [UInt32], responses: [Int]) {
            send(1)
            var numbers: [UInt32] = []
            var responses: [Int] = []
            while numbers.last != sent {
                let message = try client.next(&shard)
                guard message[0] == 0x40 else {
                    responses.append(numbers.count)
                    continue
                }
                #expect(message.count == 1204 && message[8...].allSatisfy { $0 == 7 })
                numbers.append(message.span.bigEndianUInt32(at: 4))
            }
            return (numbers, responses)
        }
    }

    @Test(arguments: [TransportProtocol.tcp, .tls])
    func `turn 213: a slow client loses the oldest media, no control message, and no part of a frame`(
        transport: TransportProtocol
    ) throws {
        var shard = try TestShard {
            TestShard.addTLS(to: &$0)
            $0.streamQueueTime = .seconds(60)
            // More of them are then read in one turn than the peer sends, so that the kernel drops none.
            $0.mergesDatagrams = false
        }
        let scene = try Scene(&shard, transport)
        try shard.work { running in
            scene.send(32)
            return running.drops[.slowStream] > 200
        }
        let request = STUNMessage(STUNMessageType(.binding, .request), .random(using: &scene.client.entropy))
        scene.client.send(try request.encoded())
        let responses = shard.shard.engine.statistics.successes
        try shard.work { $0.engine.statistics.successes > responses }
        let media = shard.shard.streams.handles.first.flatMap { shard.shard.streams.read($0) { $0.media.byteCount } }
        #expect(try #require(media) > 60_000)
        let (numbers, answers) = try scene.readAll(&shard)
        #expect(numbers == numbers.sorted() && Set(numbers).count == numbers.count)
        // The response came before the media that was queued behind the wire.
        #expect(answers.count == 1 && numbers.count - answers[0] > 50)
        // The last ones that were sent came in a row: what was lost is older.
        let newest = numbers.suffix(50)
        #expect(newest.elementsEqual((numbers[numbers.count - 1] - 49)...numbers[numbers.count - 1]))
    }

    @Test func `turn 213: media that has waited too long is dropped, whatever room there is`() throws {
        var shard = try TestShard {
            $0.streamQueueBytes = 16 << 20
            $0.streamQueueTime = .milliseconds(50)
            // More of them are then read in one turn than the peer sends, so that the kernel drops none.
            $0.mergesDatagrams = false
        }
        let scene = try Scene(&shard, .tcp)
        try shard.work { running in
            scene.send(32)
            return running.drops[.staleMedia] > 200
        }
        let tooMany = shard.shard.drops[.slowStream]
        #expect(tooMany == 0)
        // The client reads until nothing waits; what is sent then is in time.
        try shard.work { running in
            scene.client.receive()
            let waiting = running.streams.handles.first.flatMap { handle in
                running.streams.read(handle) { $0.media.byteCount + $0.connection.queuedBytes }
            }
            return waiting == 0
        }
        let (numbers, _) = try scene.readAll(&shard)
        #expect(numbers == numbers.sorted())
    }
}
