import Bytes
import NetTypes
import Testing

@testable import Signaling
@testable import SignalingMessages

@Suite("ICE servers")
struct ICEServersTests {
    @Test func `credentials are those of the REST API`() throws {
        let minter = ICEServersMinter(
            secret: "north",
            ttlSeconds: 3600,
            endpoints: ICEServersMinter.Endpoints(tlsPort: 5349)
        )
        let list = try minter.mint(userID: "ada", host: "Turn.Example.ORG:8443", unixSeconds: 1_700_000_000)
        #expect(
            list
                == ICEServerList(
                    iceServers: [
                        ICEServer(urls: ["stun:turn.example.org:3478"]),
                        ICEServer(
                            urls: [
                                "turn:turn.example.org:3478?transport=udp", "turn:turn.example.org:3478?transport=tcp",
                                "turns:turn.example.org:5349?transport=tcp",
                            ],
                            username: "1700003600:ada",
                            // openssl: printf 1700003600:ada | openssl dgst -sha1 -hmac north -binary | base64
                            credential: "xnSlQG4JwD6eDlwPBFdbTt6sTJk="
                        ),
                    ],
                    ttlSeconds: 3600
                )
        )
    }

    @Test func `a public host stands before what the request says`() throws {
        let host: WebHost = try #require(WebHost("198.51.100.7"))
        let minter = ICEServersMinter(secret: nil, publicHost: host)
        let list = try minter.mint(userID: "u", host: "junk junk", unixSeconds: 0)
        #expect(list.iceServers == [ICEServer(urls: ["stun:198.51.100.7:3478"])])
    }

    @Test func `only what is served is named`() throws {
        let none = ICEServersMinter.Endpoints(udpPort: nil, tcpPort: nil)
        #expect(
            try ICEServersMinter(secret: "s", endpoints: none).mint(userID: "u", host: "h", unixSeconds: 0).iceServers
                == []
        )
        let tcp = ICEServersMinter.Endpoints(udpPort: nil, tcpPort: 443)
        let list = try ICEServersMinter(secret: "s", endpoints: tcp).mint(userID: "u", host: "h", unixSeconds: 0)
        #expect(list.iceServers.map(\.urls) == [["turn:h:443?transport=tcp"]])
    }

    @Test(arguments: ["", String(repeating: "a", count: 401), "a\nb", "a\u{7F}"])
    func `a user's id that cannot be a name is refused`(id: String) {
        #expect(throws: ICEServersError.badUserID) {
            try ICEServersMinter(secret: "s").mint(userID: id, host: "h", unixSeconds: 0)
        }
    }

    @Test func `a time beyond all times does not overflow`() throws {
        let list = try ICEServersMinter(secret: "s").mint(userID: "u", host: "h", unixSeconds: .max)
        #expect(list.iceServers.last?.username == "\(UInt64.max):u")
    }

    @Test(arguments: [
        ("example.org", "example.org"), ("EXAMPLE.org.", "example.org"), ("localhost:8080", "localhost"), ("h", "h"),
        ("192.0.2.1", "192.0.2.1"), ("192.0.2.1:65535", "192.0.2.1"), ("[2001:DB8:0::1]", "[2001:db8::1]"),
        ("[::1]:8443", "[::1]"), ("xn--nxasmq6b.example", "xn--nxasmq6b.example"), ("1.example", "1.example"),
    ])
    func `a host is read with or without its port`(text: String, expected: String) {
        #expect(WebHost(text)?.description == expected)
    }

    @Test(arguments: [
        "", ":80", "a..b", ".a", "-a.b", "a-.b", "a_b", "a b", "a/b", "a?b", "a@b", "a#b", "a%41", "ä.de", "a\n",
        "a\u{0}",
        "1.2.3", "1.2.3.4.5", "256.1.1.1", "01.2.3.4", "a.1", "[::1", "::1", "[::1]x", "[::1]:", "[1.2.3.4]",
        "[fe80::1%25eth0]",
        "a:", "a:b", "a:65536", "a:+1", "a:1:2", "a:123456", String(repeating: "a", count: 64),
        String(repeating: "a.", count: 127) + "aa",
    ])
    func `what is no host is refused`(text: String) {
        #expect(WebHost(text) == nil)
    }

    @Test func `an address makes a host`() throws {
        #expect(WebHost(try #require(IPAddress("2001:db8::7"))).description == "[2001:db8::7]")
        #expect(WebHost(try #require(IPAddress("192.0.2.9"))).description == "192.0.2.9")
    }
}
