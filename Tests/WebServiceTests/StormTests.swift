import Glibc
import HTTP
import NetTypes
import Signaling
import Testing

@testable import WebService

/// Many clients that do random things at random moments; afterwards nothing of them may be left.
@Suite(.serialized)
struct StormTests {
    private static let pieces: [[UInt8]] = [
        Array("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".utf8),
        Array("GET /main.js HTTP/1.1\r\nHost: localhost\r\n\r\n".utf8),
        Array("GET /main.js HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".utf8),
        Array("HEAD /turn?key=x HTTP/1.0\r\n\r\n".utf8),
        Array("POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n".utf8),
        Array("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 40000\r\n\r\n".utf8),
        Array("GET /signal HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n".utf8)
            + Array("Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n".utf8)
            + Array("Sec-WebSocket-Protocol: floe.v1\r\n\r\n".utf8),
        masked(#"{"type":"join","version":1,"room":"storm","name":"n"}"#),
        masked(#"{"type":"join","version":1,"room":"other","name":"n"}"#),
        masked(#"{"type":"ping","id":1}"#), masked(#"{"type":"refresh"}"#), masked(#"{"type":"leave"}"#),
        masked("nonsense"), [0x88, 0x80, 0, 0, 0, 0], [0x89, 0x80, 0, 0, 0, 0], [0xFF, 0xFF], [0x0D, 0x0A],
        [UInt8](repeating: 0x41, count: 20_000),
    ]

    private static func masked(_ text: String) -> [UInt8] {
        [0x81, 0x80 | UInt8(text.utf8.count), 0, 0, 0, 0] + Array(text.utf8)
    }

    @Test(arguments: [1, 2, 3] as [UInt64])
    func `after a storm of clients nothing is left of them`(seed: UInt64) throws {
        var entropy = Entropy.seeded(seed)
        let target = try HostileTarget {
            $0.http.headTime = .milliseconds(500)
            $0.http.bodyTime = .milliseconds(500)
            $0.http.idleTime = .milliseconds(500)
            $0.http.responseTime = .milliseconds(500)
            $0.signaling.firstMessageSeconds = 1
            $0.signaling.resumeSeconds = 1
        }
        var clients: [RawClient] = []
        for _ in 0..<3000 {
            if clients.count < 40 {
                clients.append(try RawClient(to: target.port, receiveBufferBytes: 4096, isPatient: false))
            }
            let index = Int(UInt64.random(in: 0..<UInt64(clients.count), using: &entropy))
            switch UInt64.random(in: 0..<20, using: &entropy) {
            case 0: clients[index].finish()
            case 1: clients.remove(at: index).reset()
            case 2: clients.remove(at: index)
            case 3: _ = clients[index].receive()
            default:
                var bytes: [UInt8] = []
                for _ in 0..<UInt64.random(in: 1...6, using: &entropy) {
                    bytes += Self.pieces.randomElement(using: &entropy) ?? []
                }
                if UInt64.random(in: 0..<4, using: &entropy) == 0 { bytes.removeLast(bytes.count / 3) }
                clients[index].send(bytes)
            }
        }
        clients = []
        #expect(try target.eventually("floe_http_connections") { $0 == 1 }, "only the one that asks is left")
        #expect(try target.metric("floe_http_queued_bytes") == 0)
        #expect(try target.eventually("floe_signaling_sessions") { $0 == 0 })
        let before = try target.metric("floe_http_turns_total")
        usleep(300_000)
        #expect(try target.metric("floe_http_turns_total") - before < 50, "the loop is busy with nothing")
    }
}
