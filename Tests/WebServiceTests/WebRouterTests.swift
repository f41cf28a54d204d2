import HTTP
import NetTypes
import Testing

@testable import WebService

@Suite struct WebRouterTests {
    private let fixture = RouterFixture()

    @Test(arguments: [
        ("/", 200, "text/html; charset=utf-8"), ("/?room=a", 200, "text/html; charset=utf-8"),
        ("/main.js", 200, "text/javascript; charset=utf-8"), ("/base.css", 200, "text/css; charset=utf-8"),
        ("/icon.svg", 200, "image/svg+xml"), ("/healthz", 200, "text/plain; charset=utf-8"),
        ("/metrics", 200, "text/plain; version=0.0.4; charset=utf-8"), ("/turn", 401, "text/plain"),
        ("/index.html", 404, "text/plain; charset=utf-8"), ("/main.js/", 404, "text/plain; charset=utf-8"),
        ("/MAIN.JS", 404, "text/plain; charset=utf-8"), ("//", 404, "text/plain; charset=utf-8"),
        ("/%6Dain.js", 404, "text/plain; charset=utf-8"), ("/../main.js", 404, "text/plain; charset=utf-8"),
        ("/healthz/x", 404, "text/plain; charset=utf-8"), ("/signal/", 404, "text/plain; charset=utf-8"),
    ])
    func `each path has its answer`(path: String, status: Int, type: String) throws {
        for method in ["GET", "HEAD"] {
            let response = try fixture.response("\(method) \(path)")
            #expect(response.status.rawValue == status)
            #expect(response.headers["Content-Type"] == type)
            #expect(!response.body.isEmpty)
        }
    }

    @Test func `a server that drains says so to balancers, and serves who is here`() throws {
        var fixture = RouterFixture()
        fixture.router.isDraining = true
        let response = try fixture.response("GET /healthz")
        #expect(response.status == .serviceUnavailable)
        #expect(String(decoding: response.body, as: UTF8.self) == "draining\n")
        #expect(try fixture.response("GET /").status == .ok)
    }

