import Connectivity
import Crypto
import Diagnostics
import EventLoop
import NetTypes
import Relay
import STUN
import ServiceTestSupport
import TURN
import TURNServer

/// Our relay on a loopback port of its own.
final class TestTURN: Sendable {
    private let service: RelayService
    let server: Connectivity.TURNServer
    /// The same server over DTLS, and what its certificate is judged by.
    let secureServer: Connectivity.TURNServer
    let trust: ClientTrust

    init() throws {
        let relays = ["127.0.0.2"].compactMap { IPAddress($0) }.map { RelayAddress(local: $0) }
        let gate = PeerAddressGate(
            allow: ["127.0.0.0/8"].compactMap { IPPrefix($0) },
            relayAddresses: relays
        )
        let user = try LongTermCredentials(username: "alice", realm: "example.org", password: "secret")
        let credentials = TURNServerCredentials(realm: "example.org", users: [user])
        let identity = try Identity.selfSigned(
            commonName: "localhost",
            ipAddresses: [.loopback(.ipv4)],
            validForDays: 2,
            notBefore: Int64(WallClock.unixSeconds()) - 3600
        )
        trust = .roots(pem: identity.certificatePEM)
        let configuration = TURNServerConfiguration(credentials: credentials, relayAddresses: relays, gate: gate)
        let (service, port) = try withFreePorts(1) { ports in
            let address = SocketAddress(.loopback(.ipv4), port: ports[0])
            var relay = RelayConfiguration(server: configuration, listeners: [.init(.udp, address)])
            relay.dtls = try DTLSContext(serverIdentities: [identity], applicationProtocols: ["stun.turn"])
            return (try RelayService(relay, logger: .silent), ports[0])
        }
        self.service = service
        server = Connectivity.TURNServer(
            [try TURNURI("turn:127.0.0.1:\(port)")],
            username: "alice",
            password: "secret"
        )
        secureServer = Connectivity.TURNServer(
            [try TURNURI("turns:127.0.0.1:\(port)?transport=udp")],
            username: "alice",
            password: "secret"
        )
    }

    func stop() {
        service.stop()
        service.join()
    }
}
