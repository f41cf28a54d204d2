import Bytes
import Crypto
import Diagnostics
import EventLoop
import NetTypes
import Relay
import STUN
import TURN
import TURNServer
import Testing

@testable import Conformance

/// A relay in this process, on two addresses of the loopback that no other test has, with everything that has rules.
final class TestRelay {
    // Of a length that needs padding.
    static let realm = "conform.tests"
    static let secret = "a secret of tests"
    static let account = ConformanceAccount(username: "alice", password: "wonderland")
    static let other = ConformanceAccount(username: "bob", password: "builder")

    let target: ConformanceTarget
    private let service: RelayService

    /// Starts it; without a secret and access tokens its nonces announce that users may be named by USERHASH.
    init(hasSecret: Bool = true) throws {
        let identity = try Identity.selfSigned(
            commonName: "relay",
            dnsNames: ["localhost"],
            validForDays: 2,
            notBefore: Int64(WallClock.unixSeconds()) - 60
        )
        let tls = try TLSContext(serverIdentities: [identity])
        let dtls = try DTLSContext(serverIdentities: [identity])
        var attempt = 0
        while true {
            let base = UInt32.random(in: 0x7F10_0000...0x7FEF_FF00) & ~0xFF
            let (ip, port) = (IPAddress(ipv4: base + 1), UInt16.random(in: 20_000...29_999))
            let peers = [IPAddress(ipv4: base + 2), IPAddress(ipv4: base + 3)]
            let key = try Self.tokenKey()
            do {
                var configuration = try Self.configuration(ip, port, peers, tls, hasSecret ? key : nil)
                configuration.discover(from: ip, and: IPAddress(ipv4: base + 4), ports: port, port + 2)
                configuration.dtls = dtls
                service = try RelayService(configuration, logger: .silent)
            } catch {
                attempt += 1
                guard attempt < 5 else { throw error }
                continue
            }
            var target = ConformanceTarget(
                address: SocketAddress(ip, port: port),
                account: Self.account,
                peerAddresses: peers
            )
            target.tlsAddress = SocketAddress(ip, port: port + 1)
            target.dtlsAddress = SocketAddress(ip, port: port + 1)
            target.otherAccount = Self.other
            target.secret = hasSecret ? Self.secret : nil
            target.realm = Self.realm
            target.quota = 24
            target.grantSeconds = 900
            target.grant = hasSecret ? try Self.grant(key) : nil
            self.target = target
            return
        }
    }

    deinit {
        service.stop()
        service.join()
    }

    private static func tokenKey() throws -> AccessTokenKey {
        var entropy = Entropy.system
        return try AccessTokenKey(id: "conform", key: entropy.bytes(32), algorithm: .a256gcm)
    }

    private static func grant(_ key: AccessTokenKey) throws -> AccessGrant {
        var entropy = Entropy.system
        let macKey = entropy.bytes(20)
        let now = WallClock.unixSeconds()
        let token = try #require(AccessToken(macKey: macKey, madeAtUnixSeconds: now, lifetimeSeconds: 900))
        let sealed = try #require(key.seal(token, for: realm, nonce: entropy.bytes(12)))
        return try AccessGrant(keyID: key.id, token: sealed, macKey: macKey)
    }

    private static func configuration(
        _ ip: IPAddress,
        _ port: UInt16,
        _ peers: [IPAddress],
        _ tls: TLSContext,
        _ key: AccessTokenKey?
    ) throws -> RelayConfiguration {
        let relays = [
            RelayAddress(local: ip, external: ip), RelayAddress(local: .loopback(.ipv6), external: .loopback(.ipv6)),
        ]
        let credentials = TURNServerCredentials(
            realm: realm,
            users: try [account, other].map {
                try LongTermCredentials(username: $0.username, realm: realm, password: $0.password)
            },
            secrets: key == nil ? [] : [try RESTSecret(Array(secret.utf8))],
            thirdParty: key.map { ThirdPartyAuthorization(serverName: realm, keys: [$0]) }
        )
        let allowed = peers.compactMap { IPPrefix("\($0)/32") }
        var server = TURNServerConfiguration(
            credentials: credentials,
            relayAddresses: relays,
            gate: PeerAddressGate(allow: allowed, relayAddresses: relays, serverAddresses: [ip])
        )
        server.limits.allocationsPerUser = 24
        server.allowsMobility = true
        server.relaysTCP = true
        server.software = "Floe test"
        var configuration = RelayConfiguration(
            server: server,
            listeners: [
                .init(.udp, SocketAddress(ip, port: port)), .init(.tcp, SocketAddress(ip, port: port)),
                .init(.tls, SocketAddress(ip, port: port + 1)), .init(.dtls, SocketAddress(ip, port: port + 1)),
            ]
        )
        configuration.tls = TLSContextHolder(tls)
        return configuration
    }
}

extension RelayConfiguration {
    /// Adds NAT discovery: both addresses at both ports.
    fileprivate mutating func discover(
        from first: IPAddress,
        and second: IPAddress,
        ports firstPort: UInt16,
        _ secondPort: UInt16
    ) {
        server.discovery = [
            DiscoveryAddresses(
                RelayAddress(local: first),
                RelayAddress(local: second),
                firstPort: firstPort,
                secondPort: secondPort
            )
        ]
        listeners += [(first, secondPort), (second, firstPort), (second, secondPort)]
            .map { .init(.udp, SocketAddress($0, port: $1)) }
    }
}

/// A way to the server on which somebody changes what passes: to the suite, a server that is wrong in one thing.
final class MutantWire: Wire {
    private let inner: any Wire
    private let mutant: Mutant
    private var waiting: [[UInt8]] = []

    init(_ inner: any Wire, _ mutant: Mutant) {
        self.inner = inner
        self.mutant = mutant
    }

    var local: SocketAddress { inner.local }
    var isClosed: Bool { inner.isClosed }

    func send(_ bytes: [UInt8]) {
        let (forward, answers) = mutant.send(bytes)
        if let forward { inner.send(forward) }
        waiting += answers
    }

    func receive(until deadline: Instant) -> Arrival? {
        while waiting.isEmpty {
            guard let arrival = inner.receive(until: deadline) else { return nil }
            waiting += mutant.receive(arrival.bytes)
        }
        return Arrival(bytes: waiting.removeFirst(), source: SocketAddress(.loopback(.ipv4), port: 1))
    }
}
