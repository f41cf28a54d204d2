import Connectivity
import Diagnostics
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

    init() throws {
        let relays = ["127.0.0.2"].compactMap { IPAddress($0) }.map { RelayAddress(local: $0) }
        let gate = PeerAddressGate(
            allow: ["127.0.0.0/8"].compactMap { IPPrefix($0) },
            relayAddresses: relays
        )
        let user = try LongTermCredentials(username: "alice", realm: "example.org", password: "secret")
        let credentials = TURNServerCredentials(realm: "example.org", users: [user])
        let configuration = TURNServerConfiguration(credentials: credentials, relayAddresses: relays, gate: gate)
        let (service, port) = try withFreePorts(1) { ports in
            let address = SocketAddress(.loopback(.ipv4), port: ports[0])
            let relay = RelayConfiguration(server: configuration, listeners: [.init(.udp, address)])
            return (try RelayService(relay, logger: .silent), ports[0])
        }
        self.service = service
        server = Connectivity.TURNServer(
            [try TURNURI("turn:127.0.0.1:\(port)")],
            username: "alice",
            password: "secret"
        )
    }

    func stop() {
        service.stop()
        service.join()
    }
}
