import HTTP
import NetTypes
import ServiceTestSupport
import SignalingMessages
import Store
import Testing
import WebSocket

@testable import WebService

@Suite struct SignalingServiceTests {
    private static let offer = SessionDescription(type: .offer, sdp: "v=0\r\n")

    @Test(arguments: [false, true])
    func `two clients meet, talk and part`(isTLS: Bool) throws {
        let web = try TestWeb()
        let origin = "\(isTLS ? "https" : "http")://\(try web.authority(isTLS: isTLS))"
        let alice = try web.signaling(isTLS: isTLS, origin: origin)
        let bob = try web.signaling(isTLS: isTLS)
        let first = try alice.join("room", as: "Alice").welcome
        #expect(first.peers.isEmpty && first.room == "room")
        let second = try bob.join("room", as: "Bob").welcome
        #expect(second.peers == [SignalingPeer(id: first.id, name: "Alice")])
        #expect(try alice.next().message == .peerJoined(SignalingPeer(id: second.id, name: "Bob")))
        try bob.send(.description(to: first.id, Self.offer), sequence: 1)
        #expect(try alice.next().message == .description(from: second.id, Self.offer))
        try alice.send(.candidate(to: second.id, nil), sequence: 1, acknowledged: 2)
        #expect(try bob.next().message == .candidate(from: first.id, nil))
        try bob.send(.ping(id: 7))
        #expect(try bob.next().message == .pong(id: 7))
        try bob.send(.leave)
        #expect(try bob.closeCode() == .normal)
        #expect(try alice.next().message == .peerLeft(id: second.id, reason: .left))
    }