    @Test(arguments: ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"])
    func `other methods are not allowed`(method: String) throws {
        for path in ["/", "/healthz", "/metrics", "/turn", "/nowhere"] {
            let response = try fixture.response("\(method) \(path)")
            #expect(response.status == .methodNotAllowed)
            #expect(response.headers["Allow"] == "GET, HEAD")
        }
    }

    @Test func `a question about the whole server is not allowed either`() throws {
        #expect(try fixture.response("OPTIONS *").status == .methodNotAllowed)
    }

    @Test(arguments: [
        "localhost", "localhost:8080", "LocalHost:8080", "localhost.", "127.0.0.1", "127.0.0.1:1", "127.9.8.7:8080",
        "[::1]", "[::1]:8080", "[0:0:0:0:0:0:0:1]:8080",
    ])
    func `plain HTTP is for names of this machine`(host: String) throws {
        #expect(try fixture.response("GET /healthz", host: host).status == .ok)
    }

    @Test(arguments: [
        "example.org", "example.org:8080", "localhost.example.org", "localhost:8080.example.org:80",
        "127.0.0.1.example.org",
        "192.0.2.1", "0.0.0.0", "[::]", "[2001:db8::1]:8080", "127.1", "2130706433", "0x7f000001", "localhost..",
    ])
    func `plain HTTP under another name is refused, whatever is asked for`(host: String) throws {
        for line in ["GET /", "GET /signal", "GET /turn?key=x", "POST /", "GET /metrics"] {
            guard let request = try? RouterFixture.request(line, ["Host: \(host)"]) else { continue }
            let action = fixture.router.route(
                request,
                from: RequestOrigin(remote: RouterFixture.loopback, isTLS: false),
                unixSeconds: RouterFixture.unixSeconds,
                metrics: { "" }
            )
            guard case .respond(let response) = action else {
                Issue.record("'\(host)' may use the signaling")
                continue
            }
            #expect(response.status == .misdirectedRequest)
        }
    }

    @Test func `an absolute target counts more than the Host field`() throws {
        #expect(try fixture.response("GET http://example.org/healthz", host: "localhost").status == .misdirectedRequest)
        #expect(try fixture.response("GET http://localhost/healthz", host: "example.org").status == .ok)
    }

    @Test func `HTTPS is served under every name`() throws {
        for host in ["example.org", "192.0.2.1:8443", "[2001:db8::1]:8443", "localhost"] {
            #expect(try fixture.response("GET /", host: host, isTLS: true).status == .ok)
        }
    }

    // MARK: Signaling

    @Test(arguments: [
        ("localhost:8080", false, ["Origin: http://localhost:8080"], true),
        ("localhost:8080", false, ["Origin: HTTP://LOCALHOST:8080"], true),
        ("localhost", false, ["Origin: http://localhost:80"], true),
        ("localhost:8080", false, [], true),
        ("example.org:8443", true, ["Origin: https://example.org:8443"], true),
        ("example.org", true, ["Origin: https://example.org"], true),
        ("example.org", true, ["Origin: https://allowed.example"], true),
        ("localhost:8080", false, ["Origin: https://allowed.example"], true),
        ("localhost:8080", false, ["Origin: https://localhost:8080"], false),
        ("localhost:8080", false, ["Origin: http://localhost"], false),
        ("localhost:8080", false, ["Origin: http://127.0.0.1:8080"], false),
        ("localhost:8080", false, ["Origin: null"], false),
        ("localhost:8080", false, ["Origin:"], false),
        ("localhost:8080", false, ["Origin: http://localhost:8080", "Origin: http://evil.example"], false),
        ("localhost:8080", false, ["Origin: http://localhost:8080/"], false),
        ("example.org", true, ["Origin: http://example.org"], false),
        ("example.org", true, ["Origin: https://example.org.evil.example"], false),
        ("example.org", true, ["Origin: http://allowed.example"], false),
    ])
    func `only pages of this server and of listed ones may signal`(
        host: String,
        isTLS: Bool,
        fields: [String],
        isLetIn: Bool
    ) throws {
        let fixture = RouterFixture { $0.origins = [HTTPOrigin("https://allowed.example")].compactMap { $0 } }
        switch try fixture.route("GET /signal", host: host, fields, isTLS: isTLS) {
        case .openSignaling(let named):
            #expect(isLetIn)
            #expect(named.map { host.hasPrefix($0) } == true)
        case .respond(let response):
            #expect(!isLetIn)
            #expect(response.status == .forbidden)
        }
    }

    // MARK: Metrics

    @Test(arguments: [
        ("127.0.0.1", 200), ("::1", 200), ("127.3.2.1", 200), ("192.0.2.9", 200), ("192.0.2.10", 403),
        ("2001:db8:1::5", 200), ("2001:db8:2::5", 403),
    ])
    func `metrics are for loopback and for those who are named`(remote: String, status: Int) throws {
        let fixture = RouterFixture {
            $0.metricsFrom = ["192.0.2.9/32", "2001:db8:1::/48"].compactMap { IPPrefix($0) }
        }
        let ip = try #require(IPAddress(remote))
        let response = try fixture.response("GET /metrics", host: "example.org", from: ip, isTLS: true)
        #expect(response.status.rawValue == status)
        #expect(response.text.contains("the metrics") == (status == 200))
        #expect(response.headers["Cache-Control"] == (status == 200 ? "no-store" : nil))
    }

    // MARK: Headers

    @Test(arguments: [
        "GET /", "HEAD /", "GET /healthz", "GET /metrics", "GET /turn", "GET /turn?key=0123456789abcdef",
        "GET /turn?key=0123456789abcdef&service=x", "GET /nowhere", "POST /", "GET /main.js",
    ])
    func `every response carries the security headers`(line: String) throws {
        let fixture = RouterFixture { $0.apiKeyDigests = [APIKey.digest("0123456789abcdef")] }
        var responses = [try fixture.response(line), try fixture.response(line, host: "example.org")]
        responses.append(try fixture.response(line, host: "example.org", isTLS: true))
        for response in responses {
            expectSecurityHeaders(response.headers)
            #expect(response.headers["Strict-Transport-Security"] == nil)
        }
        let denied = try fixture.response("GET /signal", ["Origin: null"])
        expectSecurityHeaders(denied.headers)
    }

    @Test func `browsers are told to insist on HTTPS only if the operator's certificate stands behind it`() throws {
        let fixture = RouterFixture { $0.insistsOnHTTPS = true }
        let response = try fixture.response("GET /", host: "example.org", isTLS: true)
        #expect(response.headers["Strict-Transport-Security"] == "max-age=31536000")
    }

    @Test func `the page may connect to the host that it came from`() throws {
        let response = try fixture.response("GET /", host: "Example.org:8443", isTLS: true)
        let policy = try #require(response.headers["Content-Security-Policy"])
        #expect(policy.contains("connect-src 'self' ws://example.org:8443 wss://example.org:8443;"))
        let six = try fixture.response("GET /", host: "[::1]:8080").headers["Content-Security-Policy"]
        #expect(six?.contains(" ws://[::1]:8080 ") == true)
    }

    @Test(arguments: ["a;script-src", "a,b", "*", "'unsafe-inline'", "a%3Bb"])
    func `a Host that is none does not get into the policy`(host: String) throws {
        let response = try fixture.response("GET /", host: host, isTLS: true)
        let policy = try #require(response.headers["Content-Security-Policy"])
        #expect(policy.contains("connect-src 'self'; "))
        #expect(!policy.contains(host + ":443"))
    }
}

/// The fields that every response has, whatever it says.
func expectSecurityHeaders(_ headers: HTTPHeaders, sourceLocation: SourceLocation = #_sourceLocation) {
    let policy = headers["Content-Security-Policy"] ?? ""
    for part in ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"] {
        #expect(policy.contains(part), sourceLocation: sourceLocation)
    }
    #expect(!policy.contains("unsafe"), sourceLocation: sourceLocation)
    let expected = [
        "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
        "Permissions-Policy": "camera=(self), microphone=(self), display-capture=(self)",
        "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
    ]
    for (name, value) in expected { #expect(headers.values(name) == [value], sourceLocation: sourceLocation) }
}
