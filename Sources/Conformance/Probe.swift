import Crypto
import EventLoop
import NetTypes
import STUN
import Transport

/// One trial of one rule over one transport: it makes clients and peers, and keeps what was sent and what came.
final class Probe {
    /// How the suite's ways to the server may be changed, so that tests can put a wrong server behind a right one.
    typealias Tamper = (any Wire) -> any Wire

    let target: ConformanceTarget
    let transport: TransportProtocol
    private let tls: TLSContext?
    private let tamper: Tamper?
    private let ports: UsedPorts
    private var clients: [Client] = []
    private(set) var lastSent = ""
    private(set) var lastCame = ""
    /// How many things were looked at that could have been wrong: a rule that looked at none has not passed.
    private(set) var observations = 0

    init(
        _ target: ConformanceTarget,
        _ transport: TransportProtocol,
        tls: TLSContext?,
        ports: UsedPorts,
        tamper: Tamper? = nil
    ) {
        self.target = target
        self.ports = ports
        self.transport = transport
        self.tls = tls
        self.tamper = tamper
    }

    func noteSent(_ what: String) { (lastSent, lastCame) = (what, "nothing") }
    func noteCame(_ what: String) { lastCame = what }

    // MARK: Observations

    /// Says that something must hold; if not, the rule has failed.
    func expect(_ condition: Bool, _ complaint: @autoclosure () -> String) throws(Finding) {
        observations += 1
        if !condition { throw .failed(complaint()) }
    }

    /// Says that the server must refuse with one of these codes.
    func expect(_ reply: Reply, error codes: UInt16...) throws(Finding) {
        let due = codes.map(String.init).joined(separator: " or ")
        try expect(reply.messageClass == .error, "\(due) was due, \(reply.name) came")
        try expect(reply.errorCode.map(codes.contains) ?? false, "\(due) was due, \(reply.name) came")
    }

    /// Says that the server must agree.
    func expectSuccess(_ reply: Reply) throws(Finding) {
        try expect(reply.messageClass == .success, "success was due, \(reply.name) came")
    }

    /// Says what must be so for the rule to mean anything here.
    func require(_ condition: Bool, _ reason: @autoclosure () -> String) throws(Finding) {
        if !condition { throw .notApplicable(reason()) }
    }

    /// Carries out what a rule presupposes: what fails there blocks the rule.
    func setUp<Value>(_ what: String, _ body: () throws(Finding) -> Value) throws(Finding) -> Value {
        let before = observations
        defer { observations = before }
        do {
            return try body()
        } catch {
            guard case .failed(let reason) = error else { throw error }
            throw .blocked("\(what): \(reason)")
        }
    }

    // MARK: Clients and peers

    /// Makes a client of this trial's transport, or of another.
    func client(
        over transport: TransportProtocol? = nil,
        from ip: IPAddress? = nil,
        port: UInt16 = 0
    ) throws(Finding) -> Client {
        let transport = transport ?? self.transport
        guard let server = target.address(for: transport) else {
            throw .notApplicable("the server has no address for \(transport)")
        }
        guard let source = ip ?? NetworkInterfaces.source(toward: server.ip) else {
            throw .blocked("no route leads to \(server.ip)")
        }
        var wire: any Wire
        do throws(WireFailure) {
            wire = try open(transport, at: SocketAddress(source, port: port), to: server)
        } catch {
            throw .blocked("cannot reach \(server) over \(transport): \(error.reason)")
        }
        if let tamper { wire = tamper(wire) }
        let client = Client(self, wire, server: server, transport: transport)
        clients.append(client)
        return client
    }

    private func open(
        _ transport: TransportProtocol,
        at local: SocketAddress,
        to server: SocketAddress
    ) throws(WireFailure) -> any Wire {
        if transport == .dtls {
            return try SecureDatagramWire(
                at: local,
                to: server,
                serverName: target.serverName,
                until: MonotonicClock.now() + target.answerTime
            )
        }
        guard transport.isStream else {
            var wire = try DatagramWire(at: local, to: server)
            // A server may remember for a while who has been at a port; TCP's own rules keep streams apart.
            while local.port == 0, !ports.isNew(wire.local.port) { wire = try DatagramWire(at: local, to: server) }
            return wire
        }
        return try StreamWire(
            at: local.port == 0 && local.ip.isLoopback == server.ip.isLoopback ? nil : local,
            to: server,
            tls: transport == .tls ? tls : nil,
            serverName: target.serverName,
            until: MonotonicClock.now() + target.answerTime
        )
    }

    /// Makes a peer at the first address, or at another one so that permissions can tell them apart.
    func peer(at index: Int = 0) throws(Finding) -> Peer {
        guard index < target.peerAddresses.count else {
            throw .notApplicable("it needs peers at two addresses: give --peer-address twice")
        }
        do throws(WireFailure) {
            return Peer(self, try DatagramWire(at: SocketAddress(target.peerAddresses[index], port: 0)))
        } catch {
            throw .blocked("no peer at \(target.peerAddresses[index]): \(error.reason)")
        }
    }

    /// Frees what the trial has made on the server.
    func close() {
        for client in clients { client.close() }
        clients = []
    }
}

/// The ports that clients over UDP have had in one run: each trial begins with one that the server has not seen.
final class UsedPorts {
    private var ports: Set<UInt16> = []

    /// Whether the port was not used before; so it is from now on.
    func isNew(_ port: UInt16) -> Bool {
        // With most of the ephemeral range used up, a repeated one is better than none.
        ports.count > 16_384 || ports.insert(port).inserted
    }
}

/// A host that the relay talks to.
final class Peer {
    private let probe: Probe
    private let wire: DatagramWire

    init(_ probe: Probe, _ wire: DatagramWire) {
        self.probe = probe
        self.wire = wire
    }

    var address: SocketAddress { wire.local }

    func send(_ bytes: [UInt8], to relayed: SocketAddress) {
        probe.noteSent("datagram of \(bytes.count) bytes from the peer \(address) to the relayed address")
        wire.send(bytes, to: relayed)
    }

    /// The next datagram, or `nil` if none comes in the time for answers.
    func receive() -> Arrival? { receive(within: probe.target.answerTime) }

    /// The datagram that must not be there; waits only a little, since something later has arrived already.
    func receiveLate() -> Arrival? { receive(within: probe.target.quietTime) }

    private func receive(within span: TimeSpan) -> Arrival? {
        let arrival = wire.receive(until: MonotonicClock.now() + span)
        let came = arrival.map { "datagram of \($0.bytes.count) bytes at the peer, from \($0.source)" }
        probe.noteCame(came ?? "nothing")
        return arrival
    }
}
