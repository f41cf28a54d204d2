import NetTypes
import Testing
import WebSocket

@Suite("WebSocket connection")
struct WebSocketConnectionTests {
    // RFC 6455 §5.7.
    @Test
    func `the examples of the RFC are read and written`() {
        let server = TestEnd()
        server.feed([0x81, 0x85, 0x37, 0xFA, 0x21, 0x3D, 0x7F, 0x9F, 0x4D, 0x51, 0x58])
        #expect(server.events() == [.text("Hello")])
        #expect(server.send("Hello"))
        #expect(server.output() == [0x81, 0x05, 0x48, 0x65, 0x6C, 0x6C, 0x6F])

        let client = TestEnd(.client)
        client.feed([0x01, 0x03, 0x48, 0x65, 0x6C, 0x80, 0x02, 0x6C, 0x6F])
        client.feed([0x89, 0x05, 0x48, 0x65, 0x6C, 0x6C, 0x6F])
        #expect(client.events() == [.text("Hello"), .ping(Array("Hello".utf8))])
        let binary = [UInt8](repeating: 9, count: 256)
        client.feed([0x82, 0x7E, 0x01, 0x00] + binary)
        let long = [UInt8](repeating: 8, count: 65536)
        client.feed([0x82, 0x7F, 0, 0, 0, 0, 0, 1, 0, 0] + long)
        #expect(client.events() == [.binary(binary), .binary(long)])
    }

