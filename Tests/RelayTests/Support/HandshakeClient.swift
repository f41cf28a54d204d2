import Bytes
import Crypto
import Diagnostics
import EventLoop
import NetTypes
import Testing

@testable import Relay

/// A DTLS client that goes on with its handshake only as far as it is told to.
final class HandshakeClient {
    let end: DatagramEnd
    let server: SocketAddress
    private var session: DTLSSession
    private(set) var lastHello: [UInt8] = []

    init(to server: SocketAddress, from end: DatagramEnd? = nil, address: IPAddress = .loopback(.ipv4)) throws {
        self.end = try end ?? DatagramEnd(on: address)
        self.server = server
        session = DTLSSession(
            client: try DTLSContext(clientTrust: .anything),
            serverName: "localhost",
            at: MonotonicClock.now()
        )
    }

    var isEstablished: Bool { session.isEstablished }

    /// Sends what the session wants to send.
    func transmit() {
        while true {
            var isWritten = false
            let bytes = [UInt8](capacity: 2048) { isWritten = session.pollTransmit(into: &$0) }
            guard isWritten else { return }
            lastHello = bytes
            end.send(bytes, to: server)
        }
    }

    /// Sends the last datagram of the session once more.
    func repeatLast() { end.send(lastHello, to: server) }

    /// Takes one datagram of the server; returns its message, if there is one.
    @discardableResult
    func receive() throws -> [UInt8]? {
        let datagram = try end.receive().bytes
        let message = [UInt8](capacity: 2048) {
            _ = session.receive(datagram.span, at: MonotonicClock.now(), into: &$0)
        }
        return message.isEmpty ? nil : message
    }

    func send(_ message: [UInt8]) {
        var isWritten = false
        let datagram = [UInt8](capacity: message.count + DTLSSession.overheadByteCount) {
            isWritten = session.write(message.span, into: &$0)
        }
        #expect(isWritten)
        end.send(datagram, to: server)
    }

    /// Says goodbye.
    func close() {
        session.close()
        transmit()
    }
}

extension TestShard {
    /// Lets clients of DTLS in as well.
    static func addDTLS(to configuration: inout RelayConfiguration) {
        do {
            let identity = try Identity.selfSigned(
                commonName: "localhost",
                dnsNames: ["localhost"],
                validForDays: 2,
                notBefore: Int64(WallClock.unixSeconds()) - 3600
            )
            configuration.dtls = try DTLSContext(serverIdentities: [identity])
        } catch {
            Issue.record("no identity: \(error)")
        }
    }

    /// Brings a client as far as a half-open handshake: its cookie is accepted, and then it says nothing more.
    mutating func halfOpen(_ client: HandshakeClient) throws {
        let answered = shard.associations.statistics.answeredHellos
        client.transmit()
        try work { $0.associations.statistics.answeredHellos > answered }
        try client.receive()
        let before = shard.associations.statistics
        let dropped = shard.drops.total
        client.transmit()
        try work { $0.associations.statistics.halfOpen > before.halfOpen || $0.drops.total > dropped }
    }

    /// Completes a client's handshake.
    mutating func establish(_ client: HandshakeClient) throws {
        try halfOpen(client)
        try finish(client)
    }

    /// Goes on with a half-open handshake.
    mutating func finish(_ client: HandshakeClient) throws {
        let established = shard.associations.statistics.established
        // The server's flight may take several datagrams; the client answers to the last of them.
        for _ in 0..<4 where shard.associations.statistics.established == established {
            try client.receive()
            client.transmit()
            for _ in 0..<20 where shard.associations.statistics.established == established {
                _ = try shard.turn(until: MonotonicClock.now() + .milliseconds(2))
            }
        }
        while !client.isEstablished { try client.receive() }
    }
}

extension DropCounters {
    /// All drops together.
    var total: UInt64 { all.reduce(0) { $0 + $1.count } }
}
