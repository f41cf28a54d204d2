import HTTP
import NetTypes
import Signaling
import Testing

@testable import WebService

/// Requests that try to be taken for something else.
@Suite
struct HostileRouteTests {
    private static func answer(
        _ target: String,
        host: String = "localhost:8080",
        _ fields: HTTPHeaders = [:],
        from remote: IPAddress = .loopback(.ipv4),
        isTLS: Bool = false
    ) throws -> HTTPResponse {
        var headers: HTTPHeaders = ["Host": host]
        for field in fields.fields { headers.append(field.name, field.value) }
        var connection = HTTPServerConnection(wallClock: .init(unixSeconds: 0, at: .zero), at: .zero)
        connection.receive(HTTPRequest.encode(.get, target: target, headers: headers).span, at: .zero)
        guard case .request(let request)? = connection.pollEvent() else { throw Refused() }
        let router = WebRouter(policy: WebPolicy(minter: ICEServersMinter(secret: "secret")), assets: PageAssets())
        let origin = RequestOrigin(remote: remote, isTLS: isTLS)
        guard
            case .respond(let response) = router.route(request, from: origin, unixSeconds: 0, metrics: { "numbers" })
        else { throw Refused() }
        return response
    }

    private struct Refused: Error {}

    @Test(arguments: ["x;script-src", "x'unsafe-inline'", "x,y", "*", "a;sandbox:443"])
    func `a Host field adds nothing to the policy of the page`(host: String) throws {
        let response = try Self.answer("/", host: host, isTLS: true)
        let policy = try #require(response.headers["Content-Security-Policy"])
        #expect(policy.contains("connect-src 'self';"))
    }

    @Test
    func `the page may open a WebSocket to its own host`() throws {
        let response = try Self.answer("/", host: "Call.Example.org:8443", isTLS: true)
        let policy = try #require(response.headers["Content-Security-Policy"])
        #expect(policy.contains("connect-src 'self' ws://call.example.org:8443 wss://call.example.org:8443;"))
    }

    @Test(arguments: ["Forwarded", "X-Forwarded-For", "X-Real-IP", "Via", "x-forwarded-host"])
    func `metrics are not for those behind a proxy of this machine`(field: String) throws {
        var headers = HTTPHeaders()
        headers.append(field, "203.0.113.9")
        #expect(try Self.answer("/metrics", headers).status == .forbidden)
        #expect(try Self.answer("/metrics").status == .ok)
    }

    @Test(arguments: ["evil.example", "localhost.evil.example", "127.0.0.1.nip.example", "[::2]", "2130706433"])
    func `a stranger's name for loopback gets no page`(host: String) throws {
        #expect(try Self.answer("/", host: host).status == .misdirectedRequest)
    }

    @Test(arguments: [
        ("/?room=r&join=1", "/?room=r"), ("/?join=1", "/"), ("/?jo%69n=1&room=r&name=A+B", "/?room=r&name=A+B"),
        ("/?join=0&join=1&x", "/?x"),
    ])
    func `a link of another site lets nobody in without a click`(target: String, location: String) throws {
        for site in ["cross-site", "same-site"] {
            let response = try Self.answer(target, ["Sec-Fetch-Site": site])
            #expect(response.status == .found)
            #expect(response.headers["Location"] == location)
        }
        for site in ["none", "same-origin"] {
            #expect(try Self.answer(target, ["Sec-Fetch-Site": site]).status == .ok)
        }
        #expect(try Self.answer(target).status == .ok)
        #expect(try Self.answer("/?room=r", ["Sec-Fetch-Site": "cross-site"]).status == .ok)
    }
}
