import NetTypes
import STUN
import TURN
import Testing

@Suite("A TURN client and what servers ask of it")
struct ChallengeTests {
    @Test func `the first request has nothing that authenticates (turn 72, 113)`() throws {
        let script = try Script()
        script.start()
        let request = try #require(script.next())
        #expect(request.types == [.requestedTransport])
        #expect(request[.requestedTransport] == [17, 0, 0, 0])
    }

    @Test func `a server of RFC 5389 gets the name and MESSAGE-INTEGRITY (turn 74)`() throws {
        let script = try Script()
        script.start()
        let first = try #require(script.next())
        try script.challenge(first)
        let bytes = try #require(script.sent.first)
        let view = try STUNMessageView(bytes.span)
        let valid = view.checkMessageIntegrity(script.credentials.md5Key)
        let hasSHA256 = view.contains(.messageIntegritySHA256)
        let second = try #require(script.next())
        #expect(second.transactionID != first.transactionID)
        #expect(second[.username] == Array("alice".utf8))
        #expect(second[.realm] == Array(Script.realm.utf8))
        #expect(second[.nonce] == Script.plainNonce)
        #expect(second[.passwordAlgorithm] == nil && second[.passwordAlgorithms] == nil)
        #expect(valid == .valid && !hasSHA256)
    }

