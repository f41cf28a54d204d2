import Crypto
import NetTypes
import Pipe
import Testing

extension PipeEngine {
    /// Consumes all that has come.
    mutating func read() -> [UInt8]? {
        guard !readable.isEmpty else { return nil }
        defer { consume(readable.count) }
        return Array(readable)
    }
}

/// Two ends and a network between them that loses, doubles and delays, in virtual time.
///
/// An end that is over is gone: it hears nothing and says nothing.
struct World {
    var now = Instant.zero
    var ends: [PipeEngine]
    var sent: [[UInt8]]
    var read: [[UInt8]] = [[], []]
    var written = [0, 0]
    var entropy: Entropy
    var inFlight = DeadlineQueue<(to: Int, bytes: [UInt8])>()
    let loss: UInt64
    let delay: UInt64
    let spread: UInt64
    var datagrams = 0
    /// Who consumes what has come.
    var isReading = [true, true]
    /// How many datagrams of each end are lost for certain once it has consumed everything.
    var lostLastWords = [0, 0]
    /// Until when all datagrams are lost.
    var deafUntil = Instant.zero

    init(_ first: [UInt8], _ second: [UInt8], seed: UInt64, loss: UInt64, delay: UInt64 = 20, spread: UInt64 = 10) {
        ends = [true, false].map { isOfferer in
            PipeEngine(
                PipeKeys(secret: "s", offerer: "offering", answerer: "answering", isOfferer: isOfferer),
                at: .zero
            )
        }
        sent = [first, second]
        entropy = .seeded(seed)
        self.loss = loss
        self.delay = delay
        self.spread = spread
    }

    mutating func feed(_ end: Int) {
        guard !ends[end].isOver else { return }
        let count = min(ends[end].writableBytes, sent[end].count - written[end])
        if count > 0 {
            ends[end].write(Array(sent[end][written[end]..<written[end] + count]))
            written[end] += count
        }
        if written[end] == sent[end].count { ends[end].finish() }
        if isReading[end], let bytes = ends[end].read() { read[end] += bytes }
        while let datagram = ends[end].pollTransmit(at: now) {
            datagrams += 1
            if ends[end].hasReadAll, lostLastWords[end] > 0 {
                lostLastWords[end] -= 1
                continue
            }
            guard now >= deafUntil else { continue }
            // Each hundredth comes twice.
            for _ in 0..<(entropy.next() % 100 == 0 ? 2 : 1) where entropy.next() % 100 >= loss {
                let late = spread == 0 ? 0 : entropy.next() % spread
                inFlight.push((1 - end, datagram), at: now + .milliseconds(delay + late))
            }
        }
    }

    /// Runs until both are over; `false` if that takes longer than `limit`, or nothing happens any more.
    mutating func run(for limit: TimeSpan = .seconds(3600)) -> Bool {
        let end = now + limit
        feed(0)
        feed(1)
        while !(ends[0].isOver && ends[1].isOver) {
            let times = [inFlight.earliest, ends[0].nextTimeout, ends[1].nextTimeout].compactMap { $0 }
            guard let next = times.min(), next < end else { return false }
            now = max(now, next)
            while let arrival = inFlight.pop(at: now) {
                guard !ends[arrival.to].isOver else { continue }
                _ = ends[arrival.to].receive(arrival.bytes, at: now)
            }
            for end in 0...1 {
                ends[end].handleTimeout(at: now)
                feed(end)
            }
        }
        return true
    }
}

@Suite struct PipeTests {
    private static func bytes(_ count: Int, seed: UInt64) -> [UInt8] {
        var entropy = Entropy.seeded(seed)
        return entropy.bytes(count)
    }

    @Test(arguments: [0, 1, 1119, 1120, 1121, 100_000])
    func `both streams arrive whole over a good network`(count: Int) {
        let first = Self.bytes(count, seed: 1)
        let second = Self.bytes(count / 2, seed: 2)
        var world = World(first, second, seed: 3, loss: 0)
        let isOver = world.run()
        #expect(isOver)
        #expect(world.read[1] == first)
        #expect(world.read[0] == second)
        #expect(world.ends[0].hasDelivered && world.ends[1].hasReadAll)
        #expect(world.ends[0].hasSucceeded && world.ends[1].hasSucceeded)
    }

    @Test(arguments: 0..<40 as Range<UInt64>)
    func `both streams arrive whole over a bad network`(seed: UInt64) {
        let first = Self.bytes(60_000, seed: seed)
        let second = Self.bytes(20_000, seed: seed + 1000)
        var world = World(first, second, seed: seed, loss: seed, spread: 40)
        let isOver = world.run()
        #expect(isOver, "seed \(seed)")
        #expect(world.read[1] == first && world.read[0] == second, "seed \(seed)")
        #expect(world.ends[0].hasSucceeded && world.ends[1].hasSucceeded, "seed \(seed)")
    }

    @Test func `without loss nothing is sent twice and the window opens`() {
        let file = Self.bytes(4 << 20, seed: 9)
        var world = World(file, [], seed: 9, loss: 0, spread: 0)
        let isOver = world.run()
        #expect(isOver)
        #expect(world.ends[0].resentCount == 0)
        // 4 MiB at 40 ms a round trip: a fixed first window would take five seconds.
        #expect(world.now < Instant.zero + .seconds(2))
    }

