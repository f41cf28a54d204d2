import Bytes
import NetTypes
import STUN
import TURN
import TURNServer
import TestSupport
import Testing

@Suite("A TURN client that moves (RFC 8016)")
struct MobilityTests {
    private let peer = "203.0.113.5:7000"

    /// A world whose server lets clients move, and a client with an allocation and a channel.
    private func settled(
        seed: UInt64 = 1,
        transport: TransportProtocol = .udp,
        _ change: (inout TURNServerConfiguration) -> Void = { $0.allowsMobility = true }
    ) throws -> (World, ClientHost) {
        let world = try World(seed: seed, change)
        let host = try world.client {
            $0.mobility = true
            $0.transport = transport
        }
        host.start()
        #expect(world.run(atMost: .seconds(5)) { host.allocation != nil })
        host.bind(peer)
        world.run(.seconds(1))
        world.echoes = [address(peer)]
        return (world, host)
    }

    @Test(arguments: [TransportProtocol.udp, .tcp, .tls])
    func `turn 192: the allocation, its permissions and channels go along to a new address`(
        transport: TransportProtocol
    ) throws {
        let (world, host) = try settled()
        let relay = try #require(host.allocation?.relayed.first)
        #expect(host.move(to: "198.51.100.77:5000", over: transport))
        #expect(host.send([1], to: peer) == .refused(.moving), "nothing is sent before the server knows")
        let start = world.now
        #expect(world.run(atMost: .seconds(5)) { host.has(.moved(lifetimeSeconds: 600)) })
        #expect(world.now - start == .milliseconds(80), "one round trip, and one for the nonce of the new address")
        #expect(host.send([2], to: peer) != .held)
        #expect(world.run(atMost: .seconds(5)) { host.received.contains { $0.bytes == [2] } })
        #expect(world.atPeers.contains { $0.from == relay && $0.bytes == [2] })
        #expect(world.requests[.channelBind] == 1 && world.requests[.allocate] == 2)
    }

    @Test func `turn 194: who only listens hears at the new address too`() throws {
        let (world, host) = try settled()
        let relay = try #require(host.allocation?.relayed.first)
        host.move(to: "198.51.100.77:5000")
        world.run(.seconds(1))
        world.peerSends([9], from: peer, to: relay)
        world.run(.seconds(1))
        #expect(host.received.map(\.bytes) == [[9]])
        #expect(world.atPeers.map(\.bytes) == [[]], "an empty datagram shows the new address, and nothing else")
    }

    @Test func `it moves again and again, each time with a new ticket`() throws {
        let (world, host) = try settled()
        for index in 1...20 {
            host.move(to: "198.51.100.\(index):5000", over: index % 3 == 0 ? .tcp : .udp)
            world.run(.seconds(1))
            host.send([UInt8(index)], to: peer)
            world.run(.seconds(1))
            #expect(host.received.last?.bytes == [UInt8(index)])
        }
        #expect(world.shared.allocationCount == 1 && host.end == nil)
        host.close()
        world.run(.seconds(1))
        #expect(host.end == .closed && world.shared.allocationCount == 0)
    }

    @Test func `what was asked before the move is asked again after it`() throws {
        let (world, host) = try settled()
        host.permit("203.0.113.9")
        host.bind("203.0.113.10:1")
        host.move(to: "198.51.100.77:5000")
        world.run(.seconds(2))
        #expect(host.has(.permitted(ip("203.0.113.9"))) && host.has(.permitted(ip("203.0.113.10"))))
        #expect(host.end == nil)
    }

    @Test func `a NAT that has given us another address is found out by 437, and moved with`() throws {
        let (world, host) = try settled()
        // The host does not know.
        host.tuple = ClientTuple(transport: .udp, remote: address("198.51.100.78:1"), local: host.tuple.local)
        host.permit("203.0.113.9")
        world.run(.seconds(2))
        #expect(host.has(.moved(lifetimeSeconds: 600)) && host.has(.permitted(ip("203.0.113.9"))))
    }

    @Test func `turn 191: without mobility at the server there is an allocation all the same`() throws {
        let (world, host) = try settled { _ in }
        #expect(host.allocation != nil)
        let canMove = host.client.canMove
        #expect(!canMove)
        #expect(!host.move(to: "198.51.100.77:5000"))
        world.run(.seconds(1))
        #expect(world.requests[.allocate] == 3)
    }

    @Test func `a refused ticket ends the client, and the plan is a new allocation`() throws {
        let (world, host) = try settled()
        _ = world.engine.revoke(user: "alice", at: world.now)
        host.move(to: "198.51.100.77:5000")
        #expect(world.run(atMost: .seconds(5)) { host.end != nil })
        #expect(host.end == .failed(.allocationLost))
        var planner = TURNRetryPlanner()
        #expect(planner.plan(after: .allocationLost, at: World.server, port: .any, now: world.now) == .again)
    }

    @Test func `it can be closed while it moves`() throws {
        let (world, host) = try settled()
        host.move(to: "198.51.100.77:5000")
        host.close()
        world.run(.seconds(2))
        #expect(host.end == .closed && world.shared.allocationCount == 0)
    }

    @Test(arguments: seeds(40))
    func `in bad weather a move ends well, or tells that the allocation is lost`(seed: UInt64) throws {
        let (world, host) = try settled(seed: seed)
        world.weather = Weather(jitter: .milliseconds(50), lossPerMille: 200, duplicationPerMille: 100)
        for index in 1...5 where host.end == nil {
            host.move(to: "198.51.100.\(index):5000")
            let isOver = world.run(atMost: .seconds(120)) {
                host.end != nil || host.moves == index
            }
            #expect(isOver)
        }
        #expect(host.end == nil || host.end == .failed(.transaction(.timedOut)))
        #expect(world.shared.allocationCount <= 1)
    }
}
