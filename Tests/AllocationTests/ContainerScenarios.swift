import Bytes
import Diagnostics
import EventLoop
import NetTypes
import Synchronization

let containerScenarios = [
    Scenario("RingBuffer: append and take") {
        var ring = RingBuffer<UInt64>(limit: 64)
        return blocksPerOperation { index in
            _ = ring.append(UInt64(index))
            _ = ring.append(UInt64(index))
            _ = ring.popFirst()
            _ = ring.popFirst()
        }
    },
    Scenario("FlatTable: insert, find and remove") {
        var table = FlatTable<UInt64, Int>(seed: 1)
        for key in 0..<UInt64(1000) { table.insert(1, for: key) }
        return blocksPerOperation { index in
            let key = UInt64(1000 + index)
            table.insert(index, for: key)
            _ = table[key]
            _ = table.remove(key)
        }
    },
    Scenario("SlotPool: insert, read and remove") {
        var pool = SlotPool<UInt64>(limit: 100)
        return blocksPerOperation { index in
            guard let handle = pool.insert(UInt64(index)) else { return }
            _ = pool.read(handle) { $0 }
            _ = pool.remove(handle)
        }
    },
    Scenario("DeadlineQueue: push and pop") {
        var queue = DeadlineQueue<UInt64>()
        return blocksPerOperation { index in
            for token in 0..<8 {
                queue.push(UInt64(token), at: Instant(nanoseconds: UInt64(index * 100 + token * 7 % 8)))
            }
            while queue.pop(at: .distantFuture) != nil {}
        }
    },
    Scenario("TimerWheel: schedule, cancel and expire") {
        var wheel = TimerWheel(start: .zero)
        return blocksPerOperation { index in
            let now = Instant.zero + .milliseconds(UInt64(index))
            let timer = wheel.schedule(1, at: now + .seconds(30))
            _ = wheel.schedule(2, at: now + .milliseconds(20))
            _ = wheel.cancel(timer)
            while wheel.popExpired(at: now) != nil {}
        }
    },
    Scenario("TokenBucket: take") {
        var bucket = TokenBucket(ratePerSecond: 10, burst: 10, at: .zero)
        return blocksPerOperation { _ = bucket.take(at: .zero + .milliseconds(UInt64($0))) }
    },
    Scenario("Mailbox: push and receive") {
        let mailbox = try Mailbox<UInt64>(limit: 64)
        var batch: [UInt64] = []
        return blocksPerOperation { index in
            _ = mailbox.push(UInt64(index))
            batch.removeAll(keepingCapacity: true)
            mailbox.receive(into: &batch)
        }
    },
    Scenario("Logger: a line below its level") {
        let logger = Logger(level: .warning, sink: CountingSink())
        return blocksPerOperation { index in
            logger.debug("Packet \(index) of \(index * 2).", ["packet.index": .number(index), "packet.kind": "data"])
        }
    },
    Scenario("DropCounters: count") {
        var drops = DropCounters<Refusal>()
        return blocksPerOperation { _ in drops.count(.second) }
    },
]

private enum Refusal: String, DropReason {
    case first, second
}

private struct CountingSink: LogSink {
    func write(_ level: LogLevel, _ message: String, _ metadata: KeyValuePairs<String, LogValue>) { print(message) }
}
