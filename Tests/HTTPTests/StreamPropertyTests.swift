import HTTP
import NetTypes
import TestSupport
import Testing

@Suite("HTTP streams")
struct HTTPStreamTests {
    static let corpus: [[UInt8]] = [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /a/%41?b=c&d=%20+ HTTP/1.1\r\nHost: example.org:8080\r\nIf-None-Match: \"x\", W/\"y\"\r\n\r\n",
        "HEAD http://a:1/p HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        "POST /x HTTP/1.1\r\nHost: [::1]\r\nContent-Length: 5\r\n\r\nhelloGET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /y HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: u\r\n\r\n",
        "PUT /z HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nab",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nOrigin: https://a:1\r\n\r\nxyz",
        "OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    ].map { Array($0.utf8) }

    /// What must not depend on how a stream was cut: everything but interim responses and late bytes.
    private func essence(_ outcome: HTTPExerciser.Outcome) -> HTTPExerciser.Outcome {
        var outcome = outcome
        outcome.events.removeAll { $0 == .dropped(.afterClose) }
        outcome.output = Array(outcome.text.replacing("HTTP/1.1 100 Continue\r\n\r\n", with: "").utf8)
        return outcome
    }

    @Test
    func `every cut in two has the same outcome`() {
        for stream in Self.corpus {
            let whole = essence(HTTPExerciser.serve(stream) { .max >> 1 })
            for cut in 1..<stream.count {
                var pieces = [cut, stream.count]
                let split = essence(HTTPExerciser.serve(stream) { pieces.removeFirst() })
                #expect(split == whole)
            }
        }
    }

    @Test(arguments: seeds(20))
    func `a pipeline of good requests is answered in order, however it is cut`(_ seed: UInt64) {
        var entropy = Entropy.seeded(seed)
        var stream: [UInt8] = []
        var bodies: [[UInt8]] = []
        for index in 0..<20 {
            let body = entropy.bytes(Int.random(in: 0..<200, using: &entropy))
            bodies.append(body)
            stream += Array("POST /\(index) HTTP/1.1\r\nHost: a\r\n".utf8)
            if Bool.random(using: &entropy) {
                stream += Array("Content-Length: \(body.count)\r\n\r\n".utf8) + body
            } else {
                stream += Array("Transfer-Encoding: chunked\r\n\r\n".utf8)
                var rest = body[...]
                while !rest.isEmpty {
                    let chunk = rest.prefix(Int.random(in: 1...50, using: &entropy))
                    rest = rest.dropFirst(chunk.count)
                    stream += Array("\(String(chunk.count, radix: 16))\r\n".utf8) + chunk + Array("\r\n".utf8)
                }
                stream += Array("0\r\n\r\n".utf8)
            }
        }
        let outcome = HTTPExerciser.serve(stream) { Int.random(in: 1...100, using: &entropy) }
        #expect(outcome.requests.map(\.body) == bodies)
        #expect(outcome.requests.map(\.target.path) == (0..<20).map { "/\($0)" })
        #expect(outcome.text.components(of: "HTTP/1.1 200 OK\r\n") == 20)
    }

    @Test(arguments: seeds(8))
    func `mutated streams never trap, and end the same way whole and in pieces`(_ seed: UInt64) {
        var mutator = ByteMutator(corpus: Self.corpus, seed: seed)
        var requests = 0
        var reasons: Set<HTTPDropReason> = []
        for _ in 0..<4000 {
            let stream = mutator.next()
            let whole = HTTPExerciser.serve(stream) { .max >> 1 }
            let step = 1 + mutator.index(40)
            let pieces = HTTPExerciser.serve(stream) { step }
            guard essence(whole) == essence(pieces) else {
                Issue.record(
                    "seed \(seed), pieces of \(step): \(String(decoding: stream, as: UTF8.self).debugDescription)"
                )
                return
            }
            #expect(whole.isFinished || whole.requests.last?.asksToUpgrade(to: "websocket") == true)
            var parser = HTTPResponseParser()
            _ = try? parser.receive(stream.span)
            _ = try? parser.receiveEnd()
            requests += whole.requests.count
            reasons.formUnion(whole.drops)
        }
        // The inputs are neither all good nor all bad for the same reason.
        #expect(requests > 500)
        #expect(reasons.count > 10)
    }
}
