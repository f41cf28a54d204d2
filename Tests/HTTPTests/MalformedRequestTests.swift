import HTTP
import NetTypes
import Testing

@Suite("Malformed requests")
struct MalformedRequestTests {
    struct Case: CustomTestStringConvertible, Sendable {
        let bytes: String
        let reason: HTTPDropReason
        var testDescription: String { "\(reason.rawValue): \(bytes.prefix(60).debugDescription)" }
        init(_ bytes: String, _ reason: HTTPDropReason) {
            self.bytes = bytes
            self.reason = reason
        }
    }

    static let head = "Host: a\r\n"
    static let cases: [Case] = [
        // The request line.
        Case("GET\r\n\r\n", .malformedRequestLine),
        Case("GET /\r\n\r\n", .malformedRequestLine),
        Case("GET  / HTTP/1.1\r\n\(head)\r\n", .malformedRequestLine),
        Case("GET /  HTTP/1.1\r\n\(head)\r\n", .malformedRequestLine),
        Case("GET / HTTP/1.1 \r\n\(head)\r\n", .malformedRequestLine),
        Case(" GET / HTTP/1.1\r\n\(head)\r\n", .malformedRequestLine),
        Case("GET\t/ HTTP/1.1\r\n\(head)\r\n", .malformedRequestLine),
        Case("GET / a HTTP/1.1\r\n\(head)\r\n", .malformedRequestLine),
        Case("GET / http/1.1\r\n\(head)\r\n", .malformedRequestLine),
        Case("GET / HTTP/1\r\n\(head)\r\n", .malformedRequestLine),
        Case("GET / HTTP/1.10\r\n\(head)\r\n", .malformedRequestLine),
        Case("GET / HTTP/+1.1\r\n\(head)\r\n", .malformedRequestLine),
        Case("GET / HTTPS/1.1\r\n\(head)\r\n", .malformedRequestLine),
        Case("\r\n\r\nGET / HTTP/1.1\r\n\(head)\r\n", .malformedRequestLine),
        Case("G(T / HTTP/1.1\r\n\(head)\r\n", .invalidMethod),
        Case("GET: / HTTP/1.1\r\n\(head)\r\n", .invalidMethod),
        Case("\(String(repeating: "A", count: 33)) / HTTP/1.1\r\n\(head)\r\n", .invalidMethod),
        Case("GÉT / HTTP/1.1\r\n\(head)\r\n", .invalidMethod),
        Case("GET / HTTP/0.9\r\n\(head)\r\n", .unsupportedVersion),
        Case("GET / HTTP/2.0\r\n\(head)\r\n", .unsupportedVersion),
        Case("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", .unsupportedVersion),
        Case("GET /\(String(repeating: "a", count: 9000)) HTTP/1.1\r\n\(head)\r\n", .requestLineTooLong),
        Case(String(repeating: "a", count: 9000), .requestLineTooLong),
        // The target.
        Case("GET a HTTP/1.1\r\n\(head)\r\n", .invalidTarget),
        Case("GET * HTTP/1.1\r\n\(head)\r\n", .invalidTarget),
        Case("GET /a#b HTTP/1.1\r\n\(head)\r\n", .invalidTarget),
        Case("GET /a\"b HTTP/1.1\r\n\(head)\r\n", .invalidTarget),
        Case("GET /a?<b> HTTP/1.1\r\n\(head)\r\n", .invalidTarget),
        Case("GET /ä HTTP/1.1\r\n\(head)\r\n", .invalidTarget),
        Case("GET /% HTTP/1.1\r\n\(head)\r\n", .invalidTarget),
        Case("GET /%4 HTTP/1.1\r\n\(head)\r\n", .invalidTarget),
        Case("GET /?%zz HTTP/1.1\r\n\(head)\r\n", .invalidTarget),
        Case("GET ftp://a/ HTTP/1.1\r\n\(head)\r\n", .invalidTarget),
        Case("GET http:// HTTP/1.1\r\n\(head)\r\n", .invalidTarget),
        Case("GET http://u@a/ HTTP/1.1\r\n\(head)\r\n", .invalidTarget),
        Case("GET http://a:b/ HTTP/1.1\r\n\(head)\r\n", .invalidTarget),
        Case("GET a:80 HTTP/1.1\r\n\(head)\r\n", .invalidTarget),
        Case("CONNECT a:80 HTTP/1.1\r\n\(head)\r\n", .connectNotSupported),
        // Line ends and control characters.
        Case("GET / HTTP/1.1\n\(head)\r\n", .bareLineFeed),
        Case("GET / HTTP/1.1\r\nHost: a\n\r\n", .bareLineFeed),
        Case("GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", .bareCarriageReturn),
        Case("GET / HTTP/1.1\r\r\n\(head)\r\n", .bareCarriageReturn),
        Case("GET /\0 HTTP/1.1\r\n\(head)\r\n", .controlCharacter),
        Case("GET / HTTP/1.1\r\nHost: a\u{1}\r\n\r\n", .controlCharacter),
        Case("GET / HTTP/1.1\r\nHost: a\u{7F}\r\n\r\n", .controlCharacter),
        Case("\u{16}\u{3}\u{1}\u{2}\0\u{1}", .controlCharacter),
        // Field lines.
        Case("GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", .foldedHeader),
        Case("GET / HTTP/1.1\r\nHost: a\r\n\tb: c\r\n\r\n", .foldedHeader),
        Case("GET / HTTP/1.1\r\n Host: a\r\n\r\n", .foldedHeader),
        Case("GET / HTTP/1.1\r\nHost : a\r\n\r\n", .invalidHeaderName),
        Case("GET / HTTP/1.1\r\nHost\t: a\r\n\r\n", .invalidHeaderName),
        Case("GET / HTTP/1.1\r\nHost\r\n\r\n", .invalidHeaderName),
        Case("GET / HTTP/1.1\r\n: a\r\n\r\n", .invalidHeaderName),
        Case("GET / HTTP/1.1\r\nA B: a\r\n\r\n", .invalidHeaderName),
        Case("GET / HTTP/1.1\r\nTransfer-Encodíng: chunked\r\n\r\n", .invalidHeaderName),
        Case("GET / HTTP/1.1\r\nA: \(String(repeating: "a", count: 17000))\r\n\r\n", .headersTooLong),
        Case(
            "GET / HTTP/1.1\r\n\(String(repeating: "A: \(String(repeating: "b", count: 990))\r\n", count: 17))",
            .headersTooLong
        ),
        Case("GET / HTTP/1.1\r\n\(String(repeating: "A:\r\n", count: 101))", .tooManyHeaders),
        // Host.
        Case("GET / HTTP/1.1\r\n\r\n", .missingHost),
        Case("GET http://a/ HTTP/1.1\r\n\r\n", .missingHost),
        Case("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", .duplicateHost),
        Case("GET / HTTP/1.0\r\nHost: a\r\nhost: b\r\n\r\n", .duplicateHost),
        Case("GET / HTTP/1.1\r\nHost:\r\n\r\n", .invalidHost),
        Case("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", .invalidHost),
        Case("GET / HTTP/1.1\r\nHost: a, b:c\r\n\r\n", .invalidHost),
        Case("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", .invalidHost),
        Case("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", .invalidHost),
        Case("GET / HTTP/1.1\r\nHost: a:\(65536)\r\n\r\n", .invalidHost),
        Case("GET / HTTP/1.1\r\nHost: :80\r\n\r\n", .invalidHost),
        Case("GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", .invalidHost),
        Case("GET / HTTP/1.1\r\nHost: [::1]x\r\n\r\n", .invalidHost),
        Case("GET / HTTP/1.1\r\nHost: []\r\n\r\n", .invalidHost),
        // Content and its framing.
        Case("POST / HTTP/1.1\r\n\(head)Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", .duplicateContentLength),
        Case("POST / HTTP/1.1\r\n\(head)Content-Length: 1\r\nContent-Length: 1\r\n\r\na", .duplicateContentLength),
        Case("POST / HTTP/1.1\r\n\(head)Content-Length: 1, 1\r\n\r\na", .invalidContentLength),
        Case("POST / HTTP/1.1\r\n\(head)Content-Length:\r\n\r\n", .invalidContentLength),
        Case("POST / HTTP/1.1\r\n\(head)Content-Length: +1\r\n\r\na", .invalidContentLength),
        Case("POST / HTTP/1.1\r\n\(head)Content-Length: -1\r\n\r\na", .invalidContentLength),
        Case("POST / HTTP/1.1\r\n\(head)Content-Length: 0x1\r\n\r\na", .invalidContentLength),
        Case("POST / HTTP/1.1\r\n\(head)Content-Length: 1 1\r\n\r\na", .invalidContentLength),
        Case("POST / HTTP/1.1\r\n\(head)Content-Length: 65537\r\n\r\n", .bodyTooLarge),
        Case("POST / HTTP/1.1\r\n\(head)Content-Length: 99999999999999999999999\r\n\r\n", .bodyTooLarge),
        Case(
            "POST / HTTP/1.1\r\n\(head)Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            .contentLengthWithTransferEncoding
        ),
        Case(
            "POST / HTTP/1.1\r\n\(head)Transfer-Encoding: identity\r\nContent-Length: 5\r\n\r\n",
            .contentLengthWithTransferEncoding
        ),
        Case("POST / HTTP/1.0\r\n\(head)Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", .invalidTransferEncoding),
        Case("POST / HTTP/1.1\r\n\(head)Transfer-Encoding: chunked, gzip\r\n\r\n", .invalidTransferEncoding),
        Case("POST / HTTP/1.1\r\n\(head)Transfer-Encoding: chunked, chunked\r\n\r\n", .invalidTransferEncoding),
        Case(
            "POST / HTTP/1.1\r\n\(head)Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n",
            .invalidTransferEncoding
        ),
        Case("POST / HTTP/1.1\r\n\(head)Transfer-Encoding:\r\n\r\n", .invalidTransferEncoding),
        Case("POST / HTTP/1.1\r\n\(head)Transfer-Encoding: gzip\r\n\r\n", .unsupportedTransferEncoding),
        Case("POST / HTTP/1.1\r\n\(head)Transfer-Encoding: gzip, chunked\r\n\r\n", .unsupportedTransferEncoding),
        Case("POST / HTTP/1.1\r\n\(head)Transfer-Encoding: xchunked\r\n\r\n", .unsupportedTransferEncoding),
        Case("POST / HTTP/1.1\r\n\(head)Transfer-Encoding: \"chunked\"\r\n\r\n", .unsupportedTransferEncoding),
        Case("POST / HTTP/1.1\r\n\(head)Expect: 200-ok\r\n\r\n", .unsupportedExpectation),
    ]