    @Test func `ICE servers are named by the host that the client came by`() throws {
        let web = try TestWeb()
        let welcome = try web.signaling().join("room", as: "Alice").welcome
        let urls = welcome.iceServers.iceServers.flatMap(\.urls)
        #expect(
            urls == [
                "stun:localhost:3478", "turn:localhost:3478?transport=udp", "turn:localhost:3478?transport=tcp",
            ]
        )
    }

    @Test func `a session outlives the server`() throws {
        let web = try TestWeb { $0.stopTime = .milliseconds(300) }
        let alice = try web.signaling()
        let bob = try web.signaling()
        let (secret, welcome) = try alice.join("room", as: "Alice")
        let other = try bob.join("room", as: "Bob")
        #expect(try alice.next().message == .peerJoined(SignalingPeer(id: other.welcome.id, name: "Bob")))
        try web.restart()
        #expect(try alice.closeCode() == .goingAway)
        #expect(try bob.closeCode() == .goingAway)
        let again = try web.signaling()
        try again.send(.resume(session: secret), acknowledged: 1)
        let frame = try again.next()
        guard case .resumed(let replay, let back) = frame.message else {
            Issue.record("not resumed: \(frame.text)")
            return
        }
        #expect(replay == .lost && back.id == welcome.id && back.room == "room")
        #expect(back.peers == [SignalingPeer(id: other.welcome.id, name: "Bob", isAway: true)])
        // The other one is away, but its place is kept; it comes back to a room that works.
        let bobAgain = try web.signaling()
        try bobAgain.send(.resume(session: other.session), acknowledged: 0)
        guard case .resumed = try bobAgain.next().message else {
            Issue.record("the other one is not resumed")
            return
        }
        try bobAgain.send(.description(to: back.id, Self.offer), sequence: 1)
        #expect(try again.next().message == .description(from: other.welcome.id, Self.offer))
    }

    @Test func `a session that was left is not stored`() throws {
        let web = try TestWeb { $0.stopTime = .milliseconds(300) }
        let alice = try web.signaling()
        let secret = try alice.join("room", as: "Alice").session
        try alice.send(.leave)
        #expect(try alice.closeCode() == .normal)
        try web.restart()
        let again = try web.signaling()
        try again.send(.resume(session: secret), acknowledged: 0)
        guard case .error(.sessionUnknown, _, _) = try again.next().message else {
            Issue.record("the session is still known")
            return
        }
        // The connection stays open: join anew.
        #expect(try again.join("room", as: "Alice").welcome.peers.isEmpty)
    }

    @Test func `a connection that breaks can be resumed`() throws {
        let web = try TestWeb()
        let bob = try web.signaling()
        let bobID = try bob.join("room", as: "Bob").welcome.id
        let secret: String
        let id: String
        do {
            let alice = try web.signaling()
            let joined = try alice.join("room", as: "Alice")
            (secret, id) = (joined.session, joined.welcome.id)
        }
        #expect(try bob.next().message == .peerJoined(SignalingPeer(id: id, name: "Alice")))
        try bob.send(.description(to: id, Self.offer), sequence: 1)
        let alice = try web.signaling()
        try alice.send(.resume(session: secret), acknowledged: 0)
        guard case .resumed(.complete, _) = try alice.next().message else {
            Issue.record("nothing was lost, but the server says so")
            return
        }
        #expect(try alice.next().message == .description(from: bobID, Self.offer))
    }

    @Test func `stopping closes with 1001`() throws {
        let web = try TestWeb()
        let clients = try [web.signaling(), web.signaling(isTLS: true)]
        _ = try clients[0].join("room", as: "Alice")
        web.service.stop()
        for client in clients {
            #expect(try client.closeCode() == .goingAway)
            client.stream.finish()
        }
        web.service.join()
    }

    @Test func `a mistake is answered and closes with its code`() throws {
        let web = try TestWeb()
        let client = try web.signaling()
        try client.send(text: "no JSON")
        guard case .error(.badMessage, _, _) = try client.next().message else {
            Issue.record("no answer")
            return
        }
        #expect(try client.closeCode().rawValue == 4400)
    }

    @Test func `a message that is too long closes with 1009`() throws {
        // However slow this machine is, the client gets to read the close before it is cut off.
        let web = try TestWeb { $0.lingerTime = .seconds(60) }
        let client = try web.signaling()
        try client.send(text: String(repeating: "a", count: 70_000))
        #expect(try client.closeCode() == .messageTooBig)
        // It was not cut off as one that does not read: a reset could have overtaken the close.
        #expect(try web.http().get("/metrics").text.contains("floe_http_drops_total{reason=\"slowReader\"} 0\n"))
    }

    @Test func `who is told of a session finds it stored, whenever the process dies`() throws {
        let web = try TestWeb()
        // Another process's view of the store, so to speak: what it sees survives a kill.
        let store = try Database(path: web.folder.path + "/store.sqlite")
        var clients: [SignalingClient] = []
        for count in 1...5 {
            let client = try web.signaling()
            _ = try client.join("room", as: "Ada")
            #expect(try store.sessions().count == count)
            clients.append(client)
        }
    }

    // MARK: Handshakes that are refused

    @Test(arguments: ["http://evil.example", "null", "https://localhost"])
    func `a page of a stranger is refused`(origin: String) throws {
        let web = try TestWeb()
        #expect(throws: WebSocketHandshakeError.refused(.forbidden)) { try web.signaling(origin: origin) }
    }

    @Test func `a listed origin is let in`() throws {
        let web = try TestWeb { $0.policy.origins = [HTTPOrigin("https://app.example")].compactMap { $0 } }
        _ = try web.signaling(origin: "https://app.example").join("room", as: "Alice")
    }

    @Test func `a client that does not offer the subprotocol is refused`() throws {
        let web = try TestWeb()
        let authority = try web.authority(isTLS: false)
        for protocols in [[], ["floe.v2"], ["other"]] {
            #expect(throws: WebSocketHandshakeError.refused(.badRequest)) {
                try SignalingClient(web.stream(), authority: authority, subprotocols: protocols)
            }
        }
    }

    @Test func `a name that is not this machine's is refused over plain HTTP`() throws {
        let web = try TestWeb()
        #expect(throws: WebSocketHandshakeError.refused(.misdirectedRequest)) {
            try SignalingClient(web.stream(), authority: "evil.example")
        }
    }

    @Test(arguments: ["GET", "POST", "HEAD"])
    func `what is no handshake is told what is spoken there`(method: String) throws {
        let web = try TestWeb()
        let client = try web.http()
        try client.send("\(method) /signal HTTP/1.1")
        let response = try client.receive(toHead: method == "HEAD")
        #expect(response.status == .upgradeRequired)
        #expect(response.headers["Upgrade"] == "websocket")
        expectSecurityHeaders(response.headers)
    }
}
