import Bytes
import NetTypes
import STUN
import TURN
import TURNServer
import Testing

@Suite struct DataTests {
    let server: TestServer
    let client: TestClient
    let relay: SocketAddress

    init() throws {
        server = try TestServer()
        client = try TestClient(server)
        relay = try client.relay()
        try client.permit("203.0.113.1:0")
    }

    private func payload(of disposition: ClientDisposition, in message: [UInt8]) -> [UInt8]? {
        guard case .relay(let transmit) = disposition else { return nil }
        return Array(message[transmit.payload])
    }

    @Test(arguments: [0, 1, 3, 4, 5, 1200])
    func `turn 126, 129: the value of DATA goes out from the relayed address`(count: Int) throws {
        let data = (0..<count).map { UInt8(truncatingIfNeeded: $0) }
        let message = try client.indication(.send, [.peer("203.0.113.1:7"), .init(.data, data)])
        guard case .relay(let transmit) = server.receive(message, from: client.tuple) else {
            Issue.record("not relayed")
            return
        }
        #expect(Array(message[transmit.payload]) == data)
        #expect(transmit.destination == address("203.0.113.1:7"))
        #expect(server.sockets[transmit.token]?.local == relay)
        #expect(!transmit.dontFragment)
    }

    @Test func `turn 8: of two peers in a Send the first counts`() throws {
        let disposition = try client.send([1], to: "203.0.113.1:7", [.peer("203.0.113.1:8")])
        guard case .relay(let transmit) = disposition else {
            Issue.record("not relayed")
            return
        }
        #expect(transmit.destination == address("203.0.113.1:7"))
    }

    @Test func `turn 148: DONT-FRAGMENT reaches the driver`() throws {
        guard case .relay(let transmit) = try client.send([1], to: "203.0.113.1:7", [.dontFragment]) else {
            Issue.record("not relayed")
            return
        }
        #expect(transmit.dontFragment)
    }

    @Test func `turn 126 to 128, 158: a Send that is not whole is dropped without an answer`() throws {
        let peer = STUNMessage.Attribute.peer("203.0.113.1:7")
        for attributes in [
            [peer], [.init(.data, [1])], [], [.peer("nonsense"), .init(.data, [1])],
            [.peer("203.0.113.1:0"), .init(.data, [1])],
            [peer, .init(.data, [1]), .init(AttributeType(rawValue: 0x7777), [])],
        ] as [[STUNMessage.Attribute]] {
            let message = try client.indication(.send, attributes)
            #expect(server.receive(message, from: client.tuple) == .ignored(.malformedIndication))
        }
        #expect(try client.send([1], to: "203.0.113.2:7") == .ignored(.noPermission))
        #expect(try client.send([1], to: "[2001:db8::7]:7") == .ignored(.noPermission))
        #expect(server.responses.isEmpty)
    }

    @Test(arguments: [0, 1, 2, 3, 4, 1200])
    func `turn 130: without a channel a peer's datagram becomes a Data indication`(count: Int) throws {
        let data = (0..<count).map { UInt8(truncatingIfNeeded: $0) }
        let arrival = server.receiveFromPeer(data, at: relay, from: address("203.0.113.1:7"))
        let bytes = try #require(arrival.bytes)
        let view = try STUNMessageView(bytes.span)
        #expect(view.type == STUNMessageType(.data, .indication))
        let peer = try view.xorPeerAddress()
        #expect(peer == address("203.0.113.1:7"))
        let message = STUNMessage(view)
        #expect(message.attributes.map(\.type) == [.xorPeerAddress, .data])
        #expect(message.attributes.last?.value == data)
    }

    @Test func `turn 130: IPv6 peers as well`() throws {
        let client = try TestClient(server, "198.51.100.1:2")
        let relay = try client.relay([.family(2)])
        try client.permit("[2001:db8::7]:0")
        let bytes = try #require(server.receiveFromPeer([5], at: relay, from: address("[2001:db8::7]:9")).bytes)
        let view = try STUNMessageView(bytes.span)
        let peer = try view.xorPeerAddress()
        #expect(peer == address("[2001:db8::7]:9"))
    }

    @Test func `each indication has its own transaction`() throws {
        let transactions = try (0..<50).map { _ in
            let bytes = try #require(server.receiveFromPeer([1], at: relay, from: address("203.0.113.1:7")).bytes)
            return try STUNMessage(decoding: bytes.span).transactionID
        }
        #expect(Set(transactions).count == 50)
    }

    @Test func `a dual-stack socket's mapped source is the IPv4 peer`() {
        #expect(server.receiveFromPeer([1], at: relay, from: address("[::ffff:203.0.113.1]:7")).bytes != nil)
        #expect(server.receiveFromPeer([1], at: relay, from: address("[2001:db8::7]:7")) == .dropped(.wrongFamily))
    }

    @Test func `payloads that fit into no message are dropped`() throws {
        let peer = address("203.0.113.1:7")
        #expect(
            server.receiveFromPeer(Array(repeating: 1, count: 65_507), at: relay, from: peer)
                == .dropped(.payloadTooLarge)
        )
        try client.bind(0x4000, "203.0.113.1:7")
        #expect(
            server.receiveFromPeer(Array(repeating: 1, count: 65_507), at: relay, from: peer)
                == .dropped(.payloadTooLarge)
        )
        #expect(
            server.receiveFromPeer(Array(repeating: 1, count: 65_503), at: relay, from: peer).bytes?.count == 65_507
        )
        #expect(client.sendChannelData(Array(repeating: 1, count: 65_508), on: 0x4000) == .ignored(.payloadTooLarge))
    }

    @Test func `a buffer without headroom is refused, not overrun`() throws {
        let id = try #require(server.sockets.values.first).id
        for offset in 0..<36 {
            var packet = [UInt8](repeating: 0, count: offset + 3)
            var span = packet.mutableSpan
            let disposition = server.engine.receiveFromPeer(
                &span,
                payload: offset..<offset + 3,
                relay: id,
                source: address("203.0.113.1:7"),
                at: server.now
            )
            #expect(disposition == .ignored(.noHeadroom))
        }
    }

    @Test func `turn 95, 155: bandwidth is limited for each allocation`() throws {
        let server = try TestServer { $0.limits.bytesPerSecondPerAllocation = 1000 }
        let client = try TestClient(server)
        let relay = try client.relay()
        try client.bind(0x4000, "203.0.113.1:7")
        let sent = (0..<30).count { _ in
            if case .relay = client.sendChannelData(Array(repeating: 0, count: 100), on: 0x4000) { true } else { false }
        }
        #expect(sent == 10)
        #expect(server.receiveFromPeer([1], at: relay, from: address("203.0.113.1:7")) == .dropped(.bandwidthLimit))
        server.advance(.seconds(1))
        #expect(server.receiveFromPeer([1], at: relay, from: address("203.0.113.1:7")).bytes != nil)
        let statistics = server.engine.statistics
        #expect(statistics.traffic.bytesToPeers == 1000 && statistics.traffic.packetsToClient == 1)
        #expect(statistics.drops(.bandwidthLimit) == 21)
    }
}
