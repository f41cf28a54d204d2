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

    @Test(arguments: 0..<40 as Range<UInt64>)
    func `who gives up is heard over a bad network, and hears that it was`(seed: UInt64) {
        var world = World(Self.file, [], seed: seed, loss: seed)
        world.isReading[1] = false
        _ = world.run()
        world.ends[1].abort(at: world.now)
        let start = world.now
        let isOver = world.run()
        #expect(isOver && world.ends[0].isAborted, "seed \(seed)")
        #expect(!world.ends[0].hasSucceeded && !world.ends[1].hasSucceeded && !world.ends[1].isAborted, "seed \(seed)")
        #expect(world.now <= start + .milliseconds(1100), "seed \(seed)")
    }

    @Test func `who gives up while nothing comes through is heard when it does again, and ends at the answer`() {
        var world = World(Self.file, [], seed: 7, loss: 0, delay: 20, spread: 0)
        world.isReading[1] = false
        _ = world.run()
        world.ends[1].abort(at: world.now)
        world.deafUntil = world.now + .milliseconds(850)
        let answered = world.now + .milliseconds(940)
        let isOver = world.run()
        #expect(isOver && world.ends[0].isAborted)
        #expect(world.now == answered)
    }

    @Test func `who gives up and is not heard ends all the same, within a second`() {
        var world = World(Self.file, [], seed: 7, loss: 0)
        world.isReading[1] = false
        _ = world.run()
        let end = world.now + .seconds(1)
        world.deafUntil = .distantFuture
        world.ends[1].abort(at: world.now)
        let isOver = world.run(for: .seconds(2))
        #expect(!isOver && world.ends[1].isOver && !world.ends[0].isOver && !world.ends[0].isAborted)
        #expect(world.ends[1].nextTimeout == nil && world.now >= end)
    }

    @Test func `two that give up at the same time end at once`() {
        var world = World(Self.file, Self.file, seed: 7, loss: 0, delay: 20, spread: 0)
        world.ends[0].abort(at: .zero)
        world.ends[1].abort(at: .zero)
        let isOver = world.run()
        #expect(isOver && world.now == Instant.zero + .milliseconds(20))
        #expect(world.ends.allSatisfy { !$0.hasSucceeded })
    }

    @Test func `a word of giving up after the success is too late`() throws {
        var world = World(Self.file, [], seed: 8, loss: 0)
        world.lostLastWords = [.max, 0]
        _ = world.run()
        #expect(world.ends[0].hasSucceeded)
        world.ends[1].abort(at: world.now)
        let polled = world.ends[1].pollTransmit(at: world.now)
        _ = world.ends[0].receive(try #require(polled), at: world.now)
        #expect(!world.ends[0].isAborted)
    }
}
