import Bytes
import NetTypes
import STUN
import TURN
import TestSupport
import Testing

@Suite("What reaches a TURN client")
struct ArrivalTests {
    private let peer = "203.0.113.5:7000"

    @Test func `what is not from the server, or is none of its messages, is dropped with its reason (turn 26, 144)`()
        throws
    {
        let script = try Script()
        script.start()
        let request = try #require(script.next())
        let id = request.transactionID
        let response = STUNMessage(STUNMessageType(.allocate, .success), id, attributes: script.grant(request))
        let bytes = try response.encoded()
        #expect(script.receive(bytes, from: address("192.0.2.9:3479")) == .ignored(.wrongSource))
        #expect(script.receive(bytes, from: address("192.0.2.8:3478")) == .ignored(.wrongSource))
        for first: UInt8 in [4, 15, 16, 20, 63, 80, 127, 128, 255] {
            #expect(script.receive([first] + bytes.dropFirst()) == .ignored(.notTURN))
        }
        #expect(script.receive([]) == .ignored(.notTURN))
        #expect(script.receive(Array(bytes.dropLast())) == .ignored(.malformedSTUN))
        for type in [STUNMessageType(.binding, .success), STUNMessageType(.refresh, .success)] {
            let other = try STUNMessage(type, id, attributes: []).encoded()
            #expect(script.receive(other) == .ignored(.unknownTransaction))
        }
        let stranger = STUNMessage(response.type, TransactionID(high: 1, low: 2), attributes: response.attributes)
        #expect(script.receive(try stranger.encoded()) == .ignored(.unknownTransaction))
        let asking = STUNMessage(STUNMessageType(.allocate, .request), id, attributes: [])
        #expect(script.receive(try asking.encoded()) == .ignored(.unexpectedClass))
        var broken = try response.encoded(fingerprint: true)
        broken[broken.count - 1] ^= 1
        #expect(script.receive(broken) == .ignored(.badFingerprint))
        #expect(script.drops(.unknownTransaction) == 3)
        #expect(script.events.isEmpty && script.sent.isEmpty)
    }

