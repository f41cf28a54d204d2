import Bytes
import NetTypes
import TestSupport
import Testing

@Suite struct ContainerTests {
    /// A key whose hashes collide often, so that probing and shifting back are exercised.
    private struct CollidingKey: FlatKey {
        let number: UInt64
        func flatHash(seed: UInt64) -> UInt64 { number % 7 }
    }

    @Test(arguments: seeds(20))
    func `a flat table does what a dictionary does`(seed: UInt64) {
        var entropy = Entropy.seeded(seed)
        var table = FlatTable<CollidingKey, Int>(seed: seed)
        var model: [UInt64: Int] = [:]
        for step in 0..<2000 {
            let number = entropy.next() % 60
            let key = CollidingKey(number: number)
            switch entropy.next() % 4 {
            case 0, 1:
                let old = table.insert(step, for: key)
                #expect(old == model.updateValue(step, forKey: number))
            case 2:
                let old = table.remove(key)
                #expect(old == model.removeValue(forKey: number))
            default:
                let updated = table.update(key) { (value: inout Int) in
                    value += 1
                    return value
                }
                model[number]? += 1
                #expect(updated == model[number])
            }
            let (count, found) = (table.count, table[key])
            #expect(count == model.count)
            #expect(found == model[number])
        }
        var seen: [UInt64: Int] = [:]
        table.forEach { seen[$0.number] = $1 }
        #expect(seen == model)
    }

    private struct Owned: ~Copyable {
        var number: Int
        let log: Log
        deinit { log.freed.append(number) }
    }

    private final class Log { var freed: [Int] = [] }

    @Test func `a slot pool frees each element once and knows stale handles`() throws {
        let log = Log()
        do {
            var pool = SlotPool<Owned>(limit: 40)
            var handles: [SlotHandle] = []
            for number in 0..<40 {
                guard let handle = pool.insert(Owned(number: number, log: log)) else {
                    Issue.record("the pool is full too early")
                    return
                }
                handles.append(handle)
            }
            let refused = pool.insert(Owned(number: 99, log: log)) == nil
            #expect(refused)
            #expect(log.freed == [99])
            _ = pool.remove(handles[3])
            #expect(log.freed == [99, 3])
            let (contains, again) = (pool.contains(handles[3]), pool.remove(handles[3]) == nil)
            #expect(!contains && again)
            let reused = pool.insert(Owned(number: 41, log: log))
            #expect(reused?.index == handles[3].index)
            #expect(reused?.generation != handles[3].generation)
            let changed = pool.update(handles[4]) { (element: inout Owned) -> Int in
                element.number = 400
                return element.number
            }
            let stale = pool.update(handles[3]) { (element: inout Owned) -> Int in element.number }
            #expect(changed == 400 && stale == nil)
            let (count, all) = (pool.count, pool.handles)
            #expect(count == 40 && all.count == 40)
            let handle = SlotHandle(bits: handles[7].bits)
            #expect(handle == handles[7])
        }
        #expect(log.freed.count == 42)
        #expect(Set(log.freed).count == 42)
    }

    @Test func `a ring keeps order and refuses what is too much`() {
        var ring = RingBuffer<Int>(limit: 20)
        var next = 0
        var expected = 0
        for round in 0..<100 {
            for _ in 0..<(round % 7) where ring.append(next) { next += 1 }
            for _ in 0..<(round % 5) {
                guard let value = ring.popFirst() else { break }
                #expect(value == expected)
                expected += 1
            }
        }
        while ring.append(next) { next += 1 }
        let count = ring.count
        #expect(count == 20)
        while let value = ring.popFirst() {
            #expect(value == expected)
            expected += 1
        }
        let isEmpty = ring.isEmpty
        #expect(expected == next && isEmpty)
    }
}
