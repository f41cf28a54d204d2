import NetTypes
import Resolution
import STUN
import TURN
import TestSupport
import Testing

@testable import NameResolver

@Suite("A resolver on a loop", .serialized)
struct NameResolverTests {
    private func question(_ name: String, _ kind: DNSQuestion.Kind) throws -> DNSQuestion {
        try #require(DNSQuestion(name, kind))
    }

    @Test func `records of all four kinds are read`() throws {
        let server = try NameServer { question in
            switch question.kind {
            case .a: .records([[192, 0, 2, 1], [192, 0, 2, 2]])
            case .aaaa: .records([[0x20, 1, 0xD, 0xB8] + Array(repeating: 0, count: 11) + [7]])
            case .srv: .records([[0, 1, 0, 2, 0x0D, 0x96] + wire("a.example.net")])
            case .naptr:
                .records([
                    [0, 100, 0, 10] + wireText("S") + wireText("RELAY:turn.udp") + [0] + wire("_turn._udp.example.net"),
                    // A regular expression has no place in S-NAPTR.
                    [0, 100, 0, 10] + wireText("U") + wireText("RELAY:turn.udp") + wireText("!.*!x!") + wire("x"),
                ])
            }
        }
        let questions = try DNSQuestion.Kind.allCases.map { try question("example.net", $0) }
        let found = try server.answers(to: questions)
        let pointer = DNSPointer(
            order: 100,
            preference: 10,
            flags: "S",
            service: "RELAY:turn.udp",
            replacement: "_turn._udp.example.net"
        )
        #expect(
            found == [
                questions[0]: .records([.address(IPAddress(ipv4: 0xC000_0201)), .address(IPAddress(ipv4: 0xC000_0202))]
                ),
                questions[1]: .records([.address(IPAddress(ipv6: 0x2001_0DB8_0000_0000, 7))]),
                questions[2]: .records([
                    .service(DNSService(priority: 1, weight: 2, port: 3478, target: "a.example.net"))
                ]),
                questions[3]: .records([.pointer(pointer)]),
            ]
        )
    }

    @Test(arguments: DNSQuestion.Kind.allCases)
    func `a name that does not exist, and one without such records, have nothing`(kind: DNSQuestion.Kind) throws {
        let server = try NameServer { $0.name.hasPrefix("none") ? .code(3) : .records([]) }
        let questions = [try question("none.example.net", kind), try question("empty.example.net", kind)]
        let found = try server.answers(to: questions)
        #expect(found == [questions[0]: .nothing, questions[1]: .nothing])
    }

    @Test func `a name server that refuses has failed`() throws {
        let server = try NameServer { _ in .code(5) }
        let question = try question("example.net", .srv)
        let found = try server.answers(to: [question])
        guard case .failed? = found[question] else {
            Issue.record("\(String(describing: found[question]))")
            return
        }
    }

    @Test func `who is not answered is asked again`() throws {
        var isFirst = true
        let server = try NameServer { _ in
            defer { isFirst = false }
            return isFirst ? .silence : .records([[192, 0, 2, 1]])
        }
        let question = try question("example.net", .a)
        let found = try server.answers(to: [question])
        #expect(found[question] == .records([.address(IPAddress(ipv4: 0xC000_0201))]))
        #expect(server.askedCount == 2)
    }

    @Test func `bytes that are no answer do no harm`() throws {
        var entropy = Entropy.seeded(5)
        let server = try NameServer { _ in
            let count = Int(entropy.next() % 64)
            return entropy.next() % 2 == 0
                ? .garbage([0x85, 0x80, 0, 1, 0, 200, 0, 0, 0, 0] + entropy.bytes(count))
                : .records([entropy.bytes(count)])
        }
        let questions = try (0..<40).map { number in
            try question("n\(number).example.net", DNSQuestion.Kind.allCases[number % 4])
        }
        let found = try server.answers(to: questions, within: .milliseconds(700))
        #expect(found.count <= questions.count)
    }

    @Test func `the names of the hosts file need no name server, and addresses no question`() throws {
        let server = try NameServer { _ in .code(3) }
        let question = try question("localhost", .a)
        #expect(try server.answers(to: [question])[question] == .records([.address(.loopback(.ipv4))]))
        #expect(server.askedCount == 0)
        let query = ServerQuery(try TURNURI("turn:192.0.2.7?transport=udp"))
        let found = try ServerFinder.candidates(of: query)
        #expect(found.map(\.address) == [SocketAddress(IPAddress(ipv4: 0xC000_0207), port: 3478)])
    }

    @Test func `turn 203: where nobody answers nothing is discovered, and the machine's own domains are names`() throws
    {
        let nobody = SocketAddress(IPAddress(ipv4: 0x7FFF_FFFE), port: 9)
        let found = ServerFinder.discover(in: "example.net", nameServers: [nobody], patience: .milliseconds(300))
        #expect(found.isEmpty)
        let resolver = try NameResolver(servers: [nobody])
        let domains = resolver.localDomains
        #expect(domains.allSatisfy { DNSQuestion($0, .naptr)?.name == $0.lowercased() })
    }

    @Test func `where no name server is the tool says so in time`() throws {
        let query = ServerQuery(try TURNURI("turn:h.example.net:1?transport=udp"))
        // Nobody listens at port 9 of the loopback's last address.
        let nobody = SocketAddress(IPAddress(ipv4: 0x7FFF_FFFE), port: 9)
        #expect(throws: ResolutionError.self) {
            try ServerFinder.candidates(of: query, nameServers: [nobody], patience: .milliseconds(300))
        }
    }
}
