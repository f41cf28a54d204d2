import Bytes
import Diagnostics
import MDNS
import NetTypes
import TestSupport
import Testing

@Suite struct MDNSTests {
    private func published(_ world: inout MDNSWorld, _ host: Int = 0) throws -> MDNSName {
        let name = world.hosts[host].engine.publish(world.hosts[host].ip, interface: 2, at: world.now)
        return try #require(name)
    }

    private func receive(
        _ world: inout MDNSWorld,
        _ bytes: [UInt8],
        from text: String,
        multicast: Bool = true
    )
        -> Disposition<MDNSDrop>
    {
        let host = world.hosts[0]
        return host.engine.receive(
            bytes.span,
            from: SocketAddress(text) ?? host.address,
            over: host.link,
            wasMulticast: multicast,
            at: world.now
        )
    }

    @Test func `a name is a UUID of version 4 in local, one for each address, kept and reused (ice 145)`() throws {
        var world = MDNSWorld(1)
        let first = try published(&world)
        let again = try published(&world)
        let second = world.hosts[0].engine.publish(ConcealedAddress(IPAddress(ipv6: 1, 2)), interface: 2, at: .zero)
        let other = try #require(second)
        #expect(first == again)
        #expect(first != other)
        #expect(first.isUUID)
        #expect(first.description.hasSuffix(".local"))
        let characters = Array(first.label)
        #expect(characters[14] == "4")
        #expect("89ab".contains(characters[19]))
    }

    @Test func `a concealed address cannot be printed (ice 149, 152)`() {
        let address = ConcealedAddress(IPAddress(ipv4: 0x0A01_0203))
        var dumped = ""
        dump(address, to: &dumped)
        for text in [
            "\(address)", String(reflecting: address), dumped, "\(MDNSEvent.resolved(MDNSName("a.local")!, address))",
        ] {
            #expect(!text.contains("10.1.2.3"))
            #expect(!text.contains("167838211"))
        }
    }

    @Test func `only names with one dot are read (ice 150)`() {
        #expect(MDNSName("Abc.Local")?.description == "abc.local")
        for text in [
            "a.b.local", "local", ".local", "a.localx", "a b.local", "a..local",
            "\(String(repeating: "a", count: 64)).local",
        ] {
            #expect(MDNSName(text) == nil)
        }
    }

    @Test func `a name is announced twice at once, without probes, and no reply is waited for (ice 146)`() throws {
        var world = MDNSWorld(1)
        _ = try published(&world)
        world.run(seconds: 5)
        #expect(world.log.map(\.at) == [.zero, .zero + .seconds(1)])
        #expect(world.log.allSatisfy { $0.isMulticast && $0.isResponse })
    }

    @Test
    func `a first query wants unicast, is answered so when the group has heard the record, and resolves (ice 150)`()
        throws
    {
        var world = MDNSWorld(3)
        // The asker did not hear the announcements.
        world.loses = { _ in true }
        let name = try published(&world)
        world.run(seconds: 3)
        world.loses = { _ in false }
        world.log = []
        world.hosts[1].engine.resolve(name, at: world.now)
        world.settle()
        #expect(world.hosts[1].events == [.resolved(name, world.hosts[0].ip)])
        #expect(world.log.count == 2)
        #expect(world.log[0].isMulticast && !world.log[1].isMulticast)
        #expect(world.hosts[2].events.isEmpty)
    }

    @Test func `an answer that the group has not heard for a quarter of its life goes to the group`() throws {
        var world = MDNSWorld(2)
        let name = try published(&world)
        world.run(seconds: 200)
        world.log = []
        world.hosts[1].engine.resolve(name, at: world.now)
        world.settle()
        #expect(world.log.last?.isMulticast == true)
        #expect(world.hosts[1].events == [.resolved(name, world.hosts[0].ip)])
    }

    @Test func `an announcement heard before resolves without a packet; a name of our own too`() throws {
        var world = MDNSWorld(2)
        let name = try published(&world)
        world.run(seconds: 2)
        world.log = []
        world.hosts[1].engine.resolve(name, at: world.now)
        world.hosts[0].engine.resolve(name, at: world.now)
        world.settle()
        #expect(world.log.isEmpty)
        #expect(world.hosts[1].events == [.resolved(name, world.hosts[0].ip)])
        #expect(world.hosts[0].events == [.resolved(name, world.hosts[0].ip)])
    }

    @Test(arguments: seeds(300)) func `lost packets are asked for again, whatever is lost`(_ seed: UInt64) throws {
        var world = MDNSWorld(2, seed: seed)
        var entropy = Entropy.seeded(seed)
        let lost = (0..<5).map { _ in Bool.random(using: &entropy) }
        world.loses = { $0 < lost.count && lost[$0] }
        let name = try published(&world)
        world.hosts[1].engine.resolve(name, at: world.now)
        world.run(seconds: 20)
        #expect(world.hosts[1].events == [.resolved(name, world.hosts[0].ip)])
    }

