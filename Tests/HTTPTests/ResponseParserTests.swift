import HTTP
import NetTypes
import Testing

@Suite("HTTP response parser")
struct HTTPResponseParserTests {
    private func parse(
        _ text: String,
        toHead: Bool = false,
        cut: Int = .max,
        ends: Bool = false
    ) throws -> (HTTPResponseParser.Response?, [UInt8]) {
        var parser = HTTPResponseParser(toHead: toHead)
        let bytes = Array(text.utf8)
        var response: HTTPResponseParser.Response?
        var offset = 0
        while offset < bytes.count {
            let end = cut == .max ? bytes.count : min(bytes.count, offset + cut)
            if let complete = try parser.receive(bytes.span.extracting(offset..<end)) { response = complete }
            offset = end
        }
        if ends, let complete = try parser.receiveEnd() { response = complete }
        return (response, parser.takeRemainingBytes())
    }

    @Test(arguments: [Int.max, 1, 7])
    func `reads counted, chunked and bare responses`(_ cut: Int) throws {
        let counted = try parse("HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 3\r\n\r\nabcHTTP", cut: cut)
        #expect(counted.0?.status == .ok)
        #expect(counted.0?.headers["a"] == "b")
        #expect(counted.0?.body == Array("abc".utf8))
        #expect(counted.1 == Array("HTTP".utf8))
        let chunked = try parse("HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n", cut: cut)
        #expect(chunked.0?.body == Array("ab".utf8))
        let bare = try parse("HTTP/1.0 404\r\n\r\nabc", cut: cut, ends: true)
        #expect(bare.0?.status == .notFound)
        #expect(bare.0?.body == Array("abc".utf8))
    }

    @Test
    func `skips interim responses, but stops at 101`() throws {
        let (response, rest) = try parse("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 101 X\r\nUpgrade: y\r\n\r\nzz")
        #expect(response?.status == .switchingProtocols)
        #expect(rest == Array("zz".utf8))
    }

    @Test
    func `expects no content after HEAD, 204 and 304`() throws {
        #expect(try parse("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", toHead: true).0?.body == [])
        #expect(try parse("HTTP/1.1 204 No\r\n\r\n").0?.body == [])
        #expect(try parse("HTTP/1.1 304 No\r\nContent-Length: 3\r\n\r\n").0?.body == [])
    }

    @Test(arguments: [
        ("HTTP/2 200 OK\r\n\r\n", HTTPDropReason.malformedRequestLine), ("HTTP/1.1 20 OK\r\n", .malformedRequestLine),
        ("HTTP/1.1 2000\r\n", .malformedRequestLine), ("HTTP/1.1 099 \r\n", .malformedRequestLine),
        ("ICY 200 OK\r\n\r\n", .malformedRequestLine), ("HTTP/1.1 200 OK\n", .bareLineFeed),
        ("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", .invalidContentLength),
        ("HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\n", .bodyTooLarge),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", .duplicateContentLength),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", .unsupportedTransferEncoding),
        ("HTTP/1.1 200 OK\r\n\r\n\(String(repeating: "a", count: 65537))", .bodyTooLarge),
    ])
    func `refuses what is malformed`(_ text: String, _ reason: HTTPDropReason) {
        #expect(throws: reason) { try parse(text) }
    }

    @Test
    func `an end in the middle is an error`() {
        #expect(throws: HTTPDropReason.truncatedRequest) { try parse("HTTP/1.1 200 OK\r\n", ends: true) }
        #expect(throws: HTTPDropReason.truncatedRequest) {
            try parse("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na", ends: true)
        }
    }

    @Test
    func `reads what the server writes`() throws {
        let outcome = serve("GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
        let (response, rest) = try parse(outcome.text)
        #expect(response?.status == .ok)
        #expect(response?.headers["X-Path"] == "/x")
        #expect(response?.headers["ETag"] != nil)
        #expect(rest.isEmpty)
    }

    @Test
    func `the server reads what a client encodes`() {
        let bytes = HTTPRequest.encode(.put, target: "/x", headers: ["Host": "a"], body: [1, 2])
        let outcome = HTTPExerciser.serve(bytes) { .max }
        #expect(outcome.requests.first?.method == .put)
        #expect(outcome.requests.first?.body == [1, 2])
    }
}
