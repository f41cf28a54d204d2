import Connectivity
import ICE
import ICETransport
import PeerTools
import SignalingMessages
import Testing

@Suite struct ServerListTests {
    @Test func `a signaling server does not choose how many servers are used`() {
        let urls = (1...100).flatMap { ["stun:192.0.2.\($0)", "turn:192.0.2.\($0)"] }
        var configuration = ICESessionConfiguration(ICEConfiguration(role: .controlling))
        let servers = urls.map { ICEServer(urls: [$0], username: "u", credential: "p") }
        configuration.use(servers + [ICEServer(urls: urls, username: "u", credential: "p")])
        #expect(configuration.stunServers.count == 16)
        #expect(configuration.turnServers.flatMap(\.uris).count == 16)
    }
}