    @Test func `a name that nobody has fails after its time, with queries at 0, 1, 3 and 7 seconds (ice 150)`() {
        var world = MDNSWorld(1)
        var entropy = Entropy.seeded(9)
        let name = MDNSName.random(using: &entropy)
        world.hosts[0].engine.resolve(name, at: .zero)
        world.run(seconds: 60)
        #expect(world.log.map { ($0.at - .zero).seconds } == [0, 1, 3, 7])
        #expect(world.hosts[0].events == [.failed(name, .timedOut)])
        #expect(world.hosts[0].engine.nextTimeout == nil)
    }

    @Test func `a name that is no UUID is not asked for, and two addresses are none (ice 151)`() throws {
        var world = MDNSWorld(1)
        let plain = try #require(MDNSName("printer.local"))
        world.hosts[0].engine.resolve(plain, at: .zero)
        var entropy = Entropy.seeded(3)
        let name = MDNSName.random(using: &entropy)
        world.hosts[0].engine.resolve(name, at: .zero)
        let two = RawDNS.message(
            flags: 0x8400,
            answers: [1, 2].map { RawDNS.address(name.label, IPAddress(ipv4: 0x0A00_0000 | $0)) }
        )
        #expect(receive(&world, two, from: "10.0.0.9:5353") == .accepted)
        world.settle()
        #expect(world.hosts[0].events == [.failed(plain, .notUUID), .failed(name, .ambiguous)])
    }

    @Test func `who knows the answer for half of its time is not told; less is told (ice 154)`() throws {
        var world = MDNSWorld(1)
        let name = try published(&world)
        world.run(seconds: 10)
        for (ttl, expected) in [(UInt16(60), 0), (59, 1)] {
            world.log = []
            world.run(seconds: 2)
            let query = RawDNS.message(
                flags: 0,
                questions: [RawDNS.question(name.label)],
                answers: [RawDNS.address(name.label, world.hosts[0].address.ip, ttl: ttl)]
            )
            #expect(receive(&world, query, from: "10.0.0.9:5353") == .accepted)
            world.settle()
            #expect(world.log.count == expected)
        }
    }

    @Test func `known answers in a second message count if the first said that more follow`() throws {
        var world = MDNSWorld(1)
        let name = try published(&world)
        world.run(seconds: 10)
        world.log = []
        let first = RawDNS.message(flags: 0x0200, questions: [RawDNS.question(name.label)])
        let second = RawDNS.message(flags: 0, answers: [RawDNS.address(name.label, world.hosts[0].address.ip)])
        _ = receive(&world, first, from: "10.0.0.9:5353")
        _ = receive(&world, second, from: "10.0.0.9:5353")
        world.run(seconds: 2)
        #expect(world.log.isEmpty)
        _ = receive(&world, first, from: "10.0.0.9:5353")
        world.run(seconds: 2)
        #expect(world.log.count == 1)
        #expect(world.log[0].at - world.now < .seconds(2))
    }

    @Test func `a record is sent to the group once in a second, and later for who asked meanwhile (ice 154)`() throws {
        var world = MDNSWorld(1)
        let name = try published(&world)
        world.run(seconds: 10)
        world.log = []
        let query = RawDNS.message(flags: 0, questions: [RawDNS.question(name.label)])
        for _ in 0..<50 { _ = receive(&world, query, from: "10.0.0.9:5353") }
        let asked = world.now
        world.run(seconds: 5)
        #expect(world.log.map { ($0.at - asked).milliseconds } == [0, 1000])
    }

