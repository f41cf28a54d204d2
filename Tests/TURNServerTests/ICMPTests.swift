import NetTypes
import STUN
import TURN
import TURNServer
import Testing

/// ICMP attributes (RFC 8656 §11.5, §18.13).
@Suite struct ICMPTests {
    let server: TestServer
    let client: TestClient
    let relay: RelayID

    init() throws {
        server = try TestServer()
        client = try TestClient(server)
        _ = try client.relay()
        relay = try #require(server.sockets.values.first?.id)
    }

    private func report(_ type: UInt8, _ code: UInt8, mtu: UInt32 = 0, to peer: String) throws -> Response? {
        let report = ICMPReport(type: type, code: code, errorData: mtu)
        server.engine.receiveICMP(report, relay: relay, destination: address(peer), at: server.now)
        server.drain()
        return try server.takeResponse(to: client.tuple)
    }

    @Test func `turn 132: a Data indication without data, for a destination with permission`() throws {
        #expect(try report(3, 3, to: "203.0.113.1:7") == nil)
        #expect(server.engine.statistics.drops(.noPermission) == 1)
        #expect(try client.permit("203.0.113.1:0").isSuccess)
        let indication = try #require(try report(3, 3, to: "203.0.113.1:7"))
        #expect(indication.message.type == STUNMessageType(.data, .indication))
        #expect(indication.types == [.xorPeerAddress, .icmp])
        let view = try STUNMessageView(indication.bytes.span)
        #expect(try view.xorPeerAddress() == address("203.0.113.1:7"))
        #expect(try view.icmp() == ICMPReport(type: 3, code: 3))
        server.advance(.seconds(300))
        #expect(try report(3, 3, to: "203.0.113.1:7") == nil, "the permission has expired")
    }

    @Test(arguments: [(3, 4, 1280, 1280), (3, 1, 99, 0), (11, 0, 99, 0)] as [(UInt8, UInt8, UInt32, UInt32)])
    func `turn 133: only a packet that was too big has error data`(
        type: UInt8,
        code: UInt8,
        mtu: UInt32,
        expected: UInt32
    ) throws {
        #expect(try client.permit("203.0.113.1:0").isSuccess)
        let value = try #require(try report(type, code, mtu: mtu, to: "203.0.113.1:7"))[.icmp]
        let data = [expected >> 24, expected >> 16, expected >> 8, expected].map { UInt8(truncatingIfNeeded: $0) }
        #expect(value == [0, 0, type, code] + data)
    }

    @Test(arguments: [0, 4, 5, 8, 12] as [UInt8])
    func `turn 132: other types stay here`(type: UInt8) throws {
        #expect(try client.permit("203.0.113.1:0").isSuccess)
        #expect(try report(type, 0, to: "203.0.113.1:7") == nil)
        #expect(server.engine.statistics.drops(.unreportedICMP) == 1)
    }

    @Test func `turn 132: ICMPv6 has types of its own`() throws {
        let server = try TestServer()
        let client = try TestClient(server)
        _ = try client.relay([.family(2)])
        #expect(try client.permit("[2001:db8::9]:0").isSuccess)
        let relay = try #require(server.sockets.values.first?.id)
        for (type, expected) in [(1, true), (2, true), (3, true), (4, false), (11, false)] as [(UInt8, Bool)] {
            let report = ICMPReport(type: type, code: 0, errorData: 1300)
            server.engine.receiveICMP(report, relay: relay, destination: address("[2001:db8::9]:5"), at: server.now)
            server.drain()
            let indication = try server.takeResponse(to: client.tuple)
            #expect((indication != nil) == expected)
            let value = indication?[.icmp].map { Array($0.suffix(2)) }
            if expected { #expect(value == (type == 2 ? [5, 20] : [0, 0])) }
        }
    }

    @Test func `an ICMP message on a relay that is gone is dropped`() throws {
        #expect(try client.permit("203.0.113.1:0").isSuccess)
        #expect(try client.refresh(0).isSuccess)
        #expect(try report(3, 3, to: "203.0.113.1:7") == nil)
        #expect(server.engine.statistics.drops(.unknownRelay) == 1)
    }
}
