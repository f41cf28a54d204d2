import NetTypes
import STUN
import TURN
import TestSupport
import Testing

@testable import Resolution

/// turn 200, and the resolution part of turn 93 and 202.
@Suite("RFC 5928: from a URI to addresses")
struct ServerResolutionTests {
    static let figure1 = """
        example.net NAPTR 100 10 - RELAY:turn.udp datagram.example.net
        example.net NAPTR 200 10 - RELAY:turn.tcp:turn.tls stream.example.net
        datagram.example.net NAPTR 100 10 S RELAY:turn.udp _turn._udp.example.net
        stream.example.net NAPTR 100 10 S RELAY:turn.tcp _turn._tcp.example.net
        stream.example.net NAPTR 200 10 A RELAY:turn.tls a.example.net
        _turn._udp.example.net SRV 0 0 3478 a.example.net
        _turn._tcp.example.net SRV 0 0 5000 a.example.net
        a.example.net A 192.0.2.1
        """
    static let table2 = ["udp 192.0.2.1:3478", "tls 192.0.2.1:5349", "tcp 192.0.2.1:5000"]

    @Test(arguments: seeds(20))
    func `§4.1: several protocols, whatever the order of answers`(seed: UInt64) {
        var zone = Zone(Self.figure1)
        #expect(zone.list("turn:example.net", [.tls, .tcp, .udp], seed: seed) == Self.table2)
    }

    @Test func `§4.2: remote hosting`() {
        var zone = Zone(Self.figure1 + "\nexample.com NAPTR 100 10 - RELAY:turn.udp:turn.tcp:turn.tls example.net")
        #expect(zone.list("turn:example.com", [.tls, .tcp, .udp]) == Self.table2)
        #expect(zone.list("turn:example.com", [.tcp]) == ["tcp 192.0.2.1:5000"])
    }

    @Test func `§4.3: who asks for SRV records alone finds the same servers`() {
        var zone = Zone(
            Self.figure1 + """

                _turn._udp.example.com SRV 0 0 3478 a.example.net
                _turn._tcp.example.com SRV 0 0 5000 a.example.net
                _turns._tcp.example.com SRV 0 0 5349 a.example.net
                """
        )
        #expect(zone.list("turn:example.com") == ["udp 192.0.2.1:3478", "tcp 192.0.2.1:5000"])
        #expect(zone.list("turns:example.com") == ["tls 192.0.2.1:5349"])
        #expect(zone.list("turn:example.com?transport=tcp") == ["tcp 192.0.2.1:5000"])
    }

    @Test(arguments: [
        ("turn:h?transport=udp", [TransportProtocol.tcp, .tls]), ("turn:h?transport=tcp", [.udp, .tls]),
        ("turns:h?transport=tcp", [.udp, .tcp]), ("turns:h?transport=udp", [.udp, .tcp, .tls]),
        ("turns:h", [.udp, .tcp]),
        ("turn:h", []), ("turn:h", [.tls]), ("stuns:h", [.udp]), ("stun:h", [.tls]),
    ])
    func `what the caller cannot carry is an error before any question`(uri: String, supported: [TransportProtocol]) {
        var zone = Zone("h A 192.0.2.1")
        let found = zone.list(uri, supported)
        #expect(found == ["no transport that this URI means is supported here"] || found == ["no URI"])
        #expect(zone.asked.isEmpty)
    }

    @Test(arguments: [
        ("turn:192.0.2.9", ["udp 192.0.2.9:3478", "tcp 192.0.2.9:3478"]),
        ("turn:192.0.2.9:5000", ["udp 192.0.2.9:5000", "tcp 192.0.2.9:5000"]),
        ("turn:192.0.2.9?transport=tcp", ["tcp 192.0.2.9:3478"]), ("turns:192.0.2.9", ["tls 192.0.2.9:5349"]),
        ("turns:[2001:db8::1]:443?transport=tcp", ["tls [2001:db8::1]:443"]),
        ("stun:192.0.2.9", ["udp 192.0.2.9:3478"]),
    ])
    func `step 1: an address asks nobody`(uri: String, expected: [String]) {
        var zone = Zone("")
        #expect(zone.list(uri) == expected)
        #expect(zone.asked.isEmpty)
    }

