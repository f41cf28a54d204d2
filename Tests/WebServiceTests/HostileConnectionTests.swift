import CallPage
import EventLoop
import HTTP
import NetTypes
import Testing

@testable import WebService

/// What clients do that no browser does, over real sockets.
@Suite(.serialized)
struct HostileConnectionTests {
    private static let head = "HTTP/1.1\r\nHost: localhost\r\n"
    /// The longest file of the page: a response that does not fit into one write.
    private static var longest: CallPageFile {
        CallPage.files.max { $0.bytes.count < $1.bytes.count } ?? CallPage.files[0]
    }

    @Test
    func `a client that pipelines more than is kept gets every answer`() throws {
        let target = try HostileTarget { $0.http.pipelinedBytes = 1024 }
        let client = try RawClient(to: target.port, receiveBufferBytes: 4096)
        client.send(String(repeating: "GET \(Self.longest.path) \(Self.head)\r\n", count: 299))
        client.send("GET /healthz \(Self.head)Connection: close\r\n\r\n")
        let answers = client.receiveAll()
        #expect(occurrences(of: "HTTP/1.1 200 OK\r\n", in: answers) == 300)
    }

    @Test
    func `a client that ends its side before its answers are sent costs no turns of the loop`() throws {
        let target = try HostileTarget()
        let client = try RawClient(to: target.port, receiveBufferBytes: 4096)
        client.send(String(repeating: "GET \(Self.longest.path) \(Self.head)\r\n", count: 700))
        client.finish()
        pause(milliseconds: 200)
        let answers = client.receiveAll()
        #expect(occurrences(of: "HTTP/1.1 200 OK\r\n", in: answers) == 700)
        let before = try target.metric("floe_http_turns_total")
        pause(milliseconds: 500)
        let turns = try target.metric("floe_http_turns_total") - before
        #expect(turns < 100, "the loop is busy with nothing")
    }

    @Test
    func `a client that never reads its answers is cut`() throws {
        let target = try HostileTarget {
            $0.http.responseTime = .milliseconds(300)
            $0.http.responseBytesPerSecond = 1 << 30
            $0.http.idleTime = .milliseconds(300)
        }
        let client = try RawClient(to: target.port, receiveBufferBytes: 4096)
        client.send(String(repeating: "GET \(Self.longest.path) \(Self.head)\r\n", count: 600))
        #expect(try target.eventually("floe_http_connections") { $0 == 1 }, "only the one that asks is left")
    }

    @Test
    func `the refusal of a large upload reaches the client`() throws {
        let target = try HostileTarget()
        let client = try RawClient(to: target.port)
        client.send("POST / \(Self.head)Content-Length: 8000000\r\n\r\n")
        client.send([UInt8](repeating: 0x61, count: 4_000_000))
        let answer = String(decoding: client.receiveAll(), as: UTF8.self)
        #expect(answer.hasPrefix("HTTP/1.1 413 "))
    }

    @Test
    func `a request that never ends is cut in time`() throws {
        let target = try HostileTarget { $0.http.headTime = .milliseconds(300) }
        let client = try RawClient(to: target.port)
        client.send("GET / HTTP/1.1\r\nHost: local")
        let answer = String(decoding: client.receiveAll(), as: UTF8.self)
        #expect(answer.hasPrefix("HTTP/1.1 408 "))
    }

    @Test
    func `a stop ends in time whatever clients do`() throws {
        let target = try HostileTarget { $0.stopTime = .seconds(1) }
        let half = try RawClient(to: target.port)
        half.send("GET / HTTP/1.1\r\nHost: local")
        let stuck = try RawClient(to: target.port, receiveBufferBytes: 4096)
        stuck.send(String(repeating: "GET \(Self.longest.path) \(Self.head)\r\n", count: 900))
        let socket = try HostilePeer(to: target.port)
        socket.join("room", as: "Mute")
        let begin = MonotonicClock.now()
        target.service.stop()
        target.service.join()
        let took = MonotonicClock.now() - begin
        #expect(took < .seconds(4))
    }

    @Test
    func `clients of the signaling that do not read are cut when all together have too much waiting`() throws {
        let target = try HostileTarget { $0.queuedBytes = 256 * 1024 }
        let deaf = try HostilePeer(to: target.port, receiveBufferBytes: 4096)
        deaf.join("room", as: "Deaf")
        let id = try #require(deaf.id)
        let talker = try HostilePeer(to: target.port)
        talker.join("room", as: "Talker")
        let sdp = String(repeating: "x", count: 60_000)
        var most: UInt64 = 0
        for number in 1...200 {
            talker.send(
                #"{"type":"description","to":"\#(id)","seq":\#(number),"description":{"type":"offer","sdp":"\#(sdp)"}}"#
            )
            most = max(most, try target.metric("floe_http_queued_bytes"))
        }
        #expect(try target.eventually(#"floe_http_drops_total{reason="slowReader"}"#) { $0 == 1 })
        #expect(most < 512 * 1024, "one message above the bound")
    }
}

private func pause(milliseconds: UInt64) {
    let end = MonotonicClock.now() + .milliseconds(milliseconds)
    guard let poller = try? Poller() else { return }
    var events = PollEvents(capacity: 1)
    while MonotonicClock.now() < end { try? poller.wait(until: end, into: &events) }
}
