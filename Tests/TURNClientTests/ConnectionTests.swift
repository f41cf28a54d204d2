import Bytes
import NetTypes
import STUN
import TURN
import Testing

@Suite("A TURN client, its connection, and the connections of peers")
struct ConnectionTests {
    private let peer = address("203.0.113.5:7000")

    /// A client with a TCP allocation, or one of UDP, over TCP.
    private func script(_ relayed: RelayedTransport = .tcp, permits: Bool = false) throws -> Script {
        let script = try Script { configuration in
            configuration.transport = .tcp
            configuration.relayed = relayed
            configuration.port = .evenReservingNext
            configuration.dontFragment = true
        }
        try script.allocate()
        guard permits else { return script }
        script.act { [peer] client, now in _ = client.permit([peer.ip], at: now) }
        try script.answer(#require(script.next()), protectedBy: script.sha1)
        return script
    }

    private func connect(_ script: Script) -> Bool {
        script.act { [peer] client, now in client.connect(to: peer, at: now) }
    }

    // MARK: The connection to the server

    @Test func `turn 17: the connection is kept, and looked after, as long as the allocation is`() throws {
        let script = try script(.udp)
        for _ in 0..<20 {
            script.advance(.seconds(541))
            let refresh = try #require(script.next(where: { $0.type.method == .refresh }))
            try script.answer(refresh, .success, [.word(.lifetime, 600)], protectedBy: script.sha1)
        }
        #expect(script.end == nil && script.isAllocated)
    }

    @Test func `turn 17: a connection that has gone silent is given up at once, to allocate anew over another`() throws
    {
        let script = try script(.udp)
        script.advance(.seconds(545))
        #expect(script.next()?.type.method == .refresh)
        script.advance(.milliseconds(39_500))
        // The allocation would have lasted longer, but not for this 5-tuple.
        #expect(script.end == .failed(.connectionDead))
        var planner = TURNRetryPlanner()
        let plan = planner.plan(after: .connectionDead, at: script.server, port: .any, now: script.now)
        #expect(plan == .again)
    }

    @Test func `turn 17: what was never answered is a server that does not answer, and over UDP so is silence`() throws
    {
        let script = try Script { $0.transport = .tcp }
        script.start()
        script.advance(.seconds(40))
        #expect(script.end == .failed(.transaction(.timedOut)))
        let datagrams = try Script()
        try datagrams.allocate()
        datagrams.advance(.seconds(580))
        #expect(datagrams.end == nil)
    }

    // MARK: Anycast

    @Test func `turn 203: an anycast address has to send us elsewhere`() throws {
        let script = try Script { $0.isAnycast = true }
        script.start()
        try script.challenge(#require(script.next()))
        let elsewhere = STUNMessage.Attribute.plain(.alternateServer, address("192.0.2.7:3478"))
        try script.answer(#require(script.next()), .error, [.error(300), elsewhere], protectedBy: script.sha1)
        #expect(script.end == .failed(.redirected(to: address("192.0.2.7:3478"), domain: nil)))
    }

    @Test func `turn 203: an allocation at an anycast address is deleted and not used`() throws {
        let script = try Script { $0.isAnycast = true }
        try script.allocate()
        #expect(!script.isAllocated)
        let deletion = try #require(script.next())
        #expect(deletion.type.method == .refresh && deletion[.lifetime] == [0, 0, 0, 0])
        try script.answer(deletion, .success, [.word(.lifetime, 0)], protectedBy: script.sha1)
        #expect(script.end == .failed(.notRedirected))
        #expect(!script.events.contains { if case .allocated = $0 { true } else { false } })
    }

    // MARK: RFC 6062

    @Test func `turn 161, 162: a TCP allocation is asked for over a stream, without what is for UDP`() throws {
        let script = try Script { configuration in
            configuration.transport = .tls
            configuration.relayed = .tcp
            configuration.port = .evenReservingNext
            configuration.dontFragment = true
        }
        script.start()
        let request = try #require(script.next())
        #expect(request[.requestedTransport] == [6, 0, 0, 0])
        #expect(!request.types.contains { [.evenPort, .dontFragment, .reservationToken].contains($0) })
        let datagrams = try Script { $0.relayed = .tcp }
        datagrams.start()
        #expect(datagrams.sent.isEmpty && datagrams.end == .failed(.streamNeeded))
    }

    @Test func `turn 165, 167: a Connect request names the peer, and its success tells the connection's number`() throws
    {
        let script = try script()
        #expect(connect(script))
        let request = try #require(script.next())
        #expect(request.type == STUNMessageType(.connect, .request))
        #expect(
            request[.xorPeerAddress]
                == STUNMessage.Attribute.xored(
                    .xorPeerAddress,
                    "203.0.113.5:7000",
                    request.transactionID
                ).value
        )
        // Another one for the same peer would have to wait.
        #expect(!connect(script))
        try script.answer(request, .success, [.word(.connectionID, 77)], protectedBy: script.sha1)
        #expect(script.events.last == .connected(peer, ConnectionID(rawValue: 77)))
        #expect(connect(script))
    }

    @Test func `turn 166: a peer that could not be reached is left alone for ten seconds`() throws {
        let script = try script()
        #expect(connect(script))
        try script.answer(#require(script.next()), .error, [.error(447)], protectedBy: script.sha1)
        #expect(script.events.last == .connectFailed(peer, .refused(.connectionTimeoutOrFailure)))
        script.advance(.milliseconds(9_999))
        #expect(!connect(script))
        script.advance(.milliseconds(1))
        #expect(connect(script))
        // What is refused for another reason may be asked for again by who knows better.
        try script.answer(#require(script.next()), .error, [.error(403)], protectedBy: script.sha1)
        #expect(connect(script))
    }

    @Test func `a success without CONNECTION-ID is none, and only so many peers are kept`() throws {
        let script = try script()
        #expect(connect(script))
        try script.answer(#require(script.next()), .success, [], protectedBy: script.sha1)
        #expect(script.events.last == .connectFailed(peer, .transaction(.malformedResponse)))
        var taken = 0
        for port: UInt16 in 1...100 {
            let other = SocketAddress(peer.ip, port: port)
            if script.act({ client, now in client.connect(to: other, at: now) }) { taken += 1 }
        }
        #expect(taken == TURNClientLimits().connects)
    }

    @Test func `turn 169: a ConnectionAttempt of a permitted peer is told, and others are dropped with their reason`()
        throws
    {
        let script = try script(permits: true)
        func attempt(_ text: String, _ extra: [STUNMessage.Attribute]) throws -> TURNClientDisposition {
            let id = TransactionID(high: 3, low: 4)
            let list = [STUNMessage.Attribute.xored(.xorPeerAddress, text, id)] + extra
            let type = STUNMessageType(.connectionAttempt, .indication)
            return script.receive(try STUNMessage(type, id, attributes: list).encoded())
        }
        let number = STUNMessage.Attribute.word(.connectionID, 9)
        #expect(try attempt("203.0.113.5:7001", [number]) == .accepted)
        #expect(script.events.last == .connectionAttempt(address("203.0.113.5:7001"), ConnectionID(rawValue: 9)))
        #expect(try attempt("203.0.113.6:7001", [number]) == .ignored(.noPermission))
        #expect(try attempt("203.0.113.5:7001", []) == .ignored(.malformedIndication))
        let unknown = STUNMessage.Attribute(AttributeType(rawValue: 0x7F00), [])
        #expect(try attempt("203.0.113.5:7001", [number, unknown]) == .ignored(.malformedIndication))
    }

    @Test func `turn 173: no datagrams and no channels in a TCP allocation, no Connect in one of UDP`() throws {
        let script = try script(permits: true)
        let bound = script.act { [peer] client, now in client.bindChannel(to: peer, at: now) }
        #expect(bound == nil)
        var result = TURNSendResult.held
        _ = buildBytes(capacity: 100) { output in
            let payload: [UInt8] = [1]
            result = script.client.send(payload.span, to: peer, at: script.now, into: &output)
        }
        #expect(result == .refused(.wrongRelayedTransport))
        #expect(!connect(try self.script(.udp)))
    }

    // MARK: Data connections

    /// A data connection whose server is the test.
    private final class DataEnd {
        private let script: Script
        private var engine: TURNDataConnection

        init(_ script: Script) {
            self.script = script
            engine = script.client.dataConnection(ConnectionID(rawValue: 77), entropy: .seeded(8))
            engine.start(at: script.now)
        }

        var server: SocketAddress { engine.server }
        var outcome: TURNDataConnection.Outcome? { engine.outcome }
        var nextTimeout: Instant? { engine.nextTimeout }

        func start() { engine.start(at: script.now) }
        func transportFailed() { engine.transportFailed() }
        func handleTimeout(at now: Instant) { engine.handleTimeout(at: now) }

        func next() -> STUNMessage? {
            let bytes = buildBytes(capacity: TURNClient.maximumMessageByteCount) { output in
                _ = engine.pollTransmit(into: &output)
            }
            return try? STUNMessage(decoding: bytes.span)
        }

        func answer(
            _ request: STUNMessage,
            _ messageClass: STUNClass,
            _ attributes: [STUNMessage.Attribute] = [],
            protectedBy protection: MessageProtection = .none
        ) throws {
            let type = STUNMessageType(request.type.method, messageClass)
            let message = STUNMessage(type, request.transactionID, attributes: attributes)
            let bytes = try message.encoded(protectedBy: protection)
            engine.receive(bytes.span, at: script.now)
        }
    }

    @Test func `turn 171, 175: a new connection is bound as the same user, and is the peer's from then on`() throws {
        let script = try script()
        let data = DataEnd(script)
        #expect(data.server == script.server)
        let request = try #require(data.next())
        #expect(request.type == STUNMessageType(.connectionBind, .request))
        #expect(request[.connectionID] == [0, 0, 0, 77] && request[.username] == Array("alice".utf8))
        // The nonce of another connection is none of this one's.
        let nonce = Array("another nonce of the server".utf8)
        let stale: [STUNMessage.Attribute] = [
            .error(438), .init(.realm, Array(Script.realm.utf8)), .init(.nonce, nonce),
        ]
        try data.answer(request, .error, stale)
        let again = try #require(data.next())
        #expect(again[.nonce] == nonce && again.transactionID != request.transactionID)
        try data.answer(again, .success, [.word(.connectionID, 77)], protectedBy: script.sha1)
        #expect(data.outcome == .bound && data.nextTimeout == nil)
        // Nothing is sent any more, whatever comes.
        try data.answer(again, .error, stale)
        data.start()
        #expect(data.next() == nil && data.outcome == .bound)
    }

    @Test func `turn 170: a refused, forged, lost or unanswered ConnectionBind is told as what it is`() throws {
        let script = try script()
        let refused = DataEnd(script)
        try refused.answer(try #require(refused.next()), .error, [.error(400)], protectedBy: script.sha1)
        #expect(refused.outcome == .failed(.refused(.badRequest)))
        let forged = DataEnd(script)
        try forged.answer(try #require(forged.next()), .success)
        #expect(forged.outcome == .failed(.transaction(.integrityViolated)))
        let lost = DataEnd(script)
        lost.transportFailed()
        #expect(lost.outcome == .failed(.transaction(.transportFailed)))
        let silent = DataEnd(script)
        silent.handleTimeout(at: try #require(silent.nextTimeout))
        #expect(silent.outcome == .failed(.transaction(.timedOut)))
    }
}

extension Script {
    /// The next message of which that holds; those before it are dropped.
    fileprivate func next(where matches: (STUNMessage) -> Bool) -> STUNMessage? {
        while let message = next() {
            if matches(message) { return message }
        }
        return nil
    }

    @Test func `a Refresh for the sake of NATs is one at a time and leaves no timer behind (ice 16)`() throws {
        let script = try Script()
        try script.allocate()
        for _ in 0..<36 {
            for _ in 0..<3 { script.act { $0.refresh(at: $1) } }
            let refresh = try #require(script.next())
            #expect(refresh.type.method == .refresh && script.next() == nil)
            try script.answer(refresh, .success, [.word(.lifetime, 600)], protectedBy: script.sha1)
            script.advance(.seconds(15))
        }
        // Nobody asks any more: one look at the time for which the first was set, and then the Refresh that is due.
        var wakes = 0
        while script.sent.isEmpty, let next = script.client.nextTimeout {
            script.now = next
            script.act { $0.handleTimeout(at: $1) }
            wakes += 1
        }
        #expect(wakes <= 2)
        #expect(script.next()?.type.method == .refresh)
    }
}