    @Test func `step 2: a name with a port has addresses only`() {
        var zone = Zone("h A 192.0.2.1\nh AAAA 2001:db8::1\n_turn._udp.h SRV 0 0 1 h")
        #expect(zone.list("turn:h:99?transport=udp") == ["udp [2001:db8::1]:99", "udp 192.0.2.1:99"])
        #expect(Set(zone.asked.map(\.kind)) == [.a, .aaaa])
        #expect(
            zone.list("turn:h:99") == [
                "udp [2001:db8::1]:99", "udp 192.0.2.1:99", "tcp [2001:db8::1]:99", "tcp 192.0.2.1:99",
            ]
        )
    }

    @Test func `step 3: a transport without port asks for SRV, then for addresses`() {
        var zone = Zone("_turn._udp.h SRV 0 0 700 t\nt A 192.0.2.1\nh A 192.0.2.2")
        #expect(zone.list("turn:h?transport=udp") == ["udp 192.0.2.1:700"])
        #expect(zone.list("turn:h?transport=tcp") == ["tcp 192.0.2.2:3478"])
        #expect(zone.list("turns:h?transport=tcp") == ["tls 192.0.2.2:5349"])
        #expect(!zone.asked.contains { $0.kind == .naptr })
    }

    @Test func `step 5: without NAPTR each transport is looked for by itself`() {
        var zone = Zone("_turn._tcp.h SRV 0 0 700 t\nt A 192.0.2.1\nh A 192.0.2.2")
        #expect(zone.list("turn:h") == ["udp 192.0.2.2:3478", "tcp 192.0.2.1:700"])
        #expect(zone.list("turn:h", [.tcp, .udp]) == ["tcp 192.0.2.1:700", "udp 192.0.2.2:3478"])
        // Records about other services are none about relays.
        zone.add(
            "h",
            .naptr,
            .pointer(DNSPointer(order: 1, preference: 1, flags: "s", service: "SIP+D2U", replacement: "_sip._udp.h"))
        )
        #expect(zone.list("turn:h") == ["udp 192.0.2.2:3478", "tcp 192.0.2.1:700"])
    }

    @Test(arguments: [
        ("stun:h", TransportProtocol.udp, "udp 192.0.2.1:1"), ("stun:h", .tcp, "tcp 192.0.2.1:2"),
        ("stuns:h", .tls, "tls 192.0.2.1:3"), ("stun:h:9", .udp, "udp 192.0.2.1:9"),
        ("stun:other", .udp, "udp 192.0.2.1:3478"), ("stuns:other", .tls, "tls 192.0.2.1:5349"),
    ])
    func `RFC 8489 §8: stun has SRV records of its own and no NAPTR`(
        uri: String,
        transport: TransportProtocol,
        expected: String
    ) {
        var zone = Zone(
            """
            _stun._udp.h SRV 0 0 1 t
            _stun._tcp.h SRV 0 0 2 t
            _stuns._tcp.h SRV 0 0 3 t
            t A 192.0.2.1
            h A 192.0.2.1
            other A 192.0.2.1
            """
        )
        #expect(zone.list(uri, [transport]) == [expected])
        #expect(!zone.asked.contains { $0.kind == .naptr })
    }

    @Test func `a certificate is for the name in the URI, whatever records say, until a redirection names another`()
        throws
    {
        var zone = Zone("_turns._tcp.h SRV 0 0 5349 elsewhere\nelsewhere A 192.0.2.1")
        let found = try #require(try zone.resolve(ServerQuery(try TURNURI("turns:h?transport=tcp")))?.get().first)
        #expect(found.serverName == "h")
        let target = SocketAddress(ip("192.0.2.7"), port: 5349)
        #expect(found.redirected(to: target, domain: nil).serverName == "h")
        let moved = found.redirected(to: target, domain: "other.example")
        #expect(moved.serverName == "other.example" && moved.address == target && moved.transport == .tls)
    }

    @Test func `priorities come one after the other, weights decide by chance`() {
        var entropy = Entropy.seeded(3)
        func service(_ priority: UInt16, _ weight: UInt16) -> DNSService {
            DNSService(priority: priority, weight: weight, port: 1, target: "\(priority)-\(weight)")
        }
        let services = [service(2, 1), service(1, 0), service(1, 30), service(1, 70)]
        var first: [UInt16: Int] = [:]
        for _ in 0..<10_000 {
            let order = ResolutionWalk.ordered(services.shuffled(using: &entropy), using: &entropy)
            #expect(order.count == 4 && order.last?.priority == 2)
            first[order[0].weight, default: 0] += 1
        }
        #expect((2700...3300).contains(first[30] ?? 0))
        #expect((6600...7300).contains(first[70] ?? 0))
        #expect((1...250).contains(first[0] ?? 0))
        var even: [String: Int] = [:]
        let equals = (0..<4).map { DNSService(priority: 0, weight: 0, port: 1, target: "\($0)") }
        for _ in 0..<4000 { even[ResolutionWalk.ordered(equals, using: &entropy)[0].target, default: 0] += 1 }
        #expect(even.values.allSatisfy { (850...1150).contains($0) })
    }
}

