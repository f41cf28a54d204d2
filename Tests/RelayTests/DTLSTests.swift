import Bytes
import Crypto
import Diagnostics
import EventLoop
import NetTypes
import STUN
import ServiceTestSupport
import TURNServer
import Testing
import Transport

@testable import Relay

/// DTLS on the relay's UDP ports: telling it apart, proof before state, limits, ends (RFC 7350).
@Suite(.eachBackEnd) struct DTLSTests {
    private static let binding: [UInt8] = [0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42] + [UInt8](1...12)

    @Test func `STUN and DTLS share a port, whichever it is (turn 144, 196)`() throws {
        let relay = try TestRelay()
        let plain = try DatagramWire(to: relay.address(.dtls))
        #expect(try RelayClient(plain).bind().code == 0)
        let context = try DTLSContext(clientTrust: .roots(pem: relay.identity.certificatePEM))
        let secure = try SecureWire(to: relay.address(.udp), context)
        #expect(try RelayClient(secure).bind().code == 0)
    }

    @Test func `every first byte goes where RFC 7983 says (turn 144)`() throws {
        var shard = try TestShard(TestShard.addDTLS)
        let client = try DatagramEnd()
        let server = try shard.address(.udp)
        for byte in UInt8.min...UInt8.max { client.send([byte] + [UInt8](repeating: 0, count: 30), to: server) }
        try shard.work { $0.drops.total + $0.engine.statistics.drops.reduce(0) { $0 + $1.count } >= 256 }
        #expect(shard.shard.drops[.noAssociation] == 44)
        let drops = Dictionary(shard.shard.engine.statistics.drops.map { ($0.name, $0.count) }, uniquingKeysWith: +)
        // ZRTP, RTP, what is reserved, and without DTLS that as well.
        #expect(drops["notTURN"] == 256 - 44 - 4 - 16)
        #expect(drops["malformedSTUN"] == 4)
    }

    @Test func `without a certificate for it DTLS is dropped as anything else`() throws {
        var shard = try TestShard()
        let client = try HandshakeClient(to: shard.address(.udp))
        client.transmit()
        try shard.work { $0.engine.statistics.drops.contains { $0.name == "notTURN" && $0.count == 1 } }
    }

    // MARK: Nothing before proof

    @Test func `a flood of ClientHellos makes no state, and an honest client is served (turn 196, 211)`() throws {
        var shard = try TestShard(TestShard.addDTLS)
        let server = try shard.address(.udp)
        let flood = try HandshakeClient(to: server)
        flood.transmit()
        for round in 1...20 {
            for _ in 0..<100 { flood.repeatLast() }
            try shard.work { $0.associations.statistics.answeredHellos >= UInt64(round * 100) }
        }
        #expect(shard.shard.associations.pool.count == 0)
        #expect(shard.shard.associations.statistics.halfOpen == 0)
        let honest = try HandshakeClient(to: server)
        try shard.establish(honest)
        #expect(honest.isEstablished)
    }

    @Test func `handshakes from one address are bounded, and other addresses have theirs (turn 211)`() throws {
        var shard = try TestShard {
            TestShard.addDTLS(to: &$0)
            $0.dtlsLimits.handshakesPerPrefix = 3
        }
        let server = try shard.address(.udp)
        let clients = try (0..<4).map { _ in try HandshakeClient(to: server) }
        for client in clients { try shard.halfOpen(client) }
        #expect(shard.shard.associations.statistics.halfOpen == 3)
        #expect(shard.shard.drops[.tooManyHandshakesOfPrefix] == 1)
        let other = try HandshakeClient(to: server, address: IPAddress(ipv4: 0x7F00_0009))
        try shard.establish(other)
        #expect(other.isEstablished)
    }

    @Test func `when handshakes are too many the oldest gives way (turn 211)`() throws {
        var shard = try TestShard {
            TestShard.addDTLS(to: &$0)
            $0.dtlsLimits.handshakes = 2
        }
        let server = try shard.address(.udp)
        let clients = try (1...3).map { try HandshakeClient(to: server, address: IPAddress(ipv4: 0x7F00_0000 + $0)) }
        for client in clients { try shard.halfOpen(client) }
        #expect(shard.shard.associations.statistics.halfOpen == 2)
        #expect(shard.shard.drops[.tooManyHandshakes] == 1)
        let oldest = ClientTuple(transport: .dtls, remote: clients[0].end.localAddress, local: server)
        #expect(shard.shard.associations.handle(of: oldest) == nil)
        let honest = try HandshakeClient(to: server, address: IPAddress(ipv4: 0x7F00_0009))
        try shard.establish(honest)
        #expect(honest.isEstablished)
    }

    @Test func `associations are bounded in all and for each address`() throws {
        var shard = try TestShard {
            TestShard.addDTLS(to: &$0)
            $0.dtlsLimits.associations = 3
            $0.dtlsLimits.associationsPerPrefix = 2
        }
        let server = try shard.address(.udp)
        for _ in 0..<2 { try shard.establish(HandshakeClient(to: server)) }
        try shard.halfOpen(HandshakeClient(to: server))
        #expect(shard.shard.drops[.tooManyAssociationsOfPrefix] == 1)
        try shard.halfOpen(HandshakeClient(to: server, address: IPAddress(ipv4: 0x7F00_0002)))
        try shard.halfOpen(HandshakeClient(to: server, address: IPAddress(ipv4: 0x7F00_0003)))
        #expect(shard.shard.drops[.tooManyAssociations] == 1)
    }

    // MARK: Ends

