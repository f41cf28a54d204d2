import Crypto
import EventLoop
import Store
import Testing

@testable import WebService

/// Sessions that a process left behind which had no time to say good-bye.
@Suite
struct CrashTests {
    private static let secret = "0123456789abcdef0123456789abcdef"

    /// What the server answers to a resume of a session that was joined three hours ago.
    private func answer(lastAliveSecondsAgo: UInt64?) throws -> String {
        let now = WallClock.unixSeconds()
        let target = try HostileTarget(storing: { store in
            let session = SessionRecord(
                digest: MessageDigest.sha256(Array(Self.secret.utf8)),
                room: "long-call",
                peerID: "0123456789abcdef",
                name: "Ada",
                lastSeenUnixSeconds: Int64(now) - 3 * 3600
            )
            try store.apply([.save(session)])
            guard let ago = lastAliveSecondsAgo else { return }
            try store.setSetting(WebServer.lastAlive, to: String(now - ago))
        })
        let peer = try HostilePeer(to: target.port)
        peer.send(#"{"type":"resume","version":1,"session":"\#(Self.secret)","ack":0}"#)
        return String(decoding: peer.receive(), as: UTF8.self)
    }

    @Test
    func `a call of three hours survives a crash of the server`() throws {
        #expect(try answer(lastAliveSecondsAgo: 90).contains(#""type":"resumed""#))
    }

    @Test(arguments: [nil, 2 * 3600])
    func `sessions of a process that is long gone are not taken up`(ago: UInt64?) throws {
        #expect(try answer(lastAliveSecondsAgo: ago).contains(#""code":"sessionUnknown""#))
    }
}
