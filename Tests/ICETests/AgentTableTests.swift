import NetTypes
import STUN
import TestSupport
import Testing

@testable import ICE

@Suite struct AgentTableTests {
    private static let base = BaseID(rawValue: 1)
    private static let source = at("10.0.0.2:2000")

    @Test func `Responses find their agent by the transaction, requests by the fragment, data by the path`() throws {
        var entropy = Entropy.seeded(9)
        var table = AgentTable(limit: 100, entropy: &entropy)
        var agents: [(tag: AgentTag, fragment: String)] = []
        for index in 0..<100 {
            let inserted = table.insert()
            let tag = try #require(inserted)
            let fragment = "frag\(index)"
            #expect(table.add(usernameFragment: fragment, for: tag) == true)
            agents.append((tag, fragment))
        }
        #expect(table.insert() == nil)
        for (index, agent) in agents.enumerated() {
            var lone = Lone()
            lone.agent = ICEAgent(
                ICEConfiguration(role: .controlling),
                credentials: try ICECredentials(
                    usernameFragment: agent.fragment,
                    password: "0123456789012345678901"
                ),
                tag: agent.tag,
                entropy: .seeded(UInt64(index)),
                at: .zero
            )
            lone.begin()
            let check = try #require(lone.drain().first)
            let answer = STUNMessage(STUNMessageType(.binding, .success), check.message.transactionID)
            let route = table.route(Lone.bytes(answer, .none).span, on: Self.base, from: Self.source)
            #expect(route == .agent(agent.tag))
            let request = Lone.bytes(lone.request(username: "\(agent.fragment):PEER"), .none)
            #expect(table.route(request.span, on: Self.base, from: Self.source) == .agent(agent.tag))
            let remote = SocketAddress(Self.source.ip, port: UInt16(3000 + index))
            let data: [UInt8] = [200, 1]
            #expect(table.route(data.span, on: Self.base, from: remote) == .nobody)
            #expect(table.bind(agent.tag, base: Self.base, remote: remote, isAnswer: false) == .bound)
            #expect(table.route(data.span, on: Self.base, from: remote) == .agent(agent.tag))
            #expect(table.route(data.span, on: BaseID(rawValue: 2), from: remote) == .nobody)
        }
        table.remove(agents[5].tag)
        #expect(table.count == 99)
        let request = STUNMessage(
            STUNMessageType(.binding, .request),
            TransactionID(high: 1, low: 1),
            attributes: [.init(.username, Array("frag5:PEER".utf8))]
        )
        let bytes = Lone.bytes(request, .none)
        #expect(table.route(bytes.span, on: Self.base, from: Self.source) == .unknownUsernameFragment)
    }

    @Test func `Fragments and paths have one owner, and restarts have two fragments`() throws {
        var entropy = Entropy.seeded(9)
        var table = AgentTable(limit: 10, entropy: &entropy)
        let inserted = (table.insert(), table.insert())
        let one = try #require(inserted.0)
        let other = try #require(inserted.1)
        #expect(table.add(usernameFragment: "abcd", for: one) == true)
        #expect(table.add(usernameFragment: "abcd", for: one) == true)
        #expect(table.add(usernameFragment: "abcd", for: other) == false)
        #expect(table.add(usernameFragment: "efgh", for: one) == true)
        table.remove(usernameFragment: "abcd", for: one)
        #expect(table.add(usernameFragment: "abcd", for: other) == true)
        #expect(table.bind(one, base: Self.base, remote: Self.source, isAnswer: false) == .bound)
        let data: [UInt8] = [200]
        // The other one's peer can send a check from that address, but not answer one.
        #expect(table.bind(other, base: Self.base, remote: Self.source, isAnswer: false) == .taken)
        #expect(table.route(data.span, on: Self.base, from: Self.source) == .agent(one))
        #expect(table.bind(other, base: Self.base, remote: Self.source, isAnswer: true) == .bound)
        #expect(table.route(data.span, on: Self.base, from: Self.source) == .agent(other))
        table.remove(other)
        #expect(table.route(data.span, on: Self.base, from: Self.source) == .nobody)
        for index in 0..<40 {
            let remote = SocketAddress(Self.source.ip, port: UInt16(index + 1))
            let binding = table.bind(one, base: Self.base, remote: remote, isAnswer: false)
            #expect(binding == (index < AgentTable.pathLimit ? .bound : .full))
        }
    }

    @Test func `Noise is routed to nobody`() {
        var source = Entropy.seeded(1)
        var table = AgentTable(limit: 10, entropy: &source)
        _ = table.insert()
        for seed in seeds(2000) {
            var entropy = Entropy.seeded(seed)
            var bytes = entropy.bytes(Int(entropy.next() % 60))
            if bytes.count > 20 {
                bytes.replaceSubrange(0..<8, with: [1, 1, 0, UInt8(bytes.count - 20), 0x21, 0x12, 0xA4, 0x42])
            }
            let route = table.route(bytes.span, on: Self.base, from: Self.source)
            #expect(route == .nobody)
        }
    }

    @Test func `An ICMP error finds who has sent what it quotes: by the transaction of a check, else by the path`()
        throws
    {
        var entropy = Entropy.seeded(3)
        var table = AgentTable(limit: 10, entropy: &entropy)
        let tags = (0..<10).compactMap { _ in table.insert() }
        var lone = Lone()
        lone.agent = ICEAgent(ICEConfiguration(role: .controlling), tag: tags[7], entropy: .seeded(4), at: .zero)
        lone.begin()
        let check = try #require(lone.drain().first).bytes
        let head = check.span.extracting(..<20)
        #expect(table.sender(of: head, on: Self.base, to: Self.source) == tags[7])
        // Too short a quote, or the peer's transaction, says nothing of a path that nobody has.
        let short = check.span.extracting(..<19)
        #expect(table.sender(of: short, on: Self.base, to: Self.source) == nil)
        let answer = STUNMessage(STUNMessageType(.binding, .success), TransactionID(high: 8, low: 8))
        let bytes = Lone.bytes(answer, .none)
        #expect(table.sender(of: bytes.span, on: Self.base, to: Self.source) == nil)
        #expect(table.bind(tags[2], base: Self.base, remote: Self.source, isAnswer: true) == .bound)
        for quote in [[], Array(check[..<19]), bytes, [200, 1]] {
            #expect(table.sender(of: quote.span, on: Self.base, to: Self.source) == tags[2])
        }
        // A check names its own agent also where the path is another's; a forged one leads to the path's.
        #expect(table.sender(of: head, on: Self.base, to: Self.source) == tags[7])
        let forged = Lone.bytes(STUNMessage(STUNMessageType(.binding, .request), TransactionID(high: 1, low: 1)), .none)
        #expect(table.sender(of: forged.span, on: Self.base, to: Self.source) == tags[2])
        table.remove(tags[7])
        #expect(table.sender(of: head, on: Self.base, to: Self.source) == tags[2])
    }
}
