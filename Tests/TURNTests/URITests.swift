import NetTypes
import STUN
import TURN
import Testing

@Suite("URIs of STUN and TURN servers")
struct URITests {
    @Test(
        arguments: [
            ("turn:example.org", "example.org", 3478, .udp), ("turns:example.org", "example.org", 5349, .tls),
            ("turn:example.org?transport=tcp", "example.org", 3478, .tcp),
            ("turn:example.org:80?transport=udp", "example.org", 80, .udp),
            ("turns:example.org:443?transport=tcp", "example.org", 443, .tls),
            ("TURN:192.0.2.1?TRANSPORT=TCP", "192.0.2.1", 3478, .tcp),
            ("turn:[2001:db8::1]", "2001:db8::1", 3478, .udp), ("turns:[2001:db8::1]:444", "2001:db8::1", 444, .tls),
            ("turns:example.org?transport=udp", "example.org", 5349, .dtls),
            ("turn:my_host.local:1", "my_host.local", 1, .udp),
        ] as [(String, String, UInt16, TransportProtocol)]
    )
    func `a turn URI gives host, port and carrier (turn 197, 200)`(
        text: String,
        host: String,
        port: UInt16,
        carrier: TransportProtocol
    ) throws {
        let uri = try TURNURI(text)
        #expect(uri.host.name == host)
        #expect(uri.port == port)
        #expect(uri.carrier == carrier)
        #expect(try TURNURI(uri.description) == uri)
    }

    @Test(
        arguments: [
            ("turn", .badScheme(expected: "turn: or turns:")),
            ("stun:example.org", .badScheme(expected: "turn: or turns:")),
            ("turn:", .badHost("")), ("turn://example.org", .badHost("//example.org")),
            ("turn:alice@example.org", .badHost("alice@example.org")), ("turn:1.2.3", .badHost("1.2.3")),
            ("turn:[::1", .badHost("[::1")), ("turn:[example.org]", .badHost("example.org")),
            ("turn:[::1]x", .badHost("[::1]x")), ("turn:-x", .badHost("-x")), ("turn:a..b", .badHost("a..b")),
            ("turn:2001:db8::1", .badHost("2001:db8::1")), ("turn:a:", .badPort("")), ("turn:a:0", .badPort("0")),
            ("turn:a:65536", .badPort("65536")), ("turn:a:+1", .badPort("+1")),
            ("turn:a?transport=sctp", .unknownTransport("sctp")), ("turn:a?transport=", .unknownTransport("")),
            ("turn:a?x=y", .trailingText("?x=y")), ("turn:a?", .trailingText("?")),
        ] as [(String, URIError)]
    )
    func `what is no turn URI is refused by its wrong part (turn 200)`(text: String, error: URIError) {
        #expect(throws: error) { try TURNURI(text) }
    }

    @Test func `a stun URI gives host and port (RFC 7064)`() throws {
        #expect(try STUNURI("stun:example.org").port == 3478)
        #expect(try STUNURI("stuns:example.org").port == 5349)
        let uri = try STUNURI("stuns:[2001:db8::1]:1000")
        #expect(uri.isSecure && uri.port == 1000 && uri.host.address?.family == .ipv6)
        #expect(uri.description == "stuns:[2001:db8::1]:1000")
        #expect(throws: URIError.trailingText("?transport=udp")) { try STUNURI("stun:a?transport=udp") }
        #expect(throws: URIError.badScheme(expected: "stun: or stuns:")) { try STUNURI("turn:a") }
    }
}
