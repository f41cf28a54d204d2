import Crypto
import Diagnostics
import EventLoop
import NetTypes
import Relay
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

    init() throws {
        let ip = IPAddress.loopback(.ipv4)
        let user = try LongTermCredentials(username: "alice", realm: "example.org", password: "wonderland")
        let relays = [RelayAddress(local: ip)]
        let server = TURNServerConfiguration(
            credentials: TURNServerCredentials(realm: "example.org", users: [user]),
            relayAddresses: relays,
            gate: PeerAddressGate(relayAddresses: relays, serverAddresses: [ip])
        )
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
            configuration.tls = serverTLS
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
    func `data and a file go from one allocation to the other`(transport: TransportProtocol) throws {
        let relay = try LoopbackRelay()
        var probe = TURNProbe(relay.target(transport), username: "alice", password: "wonderland")
        probe.file = (0..<300_000).map { UInt8(truncatingIfNeeded: $0 &* 31 >> 3) }
        let report = try probe.run()
        #expect(report.failure == nil)
        #expect(report.allocation?.relayed.first?.ip == .loopback(.ipv4))
        #expect(report.second?.relayed.first != report.allocation?.relayed.first)
        #expect(report.sent == 5)
        #expect(!report.roundTrips.isEmpty)
        #expect(report.transfer?.isIntact == true)
        #expect(report.transfer?.byteCount == 300_000)
    }

    @Test func `a wrong password is said to be one`() throws {
        let relay = try LoopbackRelay()
        let report = try TURNProbe(relay.target(.udp), username: "alice", password: "queen").run()
        #expect(report.failure == "the server does not accept user name and password")
        #expect(report.allocation == nil)
    }

    @Test func `a certificate that is not trusted ends the connection before a word is said`() throws {
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
        let report = try TURNProbe(target, username: "alice", password: "wonderland").run()
        #expect(report.failure == "connection refused")
    }

    @Test func `a name is looked up, an address is its own`() throws {
        #expect(try HostLookup.addresses(of: "192.0.2.7") == [IPAddress(ipv4: 0xC000_0207)])
        #expect(try HostLookup.addresses(of: "localhost").allSatisfy(\.isLoopback))
        #expect(throws: HostLookup.Failure.self) { try HostLookup.addresses(of: "no such name") }
    }
}