    @Test func `a response that comes twice counts once`() throws {
        let script = try Script()
        script.start()
        try script.challenge(#require(script.next()))
        let request = try #require(script.next())
        try script.answer(request, .success, script.grant(request), protectedBy: script.sha1)
        let again = try script.answer(request, .success, script.grant(request), protectedBy: script.sha1)
        #expect(again == .ignored(.unknownTransaction))
    }

    @Test func `data needs a permission of ours (turn 131)`() throws {
        let script = try Script()
        try script.allocate()
        #expect(try indicate(script, [1, 2]) == .ignored(.noPermission))
        script.act { _ = $0.permit([ip("203.0.113.5")], at: $1) }
        try script.answer(#require(script.next()), .success, [], protectedBy: script.sha1)
        guard case .data(let from, let range) = try indicate(script, [1, 2]) else {
            Issue.record("no data")
            return
        }
        #expect(from == address(peer))
        #expect(range.count == 2)
        guard case .data(_, let empty) = try indicate(script, []) else {
            Issue.record("no empty data")
            return
        }
        #expect(empty.isEmpty)
    }

    @Test func `an ICMP report about a peer is told (turn 134)`() throws {
        let script = try Script()
        try script.allocate()
        let report = STUNMessage.Attribute(.icmp, [0, 0, 3, 4, 0, 0, 5, 0])
        #expect(try indicate(script, nil, report) == .ignored(.noPermission))
        script.act { _ = $0.permit([ip("203.0.113.5")], at: $1) }
        try script.answer(#require(script.next()), .success, [], protectedBy: script.sha1)
        #expect(try indicate(script, nil, report) == .accepted)
        let expected = ICMPReport(type: 3, code: 4, errorData: 1280)
        #expect(script.events.last == .peerUnreachable(address(peer), expected))
    }

    @Test func `an indication that lacks peer or data, or has what is not known, is dropped (turn 29, 131)`() throws {
        let script = try Script()
        try script.allocate()
        script.act { _ = $0.permit([ip("203.0.113.5")], at: $1) }
        #expect(try indicate(script, nil) == .ignored(.malformedIndication))
        let unknown = STUNMessage.Attribute(AttributeType(rawValue: 0x7777), [])
        #expect(try indicate(script, [1], unknown) == .ignored(.malformedIndication))
        let bytes = try STUNMessage(
            STUNMessageType(.data, .indication),
            TransactionID(high: 1, low: 1),
            attributes: [.init(.data, [1])]
        ).encoded()
        #expect(script.receive(bytes) == .ignored(.malformedIndication))
    }

    @Test func `ChannelData of no channel of ours, or cut off, is dropped (turn 141)`() throws {
        let script = try Script()
        try script.allocate()
        #expect(script.receive([0x40, 0, 0, 1, 5]) == .ignored(.unboundChannel))
        let number = script.act { $0.bindChannel(to: address(peer), at: $1) }
        #expect(number?.rawValue == 0x4000)
        #expect(script.receive([0x40, 0, 0, 1, 5]) == .data(from: address(peer), 4..<5))
        #expect(script.receive([0x40, 0, 0, 1, 5, 0, 0, 0]) == .data(from: address(peer), 4..<5))
        #expect(script.receive([0x40, 0, 0, 0]) == .data(from: address(peer), 4..<4))
        #expect(script.receive([0x40, 0, 0, 2, 5]) == .ignored(.malformedChannelData))
        #expect(script.receive([0x40, 0]) == .ignored(.malformedChannelData))
        #expect(script.receive([0x4F, 0xFF, 0, 0]) == .ignored(.unboundChannel))
    }

    @Test func `at most ten requests wait at a time, and none is forgotten (turn 11)`() throws {
        let script = try Script { $0.limits.peersPerRequest = 1 }
        try script.allocate()
        let peers = (1...40).map { IPAddress(ipv4: 0xCB00_7100 + UInt32($0)) }
        let isTaken = script.act { $0.permit(peers, at: $1) }
        #expect(isTaken)
        #expect(script.sent.count == 10)
        var answered = 0
        while let request = script.next() {
            answered += 1
            try script.answer(request, .success, [], protectedBy: script.sha1)
            #expect(script.sent.count <= 10)
        }
        #expect(answered == 40)
        #expect(peers.allSatisfy { script.events.contains(.permitted($0)) })
    }

    @Test func `nothing grows without bound`() throws {
        let script = try Script { configuration in
            configuration.limits.permissions = 4
            configuration.limits.heldBytes = 300
        }
        try script.allocate()
        var results: [TURNSendResult] = []
        for host in 1...6 {
            let peer = SocketAddress(IPAddress(ipv4: 0xCB00_7100 + UInt32(host)), port: 9)
            let payload = [UInt8](repeating: 1, count: 100)
            script.act { client, now in
                _ = buildBytes(capacity: 1500) { output in
                    results.append(client.send(payload.span, to: peer, at: now, into: &output))
                }
            }
        }
        #expect(results == [.held, .held] + Array(repeating: .refused(.limitReached), count: 4))
        // The third and the fourth peer have their permission asked for all the same.
        #expect(script.sent.count == 6)
        let isTaken = script.act { $0.permit([ip("203.0.113.99")], at: $1) }
        #expect(!isTaken)
    }

    @Test(arguments: seeds(30))
    func `no damage to a server's messages makes a client trap or lie`(seed: UInt64) throws {
        var entropy = Entropy.seeded(seed)
        let script = try Script()
        try script.allocate()
        script.act { client, now in
            _ = client.bindChannel(to: address(peer), at: now)
            _ = client.permit([ip("203.0.113.7")], at: now)
        }
        let requests = script.sent
        script.sent = []
        var corpus: [[UInt8]] = [[0x40, 0, 0, 3, 1, 2, 3]]
        for bytes in requests {
            let request = try STUNMessage(decoding: bytes.span)
            for messageClass in [STUNClass.success, .error] {
                let type = STUNMessageType(request.type.method, messageClass)
                let list: [STUNMessage.Attribute] = [.error(438), .init(.realm, [65]), .init(.nonce, [66])]
                let message = STUNMessage(type, request.transactionID, attributes: list)
                corpus.append(try message.encoded(protectedBy: script.sha1))
            }
        }
        for _ in 0..<300 {
            let index = Int(entropy.next() % UInt64(corpus.count))
            let other = corpus[Int(entropy.next() % UInt64(corpus.count))]
            let bytes = Mutation.mutated(corpus[index], with: other, using: &entropy)
            if case .data(_, let range) = script.receive(bytes) {
                #expect(range.lowerBound >= 4 && range.upperBound <= bytes.count)
            }
            script.advance(.milliseconds(entropy.next() % 2000))
            #expect(script.sent.count < 5000)
        }
    }

    private func indicate(
        _ script: Script,
        _ data: [UInt8]?,
        _ more: STUNMessage.Attribute? = nil
    ) throws -> TURNClientDisposition {
        let id = TransactionID(high: 7, low: 7)
        var attributes: [STUNMessage.Attribute] = [.xored(.xorPeerAddress, peer, id)]
        if let more { attributes.append(more) }
        if let data { attributes.append(.init(.data, data)) }
        let message = STUNMessage(STUNMessageType(.data, .indication), id, attributes: attributes)
        return script.receive(try message.encoded())
    }
}
