import NetTypes
import STUN
import ServiceTestSupport
import TURN
import TURNServer
import Testing
import Transport

@testable import Relay

@Suite(.eachBackEnd) struct RelayingTests {
    @Test(arguments: TestRelay.Path.all)
    func `a Binding is answered with the address that the client comes from`(path: TestRelay.Path) throws {
        let relay = try TestRelay()
        let client = try relay.client(path)
        let response = try client.bind()
        #expect(response.code == 0)
        #expect(response.mapped == client.localAddress)
    }

    @Test(arguments: TestRelay.Path.all)
    func `indications carry data to a peer and back`(path: TestRelay.Path) throws {
        let relay = try TestRelay()
        let client = try relay.client(path)
        let relayed = try client.allocate(path.family)
        let peer = try DatagramEnd(on: .loopback(path.family))
        try client.permit(peer.localAddress)
        for payload in [Array("to the peer".utf8), [], [UInt8](repeating: 7, count: 1200)] {
            try client.send(payload, to: peer.localAddress)
            let heard = try peer.receive()
            #expect(heard.bytes == payload && heard.source == relayed)
            peer.send(payload + [1], to: relayed)
            #expect(try client.nextArrival() == .data(from: peer.localAddress, payload + [1]))
        }
    }

    @Test(arguments: TestRelay.Path.all)
    func `a channel carries data to a peer and back`(path: TestRelay.Path) throws {
        let relay = try TestRelay()
        let client = try relay.client(path)
        let relayed = try client.allocate(path.family)
        let peer = try DatagramEnd(on: .loopback(path.family))
        try client.bindChannel(0x4001, to: peer.localAddress)
        for count in [0, 1, 2, 3, 4, 1200] {
            let payload = [UInt8](repeating: UInt8(count & 255), count: count)
            try client.send(payload, on: 0x4001)
            let heard = try peer.receive()
            #expect(heard.bytes == payload && heard.source == relayed)
            peer.send(payload + [1], to: relayed)
            #expect(try client.nextArrival() == .channel(0x4001, payload + [1]))
        }
        #expect(eventually { relay.service.snapshot.engines.contains { $0.traffic.packetsToPeers == 6 } })
    }

    @Test func `two clients reach each other through their relayed addresses`() throws {
        let relay = try TestRelay()
        let (alice, bob) = (try relay.client(.tcp), try relay.client(.udp, user: "bob"))
        let (aliceRelayed, bobRelayed) = (try alice.allocate(), try bob.allocate())
        try alice.bindChannel(0x4000, to: bobRelayed)
        try bob.permit(aliceRelayed)
        try alice.send([1, 2, 3], on: 0x4000)
        #expect(try bob.nextArrival() == .data(from: aliceRelayed, [1, 2, 3]))
        try bob.send([4, 5], to: aliceRelayed)
        #expect(try alice.nextArrival() == .channel(0x4000, [4, 5]))
    }

    @Test(arguments: [TestRelay.Path.udp, .tcp])
    func `a wrong password is refused`(path: TestRelay.Path) throws {
        let relay = try TestRelay()
        let client = try relay.client(path, password: "guess")
        #expect(try client.request(.allocate, [.requestedTransport]).code == 401)
        #expect(eventually { relay.service.snapshot.engines.contains { $0.errors(401) == 2 } })
        #expect(relay.service.snapshot.allocations == 0)
    }

    @Test func `a peer without permission is not heard`() throws {
        let relay = try TestRelay()
        let client = try relay.client()
        let relayed = try client.allocate()
        let stranger = try DatagramEnd(on: try #require(IPAddress("127.0.0.3")))
        let peer = try DatagramEnd()
        try client.permit(peer.localAddress)
        // Both arrive at one socket, in this order.
        stranger.send([0], to: relayed)
        peer.send([1], to: relayed)
        #expect(try client.nextArrival() == .data(from: peer.localAddress, [1]))
    }

    @Test func `a peer that nobody listens for ends nothing`() throws {
        let relay = try TestRelay()
        let client = try relay.client()
        let relayed = try client.allocate()
        let peer = try DatagramEnd()
        // Nobody has this port on that address: the kernel answers with ICMP.
        let nobody = SocketAddress(try #require(IPAddress("127.0.0.9")), port: peer.localAddress.port)
        try client.permit(peer.localAddress)
        try client.permit(nobody)
        for round in 0..<20 as Range<UInt8> {
            try client.send([round], to: nobody)
            try client.send([round], to: peer.localAddress)
            #expect(try peer.receive().bytes == [round])
        }
        peer.send([99], to: relayed)
        #expect(try client.nextArrival() == .data(from: peer.localAddress, [99]))
    }

    @Test(arguments: [TestRelay.Path.udp, .tcp, .tls])
    func `datagrams nearly as long as UDP takes are relayed both ways`(path: TestRelay.Path) throws {
        let relay = try TestRelay()
        let client = try relay.client(path)
        let relayed = try client.allocate()
        let peer = try DatagramEnd()
        try client.permit(peer.localAddress)
        let bytes = (0..<60_000).map { UInt8(truncatingIfNeeded: $0 &* 7 ^ $0 >> 8) }
        for _ in 0..<3 {
            try client.send(bytes, to: peer.localAddress)
            #expect(try peer.receive().bytes == bytes)
            peer.send(bytes, to: relayed)
            #expect(try client.nextArrival() == .data(from: peer.localAddress, bytes))
        }
    }

    @Test func `a datagram that is longer than any message is dropped and counted`() throws {
        let relay = try TestRelay { $0.mergesDatagrams = false }
        let client = try relay.client()
        try client.wire.send([UInt8](repeating: 0, count: 4096))
        #expect(relay.dropped(.oversizedDatagram))
        #expect(try client.bind().code == 0)
    }

    @Test func `an allocation that is given up takes its socket along`() throws {
        let relay = try TestRelay()
        let client = try relay.client()
        let relayed = try client.allocate()
        let peer = try DatagramEnd()
        try client.permit(peer.localAddress)
        try client.send([1], to: peer.localAddress)
        #expect(try peer.receive().bytes == [1])
        #expect(throws: SocketError.self) { try UDPSocket.checkAvailable(relayed) }
        let response = try client.request(.refresh, [.lifetime(0)])
        #expect(response.code == 0 && response.lifetime == 0)
        try UDPSocket.checkAvailable(relayed)
    }
}