    static let chunkCases: [Case] = [
        Case("\r\n", .invalidChunk),
        Case("g\r\n", .invalidChunk),
        Case("0x1\r\na\r\n0\r\n\r\n", .invalidChunk),
        Case("-1\r\n", .invalidChunk),
        Case(" 1\r\n", .invalidChunk),
        Case("1 \r\na\r\n0\r\n\r\n", .invalidChunk),
        Case("1 a\r\na\r\n0\r\n\r\n", .invalidChunk),
        Case("1\na\r\n", .bareLineFeed),
        Case("1\r\nab\r\n0\r\n\r\n", .invalidChunk),
        Case("1\r\na0\r\n\r\n", .invalidChunk),
        Case("1\r\na\n0\r\n\r\n", .bareLineFeed),
        Case("1;\(String(repeating: "a", count: 300))\r\n", .invalidChunk),
        Case("10001\r\n", .bodyTooLarge),
        Case("ffffffffffffffffffffffff\r\n", .bodyTooLarge),
        Case("0\r\n a: b\r\n\r\n", .foldedHeader),
        Case("0\r\na b: c\r\n\r\n", .invalidHeaderName),
        Case("0\r\n\(String(repeating: "a:\r\n", count: 101))", .tooManyHeaders),
    ]

    @Test(arguments: cases)
    func `are answered once with the reason's status, and the connection closes`(_ sample: Case) {
        let outcome = serve(sample.bytes)
        #expect(outcome.drops == [sample.reason])
        #expect(outcome.requests == [])
        let status = sample.reason.status?.rawValue ?? 0
        #expect(outcome.text.hasPrefix("HTTP/1.1 \(status) "))
        #expect(outcome.text.contains("\r\nConnection: close\r\n"))
        #expect(outcome.text.contains("\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n"))
        #expect(outcome.text.hasSuffix("\r\n\r\n\(sample.reason.explanation)\n"))
        #expect(outcome.isFinished)
    }

