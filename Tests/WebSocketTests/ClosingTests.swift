import NetTypes
import Testing
import WebSocket

@Suite("WebSocket closing handshake")
struct WebSocketClosingTests {
    @Test
    func `a close of ours goes behind what was queued, and the peer's answer ends it`() {
        let server = TestEnd()
        #expect(server.send("last"))
        server.close(.init(rawValue: 4400), "bad message")
        #expect(!server.isOpen)
        #expect(!server.send("too late"))
        #expect(server.output() == Frame.text("last", masked: false) + Frame.close(4400, "bad message", masked: false))
        #expect(!server.isFinished)
        server.feed(Frame.text("crossing") + Frame.make(0x89, [1]) + Frame.close(4400))
        #expect(server.events() == [.ping([1]), .closed(.init(rawValue: 4400), reason: "")])
        #expect(server.isFinished)
        #expect(server.output() == [])
        #expect(server.nextTimeout == nil)
    }

    @Test
    func `a close of the peer is answered with its code, ahead of what was queued`() {
        let server = TestEnd()
        #expect(server.send("never read"))
        server.feed(Frame.close(1001, "bye"))
        #expect(server.events() == [.closed(.goingAway, reason: "bye")])
        #expect(server.queuedBytes == 0)
        #expect(server.output() == Frame.close(1001, masked: false))
        #expect(server.isFinished)
        #expect(server.feed(Frame.text("more")) == .ignored(.afterClose))
        #expect(server.events() == [])
    }

    @Test
    func `a frame that has begun is finished before the close`() {
        let server = TestEnd()
        _ = server.send("whole")
        _ = server.send("never")
        var first: [UInt8] = []
        first += [UInt8](capacity: 3) { _ = server.engine.pollTransmit(into: &$0) }
        server.feed(Frame.close(1000))
        #expect(first + server.output(step: 2) == Frame.text("whole", masked: false) + Frame.close(1000, masked: false))
        #expect(server.queuedBytes == 0)
    }

    @Test(arguments: [Int.max, 1, 2, 5])
    func `an empty close and a reason in many pieces are read`(_ cut: Int) {
        let empty = echo(Frame.make(0x88), cut: cut)
        #expect(empty.events == [.closed(.noStatus, reason: "")])
        #expect(empty.output == [0x88, 0])
        let reason = echo(Frame.close(3000, "grün €"), cut: cut)
        #expect(reason.events == [.closed(.init(rawValue: 3000), reason: "grün €")])
    }

    @Test(
        arguments: [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999]
            as [UInt16]
    )
    func `every code that may be sent is taken and echoed`(_ code: UInt16) {
        let outcome = echo(Frame.close(code))
        #expect(outcome.events == [.closed(.init(rawValue: code), reason: "")])
        #expect(outcome.output == Frame.close(code, masked: false))
        #expect(outcome.isFinished)
    }

    @Test(arguments: [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535] as [UInt16])
    func `a code that may not be sent goes out as a close without a code`(_ code: UInt16) {
        let server = TestEnd()
        server.close(.init(rawValue: code), "x")
        #expect(server.output() == [0x88, 0])
    }

    @Test
    func `a long reason is cut between characters`() {
        let server = TestEnd()
        server.close(.normal, String(repeating: "€", count: 50))
        #expect(server.output() == Frame.close(1000, String(repeating: "€", count: 41), masked: false))
    }

    @Test
    func `both ends may close at once`() {
        let (client, server) = (TestEnd(.client), TestEnd())
        client.close(.normal)
        server.close(.goingAway, "stopping")
        let (fromClient, fromServer) = (client.output(), server.output())
        server.feed(fromClient)
        client.feed(fromServer)
        #expect(server.events() == [.closed(.normal, reason: "")])
        #expect(client.events() == [.closed(.goingAway, reason: "stopping")])
        #expect(server.isFinished && client.isFinished)
    }

    @Test
    func `closing twice sends one close`() {
        let server = TestEnd()
        server.close(.normal)
        server.close(.goingAway)
        #expect(server.output() == Frame.close(1000, masked: false))
    }

    @Test
    func `a peer that never answers a close is given up`() {
        let server = TestEnd()
        server.close()
        _ = server.output()
        #expect(server.nextTimeout == .zero + .seconds(5))
        server.pass(.milliseconds(4999))
        #expect(!server.isFinished)
        server.pass(.milliseconds(1))
        #expect(server.isFinished)
        #expect(server.events() == [.closed(.abnormal, reason: "")])
    }

    @Test
    func `a peer that never reads the close is given up too`() {
        let server = TestEnd()
        server.feed(Frame.close(1000))
        #expect(!server.isFinished)
        server.pass(.seconds(5))
        #expect(server.isFinished)
        #expect(server.events() == [.closed(.normal, reason: "")])
        #expect(server.output() == [])
    }

    @Test
    func `the end of the transport is reported once, as 1006`() {
        let server = TestEnd()
        server.engine.receiveEnd()
        server.engine.receiveEnd()
        #expect(server.events() == [.closed(.abnormal, reason: "")])
        #expect(server.isFinished)
        #expect(!server.send("a"))
        #expect(server.output() == [])
    }

    @Test
    func `a message that was half there when we closed is dropped, whatever its length`() {
        let server = TestEnd(.server) { $0.messageBytes = 10 }
        server.feed(Frame.make(0x01, Array("abc".utf8)))
        server.close()
        server.feed(Frame.make(0x00, Array("defghij".utf8)) + Frame.make(0x80, Array("klmno".utf8)) + Frame.close(1000))
        #expect(server.events() == [.closed(.normal, reason: "")])
    }

    @Test
    func `an open connection waits for nothing`() {
        #expect(TestEnd().nextTimeout == nil)
    }
}