    @Test func `one loss in a hundred costs little`() {
        let file = Self.bytes(2 << 20, seed: 5)
        var world = World(file, [], seed: 5, loss: 1, spread: 0)
        let isOver = world.run()
        #expect(isOver)
        #expect(world.read[1] == file)
        #expect(world.ends[0].resentCount < 80)
    }

    @Test func `a changed, foreign or repeated datagram changes nothing`() throws {
        var world = World(Self.bytes(2000, seed: 1), [], seed: 1, loss: 0)
        world.ends[0].write(world.sent[0])
        // The first word acknowledges nothing.
        _ = world.ends[0].pollTransmit(at: .zero)
        let polled = world.ends[0].pollTransmit(at: .zero)
        let datagram = try #require(polled)
        for place in datagram.indices {
            var changed = datagram
            changed[place] ^= 1
            guard case .ignored = world.ends[1].receive(changed, at: .zero) else {
                Issue.record("byte \(place) is not protected")
                return
            }
            #expect(world.ends[1].receivedBytes == 0)
        }
        let results = [
            world.ends[1].receive(Array(datagram.prefix(20)), at: .zero), world.ends[0].receive(datagram, at: .zero),
            world.ends[1].receive(datagram, at: .zero), world.ends[1].receive(datagram, at: .zero),
        ]
        #expect(results == [.ignored(.malformed), .ignored(.forged), .accepted, .ignored(.repeated)])
        let read = [world.ends[1].read(), world.ends[1].read()]
        #expect(read == [Array(world.sent[0].prefix(1120)), nil])
    }

    @Test func `other secrets and passwords are other keys`() throws {
        func engine(_ secret: String, _ offerer: String, _ answerer: String, _ isOfferer: Bool) -> PipeEngine {
            let keys = PipeKeys(secret: secret, offerer: offerer, answerer: answerer, isOfferer: isOfferer)
            return PipeEngine(keys, at: .zero)
        }
        var sender = engine("a", "b", "c", true)
        sender.write([1])
        let polled = sender.pollTransmit(at: .zero)
        let datagram = try #require(polled)
        for others in [("x", "b", "c"), ("a", "x", "c"), ("a", "b", "x"), ("", "ab", "c"), ("ab", "", "c")] {
            var receiver = engine(others.0, others.1, others.2, false)
            let result = receiver.receive(datagram, at: .zero)
            #expect(result == .ignored(.forged))
        }
        var same = engine("a", "b", "c", false)
        let result = same.receive(datagram, at: .zero)
        #expect(result == .accepted)
    }

    @Test func `another key is noticed though nothing is written`() throws {
        func engine(_ secret: String, isOfferer: Bool) -> PipeEngine {
            PipeEngine(PipeKeys(secret: secret, offerer: "o", answerer: "a", isOfferer: isOfferer), at: .zero)
        }
        let early = Instant.zero + .milliseconds(9999)
        let late = Instant.zero + .seconds(10)
        for (secret, isForeign) in [("s", false), ("t", true)] {
            var sender = engine("s", isOfferer: true)
            var receiver = engine(secret, isOfferer: false)
            #expect(!receiver.hasForeignPeer(at: late), "nothing has come")
            let polled = sender.pollTransmit(at: .zero)
            _ = receiver.receive(try #require(polled), at: .zero)
            #expect(!receiver.hasForeignPeer(at: early))
            #expect(receiver.hasForeignPeer(at: late) == isForeign)
        }
    }

    @Test func `a reader that stops holds up the sender within the limit`() {
        var limits = PipeLimits()
        limits.receiveBytes = 65_536
        let keys = [true, false].map { PipeKeys(secret: "s", offerer: "o", answerer: "a", isOfferer: $0) }
        var sender = PipeEngine(keys[0], at: .zero)
        var receiver = PipeEngine(keys[1], limits: limits, at: .zero)
        sender.write([UInt8](repeating: 7, count: 500_000))
        var now = Instant.zero
        for _ in 0..<2000 {
            while let datagram = sender.pollTransmit(at: now) { _ = receiver.receive(datagram, at: now) }
            while let datagram = receiver.pollTransmit(at: now) { _ = sender.receive(datagram, at: now) }
            now = now + .milliseconds(5)
            sender.handleTimeout(at: now)
            receiver.handleTimeout(at: now)
        }
        #expect(receiver.receivedBytes <= 65_536)
        #expect(receiver.receivedBytes > 60_000)
        var count = 0
        for _ in 0..<2000 where count < 500_000 {
            while let bytes = receiver.read() { count += bytes.count }
            while let datagram = receiver.pollTransmit(at: now) { _ = sender.receive(datagram, at: now) }
            while let datagram = sender.pollTransmit(at: now) { _ = receiver.receive(datagram, at: now) }
            now = now + .milliseconds(5)
            sender.handleTimeout(at: now)
            receiver.handleTimeout(at: now)
        }
        #expect(count == 500_000)
    }
}
