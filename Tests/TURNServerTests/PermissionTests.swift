import NetTypes
import STUN
import TURN
import TURNServer
import Testing

@Suite struct PermissionTests {
    let server: TestServer
    let client: TestClient
    let relay: SocketAddress

    init() throws {
        server = try TestServer()
        client = try TestClient(server)
        relay = try client.relay()
    }

    private func arrives(from source: String) -> Bool {
        server.receiveFromPeer([1, 2, 3], at: relay, from: address(source)).bytes != nil
    }

    @Test func `turn 119, 120: a permission is for the address, whatever the port, for exactly 300 s`() throws {
        #expect(!arrives(from: "203.0.113.1:5"))
        #expect(try client.permit("203.0.113.1:0").isSuccess)
        #expect(arrives(from: "203.0.113.1:5") && arrives(from: "203.0.113.1:6"))
        #expect(!arrives(from: "203.0.113.2:5"))
        server.advance(.seconds(299))
        #expect(arrives(from: "203.0.113.1:5"))
        _ = try client.send([1], to: "203.0.113.1:5")
        server.advance(.seconds(1))
        #expect(!arrives(from: "203.0.113.1:5"), "data in either direction refreshes nothing")
        #expect(try client.send([1], to: "203.0.113.1:5") == .ignored(.noPermission))
        let statistics = server.engine.statistics
        #expect(statistics.drops(.noPermission) >= 3)
    }

    @Test func `turn 119: CreatePermission and ChannelBind refresh a permission`() throws {
        try client.permit("203.0.113.1:0")
        server.advance(.seconds(200))
        try client.bind(0x4000, "203.0.113.1:7")
        server.advance(.seconds(200))
        #expect(arrives(from: "203.0.113.1:9"))
        try client.permit("203.0.113.1:0")
        #expect(try client.refresh().isSuccess)
        server.advance(.seconds(299))
        #expect(arrives(from: "203.0.113.1:9"))
    }

    @Test func `turn 121: several addresses in one request, none or a malformed one gets 400`() throws {
        #expect(try client.permit("203.0.113.1:0", "203.0.113.2:0", "203.0.113.1:9").isSuccess)
        #expect(arrives(from: "203.0.113.1:5") && arrives(from: "203.0.113.2:5"))
        let permissions = server.engine.statistics.permissions
        #expect(permissions == 2)
        #expect(try client.permit().code == 400)
        #expect(try client.permit("203.0.113.3:0", "nonsense").code == 400)
        #expect(!arrives(from: "203.0.113.3:5"))
        let odd = STUNMessage.Attribute(.xorPeerAddress, [0, 9, 0, 0, 1, 2, 3, 4])
        #expect(try client.request(.createPermission, [odd]).code == 400)
    }

    @Test func `turn 122: a peer of another family gets 443`() throws {
        #expect(try client.permit("[2001:db8::7]:0").code == 443)
        #expect(try client.permit("203.0.113.3:0", "[2001:db8::7]:0").code == 443)
        #expect(try client.permit("[::ffff:203.0.113.3]:0").code == 443)
        #expect(!arrives(from: "203.0.113.3:5"))
    }

    @Test(arguments: [
        "127.0.0.1:0", "10.0.0.1:0", "169.254.169.254:0", "0.0.0.0:0", "224.0.0.1:0", "198.51.100.99:0",
    ])
    func `turn 123, 124: one forbidden peer gets 403, and none is installed`(peer: String) throws {
        #expect(try client.permit("203.0.113.3:0", peer).code == 403)
        #expect(!arrives(from: "203.0.113.3:5"))
        #expect(try client.bind(0x4000, peer.replacingLast("0", with: "80")).code == 403)
        #expect(try client.send([1], to: peer.replacingLast("0", with: "80")) == .ignored(.noPermission))
    }

    @Test func `turn 157: no form of an IPv4 address inside IPv6 is a peer`() throws {
        let client = try TestClient(server, "198.51.100.1:2")
        _ = try client.relay([.family(2)])
        for peer in [
            "::ffff:127.0.0.1", "::ffff:203.0.113.1", "::127.0.0.1", "64:ff9b::8.8.8.8", "2002:808:808::1", "::1",
        ] {
            #expect(try client.permit("[\(peer)]:0").code == 403)
            #expect(try client.bind(0x4000, "[\(peer)]:80").code == 403)
        }
    }

    @Test func `turn 123: more permissions than the limit get 508, until old ones expire`() throws {
        let server = try TestServer { $0.limits.permissionsPerAllocation = 3 }
        let client = try TestClient(server)
        _ = try client.relay()
        #expect(try client.permit("203.0.113.1:0", "203.0.113.2:0").isSuccess)
        #expect(try client.permit("203.0.113.3:0", "203.0.113.4:0").code == 508)
        #expect(try client.permit("203.0.113.3:0", "203.0.113.2:0").isSuccess)
        #expect(try client.bind(0x4000, "203.0.113.9:1").code == 508)
        #expect(try client.permit("203.0.113.1:0").isSuccess)
        server.advance(.seconds(300))
        #expect(try client.permit("203.0.113.7:0", "203.0.113.8:0", "203.0.113.9:0").isSuccess)
        let permissions = server.engine.statistics.permissions
        #expect(permissions == 3)
        #expect(try client.permit("203.0.113.1:0", "203.0.113.2:0", "203.0.113.3:0", "203.0.113.4:0").code == 508)
    }

    @Test func `permissions of two allocations have nothing to do with each other`() throws {
        let other = try TestClient(server, "198.51.100.1:2")
        let otherRelay = try other.relay()
        try client.permit("203.0.113.1:0")
        #expect(server.receiveFromPeer([1], at: otherRelay, from: address("203.0.113.1:1")) == .dropped(.noPermission))
    }

    @Test func `turn 156: each new peer is told for the log, refreshes are not`() throws {
        try client.permit("203.0.113.1:0")
        try client.permit("203.0.113.1:0", "203.0.113.2:0")
        let peers = server.events.compactMap { event -> IPAddress? in
            guard case .peerPermitted("alice", client.tuple, let peer) = event else { return nil }
            return peer
        }
        #expect(peers == [ip("203.0.113.1"), ip("203.0.113.2")])
    }
}

extension String {
    /// The text with its last character exchanged.
    func replacingLast(_ old: Character, with new: String) -> String {
        last == old ? dropLast() + new : self
    }
}
