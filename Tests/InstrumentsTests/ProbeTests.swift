import Crypto
import Diagnostics
import EventLoop
import NetTypes
import Relay
import Resolution
import STUN
import TURN
import TURNServer
import Testing
import Transport

@testable import Instruments

/// A relay on the loopback for the time of one test.
private final class LoopbackRelay {
    let plain: SocketAddress
    let secure: SocketAddress
    let tls: TLSContext
    let dtls: DTLSContext
    private let service: RelayService

    init(_ change: (inout TURNServerConfiguration) -> Void = { _ in }) throws {
        let ip = IPAddress.loopback(.ipv4)
        let user = try LongTermCredentials(username: "alice", realm: "example.org", password: "wonderland")
        let relays = [RelayAddress(local: ip)]
        var server = TURNServerConfiguration(
            credentials: TURNServerCredentials(realm: "example.org", users: [user]),
            relayAddresses: relays,
            gate: PeerAddressGate(relayAddresses: relays, serverAddresses: [ip])
        )
        change(&server)
        let identity = try Identity.selfSigned(
            commonName: "localhost",
            dnsNames: ["localhost"],
            ipAddresses: [ip],
            validForDays: 2,
            notBefore: Int64(WallClock.unixSeconds()) - 3600
        )
        let serverTLS = try TLSContext(serverIdentities: [identity], applicationProtocols: ["stun.turn"])
        tls = try TLSContext(
            clientTrust: .roots(pem: identity.certificatePEM),
            applicationProtocols: ["stun.turn"]
        )
        let serverDTLS = try DTLSContext(serverIdentities: [identity], applicationProtocols: ["stun.turn"])
        dtls = try DTLSContext(
            clientTrust: .roots(pem: identity.certificatePEM),
            applicationProtocols: ["stun.turn"]
        )
        // A port that is free now may be taken when it is to be used: another pair will do.
        var attempts = 0
        while true {
            let plain = SocketAddress(ip, port: try Self.freePort())
            let secure = SocketAddress(ip, port: try Self.freePort())
            var configuration = RelayConfiguration(
                server: server,
                listeners: [.init(.udp, plain), .init(.tcp, plain), .init(.tls, secure), .init(.dtls, secure)]
            )
            configuration.tls = TLSContextHolder(serverTLS)
            configuration.dtls = serverDTLS
            do {
                service = try RelayService(configuration, logger: .silent)
                self.plain = plain
                self.secure = secure
                return
            } catch let error as SocketError where error.isAddressInUse && attempts < 20 {
                attempts += 1
            }
        }
    }

    deinit {
        service.stop()
        service.join()
    }

    func target(_ transport: TransportProtocol) -> ServerTarget {
        switch transport {
        case .udp, .tcp: ServerTarget(plain, transport)
        case .tls: ServerTarget(secure, transport, tls: TLSChoice(.tls(tls), serverName: "localhost"))
        case .dtls: ServerTarget(secure, transport, tls: TLSChoice(.dtls(dtls), serverName: "localhost"))
        }
    }

    private static func freePort() throws -> UInt16 {
        try UDPSocket(boundTo: SocketAddress(.loopback(.ipv4), port: 0)).localAddress.port
    }
}

@Suite(.serialized) struct ProbeTests {
    @Test(arguments: TransportProtocol.allCases)
    func `a server tells our address and answers every query`(transport: TransportProtocol) throws {
        let relay = try LoopbackRelay()
        let report = try STUNProbe(relay.target(transport)).run()
        #expect(report.mapped?.ip == .loopback(.ipv4))
        #expect(report.answers.count == 5)
        #expect(report.failures.isEmpty && report.connectionFailure == nil)
    }

    @Test(arguments: TransportProtocol.allCases)
    func `turn 201: data and a file go from one allocation to the other`(transport: TransportProtocol) throws {
        let relay = try LoopbackRelay()
        var probe = TURNProbe(relay.target(transport), .password("wonderland", username: "alice"))
        probe.file = (0..<300_000).map { UInt8(truncatingIfNeeded: $0 &* 31 >> 3) }
        let report = try probe.run()
        #expect(report.failure == nil)
        #expect(report.allocation?.relayed.first?.ip == .loopback(.ipv4))
        #expect(report.second?.relayed.first != report.allocation?.relayed.first)
        #expect(report.sent == 5)
        #expect(!report.roundTrips.isEmpty)
        #expect(report.transfer?.isIntact == true)
        #expect(report.transfer?.digest == MessageDigest.sha256(probe.file ?? []))
        #expect(report.transfer?.byteCount == 300_000)
    }

