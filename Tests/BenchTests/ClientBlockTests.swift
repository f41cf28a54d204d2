import Instruments
import NetTypes
import Testing

@testable import Bench

@Suite struct ClientBlockTests {
    private static func plan(_ block: String?, clients: Int) throws -> BenchPlan {
        let server = SocketAddress(IPAddress(ipv4: 0xC000_0201), port: 3478)
        var plan = BenchPlan(ServerTarget(server, .udp), username: "alice", password: "wonderland")
        plan.clientBlock = try block.map { try #require(IPPrefix($0)) }
        plan.clients = clients
        return plan
    }

    @Test(arguments: ["127.1.0.0/16", "198.18.255.0/24", "2001:db8:1::/64", "0.0.0.0/0", "::/0"])
    func `each client has an address of its own, by which it is found`(block: String) throws {
        let plan = try Self.plan(block, clients: 254)
        #expect(plan.fitsClientBlock)
        var addresses: Set<IPAddress> = []
        for index in 0..<254 {
            let address = try #require(plan.address(ofClient: index))
            #expect(plan.client(at: address) == index && plan.clientBlock?.contains(address) == true)
            addresses.insert(address)
        }
        #expect(addresses.count == 254)
    }

    @Test func `addresses of nobody are nobody's`() throws {
        let plan = try Self.plan("127.1.0.0/16", clients: 10)
        for text in ["127.1.0.0", "127.1.0.11", "127.0.255.255", "126.1.0.1", "::7f01:1", "2001:db8::1"] {
            #expect(plan.client(at: try #require(IPAddress(text: text))) == nil, "\(text)")
        }
        #expect(try Self.plan(nil, clients: 10).client(at: IPAddress(ipv4: 1)) == nil)
        #expect(try Self.plan(nil, clients: 10).address(ofClient: 0) == nil)
    }

    @Test func `a block is too small where the first address would be needed`() throws {
        #expect(try Self.plan("127.1.0.0/30", clients: 3).fitsClientBlock)
        #expect(try !Self.plan("127.1.0.0/30", clients: 4).fitsClientBlock)
        #expect(try !Self.plan("127.1.0.1/32", clients: 1).fitsClientBlock)
        #expect(try Self.plan("::/0", clients: 20_000).fitsClientBlock)
        #expect(try Self.plan(nil, clients: 20_000).fitsClientBlock)
    }
}
