import Bytes
import Diagnostics
import NetTypes
import STUN
import Testing

@Suite("STUNClient")
struct STUNClientTests {
    private static let server = SocketAddress(IPAddress(ipv4: 0xC000_0201), port: 3478)
    private static let mapped = SocketAddress(IPAddress(ipv4: 0xC633_6401), port: 4000)

    @Test func `a query is answered with our address and the time it took (turn 33)`() throws {
        let world = World()
        let request = try #require(world.ask())
        #expect(request.type == STUNMessageType(.binding, .request))
        world.now = world.now + .milliseconds(25)
        let disposition = try world.answer(request, [world.address(.xorMappedAddress, request)])
        #expect(disposition == .accepted)
        guard case .answered(let answer)? = world.client.pollEvent() else {
            Issue.record("no answer")
            return
        }
        #expect(answer.mapped == Self.mapped)
        #expect(answer.elapsed == .milliseconds(25))
        #expect(answer.sentCount == 1 && answer.software == nil)
        let next = world.client.nextTimeout
        #expect(next == nil)
    }

    @Test func `MAPPED-ADDRESS serves where the XORed one is missing`() throws {
        let world = World()
        let request = try #require(world.ask())
        let plain = SocketAddress(Self.mapped.ip, port: Self.mapped.port)
        try world.answer(request, [.init(.mappedAddress, world.value(plain))])
        guard case .answered(let answer)? = world.client.pollEvent() else {
            Issue.record("no answer")
            return
        }
        #expect(answer.mapped == Self.mapped)
    }

    @Test func `an error, an unknown required attribute, a family that is not known and nothing at all are failures`()
        throws
    {
        let cases: [(STUNClass, [STUNMessage.Attribute], STUNClient.Failure)] = [
            (.error, [.init(.errorCode, [0, 0, 4, 20])], .refused(.unknownAttribute)),
            (.error, [], .transaction(.malformedResponse)),
            (.success, [.init(AttributeType(rawValue: 0x7001), [])], .transaction(.unknownRequiredAttributes)),
            (.success, [.init(.xorMappedAddress, [0, 9, 0, 1, 1, 2, 3, 4])], .transaction(.malformedResponse)),
            (.success, [], .transaction(.malformedResponse)),
        ]
        for (messageClass, attributes, failure) in cases {
            let world = World()
            let request = try #require(world.ask())
            try world.answer(request, attributes, messageClass)
            let event = world.client.pollEvent()
            #expect(event == .failed(failure))
        }
    }

    @Test func `what is not an answer to a query is dropped with its reason (turn 25, 26)`() throws {
        let world = World()
        let request = try #require(world.ask())
        let list = [world.address(.xorMappedAddress, request)]
        let success = STUNMessage(STUNMessageType(.binding, .success), request.transactionID, attributes: list)
        let bytes = try success.encoded()
        func drop(_ bytes: [UInt8], _ source: SocketAddress = STUNClientTests.server) -> STUNClient.Drop? {
            guard case .ignored(let reason) = world.client.receive(bytes.span, from: source, at: world.now) else {
                return nil
            }
            return reason
        }
        #expect(drop(bytes, Self.mapped) == .wrongSource)
        #expect(drop(Array(bytes.dropLast())) == .notSTUN)
        var broken = try success.encoded(fingerprint: true)
        broken[broken.count - 2] ^= 4
        #expect(drop(broken) == .badFingerprint)
        let stranger = STUNMessage(success.type, TransactionID(high: 1, low: 1), attributes: list)
        #expect(drop(try stranger.encoded()) == .unknownTransaction)
        let asking = STUNMessage(STUNMessageType(.binding, .request), request.transactionID)
        #expect(drop(try asking.encoded()) == .unexpectedClass)
        #expect(drop(bytes) == nil)
        #expect(drop(bytes) == .unknownTransaction)
        let count = world.client.dropCounts[.unknownTransaction]
        #expect(count == 2)
    }

    @Test func `ten queries wait at a time, and a lost connection ends them (turn 11, 16)`() {
        let world = World()
        for _ in 0..<10 { #expect(world.ask() != nil) }
        #expect(world.ask() == nil)
        world.client.transportFailed()
        var count = 0
        while let event = world.client.pollEvent() {
            #expect(event == .failed(.transaction(.transportFailed)))
            count += 1
        }
        #expect(count == 10)
    }

    @Test func `seven requests without an answer end after 39_5 s (turn 12)`() {
        let world = World()
        #expect(world.ask() != nil)
        let start = world.now
        var sent = 1
        while let next = world.client.nextTimeout {
            world.now = next
            world.client.handleTimeout(at: next)
            while world.transmit() != nil { sent += 1 }
        }
        #expect(sent == 7)
        #expect(world.now - start == .milliseconds(39_500))
        let event = world.client.pollEvent()
        #expect(event == .failed(.transaction(.timedOut)))
    }

    private final class World {
        var client = STUNClient(server: STUNClientTests.server, entropy: .seeded(4))
        var now = Instant(nanoseconds: 100)

        func ask() -> STUNMessage? { client.query(at: now) ? transmit() : nil }

        func transmit() -> STUNMessage? {
            var destination: SocketAddress?
            let bytes = buildBytes(capacity: STUNClient.maximumMessageByteCount) { output in
                destination = client.pollTransmit(at: now, into: &output)?.destination
            }
            guard destination == STUNClientTests.server else { return nil }
            return try? STUNMessage(decoding: bytes.span)
        }

        @discardableResult
        func answer(
            _ request: STUNMessage,
            _ attributes: [STUNMessage.Attribute],
            _ messageClass: STUNClass = .success
        ) throws -> Disposition<STUNClient.Drop> {
            let type = STUNMessageType(.binding, messageClass)
            let bytes = try STUNMessage(type, request.transactionID, attributes: attributes).encoded()
            return client.receive(bytes.span, from: STUNClientTests.server, at: now)
        }

        func address(_ type: AttributeType, _ request: STUNMessage) -> STUNMessage.Attribute {
            .init(type, value(request.transactionID.xor(STUNClientTests.mapped)))
        }

        func value(_ address: SocketAddress) -> [UInt8] {
            buildBytes(capacity: 8) { output in
                output.append(0)
                output.append(1)
                output.append(bigEndian: address.port)
                address.ip.write(into: &output)
            }
        }
    }
}
