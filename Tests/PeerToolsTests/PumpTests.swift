import Crypto
import EventLoop
import Glibc
import ICE
import ICETransport
import NetTypes
import Testing

@testable import PeerTools

@Suite(.timeLimit(.minutes(5))) struct PumpTests {
    private static func bytes(_ mebibytes: Int, seed: UInt64) -> [UInt8] {
        var entropy = Entropy.seeded(seed)
        let block = entropy.bytes(1 << 20)
        return (0..<mebibytes).flatMap { number in [UInt8(number)] + block.dropFirst() }
    }

    @Test func `eight mebibytes go through a connection and are the same`() async throws {
        let sent = Self.bytes(8, seed: 1)
        let input = try Ends.file(sent)
        let output = try Ends.file([])
        let (from, to) = (input.number, output.number)
        let pumps = try await Pumps()
        async let sending = pumps.run(isFirst: true, from: from, to: -1)
        async let receiving = pumps.run(isFirst: false, from: nil, to: to)
        let outcomes = try await [sending, receiving]
        #expect(outcomes.map(\.failure) == [nil, nil])
        #expect(outcomes[0].sentBytes == UInt64(sent.count) && outcomes[1].receivedBytes == UInt64(sent.count))
        #expect(MessageDigest.sha256(Ends.content(output)) == MessageDigest.sha256(sent))
        await pumps.end()
    }

    @Test(arguments: [false, true])
    func `an output that nobody reads holds up nothing but itself`(isSocket: Bool) async throws {
        let first = Self.bytes(8, seed: 2)
        let second = Self.bytes(6, seed: 3)
        let input = try Ends.file(first)
        let otherInput = try Ends.file(second)
        let slow = try Ends.Pair(isSocket: isSocket)
        let quick = try Ends.Pair(isSocket: isSocket)
        let numbers = (input.number, otherInput.number, slow.writingNumber, quick.writingNumber)
        let pumps = try await Pumps()
        async let one = pumps.run(isFirst: true, from: numbers.0, to: numbers.3)
        async let other = pumps.run(isFirst: false, from: numbers.1, to: numbers.2)
        // All of one direction, acknowledgements and room that is told included, while the other stands still.
        let quickNumber = quick.readingNumber
        let toFirst = try await onThread { Ends.read(second.count, from: quickNumber) }
        #expect(MessageDigest.sha256(toFirst) == MessageDigest.sha256(second))
        let slowNumber = slow.readingNumber
        let toSecond = try await onThread { Ends.read(first.count, from: slowNumber) }
        #expect(MessageDigest.sha256(toSecond) == MessageDigest.sha256(first))
        let outcomes = try await [one, other]
        #expect(outcomes.map(\.failure) == [nil, nil])
        await pumps.end()
    }

    @Test func `a reader that goes is a failure of both ends, at once`() async throws {
        let input = try Ends.file(Self.bytes(8, seed: 4))
        var output = try Ends.Pair()
        let numbers = (input.number, output.writingNumber, output.readingNumber)
        let pumps = try await Pumps()
        async let sending = pumps.run(isFirst: true, from: numbers.0, to: -1)
        async let receiving = pumps.run(isFirst: false, from: nil, to: numbers.1)
        let read = try await onThread { Ends.read(100_000, from: numbers.2) }
        #expect(read.count == 100_000)
        output.reading = nil
        let outcomes = try await [sending, receiving]
        #expect(outcomes[0].failure == "the other end has given up before everything was sent and written")
        #expect(outcomes[1].failure == "whoever reads the output has ended before everything was written")
        await pumps.end()
    }

    /// The other end learns of it by a word: the connections stay.
    @Test(arguments: [true, false])
    func `a descriptor that fails at one end is a failure of both`(isInput: Bool) async throws {
        let bad = Descriptor(owning: isInput ? unsafe open("/tmp", O_RDONLY) : unsafe open("/dev/full", O_WRONLY))
        try #require(bad.number >= 0)
        let file = try Ends.file(isInput ? [] : [1, 2, 3])
        let (input, output) = isInput ? (bad.number, file.number) : (file.number, bad.number)
        let pumps = try await Pumps()
        async let sending = pumps.run(isFirst: true, from: input, to: -1)
        async let receiving = pumps.run(isFirst: false, from: nil, to: output)
        let outcomes = try await [sending, receiving]
        let (failed, other) = isInput ? (outcomes[0], outcomes[1]) : (outcomes[1], outcomes[0])
        #expect(failed.failure?.contains(isInput ? "input cannot be read" : "output cannot be written") == true)
        #expect(other.failure?.contains("given up") == true && other.sentBytes == 0)
        await pumps.end()
    }

    @Test func `an input that fails in the middle ends no stream`() async throws {
        var input = try Ends.Pair(isSocket: true)
        let output = try Ends.Pair()
        let numbers = (input.readingNumber, output.writingNumber, output.readingNumber)
        let pumps = try await Pumps()
        async let sending = pumps.run(isFirst: true, from: numbers.0, to: -1)
        async let receiving = pumps.run(isFirst: false, from: nil, to: numbers.1)
        try Ends.write(Array("half".utf8), to: input.writingNumber)
        let read = try await onThread { Ends.read(4, from: numbers.2) }
        #expect(read == Array("half".utf8))
        // A socket that is closed with bytes unread is reset: the other side reads an error, and no end.
        try Ends.write([1], to: input.readingNumber)
        input.writing = nil
        let outcomes = try await [sending, receiving]
        #expect(outcomes[0].failure?.contains("input cannot be read") == true)
        #expect(outcomes[1].failure?.contains("given up") == true)
        await pumps.end()
    }

    @Test func `who was told everything ends well though the other end is gone`() async throws {
        let input = try Ends.file(Self.bytes(1, seed: 5))
        let output = try Ends.Pair()
        let numbers = (input.number, output.writingNumber, output.readingNumber)
        let pumps = try await Pumps()
        let (sent, toldSent) = AsyncStream<Bool>.makeStream()
        async let sending = pumps.run(isFirst: true, from: numbers.0, to: -1) { toldSent.yield($0.isDelivered) }
        async let receiving = pumps.run(isFirst: false, from: nil, to: numbers.1)
        // The reader takes a little, until all has come and the sender knows it; then the path goes.
        let start = try await onThread { Ends.read(1000, from: numbers.2) }
        for await isDelivered in sent where isDelivered { break }
        await pumps.end()
        let rest = try await onThread { Ends.read((1 << 20) - 1000, from: numbers.2) }
        let outcomes = try await [sending, receiving]
        #expect(start.count + rest.count == 1 << 20)
        #expect(outcomes[0].failure == "the connection was closed before the other end had written everything")
        #expect(outcomes[1].failure == nil)
    }

    /// The other end is dead, and has never said that it has no more candidates.
    ///
    /// Consent outlasts the time between two checks: of a living end it would not run out. Who waited for the path may have
    /// taken the word of its silence with that of its being there.
    @Test(arguments: [false, true]) func `a path that is lost for good is the end`(isSilenceTaken: Bool) async throws {
        let input = try Ends.Pair()
        let number = input.readingNumber
        let pumps = try await Pumps(consentLifetime: .seconds(8))
        if isSilenceTaken {
            pumps.secondLoop.stop()
            for await state in pumps.first.states where state == .disconnected { break }
        }
        async let sending = pumps.run(isFirst: true, from: number, to: -1)
        pumps.secondLoop.stop()
        let outcome = try await sending
        #expect(outcome.failure == "the path to the peer was lost")
        await pumps.end()
    }

    @Test func `a pump that is stopped tells the other end`() async throws {
        let input = try Ends.Pair()
        let output = try Ends.Pair()
        let numbers = (input.readingNumber, output.writingNumber, output.readingNumber)
        let pumps = try await Pumps()
        let stop = try PipeStop()
        async let sending = pumps.run(isFirst: true, from: numbers.0, to: -1, stop: stop)
        async let receiving = pumps.run(isFirst: false, from: nil, to: numbers.1)
        try Ends.write([1], to: input.writingNumber)
        let read = try await onThread { Ends.read(1, from: numbers.2) }
        #expect(read == [1])
        stop.stop()
        let outcomes = try await [sending, receiving]
        #expect(outcomes[0].failure == "it was interrupted before everything was sent and written")
        #expect(outcomes[1].failure == "the other end has given up before everything was sent and written")
        await pumps.end()
    }
}

