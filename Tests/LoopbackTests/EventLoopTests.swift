import CLinux
import EventLoop
import Glibc
import NetTypes
import Synchronization
import Testing

@testable import Transport

@Suite struct PollerTests {
    @Test func `events carry the tokens of the descriptors that are ready`() throws {
        let poller = try Poller()
        var events = PollEvents(capacity: 8)
        let mailboxes = try (0..<5).map { _ in try Mailbox<Int>(limit: 1) }
        for (index, mailbox) in mailboxes.enumerated() {
            try poller.add(mailbox.descriptor, token: .max - UInt64(index), interest: .read)
        }
        for index in [1, 3] { #expect(mailboxes[index].push(index)) }
        try poller.wait(until: nil, into: &events)
        #expect(Set(events.indices.map { events[$0].token }) == [UInt64.max - 1, UInt64.max - 3])
        #expect(events.indices.allSatisfy { events[$0].isReadable && !events[$0].isBroken })

        try poller.modify(mailboxes[1].descriptor, token: 42, interest: .read)
        try poller.remove(mailboxes[3].descriptor)
        try poller.wait(until: nil, into: &events)
        #expect(events.indices.map { events[$0].token } == [42])
        #expect(throws: SystemError("stop watching a descriptor", number: 2)) {
            try poller.remove(mailboxes[3].descriptor)
        }
        #expect(throws: SystemError("watch a descriptor", number: 17)) {
            try poller.add(mailboxes[0].descriptor, token: 0, interest: .read)
        }
    }

    @Test func `what does not fit into one wait comes with the next`() throws {
        let poller = try Poller()
        var events = PollEvents(capacity: 2)
        let mailboxes = try (0..<5).map { _ in try Mailbox<Int>(limit: 1) }
        for (index, mailbox) in mailboxes.enumerated() {
            #expect(mailbox.push(index))
            try poller.add(mailbox.descriptor, token: UInt64(index), interest: .read)
        }
        var tokens: Set<UInt64> = []
        for _ in 0..<3 {
            try poller.wait(until: .zero, into: &events)
            for index in events.indices { tokens.insert(events[index].token) }
        }
        #expect(tokens == [0, 1, 2, 3, 4])
    }

    @Test func `a wait ends at its deadline and never before it`() throws {
        let poller = try Poller()
        var events = PollEvents()
        for span in [TimeSpan.zero, .microseconds(300), .milliseconds(3)] {
            let deadline = MonotonicClock.now() + span
            // Signals of other tests, and rings that this thread has closed, may cut a wait short a few times; waits that are
            // too short would be thousands.
            var waits = 0
            repeat {
                try poller.wait(until: deadline, into: &events)
                #expect(events.count == 0)
                waits += 1
            } while MonotonicClock.now() < deadline
            #expect(waits <= 20)
        }
        #expect(WallClock.unixSeconds() > 1_700_000_000)
    }
}

@Suite struct MailboxTests {
    private struct Letter: Sendable {
        let sender: Int
        let number: Int
    }

    @Test func `a hundred thousand messages of four threads arrive once each and in order`() throws {
        let each = 25_000
        let mailbox = try Mailbox<Letter>(limit: 1000)
        let producers = try LoopThread(name: "producers") {
            // Threads cannot be put into an array: the first three are joined by those that started them.
            startProducers(4, of: each, into: mailbox)
        }
        var expected = [0, 0, 0, 0]
        let poller = try Poller()
        var events = PollEvents(capacity: 1)
        try poller.add(mailbox.descriptor, token: 0, interest: .read)
        var batch: [Letter] = []
        var isInOrder = true
        let deadline = MonotonicClock.now() + .seconds(60)
        while expected.reduce(0, +) < 4 * each, MonotonicClock.now() < deadline {
            try poller.wait(until: deadline, into: &events)
            mailbox.receive(into: &batch, limit: 300)
            for letter in batch {
                isInOrder = isInOrder && expected[letter.sender] == letter.number
                expected[letter.sender] += 1
            }
            batch.removeAll(keepingCapacity: true)
        }
        producers.join()
        #expect(isInOrder)
        #expect(expected == [each, each, each, each])
        mailbox.receive(into: &batch)
        #expect(batch.isEmpty)
    }

