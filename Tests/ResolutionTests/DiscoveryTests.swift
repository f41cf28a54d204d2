import NetTypes
import Resolution
import TURN
import Testing

@Suite("RFC 8155: servers that nobody has configured")
struct DiscoveryTests {
    static let records = """
        example.net NAPTR 100 10 - RELAY:turn.udp:turn.tls more.example.net
        more.example.net NAPTR 100 10 S RELAY:turn.udp _turn._udp.example.net
        more.example.net NAPTR 200 10 A RELAY:turn.tls a.example.net
        _turn._udp.example.net SRV 0 0 3478 a.example.net
        a.example.net A 192.0.2.1
        plain.example A 192.0.2.2
        _turn._udp.plain.example SRV 0 0 3478 a.example.net
        """

    private func candidates(_ domain: String) -> [ServerCandidate] {
        var zone = Zone(Self.records)
        guard case .success(let found)? = zone.resolve(ServerQuery(discoveringIn: domain)) else { return [] }
        return found
    }

    @Test func `turn 203: the records of a domain lead to its servers, those with a certificate first`() {
        let servers = ServerDiscovery.servers(candidates("example.net"), of: "example.net")
        #expect(
            servers.map { "\($0.candidate.transport) \($0.candidate.address)" } == [
                "tls 192.0.2.1:5349", "udp 192.0.2.1:3478",
            ]
        )
        // Whatever records have led there, the certificate is for the domain.
        #expect(servers.allSatisfy { $0.candidate.serverName == "example.net" && $0.origin == .domain("example.net") })
    }

    @Test func `turn 203: a domain without NAPTR records of the service has no servers, whatever addresses it has`() {
        #expect(candidates("plain.example").isEmpty)
        #expect(candidates("nothing.example").isEmpty)
        #expect(candidates("no name").isEmpty)
    }

    @Test(arguments: TransportProtocol.allCases, [true, false])
    func `turn 203: nothing is used without proof`(_ transport: TransportProtocol, _ checks: Bool) {
        let address = SocketAddress(IPAddress(ipv4: 0xC000_0201), port: 3478)
        let candidate = ServerCandidate(transport, address, serverName: "example.net")
        let found = DiscoveredServer(candidate, .domain("example.net"))
        let isCertified = checks && (transport == .tls || transport == .dtls)
        let bare = found.proof(checksCertificates: checks, hasCredentials: false)
        let known = found.proof(checksCertificates: checks, hasCredentials: true)
        #expect(bare == (isCertified ? .certificate(domain: "example.net") : nil))
        #expect(known == (isCertified ? .certificate(domain: "example.net") : .integrity))
        let anycast = DiscoveredServer(candidate, .anycast)
        #expect(anycast.proof(checksCertificates: checks, hasCredentials: false) == nil)
        #expect(anycast.proof(checksCertificates: checks, hasCredentials: true) == .integrityAndRedirection)
    }

    @Test func `turn 203: the anycast addresses are those of the registry`() {
        let servers = ServerDiscovery.anycastServers
        #expect(servers.map { "\($0.candidate.address)" } == ["192.0.0.10:3478", "[2001:1::2]:3478"])
        #expect(servers.allSatisfy { $0.candidate.transport == .udp && $0.origin == .anycast })
    }
}
