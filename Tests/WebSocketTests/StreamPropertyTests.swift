import NetTypes
import TestSupport
import Testing
import WebSocket

@Suite("WebSocket streams")
struct WebSocketStreamTests {
    static let corpus: [[UInt8]] = [
        Frame.text("hello") + Frame.make(0x82, [1, 2, 3]),
        Frame.make(0x01, Array("grü".utf8)) + Frame.make(0x89, [1]) + Frame.make(0x80, Array("n".utf8)),
        Frame.make(0x82, Array(repeating: 7, count: 200)) + Frame.close(1000, "bye"),
        Frame.make(0x89, Array("ping".utf8)) + Frame.make(0x8A) + Frame.text(""),
        Frame.make(0x88), Frame.text("a") + Frame.close(4400, "é"),
        Frame.make(0x02, [1]) + Frame.make(0x00, [2]) + Frame.make(0x00) + Frame.make(0x80, [3]),
        Frame.make(0x82, Array(repeating: 1, count: 5000)),
    ]

    @Test
    func `every cut in two has the same outcome`() {
        for stream in Self.corpus where stream.count < 1000 {
            let whole = WebSocketExerciser.echo(stream) { .max >> 1 }
            for cut in 1..<stream.count {
                var pieces = [cut, stream.count]
                let split = WebSocketExerciser.echo(stream) { pieces.removeFirst() }
                #expect(split.events == whole.events)
                #expect(split.isFinished == whole.isFinished)
                // An echo is dropped if a close came in the same piece.
                if !split.isFinished { #expect(split.output == whole.output) }
            }
        }
    }

    @Test(arguments: seeds(8))
    func `mutated streams never trap, and end the same way whole and in pieces`(_ seed: UInt64) {
        var mutator = ByteMutator(corpus: Self.corpus, seed: seed)
        var messages = 0
        var reasons: Set<WebSocketDropReason> = []
        for _ in 0..<4000 {
            let stream = mutator.next()
            var limits = WebSocketLimits()
            limits.messageBytes = 4000
            let whole = WebSocketExerciser.echo(stream, limits: limits) { .max >> 1 }
            let step = 1 + mutator.index(40)
            let pieces = WebSocketExerciser.echo(stream, limits: limits) { step }
            // When a close comes in the same piece as messages, their echoes are dropped: only the events are compared.
            guard whole.events == pieces.events, whole.isFinished == pieces.isFinished else {
                Issue.record("seed \(seed), pieces of \(step): \(stream)")
                return
            }
            guard case .closed = whole.events.last else {
                Issue.record("seed \(seed), no end: \(stream)")
                return
            }
            messages += whole.events.count - 1
            if let reason = whole.dropped, reason != .afterClose { reasons.insert(reason) }
            _ = WebSocketExerciser.echo(stream, role: .client, limits: limits) { step }
        }
        #expect(messages > 1000)
        #expect(reasons.count >= 8)
    }

    @Test(arguments: seeds(20))
    func `two ends exchange random messages over random pieces, and close`(_ seed: UInt64) {
        var entropy = Entropy.seeded(seed)
        let ends = [TestEnd(.client), TestEnd(.server)]
        var wires: [[UInt8]] = [[], []]
        var sent: [[WebSocketEvent]] = [[], []]
        var received: [[WebSocketEvent]] = [[], []]
        for turn in 0..<400 {
            let side = Int.random(in: 0...1, using: &entropy)
            let end = ends[side]
            if turn < 300 {
                let count = Int.random(in: 0...3, using: &entropy) == 0 ? 3000 : 20
                let bytes = entropy.bytes(Int.random(in: 0...count, using: &entropy))
                let text = String(decoding: bytes, as: UTF8.self)
                if Bool.random(using: &entropy) {
                    if end.engine.send(binary: bytes) { sent[side].append(.binary(bytes)) }
                } else if end.send(text) {
                    sent[side].append(.text(text))
                }
            }
            wires[side] += end.output(step: Int.random(in: 1...5000, using: &entropy))
            deliver(Int.random(in: 0...4000, using: &entropy))
        }
        // Everything has left the client before it closes.
        deliver(.max)
        ends[0].close(.init(rawValue: 4000), "done")
        for _ in 0..<3 {
            for side in 0...1 { wires[side] += ends[side].output() }
            deliver(.max)
        }
        #expect(ends[0].isFinished && ends[1].isFinished)
        #expect(received[1] == sent[0] + [.closed(.init(rawValue: 4000), reason: "done")])
        #expect(received[0] == sent[1] + [.closed(.init(rawValue: 4000), reason: "")])

        func deliver(_ limit: Int) {
            for side in 0...1 {
                let count = min(limit, wires[side].count)
                #expect(ends[1 - side].feed(Array(wires[side][..<count])) == .accepted || count == 0)
                wires[side].removeFirst(count)
                received[1 - side] += ends[1 - side].events()
            }
        }
    }

    @Test
    func `a long message that is only announced costs no memory, and tiny fragments cost what they carry`() {
        let server = TestEnd(.server) { $0.messageBytes = 1 << 30 }
        #expect(server.feed([0x82, 0xFF, 0, 0, 0, 0, 0x30, 0, 0, 0] + Frame.key + [1, 2, 3]) == .accepted)
        let tiny = TestEnd()
        tiny.feed(Frame.make(0x02, [0]))
        for index in 1..<20000 { tiny.feed(Frame.make(0x00, [UInt8(truncatingIfNeeded: index)])) }
        tiny.feed(Frame.make(0x80))
        #expect(tiny.events() == [.binary((0..<20000).map { UInt8(truncatingIfNeeded: $0) })])
    }
}
