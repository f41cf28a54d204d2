import Bytes
import EventLoop
import NetTypes
import STUN
import Synchronization
import Testing
import Transport

@testable import Instruments

@Suite struct PathMTUProbeTests {
    /// A STUN server that answers nothing that came in a packet of more than `limit` bytes.
    private final class Narrow: Sendable {
        let address: SocketAddress
        private let isOver = Mutex(false)

        init(limit: Int) throws {
            let socket = try UDPSocket(boundTo: SocketAddress(.loopback(.ipv4), port: 0))
            address = socket.localAddress
            let box = Box(socket)
            _ = try LoopThread(name: "narrow") { [self] in
                var incoming = DatagramReceiveBatch(capacity: 32)
                var outgoing = DatagramSendBatch(capacity: 32)
                guard let poller = try? Poller() else { return }
                var events = PollEvents(capacity: 1)
                try? poller.add(box.socket.descriptor, token: 0, interest: .read)
                while !isOver.withLock({ $0 }) {
                    try? poller.wait(until: MonotonicClock.now() + .milliseconds(20), into: &events)
                    for index in incoming.receive(from: box.socket.handle) {
                        let bytes = incoming.payload(of: index)
                        guard bytes.count + 28 <= limit, let view = try? STUNMessageView(bytes) else { continue }
                        let answer = STUNMessage(STUNMessageType(.binding, .success), view.transactionID)
                        guard let encoded = try? answer.encoded() else { continue }
                        let route = DatagramRoute(box.socket.handle, to: incoming.source(of: index))
                        _ = outgoing.enqueue(copying: encoded.span, on: route)
                    }
                    incoming.removeAll()
                    outgoing.flush()
                }
            }
        }

        func stop() { isOver.withLock { $0 = true } }
    }

    private final class Box: Sendable {
        let socket: UDPSocket
        init(_ socket: consuming UDPSocket) { self.socket = socket }
    }

    @Test(arguments: [580, 1281, 1399, 1496, 1500])
    func `the longest packet that is answered is found to eight bytes`(_ limit: Int) throws {
        let server = try Narrow(limit: limit)
        defer { server.stop() }
        var probe = PathMTUProbe(server.address)
        probe.patience = .milliseconds(100)
        let report = try probe.run()
        let longest = try #require(report.longest)
        #expect(longest <= limit && longest > limit - PathMTUProbe.precision)
        #expect(report.shortestLost.map { $0 > limit } ?? (limit == PathMTUProbe.limit))
    }

    @Test func `who does not answer is not narrow`() throws {
        let deaf = try UDPSocket(boundTo: SocketAddress(.loopback(.ipv4), port: 0))
        var probe = PathMTUProbe(deaf.localAddress)
        probe.patience = .milliseconds(10)
        #expect(try probe.run().longest == nil)
    }

    @Test(arguments: [AddressFamily.ipv4, .ipv6], [576, 1280, 1500])
    func `a request has the length that is meant`(_ family: AddressFamily, _ size: Int) {
        var entropy = Entropy.seeded(1)
        let request = PathMTUProbe.request(.random(using: &entropy), packet: size, family)
        #expect(request.count + (family == .ipv4 ? 28 : 48) == size)
    }
}
