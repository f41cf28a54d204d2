import Bytes
import Diagnostics
import EventLoop
import NetTypes
import STUN
import TURNServer
import Testing
import Transport

@testable import Relay

/// NAT behaviour discovery over real sockets, with two addresses of the loopback (RFC 5780).
@Suite(.eachBackEnd) struct RelayDiscoveryTests {
    @Test func `turn 178: the response comes from the address and the port that were asked for`() throws {
        let (first, second) = (TestShard.loopback, IPAddress(ipv4: 0x7F00_0002))
        let any = SocketAddress(first, port: 0)
        // Two ports that are free, which the sockets that have found them give back at once.
        let ports = try {
            (try UDPSocket(boundTo: any).localAddress.port, try UDPSocket(boundTo: any).localAddress.port)
        }()
        try #require(ports.0 != ports.1)
        var shard = try TestShard {
            $0.server.discovery = [
                DiscoveryAddresses(
                    RelayAddress(local: first),
                    RelayAddress(local: second),
                    firstPort: ports.0,
                    secondPort: ports.1
                )
            ]
            $0.listeners = [ports.0, ports.1].map { .init(.udp, SocketAddress(.unspecified(.ipv4), port: $0)) }
        }
        let client = try UDPSocket(boundTo: any)
        var sent = DatagramSendBatch(capacity: 4)
        var received = DatagramReceiveBatch(capacity: 4)
        for (flags, expected) in [
            (0, SocketAddress(first, port: ports.0)), (4, SocketAddress(second, port: ports.0)),
            (2, SocketAddress(first, port: ports.1)), (6, SocketAddress(second, port: ports.1)),
        ] as [(UInt8, SocketAddress)] {
            let request = try STUNMessage(
                STUNMessageType(.binding, .request),
                TransactionID(high: 1, low: 1),
                attributes: [.init(.changeRequest, [0, 0, 0, flags])]
            ).encoded()
            let route = DatagramRoute(client.handle, to: SocketAddress(first, port: ports.0))
            let isQueued = sent.enqueue(copying: request.span, on: route)
            #expect(isQueued)
            sent.flush()
            received.removeAll()
            try shard.work { _ in
                _ = received.receive(from: client.handle)
                return received.count == 1
            }
            let source = received.source(of: 0)
            let origin = try STUNMessageView(received.payload(of: 0)).responseOrigin()
            #expect(source == expected && origin == expected)
        }
    }
}
