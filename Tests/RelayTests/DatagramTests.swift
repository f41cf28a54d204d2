import Bytes
import Diagnostics
import EventLoop
import NetTypes
import STUN
import TURNServer
import Testing
import Transport

@testable import Relay

@Suite(.eachBackEnd) struct RelayDatagramTests {
    @Test func `a client allocates, and data goes both ways, framed and not`() throws {
        var shard = try TestShard()
        let (client, peer) = (try UDPClient(shard.address(.udp)), try UDPClient(shard.address(.udp)))
        let relayed = try client.allocate(&shard)
        try client.permit(peer.address, &shard)
        try client.sendIndication([1, 2, 3], to: peer.address)
        #expect(try peer.next(&shard) == [1, 2, 3])
        peer.send([4, 5], to: relayed)
        let indication = try decode(client.next(&shard))
        #expect(indication.attributes.first { $0.type == .data }?.value == [4, 5])
        try client.bind(0x4001, to: peer.address, &shard)
        client.send([0x40, 1, 0, 0])
        #expect(try peer.next(&shard) == [])
        peer.send([6], to: relayed)
        #expect(try client.next(&shard) == [0x40, 1, 0, 1, 6])
    }

    @Test func `what came for an allocation that ends in the same turn does not reach the next one`()
        throws
    {
        var shard = try TestShard()
        let (client, peer) = (try UDPClient(shard.address(.udp)), try UDPClient(shard.address(.udp)))
        for _ in 0..<20 {
            let relayed = try client.allocate(&shard)
            try client.bind(0x4000, to: peer.address, &shard)
            // Both wait when the turn begins, the end before the datagram.
            try client.ask(.refresh, [.init(.lifetime, [0, 0, 0, 0])])
            peer.send([1], to: relayed)
            var answer = try client.next(&shard)
            // Requests are read last: what had come before the end may still be relayed, and for this allocation alone.
            if answer == [0x40, 0, 0, 1, 1] { answer = try client.next(&shard) }
            #expect(try decode(answer).type.messageClass == .success)
            let relays = shard.shard.relays.count
            #expect(relays == 0)
        }
        let relayed = try client.allocate(&shard)
        try client.bind(0x4000, to: peer.address, &shard)
        peer.send([2], to: relayed)
        #expect(try client.next(&shard) == [0x40, 0, 0, 1, 2])
    }