@Suite struct PipeOutputTests {
    @Test(arguments: [false, true], [true, false])
    func `what has no room is refused and not waited for`(isSocket: Bool, opensAnew: Bool) throws {
        let pair = try Ends.Pair(isSocket: isSocket)
        let output = PipeOutput(pair.writingNumber, opensAnew: opensAnew)
        var sent: [UInt8] = []
        var refusals = 0
        var received: [UInt8] = []
        while sent.count < 1 << 20 {
            let part = (0..<3000).map { UInt8(truncatingIfNeeded: sent.count + $0) }
            switch output.write(part[...]) {
            case .wrote(let count): sent += part.prefix(count)
            case .later:
                refusals += 1
                received += Ends.read(min(10_000, sent.count - received.count), from: pair.readingNumber)
            case .failed(let words):
                Issue.record("\(words)")
                return
            }
        }
        received += Ends.read(sent.count - received.count, from: pair.readingNumber)
        #expect(refusals > 0)
        #expect(received == sent)
        #expect(fcntl(pair.writingNumber, F_GETFL) & O_NONBLOCK == 0)
    }

    @Test func `a descriptor of somebody who wants no waiting is tried again`() throws {
        let pair = try Ends.Pair()
        _ = fcntl(pair.writingNumber, F_SETFL, O_NONBLOCK)
        let output = PipeOutput(pair.writingNumber)
        var count = 0
        while case .wrote(let more) = output.write([UInt8](repeating: 0, count: 4096)[...]) { count += more }
        #expect(count > 0)
        #expect(output.write([1]) == .later)
        _ = Ends.read(4096, from: pair.readingNumber)
        #expect(output.write([1]) == .wrote(1))
    }