    @Test(arguments: cases)
    func `have the same outcome when they come byte by byte`(_ sample: Case) {
        let whole = serve(sample.bytes)
        let cut = serve(sample.bytes, cut: 1)
        #expect(whole.drops == cut.drops)
        #expect(whole.output == cut.output)
    }

    @Test(arguments: chunkCases)
    func `chunks are refused, at once and byte by byte`(_ sample: Case) {
        let request = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\(sample.bytes)"
        for cut in [Int.max, 1] {
            let outcome = serve(request, cut: cut)
            #expect(outcome.drops == [sample.reason])
            #expect(outcome.requests == [])
        }
    }

    @Test(arguments: cases)
    func `behind a good request do not touch its answer`(_ sample: Case) {
        // An empty line before the request line is only allowed once, in front of either.
        let outcome = serve("GET /first HTTP/1.1\r\nHost: a\r\n\r\n" + sample.bytes)
        #expect(outcome.requests.map(\.target.path) == ["/first"])
        #expect(outcome.drops == [sample.reason])
    }

    @Test
    func `no reason lacks a sentence, and those without a status are for the log alone`() {
        for reason in HTTPDropReason.allCases {
            #expect(reason.explanation.hasSuffix(".") || reason.explanation.hasSuffix("?"))
        }
        let silent = HTTPDropReason.allCases.filter { $0.status == nil }
        #expect(silent == [.responseTimeout, .truncatedRequest, .pipelineOverflow, .afterClose])
    }

    @Test
    func `many small chunks may not cost more framing than content`() {
        let chunk = "1;\(String(repeating: "x", count: 200))\r\na\r\n"
        let outcome = serve(
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + String(repeating: chunk, count: 1000)
        )
        #expect(outcome.drops == [.invalidChunk])
    }
}
