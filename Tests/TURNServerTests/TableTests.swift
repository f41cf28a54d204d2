import Bytes
import NetTypes
import TestSupport
import Testing

@testable import TURNServer

@Suite struct PortPoolTests {
    @Test func `turn 110: ports are random, within the range, and not used again at once`() {
        var entropy = Entropy.seeded(4)
        var pool = PortPool(range: 50000...50999, rest: .seconds(30))
        let first = (0..<500).compactMap { _ in pool.take(even: false, using: &entropy, at: .zero) }
        #expect(Set(first).count == 500)
        #expect(first.allSatisfy { (50000...50999).contains($0) })
        #expect(first != first.sorted())
        for port in first { pool.giveBack(port, at: .zero) }
        let second = (0..<500).compactMap { _ in pool.take(even: false, using: &entropy, at: .zero + .seconds(29)) }
        #expect(Set(first).isDisjoint(with: second))
        #expect(pool.takenCount == 500)
    }

    @Test func `a resting port is better than none`() {
        var entropy = Entropy.seeded(4)
        var pool = PortPool(range: 50000...50001, rest: .seconds(30))
        let ports = (0..<2).compactMap { _ in pool.take(even: false, using: &entropy, at: .zero) }
        let result1 = pool.take(even: false, using: &entropy, at: .zero)
        #expect(result1 == nil)
        for port in ports { pool.giveBack(port, at: .zero) }
        let result2 = pool.take(even: false, using: &entropy, at: .zero)
        #expect(result2 == ports[0])
        let result3 = pool.take(even: false, using: &entropy, at: .zero)
        #expect(result3 == ports[1])
    }

    @Test func `turn 109: even ports and pairs are what they say`() {
        var entropy = Entropy.seeded(9)
        var pool = PortPool(range: 50001...50010, rest: .seconds(1))
        let result4 = (0..<5).compactMap { _ in pool.take(even: true, using: &entropy, at: .zero) }.allSatisfy {
            $0 % 2 == 0
        }
        #expect(result4)
        let result5 = pool.take(even: true, using: &entropy, at: .zero)
        #expect(result5 == nil)
        // All that is left is odd: no pair.
        let result6 = pool.takePair(using: &entropy, at: .zero)
        #expect(result6 == nil)
        var fresh = PortPool(range: 50001...50010, rest: .seconds(1))
        var evens: Set<UInt16> = []
        while let port = fresh.takePair(using: &entropy, at: .zero) { evens.insert(port) }
        #expect(evens == [50002, 50004, 50006, 50008])
        #expect(fresh.takenCount == 8)
    }

    @Test(arguments: seeds(4))
    func `random use returns to the base`(seed: UInt64) {
        var entropy = Entropy.seeded(seed)
        var pool = PortPool(range: 50000...50063, rest: .seconds(5))
        var taken: Set<UInt16> = []
        var now = Instant.zero
        for _ in 0..<20_000 {
            now = now + .milliseconds(entropy.next() % 900)
            switch entropy.next() % 4 {
            case 0:
                if let port = pool.take(even: false, using: &entropy, at: now) { #expect(taken.insert(port).inserted) }
            case 1:
                if let port = pool.take(even: true, using: &entropy, at: now) { #expect(taken.insert(port).inserted) }
            case 2:
                guard let port = pool.takePair(using: &entropy, at: now) else { break }
                #expect(taken.insert(port).inserted && taken.insert(port + 1).inserted)
            default:
                if let port = taken.randomElement(using: &entropy) { pool.giveBack(port, at: now); taken.remove(port) }
            }
            #expect(pool.takenCount == taken.count)
        }
        for port in taken { pool.giveBack(port, at: now) }
        let all = (0..<64).compactMap { _ in pool.take(even: false, using: &entropy, at: now + .seconds(5)) }
        #expect(Set(all) == Set(50000...50063))
    }
}

@Suite struct PrefixLimiterTests {
    private let limit = RateLimit(perSecond: 10, burst: 20)

    @Test func `a prefix gets its burst, then its rate`() {
        var limiter = PrefixLimiter(limit, places: 64, seed: 3)
        let granted = (0..<100).count { _ in limiter.take(ip("198.51.100.1"), at: .zero) }
        #expect(granted == 20)
        let result7 = (0..<100).count { _ in limiter.take(ip("198.51.100.1"), at: .zero + .seconds(1)) }
        #expect(result7 == 10)
        let result8 = limiter.take(ip("198.51.100.2"), at: .zero + .seconds(1))
        #expect(result8)
    }

    @Test func `IPv6 counts by /64`() {
        var limiter = PrefixLimiter(limit, places: 64, seed: 3)
        let result9 = (0..<100).count { limiter.take(IPAddress(ipv6: 5, UInt64($0)), at: .zero) }
        #expect(result9 == 20)
        let result10 = limiter.take(IPAddress(ipv6: 6, 0), at: .zero)
        #expect(result10)
    }

    @Test func `turn 210: a flood from more prefixes than there are places is limited as a whole`() {
        var limiter = PrefixLimiter(limit, places: 64, seed: 3)
        var granted = 0
        for bits in 0..<UInt32(100_000) where limiter.take(IPAddress(ipv4: bits &* 2_654_435_761), at: .zero) {
            granted += 1
        }
        #expect(granted <= 64 * 20)
    }
}

@Suite struct QuotaLedgerTests {
    @Test func `turn 107: users and the total have limits, and claims are all or nothing`() {
        var ledger = QuotaLedger(perUser: 2, total: 3)
        #expect(ledger.claim("a", units: 2) == nil)
        #expect(ledger.claim("a", units: 1) == .user)
        #expect(ledger.claim("b", units: 2) == .total)
        #expect(ledger.claim("b", units: 1) == nil)
        ledger.release("a")
        ledger.release("a")
        ledger.release("a")
        ledger.release("b")
        #expect(ledger.count == 0)
        #expect(ledger.userCount == 0)
    }
}

@Suite struct ClientTupleTests {
    @Test func `turn 97: transport, server address and connection are part of the client`() throws {
        let remote = address("198.51.100.1:4000")
        let local = address("192.0.2.1:3478")
        let base = ClientTuple(transport: .udp, remote: remote, local: local)
        #expect(base != ClientTuple(transport: .tcp, remote: remote, local: local))
        #expect(base != ClientTuple(transport: .udp, remote: remote, local: address("192.0.2.2:3478")))
        #expect(base == ClientTuple(transport: .udp, remote: address("[::ffff:198.51.100.1]:4000"), local: local))
        let hashes = Set(
            (0..<1000).map { connection in
                ClientTuple(transport: .tcp, remote: remote, local: local, connection: connection).flatHash(seed: 1)
            }
        )
        #expect(hashes.count == 1000)
    }
}