    @Test(arguments: [0, 1, 125, 126, 127, 4095, 4096, 65535, 65536])
    func `messages of every length class make a round trip between both ends`(_ count: Int) {
        let bytes = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 7) }
        for step in [13, 100_000] {
            let (client, server) = (TestEnd(.client), TestEnd(.server))
            let queued = client.engine.send(binary: bytes)
            #expect(queued)
            server.feed(client.output(step: step))
            #expect(server.events() == [.binary(bytes)])
            let answered = server.engine.send(binary: bytes)
            #expect(answered)
            client.feed(server.output(step: step))
            #expect(client.events() == [.binary(bytes)])
        }
    }

    @Test
    func `each frame of a client has a masking key of its own`() {
        let client = TestEnd(.client)
        _ = client.send("aaaa")
        _ = client.send("aaaa")
        let bytes = client.output()
        #expect(bytes.count == 20)
        #expect(bytes[1] == 0x84 && bytes[11] == 0x84)
        #expect(bytes[2..<6] != bytes[12..<16])
        #expect(zip(bytes[2..<6], bytes[6..<10]).map { $0 ^ $1 } == Array("aaaa".utf8))
    }

    @Test(arguments: [Int.max, 1, 3])
    func `fragments join, with control frames between them`(_ cut: Int) {
        let stream =
            Frame.make(0x01, Array("gr\u{fc}".utf8)) + Frame.make(0x89, [1]) + Frame.make(0x00) + Frame.make(0x8A, [2])
            + Frame.make(0x80, Array("n".utf8)) + Frame.make(0x02, [1]) + Frame.make(0x80, [2])
        let outcome = echo(stream, cut: cut)
        #expect(outcome.events.dropLast() == [.ping([1]), .pong([2]), .text("grün"), .binary([1, 2])])
        #expect(outcome.output == [0x8A, 1, 1] + Frame.text("grün", masked: false) + [0x82, 2, 1, 2])
    }

    @Test
    func `a character may be cut by a fragment, and a message may be empty`() {
        let outcome = echo(Frame.make(0x01, [0xC3]) + Frame.make(0x80, [0xBC]) + Frame.text("") + Frame.make(0x82))
        #expect(outcome.events.dropLast() == [.text("ü"), .text(""), .binary([])])
    }

    struct Violation: CustomTestStringConvertible, Sendable {
        let bytes: [UInt8]
        let reason: WebSocketDropReason
        let code: UInt16
        var testDescription: String { "\(reason.rawValue) \(bytes.prefix(8))" }
        init(_ bytes: [UInt8], _ reason: WebSocketDropReason, _ code: UInt16 = 1002) {
            self.bytes = bytes
            self.reason = reason
            self.code = code
        }
    }

    static let violations: [Violation] = [
        Violation(Frame.text("a", masked: false), .unmaskedFrame),
        Violation(Frame.make(0x89, masked: false), .unmaskedFrame),
        Violation(Frame.make(0xC1, [1]), .reservedBits), Violation(Frame.make(0xA1, [1]), .reservedBits),
        Violation(Frame.make(0x91, [1]), .reservedBits), Violation(Frame.make(0xC9), .reservedBits),
        Violation(Frame.make(0x83, [1]), .reservedOpcode), Violation(Frame.make(0x87), .reservedOpcode),
        Violation(Frame.make(0x8B), .reservedOpcode), Violation(Frame.make(0x8F, [1]), .reservedOpcode),
        Violation(Frame.make(0x80, [1]), .unexpectedContinuation), Violation(Frame.make(0x00), .unexpectedContinuation),
        Violation(Frame.make(0x01, [65]) + Frame.text("b"), .interleavedMessage),
        Violation(Frame.make(0x02) + Frame.make(0x82), .interleavedMessage),
        Violation(Frame.text("a") + Frame.make(0x80, [1]), .unexpectedContinuation),
        Violation(Frame.make(0x09, [1]), .malformedHeader), Violation(Frame.make(0x08), .malformedHeader),
        Violation(Frame.make(0x89, Array(repeating: 1, count: 126)), .malformedHeader),
        Violation(Frame.make(0x88, Array(repeating: 3, count: 126)), .malformedHeader),
        Violation([0x82, 0xFE, 0, 125] + Frame.key + Array(repeating: 1, count: 125), .malformedHeader),
        Violation([0x82, 0xFF, 0, 0, 0, 0, 0, 0, 255, 255] + Frame.key + [1], .malformedHeader),
        Violation([0x82, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0] + Frame.key + [1], .malformedHeader),
        Violation(Frame.make(0x81, [0xFF]), .invalidUTF8, 1007),
        Violation(Frame.make(0x81, [0xC3]), .invalidUTF8, 1007),
        Violation(Frame.make(0x81, [0xED, 0xA0, 0x80]), .invalidUTF8, 1007),
        Violation(Frame.make(0x81, [0xC0, 0x80]), .invalidUTF8, 1007),
        Violation(Frame.make(0x81, [0xF4, 0x90, 0x80, 0x80]), .invalidUTF8, 1007),
        Violation(Frame.make(0x01, [0xC3]) + Frame.make(0x80, [0x28]), .invalidUTF8, 1007),
        Violation(Frame.make(0x88, [3]), .invalidCloseCode),
        Violation(Frame.close(999), .invalidCloseCode), Violation(Frame.close(1004), .invalidCloseCode),
        Violation(Frame.close(1005), .invalidCloseCode), Violation(Frame.close(1006), .invalidCloseCode),
        Violation(Frame.close(1015), .invalidCloseCode), Violation(Frame.close(2999), .invalidCloseCode),
        Violation(Frame.close(5000), .invalidCloseCode), Violation(Frame.close(0), .invalidCloseCode),
        Violation(Frame.make(0x88, [3, 232, 0xFF]), .invalidUTF8, 1007),
        Violation(Frame.make(0x82, Array(repeating: 1, count: 65537)), .messageTooBig, 1009),
        Violation([0x82, 0xFF, 0x7F, 255, 255, 255, 255, 255, 255, 255] + Frame.key + [1], .messageTooBig, 1009),
        Violation(
            Frame.make(0x02, Array(repeating: 1, count: 65000)) + Frame.make(0x80, Array(repeating: 1, count: 537)),
            .messageTooBig,
            1009
        ),
    ]

    @Test(arguments: violations)
    func `a broken rule closes with its code, however the bytes were cut`(_ sample: Violation) {
        for cut in [Int.max, 1] {
            let outcome = echo(Frame.text("first") + sample.bytes + Frame.text("late"), cut: cut)
            #expect(outcome.dropped == sample.reason)
            #expect(outcome.events.first == .text("first"))
            #expect(outcome.events.last == .closed(.init(rawValue: sample.code), reason: sample.reason.explanation))
            #expect(!outcome.events.contains(.text("late")))
            #expect(outcome.isFinished)
            let close = Frame.close(sample.code, sample.reason.explanation, masked: false)
            #expect(Array(outcome.output.suffix(close.count)) == close)
        }
    }

    @Test
    func `a server that masks fails the connection`() {
        let client = TestEnd(.client)
        #expect(client.feed(Frame.text("a")) == .ignored(.maskedFrame))
        #expect(client.feed(Frame.text("a")) == .ignored(.afterClose))
    }

    @Test
    func `explanations fit into a close frame`() {
        for reason in WebSocketDropReason.allCases { #expect((1...123).contains(reason.explanation.utf8.count)) }
    }

    @Test
    func `limits hold exactly`() {
        for (limit, passes) in [(10, true), (9, false)] {
            for stream in [
                Frame.make(0x82, Array(repeating: 1, count: 10)),
                Frame.make(0x02, Array(repeating: 1, count: 4)) + Frame.make(0x80, Array(repeating: 1, count: 6)),
            ] {
                let outcome = echo(stream) { $0.messageBytes = limit }
                #expect(
                    outcome.events.first == (passes ? .binary(Array(repeating: 1, count: 10)) : outcome.events.last)
                )
                #expect((outcome.dropped == nil) == passes)
            }
        }
    }

    @Test
    func `a full queue refuses messages until it drains`() {
        let server = TestEnd(.server) { $0.queuedBytes = 100 }
        #expect(server.send(String(repeating: "a", count: 34)))
        #expect(server.queuedBytes == 50)
        #expect(server.send(String(repeating: "b", count: 34)))
        #expect(!server.send(""))
        #expect(server.queuedBytes == 100)
        _ = server.output()
        #expect(server.queuedBytes == 0)
        #expect(server.send("c"))
        #expect(!server.send(String(repeating: "c", count: 85)))
    }

    @Test
    func `pings that come faster than pongs leave share the last pong`() {
        let server = TestEnd(.server) { $0.queuedControlFrames = 3 }
        for index in 0..<100 { server.feed(Frame.make(0x89, [UInt8(index)])) }
        #expect(server.events().count == 100)
        #expect(server.output() == [0x8A, 1, 0, 0x8A, 1, 1, 0x8A, 1, 99])
    }

    @Test
    func `a peer that sends more than is polled is cut off`() {
        let server = TestEnd(.server) { $0.pendingEvents = 10 }
        for _ in 0..<10 { #expect(server.feed(Frame.text("a")) == .accepted) }
        #expect(server.feed(Frame.text("a")) == .ignored(.tooManyEvents))
        let events = server.events()
        #expect(events.count == 11)
        #expect(events.last == .closed(.policyViolation, reason: WebSocketDropReason.tooManyEvents.explanation))
    }

    @Test
    func `pings of ours are bounded in size and number`() {
        let server = TestEnd(.server) { $0.queuedControlFrames = 2 }
        let tooLong = server.engine.ping(Array(repeating: 1, count: 126))
        let first = server.engine.ping(Array(repeating: 1, count: 125))
        let second = server.engine.ping()
        let third = server.engine.ping()
        #expect(!tooLong && first && second && !third)
        #expect(server.output().count == 129)
    }
}
