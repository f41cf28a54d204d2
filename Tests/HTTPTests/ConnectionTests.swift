import HTTP
import NetTypes
import Testing

@Suite("HTTP server connection")
struct HTTPServerConnectionTests {
    private let get = "GET /a?b=c HTTP/1.1\r\nHost: example.org\r\n\r\n"

    @Test
    func `a request comes out whole and its response goes back`() throws {
        let connection = TestConnection()
        connection.feed(
            "POST /a%20b?c=d HTTP/1.1\r\nhost:\t example.org:8080 \r\nX: 1\r\nx: 2\r\nContent-Length: 3\r\n\r\nxyz"
        )
        let request = try #require(connection.request())
        #expect(request.method == .post)
        #expect(request.target.text == "/a%20b?c=d")
        #expect(request.target.decodedPath == "/a b")
        #expect(request.target.query == "c=d")
        #expect(request.minorVersion == 1)
        #expect(request.authority == "example.org:8080")
        #expect(request.headers.values("X") == ["1", "2"])
        #expect(request.body == Array("xyz".utf8))
        let accepted = connection.engine.respond(HTTPResponse(.ok, text: "hello"), at: connection.now)
        connection.transmit()
        #expect(accepted)
        #expect(
            connection.text
                == "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\n"
                + "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 5\r\n\r\nhello"
        )
        let isFinished = connection.engine.isFinished
        #expect(!isFinished)
    }

    @Test(arguments: [
        ("HTTP/1.1", "", false, ""), ("HTTP/1.1", "Connection: close\r\n", true, "close"),
        ("HTTP/1.1", "Connection: foo, Close\r\n", true, "close"), ("HTTP/1.0", "", true, "close"),
        ("HTTP/1.0", "Connection: Keep-Alive\r\n", false, "keep-alive"),
        ("HTTP/1.0", "Connection: keep-alive, close\r\n", true, "close"), ("HTTP/1.9", "", false, ""),
    ])
    func `the version and the Connection field decide whether it stays open`(
        _ version: String,
        _ field: String,
        _ closes: Bool,
        _ answer: String
    ) {
        let connection = TestConnection()
        connection.feed("GET / \(version)\r\nHost: a\r\n\(field)\r\n")
        _ = connection.request()
        connection.engine.respond(HTTPResponse(.ok), at: connection.now)
        connection.transmit()
        let isFinished = connection.engine.isFinished
        #expect(isFinished == closes)
        #expect(connection.text.contains("Connection: \(answer)\r\n") == !answer.isEmpty)
    }

    @Test
    func `HTTP 1.0 needs no Host`() {
        let outcome = serve("GET / HTTP/1.0\r\n\r\n")
        #expect(outcome.requests.count == 1)
        #expect(outcome.requests[0].authority == nil)
    }

    @Test
    func `pipelined requests are handed out one at a time, in order`() throws {
        let connection = TestConnection()
        connection.feed(
            "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nPOST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhiGET /3 HTTP/1.1\r\nHost: a\r\n\r\n"
        )
        for path in ["/1", "/2", "/3"] {
            let request = try #require(connection.request())
            #expect(request.target.path == path)
            let early = connection.engine.pollEvent()
            #expect(early == nil)
            connection.engine.respond(HTTPResponse(.ok, text: path), at: connection.now)
            // Not before the last byte of the response is on its way.
            connection.transmit(20)
            let between = connection.engine.pollEvent()
            #expect(between == nil)
            connection.transmit()
        }
        let last = connection.engine.pollEvent()
        #expect(last == nil)
    }

    @Test
    func `a client that pipelines too much is held back, and cut off if it goes on`() {
        let connection = TestConnection { $0.pipelinedBytes = 1000 }
        connection.feed(get)
        #expect(connection.request() != nil)
        let before = connection.engine.wantsInput
        connection.feed(String(repeating: "x", count: 600))
        let after = connection.engine.wantsInput
        #expect(before && !after)
        connection.feed(String(repeating: "x", count: 401))
        #expect(connection.events() == [.dropped(.pipelineOverflow)])
        let isFinished = connection.engine.isFinished
        #expect(isFinished)
        let answered = connection.engine.respond(HTTPResponse(.ok), at: connection.now)
        #expect(!answered)
    }

    @Test
    func `HEAD gets the head of the response alone`() {
        let connection = TestConnection()
        connection.feed("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
        _ = connection.request()
        connection.engine.respond(HTTPResponse(.ok, text: "hello"), at: connection.now)
        connection.transmit()
        #expect(connection.text.contains("Content-Length: 5\r\n"))
        #expect(connection.text.hasSuffix("\r\n\r\n"))
    }

    @Test(arguments: [HTTPStatus.noContent, .notModified])
    func `a status that forbids content has neither content nor length`(_ status: HTTPStatus) {
        let connection = TestConnection()
        connection.feed(get)
        _ = connection.request()
        connection.engine.respond(HTTPResponse(status, text: "hello"), at: connection.now)
        connection.transmit()
        #expect(!connection.text.contains("Content-Length"))
        #expect(connection.text.hasSuffix("\r\n\r\n"))
    }

    @Test
    func `Expect is answered with 100 when the content is not there yet`() throws {
        let connection = TestConnection()
        let head = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 2\r\n\r\n"
        connection.feed(head)
        connection.transmit()
        #expect(connection.text == "HTTP/1.1 100 Continue\r\n\r\n")
        connection.feed("hi")
        let request = try #require(connection.request())
        #expect(request.body == Array("hi".utf8))
        connection.engine.respond(HTTPResponse(.ok), at: connection.now)
        connection.transmit()
        #expect(connection.text.hasPrefix("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"))

        let hasty = TestConnection()
        hasty.feed(head + "hi")
        hasty.transmit()
        #expect(hasty.output.isEmpty)
    }

    @Test
    func `a body that is announced too long is refused before it is sent`() {
        let connection = TestConnection()
        connection.feed("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 70000\r\n\r\n")
        connection.transmit()
        #expect(connection.text.hasPrefix("HTTP/1.1 413 "))
    }

    @Test
    func `chunks, extensions and trailers make one body`() {
        let outcome = serve(
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n"
                + "3\r\nabc\r\n02;a=b\r\nde\r\nA ;x\r\n0123456789\r\n0\r\nX-Trailer: 1\r\n\r\n" + get
        )
        #expect(outcome.requests.map(\.body) == [Array("abcde0123456789".utf8), []])
        #expect(outcome.requests[0].headers["X-Trailer"] == nil)
    }

    @Test
    func `limits hold exactly`() {
        let long = "/" + String(repeating: "a", count: 99)
        let line = "GET \(long) HTTP/1.1"
        for (limit, passes) in [(line.utf8.count, true), (line.utf8.count - 1, false)] {
            let outcome = serve(line + "\r\nHost: a\r\n\r\n") { $0.requestLineBytes = limit }
            #expect(outcome.requests.count == (passes ? 1 : 0))
        }
        for (limit, passes) in [(11, true), (10, false)] {
            let outcome = serve("GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n\r\n") { $0.headBytes = limit }
            #expect(outcome.requests.count == (passes ? 1 : 0))
        }
        for (limit, passes) in [(2, true), (1, false)] {
            let outcome = serve("GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n\r\n") { $0.headerFields = limit }
            #expect(outcome.requests.count == (passes ? 1 : 0))
        }
        for (limit, passes) in [(5, true), (4, false)] {
            let outcome = serve("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabcde") { $0.bodyBytes = limit }
            #expect(outcome.requests.count == (passes ? 1 : 0))
            let chunked = serve(
                "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
            ) { $0.bodyBytes = limit }
            #expect(chunked.requests.count == (passes ? 1 : 0))
        }
    }

    @Test
    func `the last of the allowed requests closes the connection`() {
        let outcome = serve(get + get + get) { $0.requests = 2 }
        #expect(outcome.requests.count == 2)
        #expect(outcome.isFinished)
        #expect(outcome.text.components(of: "Connection: close") == 1)
    }

    @Test
    func `after 101 the connection and the bytes behind the request belong to the other protocol`() throws {
        let connection = TestConnection()
        connection.feed(
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n\u{1}abc"
        )
        let request = try #require(connection.request())
        #expect(request.asksToUpgrade(to: "WebSocket"))
        connection.engine.respond(
            HTTPResponse(.switchingProtocols, headers: ["Connection": "Upgrade", "Upgrade": "websocket"]),
            at: connection.now
        )
        connection.feed("def")
        connection.transmit()
        let isUpgraded = connection.engine.isUpgraded
        let timeout = connection.engine.nextTimeout
        let rest = connection.engine.takeUpgradedBytes()
        #expect(isUpgraded)
        #expect(timeout == nil)
        #expect(rest == Array("\u{1}abcdef".utf8))
        #expect(
            connection.text.hasPrefix(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            )
        )
        #expect(!connection.text.contains("Content-Length"))
    }

    @Test
    func `a client that has ended its side still gets what it is owed`() {
        let connection = TestConnection()
        connection.feed(get + get)
        connection.end()
        for index in 1...2 {
            #expect(connection.request() != nil)
            connection.engine.respond(HTTPResponse(.ok, text: "ok"), at: connection.now)
            connection.transmit()
            let isFinished = connection.engine.isFinished
            #expect(isFinished == (index == 2))
        }
        #expect(connection.text.components(of: "200 OK") == 2)
        #expect(connection.events() == [])
    }

    @Test
    func `the end in the middle of a request is counted, between requests it is not`() {
        #expect(serve("GET / HT").drops == [.truncatedRequest])
        #expect(serve("GET / HTTP/1.1\r\nHost: a\r\n").drops == [.truncatedRequest])
        #expect(serve("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nx").drops == [.truncatedRequest])
        #expect(serve("").drops == [])
        #expect(serve(get).drops == [])
        #expect(serve(get).isFinished)
    }

    @Test
    func `shutting down ends an idle connection at once and a busy one with its response`() {
        let idle = TestConnection()
        idle.engine.shutDown()
        let idleIsFinished = idle.engine.isFinished
        #expect(idleIsFinished)

        let busy = TestConnection()
        busy.feed(get)
        busy.engine.shutDown()
        _ = busy.request()
        busy.engine.respond(HTTPResponse(.ok), at: busy.now)
        busy.transmit()
        let busyIsFinished = busy.engine.isFinished
        #expect(busyIsFinished)
        #expect(busy.text.contains("Connection: close\r\n"))
    }

    @Test
    func `bytes after a refusal are dropped and counted once`() {
        let connection = TestConnection()
        connection.feed("BAD\r\n")
        connection.feed("more")
        connection.feed("more")
        connection.transmit()
        connection.feed("more")
        #expect(connection.events() == [.dropped(.malformedRequestLine), .dropped(.afterClose)])
        #expect(connection.text.components(of: "HTTP/1.1") == 1)
    }

    @Test
    func `a response cannot be split by what stands in a header`() {
        let connection = TestConnection()
        connection.feed(get)
        _ = connection.request()
        connection.engine.respond(
            HTTPResponse(
                .found,
                headers: [
                    "Location": "/a\r\nSet-Cookie: b\0", "Bad Name": "x", "": "y", "Content-Length": "99",
                    "Transfer-Encoding": "chunked", "Connection": "x",
                ]
            ),
            at: connection.now
        )
        connection.transmit()
        #expect(
            connection.text
                == "HTTP/1.1 302 Found\r\nLocation: /a  Set-Cookie: b \r\n"
                + "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 0\r\n\r\n"
        )
    }
}

extension String {
    /// How often `part` occurs.
    func components(of part: String) -> Int {
        var count = 0
        var rest = self[...]
        while let index = rest.firstRange(of: part) {
            count += 1
            rest = rest[index.upperBound...]
        }
        return count
    }
}