    @Test(arguments: [false, true], [true, false])
    func `the end of the reader is told in a sentence`(isFull: Bool, opensAnew: Bool) throws {
        signal(SIGPIPE, SIG_IGN)
        var pair = try Ends.Pair()
        let output = PipeOutput(pair.writingNumber, opensAnew: opensAnew)
        while isFull, case .wrote = output.write([UInt8](repeating: 0, count: 4096)[...]) {}
        pair.reading = nil
        let words = "whoever reads the output has ended before everything was written"
        #expect(output.write([1]) == .failed(words))
        #expect(PipeOutput(pair.writingNumber, opensAnew: opensAnew).write([1]) == .failed(words))
    }

    /// Each end of a line is two bytes on a terminal, so that there may be room for a part of what is written.
    @Test(arguments: [true, false])
    func `a terminal that shows nothing is not waited for`(opensAnew: Bool) throws {
        let terminal = try Ends.Terminal()
        let output = PipeOutput(terminal.slave.number, opensAnew: opensAnew)
        let lines = (0..<3000).map { UInt8(opensAnew && $0 % 50 == 49 ? 10 : 120) }
        var sent: [UInt8] = []
        while case .wrote(let count) = output.write(lines[...]) { sent += lines.prefix(count) }
        #expect(!sent.isEmpty)
        let shown = sent.flatMap { $0 == 10 ? [13, 10] : [$0] }
        #expect(Ends.read(shown.count, from: terminal.master.number) == shown)
        try Ends.waitForRoom(output.descriptor)
        #expect(output.write([1]) == .wrote(1))
        #expect(fcntl(terminal.slave.number, F_GETFL) & O_NONBLOCK == 0)
    }

    @Test(arguments: [true, false])
    func `a terminal that its user has halted is not waited for, and goes on`(opensAnew: Bool) throws {
        let terminal = try Ends.Terminal()
        let output = PipeOutput(terminal.slave.number, opensAnew: opensAnew)
        tcflow(terminal.slave.number, TCOOFF)
        #expect(output.write([120]) == .later)
        tcflow(terminal.slave.number, TCOON)
        try Ends.waitForRoom(output.descriptor)
        #expect(output.write([120]) == .wrote(1))
    }

    @Test func `a terminal that is gone is told, and its other side is not mistaken for one`() throws {
        let output: PipeOutput
        do {
            let terminal = try Ends.Terminal()
            #expect(PipeOutput(terminal.master.number).write([120]) == .wrote(1))
            #expect(Ends.read(1, from: terminal.master.number) == [120])
            output = PipeOutput(terminal.slave.number)
        }
        guard case .failed(let words) = output.write([120]) else {
            Issue.record("nothing is told")
            return
        }
        #expect(words.contains("cannot be written"))
    }
}
