import Bytes
import EventLoop
public import NetTypes
public import STUN
import Transport

/// Finds out what kind of NAT is between this host and a server: `NATDiscovery` over real sockets.
public struct NATProbe: Sendable {
    /// The server's first address.
    public var server: SocketAddress
    /// What to find out.
    public var options = NATDiscovery.Options()
    /// Whether to look at the mapping of TCP connections too; the server must listen on all four addresses.
    public var looksAtTCP = false
    /// Is told how many silent flows are waited for, whenever the number changes.
    public var progress: (@Sendable (Int) -> Void)?

    /// Makes a probe of a server.
    public init(_ server: SocketAddress) { self.server = server.unmapped }

    /// Does it all and returns what was found.
    ///
    /// - Throws: A sentence, if there is no socket to be had or no route to the server.
    public func run() throws(InstrumentError) -> NATReport {
        guard let source = NetworkInterfaces.source(toward: server.ip) else {
            throw InstrumentError("no route leads to \(server.ip)")
        }
        let sockets = try NATSockets(count: NATDiscovery.socketCount(options), server.family)
        let locals = sockets.ports.map { SocketAddress(source, port: $0) }
        var discovery = NATDiscovery(server: server, locals: locals, options: options)
        discovery.start(at: MonotonicClock.now())
        var silent = 0
        while let next = discovery.nextTimeout {
            sockets.send(from: &discovery)
            try sockets.wait(until: next)
            let now = MonotonicClock.now()
            sockets.receive(into: &discovery, at: now)
            discovery.handleTimeout(at: now)
            if discovery.silentCount != silent {
                silent = discovery.silentCount
                progress?(silent)
            }
        }
        var report = discovery.report
        if looksAtTCP, let other = discovery.other { report.tcpMapping = try tcpMapping(source, other) }
        return report
    }

    /// The three tests of mapping (RFC 5780 §4.3) over connections from one port.
    private func tcpMapping(
        _ source: IPAddress,
        _ other: SocketAddress
    ) throws(InstrumentError) -> NATFinding<NATMapping> {
        var entropy = Entropy.system
        let local = SocketAddress(source, port: UInt16.random(in: 49_152...65_535, using: &entropy))
        var mapped: [SocketAddress] = []
        for address in [server, SocketAddress(other.ip, port: server.port), other] {
            var target = ServerTarget(address, .tcp)
            target.source = local
            var probe = STUNProbe(target)
            probe.count = 1
            probe.policy.reliableTimeout = .seconds(5)
            guard let seen = try probe.run().mapped else { return .serverLacks("an answer over TCP from \(address)") }
            mapped.append(seen)
            if mapped.count == 2, mapped[0] == mapped[1] { return .found(.endpointIndependent) }
        }
        return .found(mapped[1] == mapped[2] ? .addressDependent : .addressAndPortDependent)
    }
}

/// Some UDP sockets and one poller.
private final class NATSockets {
    let ports: [UInt16]
    private let poller: Poller
    private var events: PollEvents
    private var incoming = DatagramReceiveBatch(capacity: 16, payloadCapacity: 2048)
    private var outgoing = DatagramSendBatch(capacity: 64)
    private let sockets: [Box]

    private final class Box {
        let socket: UDPSocket
        init(_ socket: consuming UDPSocket) { self.socket = socket }
    }

    init(count: Int, _ family: AddressFamily) throws(InstrumentError) {
        var options = UDPSocket.Options()
        // What is longer than the path takes is to be fragmented: that is one of the tests.
        options.pathMTUDiscovery = .fragment
        var sockets: [Box] = []
        do throws(SocketError) {
            for _ in 0..<count {
                sockets.append(
                    Box(try UDPSocket(boundTo: SocketAddress(.unspecified(family), port: 0), options: options))
                )
            }
        } catch {
            throw InstrumentError("\(error)")
        }
        do throws(SystemError) {
            let poller = try Poller()
            for (index, box) in sockets.enumerated() {
                try poller.add(box.socket.descriptor, token: UInt64(index), interest: .read)
            }
            self.poller = poller
        } catch {
            throw InstrumentError("\(error)")
        }
        events = PollEvents(capacity: count)
        self.sockets = sockets
        ports = sockets.map { $0.socket.localAddress.port }
    }

    func send(from discovery: inout NATDiscovery) {
        while true {
            var way: (socket: Int, target: SocketAddress)?
            let bytes = buildBytes(capacity: NATDiscovery.maximumMessageByteCount) { output in
                way = discovery.pollTransmit(into: &output)
            }
            guard let way else { break }
            let route = DatagramRoute(sockets[way.socket].socket.handle, to: way.target)
            if outgoing.enqueue(copying: bytes.span, on: route) { continue }
            outgoing.flush()
            _ = outgoing.enqueue(copying: bytes.span, on: route)
        }
        outgoing.flush()
    }

    func wait(until deadline: Instant) throws(InstrumentError) {
        do throws(SystemError) {
            try poller.wait(until: deadline, into: &events)
        } catch {
            throw InstrumentError("\(error)")
        }
    }

    func receive(into discovery: inout NATDiscovery, at now: Instant) {
        for event in events.indices {
            guard let number = Int(exactly: events[event].token) else { continue }
            for index in incoming.receive(from: sockets[number].socket.handle) where !incoming.isTruncated(index) {
                _ = discovery.receive(
                    incoming.payload(of: index),
                    from: incoming.source(of: index),
                    on: number,
                    at: now
                )
            }
            incoming.removeAll()
        }
    }
}
