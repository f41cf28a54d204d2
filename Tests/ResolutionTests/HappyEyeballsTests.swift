import NetTypes
import TestSupport
import Testing

@testable import Resolution

/// turn 202: Happy Eyeballs over families and transports.
@Suite("Happy Eyeballs (RFC 8305)")
struct HappyEyeballsTests {
    private func candidate(_ text: String, group: Int = 0) -> ServerCandidate {
        ServerCandidate(.tcp, SocketAddress(ip(text), port: 1), serverName: "h", group: group)
    }

    private func order(_ texts: [String], _ source: (IPAddress) -> IPAddress?) -> [String] {
        DestinationOrder.sorted(texts.map { candidate($0) }, source: source).map { "\($0.address.ip)" }
    }

    @Test func `turn 202: families take turns, IPv6 first`() {
        let sources = [AddressFamily.ipv4: ip("198.51.100.1"), .ipv6: ip("2001:db8::99")]
        #expect(
            order(["192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8::1", "2001:db8::2"]) { sources[$0.family] } == [
                "2001:db8::1", "192.0.2.1", "2001:db8::2", "192.0.2.2", "192.0.2.3",
            ]
        )
    }

    @Test func `what has no route comes last`() {
        #expect(
            order(["2001:db8::1", "192.0.2.1"]) { $0.family == .ipv4 ? ip("198.51.100.1") : nil } == [
                "192.0.2.1", "2001:db8::1",
            ]
        )
    }

    /// RFC 6724 §10.2, as far as names lead there.
    @Test(arguments: [
        (
            ["2001:db8:1::1", "198.51.100.121"], ["2001:db8:1::2", "198.51.100.117"],
            ["2001:db8:1::1", "198.51.100.121"]
        ),
        (["2001:db8:1::1", "198.51.100.121"], ["fe80::1", "198.51.100.117"], ["198.51.100.121", "2001:db8:1::1"]),
        (["2001:db8:1::1", "fe80::1"], ["2001:db8:1::2", "fe80::2"], ["fe80::1", "2001:db8:1::1"]),
        (
            ["2002:c633:6401::1", "2001:db8:1::1"], ["2002:c633:6401::2", "2002:c633:6401::2"],
            ["2002:c633:6401::1", "2001:db8:1::1"]
        ),
        (
            ["2002:c633:6401::1", "2001:db8:1::1"], ["2002:c633:6401::2", "2001:db8:1::2"],
            ["2001:db8:1::1", "2002:c633:6401::1"]
        ),
        (["fd00::1", "2001:db8::1"], ["fd00::2", "2001:db8::2"], ["2001:db8::1", "fd00::1"]),
    ])
    func `the table of RFC 6724 §10.2`(destinations: [String], sources: [String], expected: [String]) {
        let map = Dictionary(uniqueKeysWithValues: zip(destinations.map { ip($0) }, sources.map { ip($0) }))
        #expect(order(destinations) { map[$0] } == expected)
    }

    @Test func `records of different rank are not mixed`() {
        let list = [
            candidate("192.0.2.1", group: 1), candidate("2001:db8::1", group: 2), candidate("192.0.2.2", group: 2),
        ]
        let sorted = DestinationOrder.sorted(list) { $0.family == .ipv6 ? ip("2001:db8::9") : ip("192.0.2.9") }
        #expect(sorted.map(\.group) == [1, 2, 2])
    }

    @Test func `attempts begin 250 ms after each other, and at once after a failure`() {
        let start = Instant(nanoseconds: 1_000_000_000)
        var race = ConnectionRace(count: 4, at: start)
        #expect(race.pollAttempt(at: start) == 0)
        #expect(race.pollAttempt(at: start) == nil)
        #expect(race.nextTimeout == start + .milliseconds(250))
        #expect(race.pollAttempt(at: start + .milliseconds(249)) == nil)
        #expect(race.pollAttempt(at: start + .milliseconds(250)) == 1)
        race.failed(0, at: start + .milliseconds(260))
        #expect(race.pollAttempt(at: start + .milliseconds(260)) == 2)
        #expect(race.succeeded(1) == [2])
        #expect(race.winner == 1 && race.nextTimeout == nil)
        #expect(race.pollAttempt(at: start + .seconds(9)) == nil)
        #expect(race.succeeded(2).isEmpty && race.winner == 1)
    }

    @Test func `when all have failed the race is lost`() {
        let start = Instant(nanoseconds: 1)
        var race = ConnectionRace(count: 2, at: start)
        for _ in 0..<2 {
            guard let index = race.pollAttempt(at: start) else { break }
            race.failed(index, at: start)
        }
        #expect(race.isLost && race.nextTimeout == nil)
        #expect(ConnectionRace(count: 0, at: start).isLost)
    }

    /// Each attempt takes its time, or never ends: the race takes at most the delays plus the best of them.
    @Test(arguments: seeds(300))
    func `turn 202: a dead address costs its delay only`(seed: UInt64) {
        var entropy = Entropy.seeded(seed)
        let times: [UInt64?] = (0..<6).map { _ in entropy.next() % 3 == 0 ? entropy.next() % 400 : nil }
        var race = ConnectionRace(count: times.count, at: .zero)
        var begun: [Int: UInt64] = [:]
        var milliseconds: UInt64 = 0
        while race.winner == nil, milliseconds < 5000 {
            let now = Instant.zero + .milliseconds(milliseconds)
            while let index = race.pollAttempt(at: now) { begun[index] = milliseconds }
            for (index, start) in begun.sorted(by: { $0.key < $1.key }) {
                if let time = times[index], milliseconds >= start + time { _ = race.succeeded(index) }
            }
            milliseconds += 1
        }
        let best = times.enumerated().compactMap { index, time in time.map { UInt64(index) * 250 + $0 } }.min()
        #expect(race.winner != nil || best == nil)
        if let best { #expect(milliseconds - 1 == best, "seed \(seed)") }
    }
}