    @Test func `a handshake that is not finished in time is forgotten`() throws {
        var shard = try TestShard(TestShard.addDTLS)
        try shard.halfOpen(HandshakeClient(to: shard.address(.udp)))
        let start = MonotonicClock.now()
        for second in 0...14 { shard.shard.serveAssociations(at: start + .seconds(UInt64(second))) }
        #expect(shard.shard.associations.pool.count == 1)
        shard.shard.serveAssociations(at: start + .seconds(16))
        #expect(shard.shard.associations.pool.count == 0)
        #expect(shard.shard.drops[.handshakeTimeout] == 1)
    }

    @Test func `an association without an allocation ends when it is silent`() throws {
        var shard = try TestShard(TestShard.addDTLS)
        let server = try shard.address(.udp)
        let (silent, speaker) = (try HandshakeClient(to: server), try HandshakeClient(to: server))
        try shard.establish(silent)
        try shard.establish(speaker)
        speaker.send(Self.binding)
        try shard.work { $0.engine.statistics.successes == 1 }
        let now = MonotonicClock.now()
        shard.shard.serveAssociations(at: now + .seconds(11))
        #expect(shard.shard.associations.pool.count == 1)
        shard.shard.serveAssociations(at: now + .seconds(61))
        #expect(shard.shard.associations.pool.count == 0)
        #expect(shard.shard.drops[.idleAssociation] == 2)
    }

    @Test func `the end of an association is the end of its allocation`() throws {
        let relay = try TestRelay()
        let client = try relay.client(.dtls)
        _ = try client.allocate()
        #expect(eventually { relay.service.snapshot.allocations == 1 })
        (client.wire as? SecureWire)?.close()
        #expect(eventually { relay.service.snapshot.allocations == 0 })
    }

    @Test func `an association with an allocation lives on in silence`() throws {
        let relay = try TestRelay {
            $0.idleTime = .milliseconds(50)
            $0.firstMessageTime = .milliseconds(50)
        }
        let idle = try relay.client(.dtls)
        let busy = try relay.client(.dtls)
        let relayed = try busy.allocate()
        let peer = try DatagramEnd()
        try busy.bindChannel(0x4000, to: peer.localAddress)
        #expect(relay.dropped(.idleAssociation))
        #expect(try idle.wire.receive() == nil, "the client is told")
        peer.send([1, 2, 3], to: relayed)
        #expect(try busy.nextArrival() == .channel(0x4000, [1, 2, 3]))
    }

    @Test func `a client that begins anew from its port replaces its association, which a repeated hello does not`()
        throws
    {
        var shard = try TestShard(TestShard.addDTLS)
        let server = try shard.address(.udp)
        let first = try HandshakeClient(to: server)
        try shard.halfOpen(first)
        let hello = first.lastHello
        try shard.finish(first)
        let tuple = ClientTuple(transport: .dtls, remote: first.end.localAddress, local: server)
        let handle = shard.shard.associations.handle(of: tuple)
        // Late, from the network, once more.
        first.end.send(hello, to: server)
        for _ in 0..<5 { _ = try shard.shard.turn(until: MonotonicClock.now() + .milliseconds(2)) }
        #expect(shard.shard.associations.handle(of: tuple) == handle)
        let second = try HandshakeClient(to: server, from: first.end)
        let answered = shard.shard.associations.statistics.answeredHellos
        second.transmit()
        try shard.work { $0.associations.statistics.answeredHellos > answered }
        while shard.shard.associations.handle(of: tuple) == handle {
            try second.receive()
            second.transmit()
            _ = try shard.shard.turn(until: MonotonicClock.now() + .milliseconds(5))
        }
        #expect(shard.shard.associations.pool.count == 1)
    }

    @Test func `a new certificate is shown to new associations, and the old ones go on`() throws {
        let relay = try TestRelay()
        let old = try relay.client(.dtls)
        let fresh = try TestRelay.identity()
        relay.service.useDTLS(try DTLSContext(serverIdentities: [fresh]))
        let context = try DTLSContext(clientTrust: .roots(pem: fresh.certificatePEM))
        #expect(
            eventually {
                guard let wire = try? SecureWire(to: relay.address(.dtls), context) else { return false }
                return (try? RelayClient(wire).bind().code) == 0
            }
        )
        #expect(try old.bind().code == 0)
    }

    @Test func `messages as long as a record are relayed to and from clients of DTLS; longer ones are counted`() throws
    {
        let relay = try TestRelay()
        let (client, peer) = (try relay.client(.dtls), try DatagramEnd(on: IPAddress(ipv4: 0x7F00_0003)))
        let relayed = try client.allocate()
        try client.bindChannel(0x4000, to: peer.localAddress)
        // Behind the four bytes of ChannelData the last one is 16384 bytes long, which is all that a record takes.
        for count in [1200, 4093, 9000, 16_380] {
            let payload = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 7) }
            try client.send(payload, on: 0x4000)
            #expect(try peer.receive().bytes == payload)
            peer.send(payload, to: relayed)
            #expect(try client.nextArrival() == .channel(0x4000, payload))
        }
        for count in [16_381, 60_000] { peer.send([UInt8](repeating: 1, count: count), to: relayed) }
        #expect(relay.dropped(.oversizedRecord, 2))
        peer.send([2], to: relayed)
        #expect(try client.nextArrival() == .channel(0x4000, [2]))
        #expect(relay.service.snapshot.drops["closedAssociation"] == 0)
    }

    @Test func `a server that stops says goodbye`() throws {
        let relay = try TestRelay()
        let client = try relay.client(.dtls)
        #expect(try client.bind().code == 0)
        relay.service.stop()
        #expect(try client.wire.receive() == nil)
    }
}