    @Test
    func `a server with both features gets USERHASH, the list as it was, its first choice and SHA-256 (turn 74, 153)`()
        throws
    {
        let script = try Script()
        script.start()
        let unknownFirst: [UInt8] = [0, 9, 0, 0] + Script.bothAlgorithms
        try script.challenge(#require(script.next()), nonce: Script.richNonce, algorithms: unknownFirst)
        let bytes = try #require(script.sent.first)
        let view = try STUNMessageView(bytes.span)
        let key = try #require(script.credentials.sha256Key)
        let valid = view.checkMessageIntegritySHA256(key)
        let hasSHA1 = view.contains(.messageIntegrity)
        let hash = try view.userhash()
        let second = try #require(script.next())
        #expect(second[.username] == nil)
        #expect(hash == script.credentials.userhash)
        #expect(second[.passwordAlgorithms] == unknownFirst)
        #expect(second[.passwordAlgorithm] == [0, 2, 0, 0])
        #expect(valid == .valid && !hasSHA1)
    }

    @Test func `a list with MD5 alone is answered with the MD5 key and SHA-256 (turn 80)`() throws {
        let script = try Script()
        script.start()
        try script.challenge(#require(script.next()), nonce: Script.algorithmsNonce, algorithms: [0, 1, 0, 0])
        let bytes = try #require(script.sent.first)
        let view = try STUNMessageView(bytes.span)
        let valid = view.checkMessageIntegritySHA256(script.credentials.md5Key)
        #expect(valid == .valid)
        #expect(script.next()?[.username] == Array("alice".utf8))
    }

    @Test func `anonymity without algorithms is USERHASH with MESSAGE-INTEGRITY`() throws {
        let script = try Script()
        script.start()
        try script.challenge(#require(script.next()), nonce: Script.anonymousNonce)
        let second = try #require(script.next())
        #expect(second[.username] == nil && second[.userhash]?.count == 32)
    }

    @Test func `a nonce that announces a list which is not there is not answered (turn 73)`() throws {
        for code: UInt16 in [401, 438] {
            let script = try Script()
            script.start()
            try script.challenge(#require(script.next()), code: code, nonce: Script.algorithmsNonce)
            #expect(script.sent.isEmpty)
            #expect(script.end == .failed(.transaction(.biddenDown)))
        }
    }

    @Test func `a list without a known algorithm is not answered (turn 74)`() throws {
        let script = try Script()
        script.start()
        try script.challenge(#require(script.next()), nonce: Script.algorithmsNonce, algorithms: [0, 7, 0, 0])
        #expect(script.sent.isEmpty)
        #expect(script.end == .failed(.transaction(.noSupportedPasswordAlgorithm)))
    }

    @Test func `after a list, a challenge without one is an attack (turn 80)`() throws {
        let script = try Script()
        script.start()
        try script.challenge(
            #require(script.next()),
            nonce: Script.algorithmsNonce,
            algorithms: Script.bothAlgorithms
        )
        try script.challenge(#require(script.next()), code: 438)
        #expect(script.sent.isEmpty)
        #expect(script.end == .failed(.transaction(.biddenDown)))
    }

    @Test func `a second 401 is final (turn 75)`() throws {
        let script = try Script()
        script.start()
        try script.challenge(#require(script.next()))
        try script.challenge(#require(script.next()), nonce: Array("another nonce".utf8))
        #expect(script.sent.isEmpty)
        #expect(script.end == .failed(.transaction(.wrongCredentials)))
    }

    @Test func `a 401 with another realm is answered, but not for ever (turn 75, 76)`() throws {
        let script = try Script()
        script.start()
        var answered = 0
        while let request = script.next() {
            answered += 1
            try script.challenge(request, realm: "realm \(answered)")
            try #require(answered < 20)
        }
        #expect(answered == LongTermSession.challengeLimit + 1)
        #expect(script.end == .failed(.transaction(.tooManyChallenges)))
    }

    @Test func `stale nonces are answered with the new one, but not for ever (turn 76)`() throws {
        let script = try Script()
        script.start()
        try script.challenge(#require(script.next()))
        var count = 0
        while let request = script.next() {
            count += 1
            #expect(request[.nonce] == (count == 1 ? Script.plainNonce : Array("nonce \(count - 1)".utf8)))
            try script.challenge(request, code: 438, nonce: Array("nonce \(count)".utf8))
            try #require(count < 20)
        }
        #expect(count == LongTermSession.challengeLimit)
        #expect(script.end == .failed(.transaction(.tooManyChallenges)))
    }

    @Test func `a challenge without realm or nonce, or with absurd ones, is the end`() throws {
        let attributes: [[STUNMessage.Attribute]] = [
            [.error(401)], [.error(401), .init(.realm, [65])], [.error(401), .init(.nonce, [65])],
            [.error(401), .init(.realm, [65]), .init(.nonce, [])],
            [.error(401), .init(.realm, [65]), .init(.nonce, Array(repeating: 65, count: 764))],
            [.error(401), .init(.realm, [0xFF]), .init(.nonce, [65])],
            [.error(401), .init(.realm, [65]), .init(.nonce, [65]), .init(.passwordAlgorithms, [0])],
        ]
        for list in attributes {
            let script = try Script()
            script.start()
            try script.answer(#require(script.next()), .error, list)
            #expect(script.end != nil && script.sent.isEmpty)
        }
    }

    @Test func `a 400 without integrity was never received (turn 78)`() throws {
        let script = try Script()
        script.start()
        let first = try #require(script.next())
        #expect(try script.answer(first, .error, [.error(400)]) == .ignored(.unprotectedBadRequest))
        try script.challenge(first)
        let second = try #require(script.next())
        #expect(try script.answer(second, .error, [.error(400)]) == .ignored(.unprotectedBadRequest))
        try script.answer(second, .error, [.error(400)], protectedBy: script.sha1)
        #expect(script.end == .failed(.refused(.badRequest)))
    }

    @Test func `a response with a nonce that announces what is not there was never received (turn 77)`() throws {
        let script = try Script()
        script.start()
        try script.challenge(#require(script.next()))
        let request = try #require(script.next())
        let list = script.grant(request) + [.init(.nonce, Script.algorithmsNonce)]
        #expect(try script.answer(request, .success, list, protectedBy: script.sha1) == .ignored(.biddenDown))
        try script.answer(request, .success, script.grant(request), protectedBy: script.sha1)
        #expect(script.isAllocated)
    }

    @Test func `over UDP a forged response changes nothing (turn 79)`() throws {
        let script = try Script()
        script.start()
        try script.challenge(#require(script.next()))
        let request = try #require(script.next())
        let wrong = try LongTermCredentials(username: "alice", realm: Script.realm, password: "queen")
        let list = script.grant(request, relayed: ["203.0.113.66:6"])
        #expect(try script.answer(request, .success, list) == .ignored(.integrityViolated))
        let forged = try script.answer(request, .success, list, protectedBy: .sha1(wrong.md5Key))
        #expect(forged == .ignored(.integrityViolated))
        try script.answer(request, .success, script.grant(request), protectedBy: script.sha1)
        #expect(script.isAllocated)
        #expect(script.drops(.integrityViolated) == 2)
    }

    @Test func `over UDP, if only forged responses came, that is told, not a timeout (turn 79)`() throws {
        let script = try Script()
        script.start()
        try script.challenge(#require(script.next()))
        let request = try #require(script.next())
        try script.answer(request, .error, [.error(486)])
        script.advance(.seconds(40))
        #expect(script.end == .failed(.transaction(.integrityViolated)))
    }

    @Test func `over TCP a forged response is the end (turn 79)`() throws {
        let script = try Script { $0.transport = .tcp }
        script.start()
        try script.challenge(#require(script.next()))
        let request = try #require(script.next())
        try script.answer(request, .success, script.grant(request))
        #expect(script.end == .failed(.transaction(.integrityViolated)))
    }

    @Test func `who was asked by SHA-256 must not answer by SHA-1 (turn 80)`() throws {
        let script = try Script()
        script.start()
        try script.challenge(
            #require(script.next()),
            nonce: Script.algorithmsNonce,
            algorithms: Script.bothAlgorithms
        )
        let request = try #require(script.next())
        let key = try #require(script.credentials.sha256Key)
        let list = script.grant(request)
        #expect(try script.answer(request, .success, list, protectedBy: .sha1(key)) == .ignored(.integrityViolated))
        try script.answer(request, .success, list, protectedBy: script.sha256)
        #expect(script.isAllocated)
    }

    @Test func `a challenge is only worth keeping when the server has confirmed it`() throws {
        let script = try Script()
        script.start()
        try script.challenge(#require(script.next()))
        #expect(script.challenge == nil)
        let request = try #require(script.next())
        try script.answer(request, .success, script.grant(request), protectedBy: script.sha1)
        #expect(script.challenge?.nonce == Script.plainNonce)
    }

    @Test func `a cached challenge that the server has changed is not held on to`() throws {
        let cached = LongTermChallenge(realm: Array("old.example.org".utf8), nonce: Array("old".utf8))
        let script = try Script { $0.challenge = cached }
        script.start()
        let first = try #require(script.next())
        #expect(first[.nonce] == Array("old".utf8))
        try script.challenge(first)
        let second = try #require(script.next())
        #expect(second[.realm] == Array(Script.realm.utf8))
        try script.answer(second, .success, script.grant(second), protectedBy: script.sha1)
        #expect(script.isAllocated)
    }
}
