import NetTypes
import STUN
import TURN
import TURNServer
import Testing

@Suite struct ChannelTests {
    let server: TestServer
    let client: TestClient
    let relay: SocketAddress

    init() throws {
        server = try TestServer()
        client = try TestClient(server)
        relay = try client.relay()
    }

    @Test(arguments: [0x4000, 0x4001, 0x4FFF] as [UInt16])
    func `turn 135: the whole range of channels can be bound`(number: UInt16) throws {
        #expect(try client.bind(number, "203.0.113.1:7").isSuccess)
        let bytes = try #require(server.receiveFromPeer([9, 8, 7], at: relay, from: address("203.0.113.1:7")).bytes)
        #expect(bytes == [UInt8(number >> 8), UInt8(number & 255), 0, 3, 9, 8, 7], "turn 130")
        guard case .relay(let transmit) = client.sendChannelData([1, 2], on: number) else {
            Issue.record("not relayed")
            return
        }
        #expect(transmit.payload == 4..<6)
        #expect(transmit.destination == address("203.0.113.1:7"))
        #expect(!transmit.dontFragment)
    }

    @Test(arguments: [0, 0x3FFF, 0x5000, 0x7FFF, 0xFFFF] as [UInt16])
    func `turn 135: numbers outside the range get 400`(number: UInt16) throws {
        #expect(try client.bind(number, "203.0.113.1:7").code == 400)
    }

