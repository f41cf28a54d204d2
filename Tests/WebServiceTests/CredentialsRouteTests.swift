import Bytes
import Crypto
import FoundationEssentials
import HTTP
import NetTypes
import Signaling
import Testing

@testable import WebService

@Suite struct CredentialsRouteTests {
    private static let key = "0123456789abcdef"

    private struct Answer: Decodable {
        let username: String
        let password: String
        let ttl: Int
        let uris: [String]
    }

    private let fixture = RouterFixture { $0.apiKeyDigests = [APIKey.digest(key)] }

    @Test(
        arguments: [
            ("/turn?key=0123456789abcdef", nil, 200), ("/turn?api=0123456789abcdef", nil, 200),
            ("/turn?service=turn&username=alice&key=0123456789abcdef", nil, 200),
            ("/turn?key=%30123456789abcdef", nil, 200), ("/turn", "Bearer 0123456789abcdef", 200),
            ("/turn", "bearer 0123456789abcdef", 200), ("/turn?key=wrong", "Bearer 0123456789abcdef", 200),
            ("/turn", nil, 401), ("/turn?key=", nil, 401), ("/turn?key=0123456789abcde", nil, 401),
            ("/turn?key=0123456789ABCDEF", nil, 401), ("/turn?key=wrong&key=0123456789abcdef", nil, 401),
            ("/turn", "Basic 0123456789abcdef", 401), ("/turn", "0123456789abcdef", 401), ("/turn", "Bearer", 401),
            ("/turn?key=0123456789abcdef", "Bearer wrong", 401),
            ("/turn?key=\(APIKey.digest("0123456789abcdef"))", nil, 401),
        ] as [(String, String?, Int)]
    )
    func `a key is asked for`(target: String, authorization: String?, status: Int) throws {
        let fields = authorization.map { ["Authorization: \($0)"] } ?? []
        let response = try fixture.response("GET \(target)", fields)
        #expect(response.status.rawValue == status)
        #expect(response.headers["WWW-Authenticate"] == (status == 401 ? "Bearer" : nil))
        #expect(response.text.contains("password") == (status == 200))
    }

    @Test func `without keys nobody gets in`() throws {
        for target in ["/turn", "/turn?key=", "/turn?key=x"] {
            #expect(try RouterFixture().response("GET \(target)").status == .unauthorized)
        }
    }

    @Test(arguments: [("alice", "alice"), ("", "api"), ("a%20b+c", "a b c"), ("%C3%A9", "é")])
    func `turn 204: the answer is that of the TURN REST draft`(user: String, id: String) throws {
        let response = try fixture.response(
            "GET /turn?service=turn&username=\(user)&key=\(Self.key)",
            host: "turn.example.org:8443",
            from: RouterFixture.remote,
            isTLS: true
        )
        #expect(response.headers["Content-Type"] == "application/json")
        #expect(response.headers["Cache-Control"] == "no-store")
        let answer = try JSONDecoder().decode(Answer.self, from: Data(response.body))
        #expect(answer.username == "\(RouterFixture.unixSeconds + 3600):\(id)")
        let key = HMACKey(.sha1, key: Array("a secret of the server".utf8))
        #expect(answer.password == Base64.encode(key.authenticationCode(for: Array(answer.username.utf8))))
        #expect(answer.ttl == 3600)
        #expect(
            answer.uris == [
                "turn:turn.example.org:3478?transport=udp", "turn:turn.example.org:3478?transport=tcp",
            ]
        )
        let names = try JSONDecoder().decode([String: AnyValue].self, from: Data(response.body)).keys.sorted()
        #expect(names == ["password", "ttl", "uris", "username"])
    }

    /// Takes any JSON, for looking at the names only.
    private struct AnyValue: Decodable {
        init(from decoder: any Decoder) {}
    }

    @Test(arguments: [
        "service=stun", "service=", "username=%01", "username=a%0Ab", "username=\(String(repeating: "a", count: 129))",
        "username=%7F",
    ])
    func `what cannot be a user or a service is refused`(query: String) throws {
        #expect(try fixture.response("GET /turn?key=\(Self.key)&\(query)").status == .badRequest)
    }

    @Test func `the longest name is taken`() throws {
        let name = String(repeating: "a", count: 128)
        #expect(try fixture.response("GET /turn?key=\(Self.key)&username=\(name)").status == .ok)
    }

    @Test func `a host that cannot be handed out is said to be one`() throws {
        let response = try fixture.response("GET /turn?key=\(Self.key)", host: "a_b", isTLS: true)
        #expect(response.status == .serviceUnavailable)
        #expect(response.text.contains("--public-host"))
        var keyless = RouterFixture(secret: nil) { $0.apiKeyDigests = [APIKey.digest(Self.key)] }
        #expect(try keyless.response("GET /turn?key=\(Self.key)").status == .serviceUnavailable)
        keyless = RouterFixture {
            $0.apiKeyDigests = [APIKey.digest(Self.key)]
            $0.minter = ICEServersMinter(secret: "another secret", publicHost: WebHost("turn.example"))
        }
        #expect(try keyless.response("GET /turn?key=\(Self.key)", host: "a_b", isTLS: true).status == .ok)
    }
}
