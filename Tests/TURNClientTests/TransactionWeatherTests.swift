import Bytes
import NetTypes
import STUN
import TURN
import TURNServer
import TestSupport
import Testing

/// Every transaction of client and server under loss, duplication and reordering, some thousand seeds in virtual time.
@Suite("Transactions in bad weather")
struct TransactionWeatherTests {
    private static let peer = "203.0.113.1:1000"

    private static func weather(_ entropy: inout Entropy) -> Weather {
        Weather(
            delay: .milliseconds(1 + entropy.next() % 100),
            jitter: .milliseconds(1 + entropy.next() % 500),
            lossPerMille: entropy.next() % 300,
            duplicationPerMille: entropy.next() % 300
        )
    }

    /// Clocks that people or NTP set; lifetimes are measured by another one (turn 215).
    private static func jump(_ world: World, _ entropy: inout Entropy) {
        let seconds = entropy.next() % 4_000_000_000
        world.engine.setWallClock(unixSeconds: seconds)
    }

    @Test func `turn 11-16, 94, 215: Allocate with every option, permissions, channels, refreshes and the end`() throws
    {
        for seed in seeds(800) {
            var entropy = Entropy.seeded(seed)
            let world = try World(seed: seed)
            world.weather = Self.weather(&entropy)
            world.echoes = [address(Self.peer)]
            let families: [RequestedFamilies] = [.unspecified, .only(.ipv4), .only(.ipv6), .dual]
            let family = families[Int(entropy.next() % 4)]
            var ports: [RequestedPort] = [.any, .even]
            // A server refuses both together (turn 105).
            if family != .dual { ports.append(.evenReservingNext) }
            let port = ports[Int(entropy.next() % UInt64(ports.count))]
            let asksDontFragment = entropy.next() % 2 == 0
            let seconds: UInt32? = entropy.next() % 2 == 0 ? nil : 900
            let host = try world.client {
                $0.families = family
                $0.port = port
                $0.dontFragment = asksDontFragment
                $0.lifetimeSeconds = seconds
                $0.software = "weather"
                $0.retransmission.requestCount = 12
            }
            host.start()
            let isAllocated = world.run(atMost: .seconds(3600)) { host.allocation != nil || host.end != nil }
            guard isAllocated, let allocation = host.allocation else {
                Issue.record("no allocation, \(String(describing: host.end)), seed \(seed)")
                continue
            }
            // A reservation counts until its token is used or its time is over.
            let held = port == .evenReservingNext ? 2 : 1
            #expect((1...held).contains(world.shared.allocationCount), "seed \(seed)")
            switch family {
            case .unspecified, .only(.ipv4): #expect(allocation.relayed.map(\.family) == [.ipv4], "seed \(seed)")
            case .only(.ipv6): #expect(allocation.relayed.map(\.family) == [.ipv6], "seed \(seed)")
            case .dual: #expect(allocation.relayed.map(\.family) == [.ipv4, .ipv6], "seed \(seed)")
            }
            if port != .any { #expect(allocation.relayed.allSatisfy { $0.port % 2 == 0 }, "seed \(seed)") }
            #expect((allocation.reservationToken != nil) == (port == .evenReservingNext), "seed \(seed)")
            // A response to a repeated request tells what is left.
            let lifetime = seconds ?? 600
            #expect((lifetime - 40...lifetime).contains(allocation.lifetimeSeconds), "seed \(seed)")
            Self.jump(world, &entropy)
            if allocation.relayed(.ipv4) != nil {
                host.permit("203.0.113.1", "203.0.113.2")
                host.bind(Self.peer)
                let isBound = world.run(atMost: .seconds(600)) {
                    host.has(.permitted(ip("203.0.113.2")))
                        && host.events.contains { event in
                            if case .channelBound = event { return true }
                            return false
                        }
                }
                #expect(isBound, "seed \(seed)")
            }
            Self.jump(world, &entropy)
            // Seven requests fit between the refresh and the end: with more loss than this, one allocation in some
            // thousand would rightly be lost.
            world.weather.lossPerMille = min(80, world.weather.lossPerMille)
            world.run(.seconds(900))
            #expect(host.end == nil, "seed \(seed)")
            #expect(world.shared.allocationCount == 1, "seed \(seed)")
            host.close()
            world.run(.seconds(4000))
            #expect(host.end == .closed && world.shared.allocationCount == 0, "seed \(seed)")
            #expect(world.shared.takenPortCount == 0, "seed \(seed)")
        }
    }

    @Test func `turn 12, 33: Binding ends with our address, or after its time`() throws {
        var answered = 0
        for seed in seeds(1500) {
            var entropy = Entropy.seeded(seed)
            let loss = entropy.next() % 700
            var client = STUNClient(server: World.server, entropy: .seeded(seed))
            let world = try World(seed: seed)
            let source = address("198.51.100.7:\(1024 + entropy.next() % 60_000)")
            let tuple = ClientTuple(transport: .udp, remote: source, local: World.server)
            var wire = DeadlineQueue<UInt64>()
            var packets: [UInt64: (toServer: Bool, bytes: [UInt8])] = [:]
            var number: UInt64 = 0
            var now = Instant(nanoseconds: 1_000_000_000)
            func put(_ toServer: Bool, _ bytes: [UInt8]) {
                for _ in 0...entropy.next() % 2 where entropy.next() % 1000 >= loss {
                    number += 1
                    packets[number] = (toServer, bytes)
                    wire.push(number, at: now + .milliseconds(1 + entropy.next() % 900))
                }
            }
            _ = client.query(at: now)
            let start = now
            var events: [STUNClient.Event] = []
            while true {
                while true {
                    let bytes = buildBytes(capacity: 64) { _ = client.pollTransmit(at: now, into: &$0) }
                    if bytes.isEmpty { break }
                    put(true, bytes)
                }
                while let event = client.pollEvent() { events.append(event) }
                guard let next = [wire.earliest, client.nextTimeout].compactMap({ $0 }).min() else { break }
                now = max(now, next)
                while let index = wire.pop(at: now) {
                    guard let packet = packets.removeValue(forKey: index) else { continue }
                    if packet.toServer {
                        _ = world.engine.receive(packet.bytes.span, from: tuple, at: now)
                        while true {
                            var isDone = false
                            let answer = buildBytes(capacity: TURNServerEngine.maximumResponseByteCount) { output in
                                isDone = world.engine.pollTransmit(into: &output) == nil
                            }
                            if isDone { break }
                            put(false, answer)
                        }
                    } else {
                        _ = client.receive(packet.bytes.span, from: World.server, at: now)
                    }
                }
                client.handleTimeout(at: now)
            }
            #expect(events.count == 1, "seed \(seed)")
            switch events.first {
            case .answered(let answer)?:
                answered += 1
                #expect(answer.mapped == source, "seed \(seed)")
            case .failed(let failure)?:
                #expect(failure == .transaction(.timedOut) && now - start >= .milliseconds(39_500), "seed \(seed)")
            case nil: Issue.record("nothing came of it, seed \(seed)")
            }
        }
        #expect(answered > 1200)
    }

    @Test func `turn 20: over a stream responses may come in any order`() throws {
        for seed in seeds(200) {
            var entropy = Entropy.seeded(seed)
            let script = try Script {
                $0.transport = .tcp
                $0.limits.peersPerRequest = 1
            }
            try script.allocate()
            let peers = (1...8).map { IPAddress(ipv4: 0xCB00_7100 + UInt32($0)) }
            _ = script.act { $0.permit(peers, at: $1) }
            var requests: [STUNMessage] = []
            while let request = script.next() { requests.append(request) }
            requests.shuffle(using: &entropy)
            for (index, request) in requests.enumerated() {
                // Each peer's own answer counts for it, and only that.
                let isForbidden = index % 3 == 0
                try script.answer(
                    request,
                    isForbidden ? .error : .success,
                    isForbidden ? [.error(403)] : [],
                    protectedBy: script.sha1
                )
            }
            let permitted = peers.filter { script.events.contains(.permitted($0)) }
            #expect(requests.count == 8 && permitted.count == 5, "seed \(seed)")
        }
    }

    @Test func `turn 50: a domain that is too long to be one is none`() throws {
        for (count, expected) in [(255, true), (256, false), (0, false)] {
            let script = try Script { $0.transport = .tls }
            script.start()
            try script.challenge(#require(script.next()))
            let domain = [UInt8](repeating: UInt8(ascii: "a"), count: count)
            try script.answer(
                #require(script.next()),
                .error,
                [
                    .error(300), .plain(.alternateServer, address("192.0.2.7:5349")),
                    .init(.alternateDomain, domain),
                ],
                protectedBy: script.sha1
            )
            let name = expected ? String(repeating: "a", count: count) : nil
            #expect(script.end == .failed(.redirected(to: address("192.0.2.7:5349"), domain: name)))
        }
    }

    @Test func `turn 88: without the right password there is no allocation`() throws {
        for (user, password) in [("alice", "queen"), ("mallory", "wonderland")] {
            let world = try World()
            let host = try world.client {
                $0.credentials = .password(password, username: user)
            }
            host.start()
            world.run(.seconds(50))
            #expect(host.end == .failed(.transaction(.wrongCredentials)))
            #expect(world.shared.allocationCount == 0 && world.requests[.allocate] == 2)
        }
    }

    @Test func `a cached challenge, a permission and first data: one round trip, then half of one`() throws {
        let world = try World()
        world.echoes = [address(Self.peer)]
        let first = try world.client()
        first.start()
        world.run(.seconds(1))
        let challenge = try #require(first.challenge)
        first.close()
        world.run(.seconds(1))
        world.clients.removeAll()
        let (before, sent) = (world.now, world.sentByClients)
        let second = try world.client { $0.challenge = challenge }
        second.start()
        #expect(world.run(atMost: .seconds(1)) { second.allocation != nil })
        second.send([7], to: Self.peer)
        #expect(world.run(atMost: .seconds(1)) { !world.atPeers.isEmpty })
        // Allocate and its answer, then permission and data together, and the relay's hop: four times 20 ms.
        #expect(world.now - before == .milliseconds(80))
        #expect(world.sentByClients - sent == 3)
    }
}
