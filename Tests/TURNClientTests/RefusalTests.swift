import NetTypes
import STUN
import TURN
import Testing

@Suite("A TURN client and servers that refuse")
struct RefusalTests {
    private let peer = "203.0.113.5:7000"

    @Test(arguments: [400, 403, 437, 440, 441, 442, 486, 500, 508, 599] as [UInt16])
    func `a refused Allocate is told as it was and not repeated (turn 35, 115)`(code: UInt16) throws {
        let script = try Script()
        script.start()
        try script.challenge(#require(script.next()))
        try script.answer(#require(script.next()), .error, [.error(code)], protectedBy: script.sha1)
        #expect(script.end == .failed(.refused(ErrorCode(rawValue: code))))
        #expect(script.sent.isEmpty)
        #expect(script.nextTimeout == nil)
    }

    @Test func `what to do next follows from the refusal (turn 115)`() {
        let server = address("192.0.2.9:3478")
        let now = Instant(nanoseconds: 0)
        func plan(_ code: UInt16, _ port: RequestedPort = .any) -> TURNRetryPlan {
            var planner = TURNRetryPlanner()
            return planner.plan(after: .refused(ErrorCode(rawValue: code)), at: server, port: port, now: now)
        }
        for code: UInt16 in [400, 401, 403, 420, 440, 441, 442, 443] { #expect(plan(code) == .giveUp) }
        #expect(plan(486) == .wait(until: now + .seconds(60)))
        #expect(plan(508) == .wait(until: now + .seconds(60)))
        #expect(plan(508, .even) == .withoutPortRequest)
        #expect(plan(508, .reserved(ReservationToken(rawValue: 1))) == .withoutPortRequest)
        var planner = TURNRetryPlanner()
        let timeout = TURNClientFailure.transaction(.timedOut)
        #expect(planner.plan(after: timeout, at: server, port: .any, now: now) == .otherTransport)
        #expect(planner.plan(after: .allocationLost, at: server, port: .any, now: now) == .again)
    }

    @Test func `a mismatch is tried from three client addresses, then there are two minutes of rest (turn 115)`() {
        let server = address("192.0.2.9:3478")
        let now = Instant(nanoseconds: 0)
        var planner = TURNRetryPlanner()
        let plans = (0..<4).map { _ in
            planner.plan(after: .refused(.allocationMismatch), at: server, port: .any, now: now)
        }
        #expect(
            plans == [.fromOtherAddress, .fromOtherAddress, .wait(until: now + .seconds(120)), .fromOtherAddress]
        )
    }

    @Test func `a redirection leads to no server twice within five minutes (turn 85)`() {
        let (first, second) = (address("192.0.2.1:3478"), address("192.0.2.2:3478"))
        var planner = TURNRetryPlanner()
        func plan(_ from: SocketAddress, _ to: SocketAddress, _ seconds: UInt64) -> TURNRetryPlan {
            let failure = TURNClientFailure.redirected(to: to, domain: nil)
            return planner.plan(after: failure, at: from, port: .any, now: .zero + .seconds(seconds))
        }
        #expect(plan(first, second, 0) == .otherServer(second, domain: nil))
        #expect(plan(second, first, 1) == .giveUp)
        #expect(plan(second, second, 2) == .giveUp)
        #expect(plan(second, first, 400) == .otherServer(first, domain: nil))
    }

    @Test func `a protected redirection names the server of our family (turn 81, 82)`() throws {
        let script = try Script()
        script.start()
        try script.challenge(#require(script.next()))
        try script.answer(
            #require(script.next()),
            .error,
            [
                .error(300), .plain(.alternateServer, address("[2001:db8::7]:3478")),
                .plain(.alternateServer, address("192.0.2.7:3479")), .init(.alternateDomain, Array("b.example".utf8)),
            ],
            protectedBy: script.sha1
        )
        // Without TLS there is no certificate that a name would be checked against.
        #expect(script.end == .failed(.redirected(to: address("192.0.2.7:3479"), domain: nil)))
    }

    @Test func `over TLS the domain comes along (turn 84)`() throws {
        let script = try Script { $0.transport = .tls }
        script.start()
        try script.challenge(#require(script.next()))
        try script.answer(
            #require(script.next()),
            .error,
            [
                .error(300), .plain(.alternateServer, address("192.0.2.7:5349")),
                .init(.alternateDomain, Array("b.example".utf8)),
            ],
            protectedBy: script.sha1
        )
        #expect(script.end == .failed(.redirected(to: address("192.0.2.7:5349"), domain: "b.example")))
    }

    @Test func `a redirection that nothing protects is not followed (turn 81)`() throws {
        let redirection: [STUNMessage.Attribute] = [
            .error(300), .plain(.alternateServer, address("203.0.113.66:3478")),
        ]
        let first = try Script()
        first.start()
        try first.answer(#require(first.next()), .error, redirection)
        #expect(first.end == .failed(.unprotectedRedirect))
        let second = try Script()
        second.start()
        try second.challenge(#require(second.next()))
        #expect(try second.answer(#require(second.next()), .error, redirection) == .ignored(.integrityViolated))
    }

    @Test func `a redirection to nowhere is a malformed one`() throws {
        for target in ["0.0.0.0:3478", "192.0.2.7:0"] {
            let script = try Script()
            script.start()
            try script.challenge(#require(script.next()))
            try script.answer(
                #require(script.next()),
                .error,
                [.error(300), .plain(.alternateServer, address(target))],
                protectedBy: script.sha1
            )
            #expect(script.end == .failed(.transaction(.malformedResponse)))
        }
    }

    @Test func `unknown required attributes and missing codes fail the transaction (turn 30, 31)`() throws {
        for messageClass in [STUNClass.success, .error] {
            let script = try Script()
            script.start()
            try script.challenge(#require(script.next()))
            let request = try #require(script.next())
            let list = script.grant(request) + [.error(403), .init(AttributeType(rawValue: 0x7777), [])]
            try script.answer(request, messageClass, list, protectedBy: script.sha1)
            #expect(script.end == .failed(.transaction(.unknownRequiredAttributes)))
        }
        let script = try Script()
        script.start()
        try script.challenge(#require(script.next()))
        try script.answer(#require(script.next()), .error, [], protectedBy: script.sha1)
        #expect(script.end == .failed(.transaction(.malformedResponse)))
    }

    @Test func `an allocation of the wrong family is deleted (turn 114)`() throws {
        let script = try Script { $0.families = .only(.ipv6) }
        script.start()
        let first = try #require(script.next())
        #expect(first[.requestedAddressFamily] == [2, 0, 0, 0])
        try script.challenge(first)
        let request = try #require(script.next())
        try script.answer(request, .success, script.grant(request), protectedBy: script.sha1)
        let delete = try #require(script.next())
        #expect(delete.type.method == .refresh)
        #expect(delete[.lifetime] == [0, 0, 0, 0])
        try script.answer(delete, .success, [.word(.lifetime, 0)], protectedBy: script.sha1)
        #expect(script.end == .failed(.unusableAddressFamily))
    }

    @Test func `a success that lacks something is undone`() throws {
        for missing in [AttributeType.xorRelayedAddress, .xorMappedAddress, .lifetime] {
            let script = try Script()
            script.start()
            try script.challenge(#require(script.next()))
            let request = try #require(script.next())
            let list = script.grant(request).filter { $0.type != missing }
            try script.answer(request, .success, list, protectedBy: script.sha1)
            #expect(script.next()?.type.method == .refresh)
            #expect(!script.isAllocated)
        }
    }

    @Test func `437 to a delete is success (turn 118)`() throws {
        let script = try Script()
        try script.allocate()
        script.act { $0.close(at: $1) }
        try script.answer(#require(script.next()), .error, [.error(437)], protectedBy: script.sha1)
        #expect(script.end == .closed)
    }

    @Test func `an unanswered delete ends too`() throws {
        let script = try Script()
        try script.allocate()
        script.act { $0.close(at: $1) }
        script.advance(.seconds(40))
        #expect(script.end == .closed)
        #expect(script.sent.count == 7)
    }

    @Test(arguments: [437, 438, 441, 500] as [UInt16])
    func `a refresh that is refused is handled by its code (turn 90, 91, 118)`(code: UInt16) throws {
        let script = try Script()
        try script.allocate()
        script.advance(.seconds(540))
        let refresh = try #require(script.next())
        #expect(refresh.type.method == .refresh && refresh[.lifetime] == nil)
        if code == 438 {
            try script.challenge(refresh, code: 438, nonce: Array("new".utf8))
            #expect(script.next()?[.nonce] == Array("new".utf8))
            return
        }
        try script.answer(refresh, .error, [.error(code)], protectedBy: script.sha1)
        script.advance(.seconds(30))
        switch code {
        case 437: #expect(script.end == .failed(.allocationLost))
        case 441:
            #expect(script.sent.isEmpty)
            script.advance(.seconds(31))
            #expect(script.end == .failed(.expired))
        default:
            let again = try #require(script.next())
            try script.answer(again, .success, [.word(.lifetime, 600)], protectedBy: script.sha1)
            #expect(script.events.last == .refreshed(lifetimeSeconds: 600))
        }
    }

    @Test func `the lifetime that counts is the one that was granted (turn 114)`() throws {
        let script = try Script { $0.lifetimeSeconds = 3600 }
        script.start()
        try script.challenge(#require(script.next()))
        let request = try #require(script.next())
        #expect(request[.lifetime] == [0, 0, 0x0E, 0x10])
        try script.answer(request, .success, script.grant(request, seconds: 100), protectedBy: script.sha1)
        script.advance(.seconds(49))
        #expect(script.sent.isEmpty)
        script.advance(.seconds(1))
        #expect(script.next()?.type.method == .refresh)
    }

    @Test func `a 400 to ChannelBind ends the allocation (turn 145)`() throws {
        let script = try Script()
        try script.allocate()
        script.act { _ = $0.bindChannel(to: address(peer), at: $1) }
        try script.answer(#require(script.next()), .error, [.error(400)], protectedBy: script.sha1)
        let delete = try #require(script.next())
        #expect(delete[.lifetime] == [0, 0, 0, 0])
        try script.answer(delete, .success, [.word(.lifetime, 0)], protectedBy: script.sha1)
        #expect(script.end == .failed(.outOfSync))
    }

    @Test func `a channel that is refused leaves the way by indications open`() throws {
        let script = try Script()
        try script.allocate()
        script.act { _ = $0.bindChannel(to: address(peer), at: $1) }
        try script.answer(#require(script.next()), .error, [.error(508)], protectedBy: script.sha1)
        #expect(script.events.contains(.channelFailed(address(peer), .refused(.insufficientCapacity))))
        let permission = try #require(script.next())
        #expect(permission.type.method == .createPermission)
        try script.answer(permission, .success, [], protectedBy: script.sha1)
        #expect(script.events.last == .permitted(ip("203.0.113.5")))
    }

    @Test func `number and peer of an ended channel meet in no other pair for a while (turn 138)`() throws {
        let script = try Script { $0.limits.channels = 2 }
        try script.allocate()
        func bind(_ peer: String) -> ChannelNumber? { script.act { $0.bindChannel(to: address(peer), at: $1) } }
        let first = try #require(bind(peer))
        try script.answer(#require(script.next()), .success, [], protectedBy: script.sha1)
        let second = try #require(bind("203.0.113.6:1"))
        try script.answer(#require(script.next()), .success, [], protectedBy: script.sha1)
        #expect(first != second)
        script.act { $0.unbind(address(peer), at: $1) }
        #expect(bind("203.0.113.7:1") == nil)
        // The same pair is no other pair.
        #expect(bind(peer) == first)
        try script.answer(#require(script.next()), .success, [], protectedBy: script.sha1)
        script.act { $0.unbind(address(peer), at: $1) }
        for _ in 0..<89 {
            script.advance(.seconds(10))
            #expect(bind("203.0.113.7:1") == nil)
            while let request = script.next() {
                let seconds: UInt32 = 600
                try script.answer(request, .success, [.word(.lifetime, seconds)], protectedBy: script.sha1)
            }
        }
        script.advance(.seconds(11))
        #expect(bind("203.0.113.7:1") != nil)
    }
}