    @Test func `a crowd leaves places for what must arrive`() throws {
        let mailbox = try Mailbox<Int>(limit: 3)
        #expect((0..<3).map { mailbox.push($0, leaving: 1) } == [true, true, false])
        #expect(mailbox.push(9))
        var batch: [Int] = []
        mailbox.receive(into: &batch)
        #expect(batch == [0, 1, 9])
        #expect(mailbox.push(4, leaving: 1))
    }

    @Test func `a full mailbox refuses, and takes again when it was emptied`() throws {
        let mailbox = try Mailbox<Int>(limit: 3)
        #expect((0..<5).map { mailbox.push($0) } == [true, true, true, false, false])
        var batch: [Int] = []
        mailbox.receive(into: &batch, limit: 2)
        #expect(batch == [0, 1])
        // What is left keeps the descriptor readable.
        try Loopback.wait(mailbox.descriptor)
        #expect(mailbox.push(9))
        mailbox.receive(into: &batch)
        #expect(batch == [0, 1, 2, 9])
    }

    /// Each call runs one producer and starts the thread of the next.
    private func startProducers(_ count: Int, of each: Int, into mailbox: Mailbox<Letter>) {
        guard count > 0 else { return }
        let next = try? LoopThread(name: "producer") { startProducers(count - 1, of: each, into: mailbox) }
        for number in 0..<each {
            while !mailbox.push(Letter(sender: count - 1, number: number)) { sched_yield() }
        }
        if let next { next.join() }
    }
}

@Suite struct LoopThreadTests {
    @Test func `a thread has its name and its processor`() throws {
        let processors = LoopThread.availableProcessors
        let processor = try #require(processors.last)
        let seen = Mutex<(name: String, processor: Int32)?>(nil)
        let holder = Holder(seen)
        let thread = try LoopThread(name: "shard 7 with a long name", processor: processor) {
            holder.value.withLock { $0 = (LoopThread.currentName, floe_thread_processor()) }
        }
        thread.join()
        let result = try #require(holder.value.withLock { $0 })
        #expect(result.name == "shard 7 with a ")
        #expect(result.processor == Int32(processor))
        #expect(throws: SystemError("start the thread \"nowhere\"", number: 22)) {
            _ = try LoopThread(name: "nowhere", processor: 1_000_000) {}
        }
    }

    private final class Holder: Sendable {
        let value: Mutex<(name: String, processor: Int32)?>
        init(_ value: consuming Mutex<(name: String, processor: Int32)?>) { self.value = value }
    }
}

@Suite struct SignalWatcherTests {
    @Test func `signals are read from a descriptor and do not end the process`() async {
        await #expect(processExitsWith: .exitCode(7)) {
            // The watcher blocks signals in its thread: the signals are sent to that one.
            let thread = try LoopThread(name: "signals") {
                guard let watcher = try? SignalWatcher(), watcher.next() == nil else { exit(1) }
                for signal in ControlSignal.allCases {
                    _ = floe_thread_raise(signal.rawValue)
                    guard (try? Loopback.wait(watcher.descriptor)) != nil, watcher.next() == signal else { exit(2) }
                }
                // SIGPIPE, which is ignored.
                _ = floe_thread_raise(13)
                guard watcher.next() == nil else { exit(3) }
                exit(7)
            }
            thread.join()
        }
    }

    @Test(arguments: [false, true]) func `what was ignored at the start is left so on demand`(isLeft: Bool) async {
        await #expect(processExitsWith: .exitCode(7)) { [isLeft] in
            let thread = try LoopThread(name: "signals") {
                let ignored: [ControlSignal] = [.hangUp, .interrupt]
                for number in ignored.map(\.rawValue) { signal(number, SIG_IGN) }
                guard let watcher = try? SignalWatcher(leavesIgnored: isLeft) else { exit(1) }
                for signal in ControlSignal.allCases {
                    _ = floe_thread_raise(signal.rawValue)
                    guard watcher.next() == (isLeft && ignored.contains(signal) ? nil : signal) else { exit(2) }
                }
                exit(7)
            }
            thread.join()
        }
    }
}