    /// The option belongs to the socket: what was queued before must leave under the old one, in its order.
    @Test func `datagrams keep their order when only some must not be fragmented`() throws {
        var shard = try TestShard()
        let (client, peer) = (try UDPClient(shard.address(.udp)), try UDPClient(shard.address(.udp)))
        _ = try client.allocate(&shard)
        try client.permit(peer.address, &shard)
        for number in 0..<12 as Range<UInt8> {
            try client.sendIndication([number], to: peer.address, dontFragment: number % 3 == 0)
        }
        for number in 0..<12 as Range<UInt8> { #expect(try peer.next(&shard) == [number]) }
    }

    @Test func `a datagram of any length that UDP carries is relayed, both ways`() throws {
        var shard = try TestShard()
        let (client, peer) = (try UDPClient(shard.address(.udp)), try UDPClient(shard.address(.udp)))
        let relayed = try client.allocate(&shard)
        try client.bind(0x4000, to: peer.address, &shard)
        for count in [2049, 9000, 60_000] {
            let payload = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 7) }
            let header = [0x40, 0, UInt8(count >> 8), UInt8(count & 255)]
            client.send(header + payload)
            #expect(try peer.next(&shard) == payload)
            peer.send(payload, to: relayed)
            #expect(try client.next(&shard) == header + payload)
        }
    }

    @Test func `a datagram that is longer than a buffer is dropped and counted, from either side`() throws {
        // Where nothing is merged, the buffers are short.
        var shard = try TestShard { $0.mergesDatagrams = false }
        let (client, peer) = (try UDPClient(shard.address(.udp)), try UDPClient(shard.address(.udp)))
        let relayed = try client.allocate(&shard)
        try client.bind(0x4000, to: peer.address, &shard)
        client.send([0x40, 0, 0x0B, 0xB8] + Array(repeating: 0, count: 3000))
        peer.send(Array(repeating: 0, count: 3000), to: relayed)
        try shard.work { $0.drops[.oversizedDatagram] == 2 }
        peer.send([1], to: relayed)
        #expect(try client.next(&shard) == [0x40, 0, 0, 1, 1])
    }

    @Test func `what the kernel drops is counted, at listeners at once and at relays when they are closed`() throws {
        var shard = try TestShard {
            $0.listenerBufferBytes = 4096
            $0.relayBufferBytes = 4096
        }
        let (client, peer) = (try UDPClient(shard.address(.udp)), try UDPClient(shard.address(.udp)))
        let relayed = try client.allocate(&shard)
        for _ in 0..<100 {
            client.send(Array(repeating: 0xFF, count: 1000))
            peer.send(Array(repeating: 0xFF, count: 1000), to: relayed)
        }
        try shard.work { $0.report.snapshot.kernelDrops.atListeners > 0 }
        let before = shard.shard.report.snapshot.kernelDrops.atRelays
        #expect((before > 0) == (BackEnd.current == .socketLookup), "a shared socket is open all the time")
        try client.delete(&shard)
        try shard.work { $0.report.snapshot.kernelDrops.atRelays > 0 }
    }

    @Test func `deleting an allocation closes its relay socket at once, with what was queued for it sent`() throws {
        var shard = try TestShard()
        let (client, peer) = (try UDPClient(shard.address(.udp)), try UDPClient(shard.address(.udp)))
        _ = try client.allocate(&shard)
        try client.bind(0x4000, to: peer.address, &shard)
        // All in one batch: the relay's descriptor goes away while a datagram waits in it.
        client.send([0x40, 0, 0, 1, 42])
        try client.ask(.refresh, [.init(.lifetime, [0, 0, 0, 0])])
        #expect(try peer.next(&shard) == [42])
        #expect(try decode(client.next(&shard)).type.messageClass == .success)
        client.send([0x40, 0, 0, 1, 43])
        let (relays, sockets) = (shard.shard.relays.count, shard.shared.livePortCount)
        #expect(relays == 0 && sockets == 0)
        peer.receive()
        #expect(peer.messages.isEmpty)
    }

    @Test(arguments: [true, false])
    func `requests are answered while more data comes than the kernel can keep`(isOnChannel: Bool) throws {
        var shard = try TestShard {
            $0.threads = 1
            $0.listenerBufferBytes = 4096
            $0.mergesDatagrams = false
        }
        let (client, other) = (try UDPClient(shard.address(.udp)), try UDPClient(shard.address(.udp)))
        _ = try client.allocate(&shard)
        let bytes = [UInt8](repeating: 7, count: 1000)
        for _ in 0..<100 {
            if isOnChannel {
                other.send([0x40, 0, 3, 0xE8] + bytes)
            } else {
                try other.sendIndication(bytes, to: other.address)
            }
        }
        // There is no room for one datagram more; the request does not need it.
        try client.ask(.refresh, [.init(.lifetime, [0, 0, 2, 88])])
        #expect(try decode(client.next(&shard)).type.messageClass == .success)
        try shard.work { $0.report.snapshot.kernelDrops.atListeners > 0 }
    }

    @Test func `more requests than one call reads are all answered, beside data and in order`() throws {
        var shard = try TestShard { $0.threads = 1 }
        let (client, peer) = (try UDPClient(shard.address(.udp)), try UDPClient(shard.address(.udp)))
        _ = try client.allocate(&shard)
        try client.bind(0x4000, to: peer.address, &shard)
        for number in 0..<200 as Range<UInt8> {
            client.send([0x40, 0, 0, 1, number])
            try client.ask(.refresh, [.init(.lifetime, [0, 0, 2, 88])])
        }
        for number in 0..<200 as Range<UInt8> {
            #expect(try peer.next(&shard) == [number])
            #expect(try decode(client.next(&shard)).type.messageClass == .success)
        }
    }

    @Test func `a Send indication right behind the request for its permission is relayed`() throws {
        var shard = try TestShard { $0.threads = 1 }
        let (client, peer) = (try UDPClient(shard.address(.udp)), try UDPClient(shard.address(.udp)))
        _ = try client.allocate(&shard)
        // Both wait when the turn begins.
        try client.ask(.createPermission, [.peer(peer.address)])
        try client.sendIndication([42], to: peer.address)
        #expect(try peer.next(&shard) == [42])
        #expect(try decode(client.next(&shard)).type.messageClass == .success)
    }

    @Test func `more packets than a batch holds all arrive`() throws {
        var shard = try TestShard()
        let (client, peer) = (try UDPClient(shard.address(.udp)), try UDPClient(shard.address(.udp)))
        let relayed = try client.allocate(&shard)
        try client.bind(0x4000, to: peer.address, &shard)
        for number in 0..<100 as Range<UInt8> {
            client.send([0x40, 0, 0, 1, number])
            peer.send([number], to: relayed)
        }
        for number in 0..<100 as Range<UInt8> {
            #expect(try peer.next(&shard) == [number])
            #expect(try client.next(&shard) == [0x40, 0, 0, 1, number])
        }
    }

    @Test func `with no port left the client gets 508, and the port is back after the delete`() throws {
        let port = BackEnd.ownPorts().lowerBound
        var shard = try TestShard {
            $0.server.relayPorts = port...port
            $0.server.limits.portAttempts = 0
        }
        let (first, second) = (try UDPClient(shard.address(.udp)), try UDPClient(shard.address(.udp)))
        _ = try first.allocate(&shard)
        second.nonce = first.nonce
        // The nonce is the other's: 438 brings one that fits.
        let transport = STUNMessage.Attribute(.requestedTransport, [17, 0, 0, 0])
        let stale = try second.request(.allocate, [transport], &shard)
        second.nonce = try #require(stale.attributes.first { $0.type == .nonce }).value
        let refusal = try second.request(.allocate, [transport], &shard)
        #expect(refusal.attributes.first { $0.type == .errorCode }?.value == [0, 0, 5, 8])
        try first.delete(&shard)
        #expect(try first.allocate(&shard).port == port)
    }
}
