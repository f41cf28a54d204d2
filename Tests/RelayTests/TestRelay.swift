import Crypto
import Diagnostics
import EventLoop
import NetTypes
import STUN
import ServiceTestSupport
import TURNServer
import Testing
import Transport

@testable import Relay

/// A relay service on loopback ports of its own; ended with its test.
final class TestRelay {
    static let realm = "example.org"
    static func password(of user: String) -> String { "secret of \(user)" }

    /// One of the ways to reach it.
    struct Path: CustomTestStringConvertible, Sendable {
        let transport: TransportProtocol
        let family: AddressFamily

        var testDescription: String { "\(transport) over \(family)" }

        static let all = TransportProtocol.allCases.flatMap { transport in
            AddressFamily.allCases.map { Path(transport: transport, family: $0) }
        }
        static let streams = all.filter(\.transport.isStream)
        static let udp = Path(transport: .udp, family: .ipv4)
        static let tcp = Path(transport: .tcp, family: .ipv4)
        static let tls = Path(transport: .tls, family: .ipv4)
        static let dtls = Path(transport: .dtls, family: .ipv4)
    }

    let service: RelayService
    let configuration: RelayConfiguration
    let identity: Identity

    init(_ change: (inout RelayConfiguration) -> Void = { _ in }) throws {
        let identity = try Self.identity()
        self.identity = identity
        (service, configuration) = try withFreePorts(2) { ports in
            var configuration = try Self.configuration(ports: ports, identity)
            change(&configuration)
            return (try RelayService(configuration, logger: .silent), configuration)
        }
    }

    deinit {
        service.stop()
        service.join()
    }

    static func identity() throws -> Identity {
        try Identity.selfSigned(
            commonName: "localhost",
            dnsNames: ["localhost"],
            validForDays: 2,
            notBefore: Int64(WallClock.unixSeconds()) - 3600
        )
    }

    /// Relays from 127.0.0.2 and ::1 to everything on the loopback; UDP and TCP on the first port, TLS on the second.
    static func configuration(ports: [UInt16], _ identity: Identity) throws -> RelayConfiguration {
        let users = try ["alice", "bob"].map {
            try LongTermCredentials(username: $0, realm: realm, password: password(of: $0))
        }
        let relays = ["127.0.0.2", "::1"].compactMap { IPAddress($0) }.map { RelayAddress(local: $0) }
        let gate = PeerAddressGate(
            allow: ["127.0.0.0/8", "::1/128"].compactMap { IPPrefix($0) },
            relayAddresses: relays
        )
        let credentials = TURNServerCredentials(realm: realm, users: users)
        let server = TURNServerConfiguration(credentials: credentials, relayAddresses: relays, gate: gate)
        var listeners: [RelayConfiguration.Listener] = []
        for family in AddressFamily.allCases {
            let plain = SocketAddress(.loopback(family), port: ports[0])
            let secure = SocketAddress(.loopback(family), port: ports[1])
            listeners += [.init(.udp, plain), .init(.tcp, plain), .init(.tls, secure), .init(.dtls, secure)]
        }
        var configuration = RelayConfiguration(server: server, listeners: listeners)
        configuration.tls = TLSContextHolder(
            try TLSContext(serverIdentities: [identity], applicationProtocols: ["stun.turn"])
        )
        BackEnd.apply(to: &configuration)
        configuration.dtls = try DTLSContext(serverIdentities: [identity], applicationProtocols: ["stun.turn"])
        return configuration
    }

    func address(_ path: Path) throws -> SocketAddress {
        try #require(
            configuration.listeners.first { $0.transport == path.transport && $0.address.family == path.family }
        ).address
    }

    /// A stream to the service; with TLS it trusts `identity`, by default the first certificate.
    func stream(
        _ path: Path = .tcp,
        trusting identity: Identity? = nil,
        receiveBufferBytes: Int32? = nil
    ) throws -> StreamClient {
        let pem = (identity ?? self.identity).certificatePEM
        let tls = try TLSContext(clientTrust: .roots(pem: pem), applicationProtocols: ["stun.turn"])
        return try StreamClient(
            to: address(path),
            tls: path.transport == .tls ? tls : nil,
            receiveBufferBytes: receiveBufferBytes
        )
    }

    func client(_ path: Path = .udp, user: String = "alice", password: String? = nil) throws -> RelayClient {
        try RelayClient(wire(path), user: user, password: password)
    }

    private func wire(_ path: Path) throws -> any Wire {
        switch path.transport {
        case .udp: return try DatagramWire(to: address(path))
        case .tcp, .tls: return StreamWire(try stream(path))
        case .dtls:
            let context = try DTLSContext(
                clientTrust: .roots(pem: identity.certificatePEM),
                applicationProtocols: ["stun.turn"]
            )
            return try SecureWire(to: address(path), context)
        }
    }

    /// Whether the counter of streams dropped before their first byte reaches `count`.
    func dropped(_ reason: StreamLobbyDrop, _ count: UInt64 = 1) -> Bool {
        eventually { service.snapshot.drops[reason.rawValue, default: 0] >= count }
    }

    /// Whether the counter of a driver's drops reaches `count`.
    func dropped(_ reason: RelayDrop, _ count: UInt64 = 1) -> Bool {
        eventually { service.snapshot.drops[reason.rawValue, default: 0] >= count }
    }
}
