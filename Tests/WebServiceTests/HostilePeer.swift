import NetTypes
import WebSocket

/// A signaling client that frames its texts by hand and reads only what it must.
final class HostilePeer {
    private let client: RawClient
    /// The public id that the server gave it.
    private(set) var id: String?

    init(to port: UInt16, receiveBufferBytes: Int32? = nil) throws {
        client = try RawClient(to: port, receiveBufferBytes: receiveBufferBytes)
        client.send(
            "GET /signal HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                + "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
                + "Sec-WebSocket-Protocol: floe.v1\r\n\r\n"
        )
        var head: [UInt8] = []
        while !head.suffix(4).elementsEqual("\r\n\r\n".utf8) {
            let more = client.receive()
            if more.isEmpty { break }
            head += more
        }
    }

    /// Enters a room and waits for the answer.
    func join(_ room: String, as name: String) {
        send(#"{"type":"join","version":1,"room":"\#(room)","name":"\#(name)"}"#)
        var answer = ""
        while !answer.contains(#""version":1"#) {
            let more = client.receive()
            if more.isEmpty { return }
            answer += String(decoding: more, as: UTF8.self)
        }
        let rest = answer.split(separator: #""id":""#, maxSplits: 1).dropFirst().first
        id = rest.map { String($0.prefix(16)) }
    }

    /// Sends one text, masked with a key of zeros.
    func send(_ text: String) {
        let payload = Array(text.utf8)
        var frame: [UInt8] = [0x81]
        if payload.count < 126 {
            frame.append(0x80 | UInt8(payload.count))
        } else {
            frame += [0x80 | 126, UInt8(payload.count >> 8), UInt8(payload.count & 255)]
        }
        client.send(frame + [0, 0, 0, 0] + payload)
    }

    /// What comes next, as it stands on the wire.
    func receive() -> [UInt8] { client.receive() }
}
