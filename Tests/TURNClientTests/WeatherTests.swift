import NetTypes
import STUN
import TURN
import TURNServer
import TestSupport
import Testing

@Suite("A TURN client in bad weather")
struct WeatherTests {
    private let peers = ["203.0.113.1:1000", "203.0.113.2:2000", "203.0.113.3:3000"]

    @Test(arguments: seeds(40))
    func `every transaction survives loss, duplication and reordering`(seed: UInt64) throws {
        let world = try World(seed: seed)
        world.weather = Weather(
            delay: .milliseconds(30),
            jitter: .milliseconds(400),
            lossPerMille: 250,
            duplicationPerMille: 100
        )
        world.echoes = Set(peers.map { address($0) })
        let host = try world.client()
        host.start()
        host.permit("203.0.113.1", "203.0.113.2")
        host.bind(peers[2])
        #expect(world.run(atMost: .seconds(160)) { host.allocation != nil }, "seed \(seed)")
        for _ in 0..<4 {
            world.run(.seconds(400))
            let before = host.received.count
            for peer in peers { for _ in 0..<30 { host.send([1, 2, 3], to: peer) } }
            world.run(.seconds(3))
            #expect(host.received.count > before, "seed \(seed)")
        }
        #expect(host.end == nil, "seed \(seed)")
        #expect(world.shared.allocationCount == 1, "seed \(seed)")
        host.close()
        world.run(.seconds(60))
        #expect(host.end == .closed, "seed \(seed)")
    }

    @Test(arguments: seeds(20))
    func `a stream in good order needs each request once`(seed: UInt64) throws {
        let world = try World(seed: seed)
        world.weather.lossPerMille = 500
        let host = try world.client { $0.transport = .tcp }
        host.start()
        host.bind(peers[0])
        world.run(.seconds(2))
        #expect(host.allocation != nil)
        #expect(world.requests == [.allocate: 2, .channelBind: 1])
    }

    @Test func `the server's clock may jump, ahead or back`() throws {
        let world = try World()
        world.echoes = [address(peers[0])]
        let host = try world.client()
        host.start()
        host.bind(peers[0])
        for time: UInt64 in [1_900_000_000, 1_000_000_000, 1_700_000_000, 0, 4_000_000_000] {
            world.engine.setWallClock(unixSeconds: time)
            world.run(.seconds(700))
            let before = host.received.count
            host.send([1], to: peers[0])
            world.run(.seconds(1))
            #expect(host.received.count == before + 1)
        }
        #expect(host.end == nil)
    }

    @Test func `a host that sleeps past the end of its allocation is told so, and sends no burst`() throws {
        let world = try World()
        let host = try world.client()
        host.start()
        host.permit("203.0.113.1", "203.0.113.2")
        host.bind(peers[2])
        world.run(.seconds(1))
        let sent = world.sentByClients
        world.now = world.now + .seconds(86_400)
        host.handleTimeout()
        #expect(host.end == .failed(.expired))
        #expect(world.sentByClients == sent)
    }

    @Test func `a host that sleeps while it asks goes on asking`() throws {
        let world = try World()
        world.weather.lossPerMille = 1000
        let host = try world.client()
        host.start()
        world.run(.seconds(1))
        world.now = world.now + .seconds(20)
        world.weather.lossPerMille = 0
        world.run(.seconds(5))
        #expect(host.allocation != nil)
    }

    @Test func `without a server the times are those of RFC 8489 (turn 12)`() throws {
        let world = try World()
        world.weather.lossPerMille = 1000
        let host = try world.client()
        host.start()
        let start = world.now
        var times: [UInt64] = [0]
        while let next = host.nextTimeout {
            let sent = world.sentByClients
            world.run(next - world.now)
            if world.sentByClients > sent { times.append((world.now - start).milliseconds) }
        }
        #expect(times == [0, 500, 1500, 3500, 7500, 15_500, 31_500])
        #expect(world.now - start == .milliseconds(39_500))
        #expect(host.end == .failed(.transaction(.timedOut)))
    }

    @Test func `over a stream nothing is sent again, and the end comes after 39.5 s (turn 16)`() throws {
        let world = try World()
        let host = try world.client { $0.transport = .tcp }
        world.clients.removeAll()
        host.start()
        #expect(world.sentByClients == 1)
        world.clients = [host]
        world.now = world.now + .milliseconds(39_499)
        host.handleTimeout()
        #expect(host.end == nil)
        world.now = world.now + .milliseconds(1)
        host.handleTimeout()
        #expect(host.end == .failed(.transaction(.timedOut)))
        #expect(world.sentByClients == 1)
    }

    @Test func `an allocation that the server has lost ends the client (turn 91)`() throws {
        let world = try World()
        let host = try world.client()
        host.start()
        world.run(.seconds(1))
        world.engine.revokeAll(at: world.now)
        host.permit("203.0.113.1")
        world.run(.seconds(1))
        #expect(host.end == .failed(.allocationLost))
    }

    @Test func `a refresh that is lost is made again while there is time`() throws {
        let world = try World()
        let host = try world.client()
        host.start()
        world.run(.seconds(500))
        world.weather.lossPerMille = 1000
        world.run(.seconds(85))
        #expect(host.end == nil)
        world.weather.lossPerMille = 0
        world.run(.seconds(60))
        #expect(host.end == nil)
        #expect(world.shared.allocationCount == 1)
    }

    @Test func `a lost connection ends everything at once (turn 15, 16)`() throws {
        let world = try World()
        let host = try world.client { $0.transport = .tls }
        host.start()
        host.act { $0.transportFailed(at: $1) }
        #expect(host.end == .failed(.transaction(.transportFailed)))
        #expect(host.nextTimeout == nil)
        #expect(host.send([1], to: peers[0]) == .refused(.noAllocation))
    }
}