    @Test(arguments: [TransportProtocol.tcp, .tls])
    func `turn 175: a connection between two TCP allocations carries data both ways`(
        transport: TransportProtocol
    ) throws {
        let relay = try LoopbackRelay { $0.relaysTCP = true }
        var probe = TURNProbe(relay.target(transport), .password("wonderland", username: "alice"))
        probe.relaysConnections = true
        let report = try probe.run()
        #expect(report.failure == nil)
        #expect(report.sent == 5 && report.roundTrips.count == 5)
        probe.target = relay.target(.udp)
        #expect(try probe.run().failure == "connections are relayed only to who is connected over TCP or TLS")
        // A server that does not offer it says so.
        let plain = try LoopbackRelay()
        probe.target = plain.target(.tcp)
        #expect(try probe.run().failure?.hasPrefix("the server refused: 442") == true)
    }

    @Test func `turn 115: where UDP is not answered the same server is tried over TCP`() throws {
        let relay = try LoopbackRelay()
        // A socket that reads nothing.
        let deaf = try UDPSocket(boundTo: SocketAddress(.loopback(.ipv4), port: 0))
        var probe = TURNProbe(ServerTarget(deaf.localAddress, .udp), .password("wonderland", username: "alice"))
        probe.policy.requestCount = 1
        probe.policy.lastWaitFactor = 1
        #expect(try probe.run().failure == "no answer came")
        probe.fallbacks = [relay.target(.tcp)]
        let report = try probe.run()
        #expect(report.failure == nil && report.transport == .tcp && report.server == relay.plain)
        #expect(report.roundTrips.count == 5)
    }

    @Test func `turn 115: a server without room is left alone, and the next one is asked`() throws {
        let full = try LoopbackRelay { $0.limits.allocationsPerUser = 1 }
        var probe = TURNProbe(full.target(.udp), .password("wonderland", username: "alice"))
        // The first of its two allocations fits.
        let failure = try #require(try probe.run().failure)
        #expect(failure.hasPrefix("the server refused: 486") && failure.hasSuffix("try again in 60 s"))
        let none = try LoopbackRelay { $0.limits.allocationsPerUser = 0 }
        let roomy = try LoopbackRelay()
        probe.target = none.target(.udp)
        probe.fallbacks = [roomy.target(.udp)]
        let report = try probe.run()
        #expect(report.failure == nil && report.server == roomy.plain)
    }

    @Test func `a wrong password is said to be one`() throws {
        let relay = try LoopbackRelay()
        let report = try TURNProbe(relay.target(.udp), .password("queen", username: "alice")).run()
        #expect(report.failure == "the server does not accept the credentials")
        #expect(report.allocation == nil)
    }

    @Test func `turn 22: a certificate that is not trusted ends the connection before a word is said`() throws {
        let relay = try LoopbackRelay()
        var target = relay.target(.tls)
        target.tls = TLSChoice(.tls(try TLSContext(clientTrust: .system)), serverName: "localhost")
        let report = try STUNProbe(target).run()
        #expect(report.answers.isEmpty)
        #expect(report.failures == [.transaction(.transportFailed)])
        #expect(report.connectionFailure?.isEmpty == false)
    }

    @Test func `where nobody listens the connection is refused`() throws {
        let port = try UDPSocket(boundTo: SocketAddress(.loopback(.ipv4), port: 0)).localAddress.port
        let target = ServerTarget(SocketAddress(.loopback(.ipv4), port: port), .tcp)
        let report = try TURNProbe(target, .password("wonderland", username: "alice")).run()
        #expect(report.failure == "connection refused")
    }

    @Test func `turn 202: of several addresses the one that answers wins, whoever is first in the list`() throws {
        let relay = try LoopbackRelay()
        let dead = SocketAddress(IPAddress(ipv4: 0x7FFF_FFFE), port: 9)
        for transport in TransportProtocol.allCases {
            let good = relay.target(transport)
            var race = ServerRace([ServerTarget(dead, transport, tls: good.tls), good])
            race.delay = .milliseconds(20)
            #expect(try race.winner()?.address == good.address)
        }
        #expect(try ServerRace([]).winner() == nil)
        let closed = ServerTarget(dead, .tcp)
        #expect(try ServerRace([closed, closed]).winner()?.address == dead, "the first one has to say why")
    }

    @Test func `a name is looked up, an address is its own`() throws {
        let named = try ServerTarget.find(ServerQuery(try STUNURI("stun:localhost:99"), over: .udp), tls: nil)
        #expect(!named.isEmpty && named.allSatisfy { $0.address.ip.isLoopback && $0.address.port == 99 })
        let literal = try ServerTarget.find(
            ServerQuery(try TURNURI("turn:192.0.2.7?transport=tcp"), supported: [.tcp]),
            tls: nil
        )
        #expect(literal.map(\.address) == [SocketAddress(IPAddress(ipv4: 0xC000_0207), port: 3478)])
        let nonsense = ServerQuery(STUNURI(URIHost("no such name")), over: .udp)
        #expect(throws: InstrumentError("'no such name' is no name that can be looked up")) {
            try ServerTarget.find(nonsense, tls: nil)
        }
    }
}