@Suite("A name server that fails or lies")
struct HostileAnswerTests {
    @Test func `a name that does not exist is said not to`() {
        var zone = Zone("")
        #expect(zone.list("turn:h") == ["the name 'h' has no address"])
        #expect(zone.list("turn:h:1") == ["the name 'h' has no address"])
        #expect(
            zone.list("turn:\(String(repeating: "a", count: 64)):1")[0].hasSuffix("is no name that can be looked up")
        )
    }

    @Test func `a service may be declined`() {
        var zone = Zone("_turn._udp.h SRV 0 0 0 .\nh A 192.0.2.1")
        #expect(zone.list("turn:h?transport=udp") == ["the records of 'h' say that it does not offer this service"])
        #expect(zone.list("turn:h") == ["tcp 192.0.2.1:3478"])
        var pointers = Zone("h NAPTR 1 1 S RELAY:turn.smoke _turn._smoke.h\nh A 192.0.2.1")
        #expect(pointers.list("turn:h") == ["the records of 'h' say that it does not offer this service"])
    }

    @Test func `one family that fails leaves the other, both are a failure`() throws {
        var zone = Zone("h A 192.0.2.1")
        zone.failures[try #require(DNSQuestion("h", .aaaa))] = .timedOut
        #expect(zone.list("turn:h:1?transport=udp") == ["udp 192.0.2.1:1"])
        zone.failures[try #require(DNSQuestion("h", .a))] = .refused
        #expect(
            zone.list("turn:h:1?transport=udp") == [
                "the name 'h' could not be looked up: the name server could not find out"
            ]
        )
    }

    @Test func `records of another kind than was asked for lead nowhere`() throws {
        var zone = Zone("")
        let pointer = DNSPointer(order: 1, preference: 1, flags: "a", service: "RELAY:turn.udp", replacement: "x")
        zone.add("h", .a, .address(ip("2001:db8::1")))
        zone.add("h", .a, .address(ip("0.0.0.0")))
        zone.add("h", .aaaa, .pointer(pointer))
        zone.add("_turn._udp.h", .srv, .address(ip("192.0.2.1")))
        #expect(zone.list("turn:h?transport=udp") == ["the name 'h' has no address"])
    }

    @Test(arguments: [
        "h NAPTR 1 1 - RELAY:turn.udp h", "h NAPTR 1 1 - RELAY:turn.udp a\na NAPTR 1 1 - RELAY:turn.udp h",
        "h NAPTR 1 1 - RELAY:turn.udp h\nh NAPTR 2 1 - RELAY:turn.tcp:turn.udp h", "h NAPTR 1 1 U RELAY:turn.udp h",
    ])
    func `records that lead in circles come to an end`(text: String) {
        var zone = Zone(text)
        #expect(zone.list("turn:h") == ["the records of 'h' say that it does not offer this service"])
        #expect(zone.asked.count < 10)
    }

    @Test func `records that branch at every step are followed once each`() {
        // Sixteen names, each of which leads to all sixteen: two hundred million ways, eight deep.
        let names = (0..<16).map { "n\($0)" }
        let lines = ["h"] + names
        var zone = Zone(
            lines.flatMap { from in names.map { "\(from) NAPTR 1 1 - RELAY:turn.udp:turn.tcp \($0)" } }
                .joined(separator: "\n") + "\nn7 A 192.0.2.1"
        )
        #expect(zone.list("turn:h") == ["the records of 'h' say that it does not offer this service"])
        // Each name once, and what is asked at the same time in case there were none.
        #expect(zone.asked.count == 17 + 4)
    }

    @Test(arguments: seeds(200))
    func `whatever is answered, questions and candidates stay within their bounds`(seed: UInt64) throws {
        var entropy = Entropy.seeded(seed)
        func name() -> String {
            ["h", "a.h", "b.h", "_turn._udp.h", "", ".", "x y"][Int(entropy.next() % 7)]
                + (entropy.next() % 3 == 0 ? "\(entropy.next() % 1000)" : "")
        }
        func record() -> DNSRecord {
            let (one, two) = (
                UInt16(truncatingIfNeeded: entropy.next() % 4), UInt16(truncatingIfNeeded: entropy.next())
            )
            switch entropy.next() % 4 {
            case 0: return .address(IPAddress(ipv4: UInt32(truncatingIfNeeded: entropy.next())))
            case 1: return .address(IPAddress(ipv6: entropy.next(), 1))
            case 2: return .service(DNSService(priority: one, weight: two, port: two, target: name()))
            default:
                let service = ["RELAY:turn.udp:turn.tcp", "relay:TURN.TLS:turn.udp", "RELAY", ""][Int(one)]
                let flags = ["", "s", "A", "u"][Int(two % 4)]
                return .pointer(
                    DNSPointer(order: one, preference: two % 3, flags: flags, service: service, replacement: name())
                )
            }
        }
        var resolution = ServerResolution(ServerQuery(try TURNURI("turn:h")), entropy: .seeded(seed))
        var asked = 0
        while resolution.outcome == nil, let question = resolution.pollQuestion() {
            asked += 1
            let answer =
                entropy.next() % 8 == 0 ? DNSAnswer.failed(.timedOut) : .records((0..<24).map { _ in record() })
            resolution.receive(answer, to: question)
            resolution.receive(.nothing, to: question)
        }
        #expect(resolution.outcome != nil && asked <= ServerResolution.questionLimit)
        if case .success(let found)? = resolution.outcome {
            #expect((1...ServerResolution.candidateLimit).contains(found.count))
            #expect(Set(found.map { "\($0.transport) \($0.address)" }).count == found.count)
        }
    }

    @Test func `who does not want to wait any longer gets what is there`() throws {
        var resolution = ServerResolution(ServerQuery(try TURNURI("turn:h:1?transport=udp")))
        #expect(resolution.pollQuestion() == DNSQuestion("h", .aaaa))
        let next = resolution.pollQuestion()
        let second = try #require(next)
        var copy = resolution
        copy.giveUpWaiting()
        #expect(copy.outcome == .failure(.lookupFailed("h", .timedOut)))
        resolution.receive(.records([.address(ip("192.0.2.1"))]), to: second)
        #expect(resolution.outcome == nil)
        resolution.giveUpWaiting()
        #expect(try resolution.outcome?.get().map(\.address) == [SocketAddress(ip("192.0.2.1"), port: 1)])
    }

    @Test func `an answer to nothing changes nothing`() throws {
        var resolution = ServerResolution(ServerQuery(try TURNURI("turn:h:1")))
        resolution.receive(.records([.address(ip("192.0.2.66"))]), to: try #require(DNSQuestion("x", .a)))
        resolution.giveUpWaiting()
        #expect(resolution.outcome == .failure(.lookupFailed("h", .timedOut)))
    }
}
