import HTTP
import NetTypes
import Testing

@Suite("HTTP fields and targets")
struct HTTPFieldTests {
    private func target(_ text: String, method: String = "GET") -> HTTPTarget? {
        serve("\(method) \(text) HTTP/1.1\r\nHost: a\r\n\r\n").requests.first?.target
    }

    @Test(arguments: [
        ("/", "/", nil), ("/a/b", "/a/b", nil), ("/a?", "/a", ""), ("/a?b?c", "/a", "b?c"), ("//a", "//a", nil),
        ("/a;b=c:d@e", "/a;b=c:d@e", nil), ("/?q={|}^[]\\`", "/", "q={|}^[]\\`"), ("http://b", "/", nil),
        ("HTTP://b:80?x", "/", "x"), ("https://[::1]:8/p?q", "/p", "q"), ("/%41%2f", "/%41%2f", nil),
    ])
    func `targets split into path and query`(_ text: String, _ path: String, _ query: String?) {
        let target = target(text)
        #expect(target?.path == path)
        #expect(target?.query == query)
        #expect(target?.text == text)
    }

    @Test
    func `an absolute target names the host`() {
        #expect(serve("GET http://b:1/ HTTP/1.1\r\nHost: a\r\n\r\n").requests.first?.authority == "b:1")
    }

    @Test
    func `the asterisk is for OPTIONS`() {
        #expect(target("*", method: "OPTIONS")?.path == "*")
        #expect(target("*") == nil)
    }

    @Test
    func `paths and queries decode`() {
        #expect(target("/a%2Fb/%C3%A4?x=%31+%2B&y&z==&%FF=1")?.pathSegments == ["a/b", "ä"])
        let items = target("/a?x=%31+%2B&y&z==&%FF=1&x=2")?.queryItems.map { "\($0.name)>\($0.value)" }
        #expect(items == ["x>1 +", "y>", "z>=", "x>2"])
        #expect(target("/a?x=1&x=2")?.queryValue("x") == "1")
        #expect(target("/a")?.queryValue("x") == nil)
        #expect(target("/%FF")?.decodedPath == nil)
        #expect(target("/%00")?.decodedPath == nil)
        #expect(target("/a/../b")?.pathSegments == nil)
        #expect(target("/a/%2e%2E/b")?.pathSegments == nil)
        #expect(target("/a/")?.pathSegments == ["a", ""])
    }

    @Test(arguments: [("%", nil), ("%1", nil), ("%zz", nil), ("%00", nil), ("%ff", nil), ("a%20b+c", "a b+c")])
    func `percent triplets decode or fail`(_ text: String, _ decoded: String?) {
        #expect(PercentEncoding.decode(text) == decoded)
    }

    @Test
    func `percent encoding makes a round trip`() {
        let text = "a/b c?d=ä&%\u{1}~"
        #expect(PercentEncoding.encode(text) == "a%2Fb%20c%3Fd%3D%C3%A4%26%25%01~")
        #expect(PercentEncoding.decode(PercentEncoding.encode(text)) == text)
    }

    @Test
    func `fields are found whatever the case, and lists are read across fields`() {
        var headers: HTTPHeaders = ["Upgrade": "h2c", "UPGRADE": " , websocket ,,", "X": "1"]
        #expect(headers["upgrade"] == "h2c")
        #expect(headers.list("Upgrade") == ["h2c", "websocket"])
        #expect(headers.contains("WebSocket", in: "upgrade"))
        #expect(!headers.contains("web", in: "upgrade"))
        headers["x"] = "2"
        #expect(headers.values("X") == ["2"])
        headers["X"] = nil
        #expect(headers["X"] == nil)
        #expect(headers.fields.count == 2)
    }

    @Test
    func `values keep what is inside and lose the space around`() {
        let request = serve("GET / HTTP/1.1\r\nHost: a\r\nA: \t b:\t c \t\r\nB:\r\nC: ä\r\n\r\n").requests.first
        #expect(request?.headers["A"] == "b:\t c")
        #expect(request?.headers["B"] == "")
        #expect(request?.headers["C"] == "ä")
    }

    @Test(arguments: [
        ("*", true), ("\"x\"", false), ("T", true), ("W/T", true), ("\"a,b\", T", true), ("\"a, T", false), ("", false),
    ])
    func `If-None-Match is compared weakly, tag by tag`(_ field: String, _ matches: Bool) {
        let tag = EntityTag(of: Array("content".utf8))
        let text = field.split(separator: "T", omittingEmptySubsequences: false).joined(separator: tag.text)
        #expect(tag.matches(ifNoneMatch: text) == matches)
    }

    @Test
    func `fresh content is answered with 304`() throws {
        let body = Array("content".utf8)
        let tag = EntityTag(of: body)
        #expect(tag != EntityTag(of: Array("Content".utf8)))
        for (field, status) in [("If-None-Match: \(tag.text)\r\n", HTTPStatus.notModified), ("", .ok)] {
            let request = try #require(serve("GET / HTTP/1.1\r\nHost: a\r\n\(field)\r\n").requests.first)
            let response = HTTPResponse.cacheable(body, tag: tag, headers: ["Cache-Control": "no-cache"], for: request)
            #expect(response.status == status)
            #expect(response.headers["ETag"] == tag.text)
            #expect(response.headers["Cache-Control"] == "no-cache")
            #expect(response.body == (status == .ok ? body : []))
        }
        let post = try #require(serve("POST / HTTP/1.1\r\nHost: a\r\nIf-None-Match: *\r\n\r\n").requests.first)
        #expect(HTTPResponse.cacheable(body, tag: tag, headers: [:], for: post).status == .ok)
    }

    @Test
    func `origins are equal when scheme, host and port are`() {
        let server = HTTPOrigin(scheme: "https", authority: "Example.org")
        #expect(server != nil)
        #expect(server == HTTPOrigin("https://example.ORG"))
        #expect(server == HTTPOrigin("https://example.org:443"))
        #expect(server != HTTPOrigin("http://example.org"))
        #expect(server != HTTPOrigin("https://example.org:444"))
        #expect(server != HTTPOrigin("https://example.org.evil.test"))
        #expect(HTTPOrigin("http://[::1]:80") == HTTPOrigin(scheme: "HTTP", authority: "[::1]"))
        for text in [
            "null", "", "https://", "https://a/b", "file:///x", "https:/a", "https://u@a", "https://a:b", "https",
        ] {
            #expect(HTTPOrigin(text) == nil)
        }
    }

    @Test
    func `every status that is named has its words`() {
        for code in [100, 101, 200, 304, 404, 413, 426, 431, 501, 505] {
            #expect(!HTTPStatus(rawValue: code).reasonPhrase.isEmpty)
        }
        #expect(HTTPStatus(rawValue: 299).reasonPhrase == "")
    }
}
