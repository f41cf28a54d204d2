import Bytes
import Diagnostics
import EventLoop
import Glibc
import NetTypes
import STUN
import TURN
import TURNServer
import Testing
import Transport

@testable import Relay
@testable import SocketLookup

/// What only a look-up of sockets has; that it relays as the others do, the other suites show on each back end.
@Suite(.enabled(if: geteuid() == 0, "a look-up of sockets takes privileges")) struct SocketLookupTests {
    private func shard(_ ports: ClosedRange<UInt16> = BackEnd.ownPorts()) throws -> TestShard {
        try TestShard {
            $0.datagramBackEnd = .socketLookup
            $0.server.relayPorts = ports
        }
    }

    @Test func `an allocation opens no socket before it sends, and one then`() throws {
        var shard = try shard()
        let (client, peer) = (try UDPClient(shard.address(.udp)), try UDPClient(shard.address(.udp)))
        let relayed = try client.allocate(&shard)
        try client.bind(0x4000, to: peer.address, &shard)
        peer.send([1], to: relayed)
        #expect(try client.next(&shard) == [0x40, 0, 0, 1, 1])
        // Nobody is bound there: another one could be.
        try UDPSocket.checkAvailable(relayed)
        client.send([0x40, 0, 0, 1, 2])
        #expect(try peer.next(&shard) == [2])
        #expect(throws: SocketError.self) { try UDPSocket.checkAvailable(relayed) }
        try client.delete(&shard)
        try UDPSocket.checkAvailable(relayed)
    }

    @Test func `a port that nobody has been given answers as a closed one`() throws {
        let shard = try shard()
        var options = UDPSocket.Options()
        options.reportsErrors = true
        let peer = try UDPClient(shard.address(.udp), options: options)
        let port = shard.shard.configuration.server.relayPorts.lowerBound
        peer.send([1], to: SocketAddress(TestShard.loopback, port: port))
        let error = peer.socket.handle.nextICMPError()
        #expect(error?.type == 3 && error?.code == 3)
    }

    @Test func `a port that somebody has at the start is never handed out`() throws {
        let ports = BackEnd.ownPorts()
        let first = SocketAddress(TestShard.loopback, port: ports.lowerBound)
        let stranger = try UDPSocket(boundTo: first)
        var shard = try shard(ports.lowerBound...ports.lowerBound + 1)
        let clients = try (0..<2).map { _ in try UDPClient(shard.address(.udp)) }
        #expect(try clients[0].allocate(&shard).port == ports.lowerBound + 1)
        try clients[1].challenge(&shard)
        let answer = try clients[1].request(.allocate, [.init(.requestedTransport, [17, 0, 0, 0])], &shard)
        #expect(answer.type.messageClass == .error)
        clients[0].send([9], to: first)
        var batch = DatagramReceiveBatch(capacity: 1)
        #expect(batch.receive(from: stranger.handle).count == 1)
    }

    @Test(arguments: [true, false])
    func `a listener's port is never handed out, whoever has chosen it`(isChosenBySystem: Bool) throws {
        // The system chooses any of these.
        let ports = isChosenBySystem ? 1024...65_535 : BackEnd.ownPorts()
        let lookup = try PortLookup(addresses: [TestShard.loopback], ports: ports)
        let asked = SocketAddress(TestShard.loopback, port: isChosenBySystem ? 0 : ports.lowerBound)
        let shard = try TestShard {
            $0.server.relayPorts = ports
            $0.listeners = [.init(.udp, asked)]
            $0.portLookup = lookup
        }
        let port = try shard.address(.udp).port
        #expect(ports.contains(port))
        #expect(!lookup.claim(port, of: 0, for: 0))
    }

    @Test func `a port that somebody takes later ends its allocation with the first datagram`() throws {
        var shard = try shard()
        let (client, peer) = (try UDPClient(shard.address(.udp)), try UDPClient(shard.address(.udp)))
        let relayed = try client.allocate(&shard)
        try client.permit(peer.address, &shard)
        let thief = try UDPSocket(boundTo: relayed)
        try client.sendIndication([1], to: peer.address)
        try shard.work { $0.engine.statistics.allocations == 0 }
        let drops = shard.shard.drops.all.first { $0.name == RelayDrop.portTaken.rawValue }?.count
        #expect(drops == 1)
        // What comes to the port is now its own.
        peer.send([2], to: relayed)
        var batch = DatagramReceiveBatch(capacity: 1)
        #expect(batch.receive(from: thief.handle).count == 1)
        // The client finds out, and gets another one.
        let answer = try client.request(.refresh, [], &shard)
        #expect(answer.type.messageClass == .error)
        #expect(try client.allocate(&shard) != relayed)
    }

    @Test func `a port has no new relay while something may wait for the old one`() throws {
        let lookup = try PortLookup(addresses: [TestShard.loopback], ports: BackEnd.ownPorts())
        let port = lookup.ports.lowerBound
        let socket = try lookup.openSocket(of: 0, for: 0, UDPSocket.Options())
        let name = socket.handle
        var receiver = PortReceiver(socket, ports: lookup.ports)
        let relay = SlotHandle(index: 0, generation: 1)
        let peer = try UDPClient(SocketAddress(TestShard.loopback, port: port))
        var batch = DatagramReceiveBatch(capacity: 4)
        let first = receiver.isRested(port)
        #expect(first && lookup.claim(port, of: 0, for: 0))
        receiver.open(port, for: relay)
        peer.send([1])
        lookup.release(port, of: 0)
        receiver.close(port)
        let (owner, isRested) = (receiver.relay(at: port), receiver.isRested(port))
        #expect(owner == nil && !isRested)
        // Nothing more comes for it; what waits has gone when the socket was read to its end.
        peer.send([2])
        let range = batch.receive(from: name)
        #expect(range.count == 1 && batch.hasDrained)
        #expect(batch.destination(of: 0) == SocketAddress(TestShard.loopback, port: port))
        receiver.noteReading(isDrained: batch.hasDrained)
        let isRestedNow = receiver.isRested(port)
        #expect(isRestedNow)
        // And where nothing waits, nothing is waited for.
        receiver.open(port, for: relay)
        receiver.close(port)
        let isRestedAtOnce = receiver.isRested(port)
        #expect(isRestedAtOnce)
    }

    @Test func `a queue that is never empty delays a port only as long as it can hold`() throws {
        let lookup = try PortLookup(addresses: [TestShard.loopback], ports: BackEnd.ownPorts())
        let port = lookup.ports.lowerBound
        var options = UDPSocket.Options()
        options.receiveBufferBytes = 64 * 1024
        var receiver = PortReceiver(try lookup.openSocket(of: 0, for: 0, options), ports: lookup.ports)
        _ = lookup.claim(port, of: 0, for: 0)
        try UDPClient(SocketAddress(TestShard.loopback, port: port)).send([1])
        receiver.open(port, for: SlotHandle(index: 0, generation: 1))
        receiver.close(port)
        var readings = 0
        while !receiver.isRested(port), readings < 10_000 {
            receiver.noteReading(isDrained: false)
            readings += 1
        }
        #expect((128...1024).contains(readings))
    }

    @Test func `a port belongs to one thread until that gives it back`() throws {
        let lookup = try PortLookup(addresses: [TestShard.loopback], ports: BackEnd.ownPorts())
        let port = lookup.ports.upperBound
        let first = try lookup.openSocket(of: 0, for: 0, UDPSocket.Options())
        let second = try lookup.openSocket(of: 0, for: 1, UDPSocket.Options())
        let peer = try UDPClient(SocketAddress(TestShard.loopback, port: port))
        #expect(lookup.claim(port, of: 0, for: 0))
        #expect(!lookup.claim(port, of: 0, for: 1))
        peer.send([1])
        lookup.release(port, of: 0)
        #expect(lookup.claim(port, of: 0, for: 1))
        peer.send([2])
        var batch = DatagramReceiveBatch(capacity: 2)
        for (name, bytes) in [(first.handle, [1]), (second.handle, [2])] as [(UDPSocketHandle, [UInt8])] {
            let range = batch.receive(from: name)
            #expect(range.count == 1)
            #expect(batch.payload(of: range.lowerBound).toArray() == bytes)
        }
    }

    @Test(arguments: AddressFamily.allCases)
    func `a thread gets the errors of its own ports, and says which are broken or lost`(family: AddressFamily) throws {
        let local = IPAddress.loopback(family)
        let lookup = try PortLookup(addresses: [local], ports: BackEnd.ownPorts())
        let sources = (0..<3 as Range<UInt16>).map { SocketAddress(local, port: lookup.ports.lowerBound + $0) }
        let peer = SocketAddress(local, port: 9)
        // The first thread's, the second one's, and nobody's.
        #expect(lookup.claim(sources[0].port, of: 0, for: 0) && lookup.claim(sources[1].port, of: 0, for: 1))
        var first = try lookup.openErrors(family, for: 0)
        var second = try lookup.openErrors(family, for: 1)
        for source in sources {
            var error = ForgedError(about: source, to: peer)
            try error.send()
            error.spoil()
            try error.send()
        }
        func check(_ socket: inout PortErrorSocket, _ source: SocketAddress) {
            guard case .error(let quoted) = socket.next() else {
                Issue.record("no error")
                return
            }
            #expect(quoted.source == source && quoted.error.destination == peer)
            let rest = [socket.next(), socket.next()]
            #expect(rest == [.wrongChecksum, .nothing])
        }
        check(&first, sources[0])
        check(&second, sources[1])
        let before = [first.droppedMessages, second.droppedMessages]
        try ForgedError(about: sources[0], to: peer).send(2000)
        var count: UInt64 = 0
        while first.next() != .nothing { count += 1 }
        let after = [first.droppedMessages, second.droppedMessages]
        #expect(before == [0, 0] && after[1] == 0)
        #expect(count > 0 && after[0] > 0)
    }

    @Test func `ICMP errors that are broken or lost are told in the metrics`() throws {
        var shard = try shard()
        let client = try UDPClient(shard.address(.udp))
        let relayed = try client.allocate(&shard)
        var error = ForgedError(about: relayed, to: SocketAddress(TestShard.loopback, port: 9))
        error.spoil()
        try error.send(2000)
        try shard.work { $0.report.snapshot.kernelDrops.ofErrors > 0 }
        try shard.work { $0.drops[.brokenICMP] > 0 }
        let lost = shard.shard.report.snapshot.kernelDrops.ofErrors
        var page = MetricsText()
        shard.shard.report.snapshot.write(to: &page)
        #expect(page.text.contains("floe_turn_kernel_drops_total{socket=\"icmp\"} \(lost)\n"))
    }

    @Test func `bursts for two relays come apart again, in order`() throws {
        var shard = try shard()
        let clients = try (0..<2).map { _ in try UDPClient(shard.address(.udp)) }
        let peer = try UDPClient(shard.address(.udp))
        var sends = DatagramSendBatch(capacity: 64)
        var relayed: [SocketAddress] = []
        for client in clients {
            relayed.append(try client.allocate(&shard))
            try client.bind(0x4000, to: peer.address, &shard)
        }
        for number in 0..<20 as Range<UInt8> {
            for (index, address) in relayed.enumerated() {
                let isQueued = sends.enqueue(
                    copying: [UInt8(index), number].span,
                    on: DatagramRoute(peer.socket.handle, to: address)
                )
                #expect(isQueued)
            }
        }
        sends.flush()
        for (index, client) in clients.enumerated() {
            for number in 0..<20 as Range<UInt8> {
                #expect(try client.next(&shard) == [0x40, 0, 0, 2, UInt8(index), number])
            }
        }
    }

    @Test func `turn 109: a reserved port reaches who shows its token`() throws {
        var shard = try shard()
        let clients = try (0..<2).map { _ in try UDPClient(shard.address(.udp)) }
        let peer = try UDPClient(shard.address(.udp))
        let udp = STUNMessage.Attribute(.requestedTransport, [17, 0, 0, 0])
        try clients[0].challenge(&shard)
        let answer = try clients[0].request(.allocate, [udp, .init(.evenPort, [0x80])], &shard)
        let token = try #require(answer.attributes.first { $0.type == .reservationToken })
        try clients[1].challenge(&shard)
        try clients[1].ask(.allocate, [udp, token])
        let bytes = try clients[1].next(&shard)
        let found = try STUNMessageView(bytes.span).xorRelayedAddress()
        let second = try #require(found)
        try clients[1].bind(0x4000, to: peer.address, &shard)
        peer.send([7], to: second)
        #expect(try clients[1].next(&shard) == [0x40, 0, 0, 1, 7])
    }
}