    @Test func `a simple resolver gets its identifier and question back, ten seconds, and no flush bit`() throws {
        var world = MDNSWorld(1)
        let name = try published(&world)
        world.run(seconds: 10)
        world.log = []
        let query = RawDNS.message(id: 0x1234, flags: 0x0100, questions: [RawDNS.question(name.label)])
        _ = receive(&world, query, from: "10.0.0.9:40000")
        world.settle()
        let packet = try #require(world.log.first)
        #expect(packet.transmit.destination == SocketAddress("10.0.0.9:40000")!)
        let record = RawDNS.name(name.label) + [0, 1, 0, 1, 0, 0, 0, 10, 0, 4, 10, 0, 0, 1]
        #expect(
            packet.bytes
                == RawDNS.message(
                    id: 0x1234,
                    flags: 0x8400,
                    questions: [RawDNS.question(name.label)],
                    answers: [record]
                )
        )
    }

    @Test func `who asks for the other family learns that there is none`() throws {
        var world = MDNSWorld(1)
        let name = try published(&world)
        world.run(seconds: 10)
        world.log = []
        _ = receive(
            &world,
            RawDNS.message(flags: 0, questions: [RawDNS.question(name.label, type: 28)]),
            from: "10.0.0.9:5353"
        )
        world.settle()
        let bytes = try #require(world.log.first?.bytes)
        #expect(Array(bytes.suffix(3)) == [0, 1, 0x40])
        #expect(bytes[7] == 1)
    }

    @Test func `unicast from other networks is neither believed nor answered (ice 154)`() throws {
        var world = MDNSWorld(1)
        let name = try published(&world)
        world.run(seconds: 10)
        world.log = []
        let query = RawDNS.message(flags: 0, questions: [RawDNS.question(name.label, unicast: true)])
        #expect(receive(&world, query, from: "192.0.2.1:5353", multicast: false) == .ignored(.offLink))
        // To the group, but with a forged source: the answer would go far away.
        #expect(receive(&world, query, from: "192.0.2.1:4000") == .accepted)
        world.settle()
        #expect(world.log.isEmpty)
        let drops = world.hosts[0].engine.dropCounts
        #expect(drops[.offLink] == 2)
        let response = RawDNS.message(flags: 0x8400, answers: [RawDNS.address(name.label, IPAddress(ipv4: 1))])
        #expect(receive(&world, response, from: "10.0.0.9:5000") == .ignored(.wrongPort))
    }

    @Test func `a goodbye ends a name after a second, also one that is kept up to date (ice 154)`() throws {
        var world = MDNSWorld(2)
        let name = try published(&world)
        world.hosts[1].engine.resolve(name, isKept: true, at: world.now)
        world.run(seconds: 400)
        #expect(world.hosts[1].events == [.resolved(name, world.hosts[0].ip)])
        world.hosts[0].engine.withdrawAll()
        world.run(seconds: 3)
        #expect(world.hosts[1].events.last == .lost(name))
    }

    @Test func `caches and lookups are bounded, and what was asked for is kept`() throws {
        var limits = MDNSLimits()
        (limits.cachedNames, limits.lookups) = (4, 2)
        var world = MDNSWorld(1, limits: limits)
        var entropy = Entropy.seeded(5)
        let names = (0..<10).map { _ in MDNSName.random(using: &entropy) }
        for name in names.prefix(3) { world.hosts[0].engine.resolve(name, at: .zero) }
        for name in names.reversed() {
            let bytes = RawDNS.message(flags: 0x8400, answers: [RawDNS.address(name.label, IPAddress(ipv4: 7))])
            _ = receive(&world, bytes, from: "10.0.0.9:5353")
        }
        world.settle()
        let address = ConcealedAddress(IPAddress(ipv4: 7))
        #expect(
            world.hosts[0].events == [
                .failed(names[2], .limitReached), .resolved(names[1], address), .resolved(names[0], address),
            ]
        )
        let drops = world.hosts[0].engine.dropCounts
        #expect(drops[.cacheFull] == 4)
    }

    @Test func `compressed names are read, and loops and forward pointers are refused`() throws {
        var world = MDNSWorld(1)
        let name = try published(&world)
        world.run(seconds: 10)
        let record =
            [0xC0, 12] + RawDNS.address(name.label, world.hosts[0].address.ip).dropFirst(RawDNS.name(name.label).count)
        let compressed = RawDNS.message(
            flags: 0,
            questions: [RawDNS.question(name.label)],
            answers: [record.map { UInt8($0) }]
        )
        world.log = []
        #expect(receive(&world, compressed, from: "10.0.0.9:5353") == .accepted)
        world.settle()
        #expect(world.log.isEmpty, "the known answer was read")
        for pointer: [UInt8] in [[0xC0, 12], [0xC0, 40], [1, 97, 0xC0, 12], [0xFF, 0xFF], [0x80, 1], [63, 1]] {
            let bytes = RawDNS.message(flags: 0, questions: [pointer + [0, 1, 0, 1]])
            #expect(receive(&world, bytes, from: "10.0.0.9:5353") == .ignored(.malformed))
        }
    }

    @Test func `no made-up datagram traps or makes state without bound`() throws {
        var world = MDNSWorld(1)
        let name = try published(&world)
        let corpus = [
            RawDNS.message(
                flags: 0,
                questions: [RawDNS.question(name.label), RawDNS.question(name.label, type: 255, unicast: true)]
            ),
            RawDNS.message(flags: 0x8400, answers: [RawDNS.address(name.label, IPAddress(ipv4: 9))]),
            RawDNS.message(
                flags: 0x0200,
                questions: [[0xC0, 12, 0, 1, 0, 1]],
                answers: [RawDNS.address(name.label, IPAddress(ipv6: 9, 9))]
            ),
        ]
        var mutator = ByteMutator(corpus: corpus, seed: 7)
        for step in 0..<20_000 {
            world.now = world.now + .milliseconds(20)
            _ = receive(&world, mutator.next(), from: step % 3 == 0 ? "10.0.0.9:5353" : "10.0.0.8:99")
            if step % 10 == 0 { world.run(until: world.now) }
        }
        #expect(world.log.count < 20_000)
        let drops = world.hosts[0].engine.dropCounts
        #expect(drops[.malformed] > 100)
    }
}