    @Test func `turn 135, 158: what is missing, malformed or without port gets 400`() throws {
        #expect(try client.request(.channelBind, [.channel(0x4000)]).code == 400)
        #expect(try client.request(.channelBind, [.peer("203.0.113.1:7")]).code == 400)
        #expect(
            try client.request(.channelBind, [.init(.channelNumber, [0x40, 0]), .peer("203.0.113.1:7")]).code == 400
        )
        #expect(try client.request(.channelBind, [.channel(0x4000), .peer("nonsense")]).code == 400)
        #expect(try client.bind(0x4000, "203.0.113.1:0").code == 400)
    }

    @Test func `turn 151: reserved bits are ignored`() throws {
        let attributes: [STUNMessage.Attribute] = [.channel(0x4000, reserved: 0xFFFF), .peer("203.0.113.1:7")]
        #expect(try client.request(.channelBind, attributes).isSuccess)
        let other = try TestClient(server, "198.51.100.1:2")
        #expect(try other.request(.allocate, [.word(.requestedTransport, 0x11FF_FFFF)]).isSuccess)
    }

    @Test func `turn 135: a number has one peer, a peer one number`() throws {
        #expect(try client.bind(0x4000, "203.0.113.1:7").isSuccess)
        #expect(try client.bind(0x4000, "203.0.113.1:8").code == 400)
        #expect(try client.bind(0x4001, "203.0.113.1:7").code == 400)
        #expect(try client.bind(0x4001, "203.0.113.1:8").isSuccess)
        #expect(try client.bind(0x4000, "203.0.113.1:7").isSuccess)
        let other = try TestClient(server, "198.51.100.1:2")
        _ = try other.relay()
        #expect(try other.bind(0x4000, "203.0.113.9:9").isSuccess)
    }

    @Test func `turn 136: another family gets 443, a forbidden peer 403, more than the limit 508`() throws {
        #expect(try client.bind(0x4000, "[2001:db8::7]:1").code == 443)
        #expect(try client.bind(0x4000, "127.0.0.1:1").code == 403)
        let server = try TestServer { $0.limits.channelsPerAllocation = 2 }
        let limited = try TestClient(server)
        _ = try limited.relay()
        #expect(try limited.bind(0x4000, "203.0.113.1:1").isSuccess)
        #expect(try limited.bind(0x4001, "203.0.113.1:2").isSuccess)
        #expect(try limited.bind(0x4002, "203.0.113.1:3").code == 508)
        #expect(try limited.bind(0x4001, "203.0.113.1:2").isSuccess)
    }

    @Test func `turn 137: a binding lasts 600 s, ChannelData refreshes nothing`() throws {
        _ = try client.refresh(3600)
        try client.bind(0x4000, "203.0.113.1:7")
        server.advance(.seconds(299))
        _ = client.sendChannelData([1], on: 0x4000)
        #expect(server.receiveFromPeer([1], at: relay, from: address("203.0.113.1:7")).bytes != nil)
        server.advance(.seconds(1))
        #expect(server.receiveFromPeer([1], at: relay, from: address("203.0.113.1:7")) == .dropped(.noPermission))
        server.advance(.seconds(299))
        guard case .relay = client.sendChannelData([1], on: 0x4000) else {
            Issue.record("the binding ended too early")
            return
        }
        server.advance(.seconds(1))
        #expect(client.sendChannelData([1], on: 0x4000) == .ignored(.unboundChannel))
    }

    @Test func `turn 137, 139: rebinding refreshes the binding and the permission`() throws {
        _ = try client.refresh(3600)
        try client.bind(0x4000, "203.0.113.1:7")
        server.advance(.seconds(500))
        #expect(try client.bind(0x4000, "203.0.113.1:7").isSuccess)
        server.advance(.seconds(299))
        #expect(server.receiveFromPeer([1], at: relay, from: address("203.0.113.1:7")).bytes?.first == 0x40)
        server.advance(.seconds(300))
        guard case .relay = client.sendChannelData([1], on: 0x4000) else {
            Issue.record("the binding was not refreshed")
            return
        }
    }

    @Test func `once unbound, number and peer can be bound anew, and nothing old shines through`() throws {
        _ = try client.refresh(3600)
        try client.bind(0x4000, "203.0.113.1:7")
        server.advance(.seconds(600))
        #expect(try client.bind(0x4000, "203.0.113.1:8").isSuccess)
        #expect(try client.bind(0x4001, "203.0.113.1:7").isSuccess)
        let first = server.receiveFromPeer([1], at: relay, from: address("203.0.113.1:7")).bytes
        let second = server.receiveFromPeer([1], at: relay, from: address("203.0.113.1:8")).bytes
        #expect(first?[1] == 1 && second?[1] == 0)
        let channels = server.engine.statistics.channels
        #expect(channels == 2)
        server.advance(.seconds(600))
        #expect(try client.bind(0x4001, "203.0.113.1:8").isSuccess)
        #expect(try client.bind(0x4000, "203.0.113.1:7").isSuccess)
        let after = server.engine.statistics.channels
        #expect(after == 2)
    }

    @Test func `turn 140, 142: padding over UDP and an empty payload are legal`() throws {
        try client.bind(0x4000, "203.0.113.1:7")
        guard case .relay(let padded) = client.sendChannelData([1], on: 0x4000, padding: 3),
            case .relay(let empty) = client.sendChannelData([], on: 0x4000)
        else {
            Issue.record("not relayed")
            return
        }
        #expect(padded.payload == 4..<5)
        #expect(empty.payload == 4..<4)
        #expect(server.receiveFromPeer([], at: relay, from: address("203.0.113.1:7")).bytes == [0x40, 0, 0, 0])
    }

    @Test func `turn 141: reserved, short and unbound messages are dropped`() throws {
        try client.bind(0x4000, "203.0.113.1:7")
        #expect(client.sendChannelData([1], on: 0x5000) == .ignored(.notTURN))
        #expect(client.sendChannelData([1], on: 0x4001) == .ignored(.unboundChannel))
        #expect(server.receive([0x40, 0, 0, 2, 1], from: client.tuple) == .ignored(.truncatedChannelData))
        #expect(server.receive([0x40, 0, 0], from: client.tuple) == .ignored(.notTURN))
    }

    @Test func `turn 140: on streams ChannelData is padded to four`() throws {
        for transport in [TransportProtocol.tcp, .tls] {
            let client = try TestClient(server, "198.51.100.1:3", transport: transport)
            let relay = try client.relay()
            try client.bind(0x4000, "203.0.113.1:7")
            for count in 0...5 {
                let data = Array(repeating: 7 as UInt8, count: count)
                let arrival = server.receiveFromPeer(data, at: relay, from: address("203.0.113.1:7"))
                let padding = Array(repeating: 0 as UInt8, count: (4 - count % 4) % 4)
                #expect(arrival == .delivered(to: client.tuple, [0x40, 0, 0, UInt8(count)] + data + padding))
            }
        }
    }
}
