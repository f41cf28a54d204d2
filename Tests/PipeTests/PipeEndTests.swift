import NetTypes
import Testing

@testable import Pipe

/// How a pipe ends: what each end may claim when datagrams, acknowledgements, readers or the path are lost.
@Suite struct PipeEndTests {
    private static let file = [UInt8](repeating: 7, count: 30_000)

    @Test func `an end is not over before the other has consumed everything, however long that takes`() {
        var world = World(Self.file, [], seed: 1, loss: 5)
        world.isReading[1] = false
        let isOver = world.run()
        #expect(!isOver)
        // All of it has come and was acknowledged, an hour ago.
        #expect(world.ends[0].hasDelivered && world.ends[1].receivedBytes == 30_000)
        #expect(!world.ends[0].hasSucceeded && !world.ends[0].isOver && !world.ends[1].isOver)
        world.isReading[1] = true
        let isOverThen = world.run()
        #expect(isOverThen && world.ends[0].hasSucceeded && world.ends[1].hasSucceeded)
        #expect(world.read[1] == Self.file)
    }

    @Test func `an end that waits for a slow reader hardly speaks`() {
        var world = World(Self.file, [], seed: 1, loss: 0)
        world.isReading[1] = false
        _ = world.run()
        #expect(world.datagrams < 100)
    }

    @Test(arguments: 0...12, [0, 1, 12])
    func `lost last words are said again`(ofReceiver: Int, ofSender: Int) {
        var world = World(Self.file, [], seed: 2, loss: 0)
        world.lostLastWords = [ofSender, ofReceiver]
        let isOver = world.run()
        #expect(isOver && world.ends[0].hasSucceeded && world.ends[1].hasSucceeded)
        #expect(world.read[1] == Self.file)
        // Nobody waits for longer than the words that are lost and the three seconds of the last one.
        #expect(world.now < Instant.zero + .seconds(10))
    }

    @Test func `the other's word that it has everything stands for acknowledgements that were lost`() throws {
        var world = World(Self.file, [], seed: 3, loss: 0)
        // What acknowledges is lost from the moment on that everything was consumed: the words that repeat it are later.
        world.lostLastWords = [0, 6]
        let isOver = world.run()
        #expect(isOver && world.ends[0].hasSucceeded && world.ends[0].hasDelivered)
        #expect(world.ends[0].deliveredBytes == 30_000)
    }

    @Test func `who never hears that all was consumed does not claim it`() {
        var world = World(Self.file, [], seed: 4, loss: 0)
        world.lostLastWords = [0, .max]
        let isOver = world.run(for: .seconds(40))
        #expect(!isOver)
        // The receiver has everything and the sender's word that it has nothing to wait for: in the end it goes, heard or not.
        #expect(world.ends[1].isOver && world.ends[1].hasSucceeded)
        #expect(!world.ends[0].isOver && !world.ends[0].hasSucceeded)
        let canSucceed = world.ends[0].handlePathLoss(at: world.now)
        #expect(!canSucceed && !world.ends[0].isOver)
    }

    @Test func `what has come whole is completed without the path`() {
        var world = World(Self.file, [], seed: 5, loss: 0)
        world.isReading[1] = false
        _ = world.run()
        let canSucceed = world.ends[1].handlePathLoss(at: world.now)
        #expect(canSucceed && !world.ends[1].isOver)
        let read = world.ends[1].read()
        world.ends[1].handleTimeout(at: world.now)
        #expect(read == Self.file)
        #expect(world.ends[1].isOver && world.ends[1].hasSucceeded)
        // The other end has not heard of it.
        let canOtherSucceed = world.ends[0].handlePathLoss(at: world.now)
        #expect(!canOtherSucceed)
    }

    @Test func `a path that is lost in the middle completes nothing`() throws {
        var world = World(Self.file, [], seed: 6, loss: 0)
        world.ends[0].write(world.sent[0])
        _ = world.ends[0].pollTransmit(at: .zero)
        let polled = world.ends[0].pollTransmit(at: .zero)
        _ = world.ends[1].receive(try #require(polled), at: .zero)
        _ = world.ends[1].read()
        for end in 0...1 {
            let canSucceed = world.ends[end].handlePathLoss(at: .zero)
            #expect(!canSucceed && !world.ends[end].isOver)
        }
    }

    @Test func `who gives up tells the other, also when a word of it is lost`() throws {
        for lost in 0...2 {
            var world = World(Self.file, [], seed: 7, loss: 0)
            world.isReading[1] = false
            _ = world.run()
            world.ends[1].abort()
            var words: [[UInt8]] = []
            while let datagram = world.ends[1].pollTransmit(at: world.now) { words.append(datagram) }
            #expect(words.count == 3 && world.ends[1].isOver && !world.ends[1].hasSucceeded)
            for word in words.dropFirst(lost) { _ = world.ends[0].receive(word, at: world.now) }
            #expect(world.ends[0].isAborted && !world.ends[0].hasSucceeded)
        }
    }

    @Test func `a word of giving up after the success is too late`() throws {
        var world = World(Self.file, [], seed: 8, loss: 0)
        world.lostLastWords = [.max, 0]
        _ = world.run()
        #expect(world.ends[0].hasSucceeded)
        world.ends[1].abort()
        let polled = world.ends[1].pollTransmit(at: world.now)
        _ = world.ends[0].receive(try #require(polled), at: world.now)
        #expect(!world.ends[0].isAborted)
    }
}
