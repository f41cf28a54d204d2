import Bytes
import Crypto
import EventLoop
import NetTypes

/// A client's and a server's DTLS session with nothing between them.
private struct SessionPair: ~Copyable {
    var client: DTLSSession
    var server: DTLSSession
    private var datagram: [UInt8] = []
    private var message: [UInt8] = []

    init() throws {
        let identity = try Identity.selfSigned(
            commonName: "localhost",
            dnsNames: ["localhost"],
            validForDays: 2,
            notBefore: Int64(WallClock.unixSeconds()) - 3600
        )
        let now = Instant.zero + .seconds(100)
        var entropy = Entropy.seeded(1)
        let cookies = DTLSCookies(entropy: &entropy)
        let address = SocketAddress(.loopback(.ipv4), port: 5349)
        var client = DTLSSession(
            client: try DTLSContext(clientTrust: .anything),
            serverName: "localhost",
            at: now
        )
        let first = [UInt8](capacity: 2048) { _ = client.pollTransmit(into: &$0) }
        let demand = [UInt8](capacity: DTLSCookies.answerByteCount) {
            _ = cookies.judge(first.span, from: address, to: address, at: now, answer: &$0)
        }
        _ = [UInt8](capacity: 2048) { _ = client.receive(demand.span, at: now, into: &$0) }
        let second = [UInt8](capacity: 2048) { _ = client.pollTransmit(into: &$0) }
        var server = DTLSSession(
            server: try DTLSContext(serverIdentities: [identity]),
            provenHello: second.span,
            at: now
        )
        datagram.reserveCapacity(2048)
        message.reserveCapacity(2048)
        while server.hasPendingOutput || client.hasPendingOutput {
            let flight = [UInt8](capacity: 2048) { _ = server.pollTransmit(into: &$0) }
            if !flight.isEmpty { _ = [UInt8](capacity: 2048) { _ = client.receive(flight.span, at: now, into: &$0) } }
            let answer = [UInt8](capacity: 2048) { _ = client.pollTransmit(into: &$0) }
            if !answer.isEmpty { _ = [UInt8](capacity: 2048) { _ = server.receive(answer.span, at: now, into: &$0) } }
        }
        self.client = client
        self.server = server
    }

    /// Carries a message from the client to the server; how many bytes came.
    mutating func carry(_ bytes: [UInt8]) -> Int {
        Self.carry(bytes, &client, &server, &datagram, &message)
        return message.count
    }

    // The parts one by one: two of them are changed at a time.
    private static func carry(
        _ bytes: [UInt8],
        _ client: inout DTLSSession,
        _ server: inout DTLSSession,
        _ datagram: inout [UInt8],
        _ message: inout [UInt8]
    ) {
        datagram.removeAll(keepingCapacity: true)
        datagram.append(addingCapacity: 2048) { _ = client.write(bytes.span, into: &$0) }
        message.removeAll(keepingCapacity: true)
        message.append(addingCapacity: 2048) { _ = server.receive(datagram.span, at: .zero, into: &$0) }
    }
}

let secureScenarios = [
    // Ours are none: this is what OpenSSL takes for a record.
    Scenario("DTLS sessions: a message encrypted and decrypted, OpenSSL's own blocks") {
        var pair = try SessionPair()
        let message = [UInt8](repeating: 7, count: 1200)
        return try blocksPerOperation { _ in
            guard pair.carry(message) == 1200 else { throw SetupError("A message was lost.") }
        }
    }
]
