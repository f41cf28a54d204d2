import Bytes
import NetTypes
import STUN
import TURN
import TURNServer
import Testing

@Suite("A TURN client with our server")
struct RelayTests {
    private let peer = "203.0.113.5:7000"

    @Test func `an allocation takes two round trips the first time (turn 72, 74)`() throws {
        let world = try World()
        let host = try world.client()
        host.start()
        let start = world.now
        #expect(world.run(atMost: .seconds(1)) { host.allocation != nil })
        #expect(world.now - start == .milliseconds(80))
        let allocation = try #require(host.allocation)
        #expect(allocation.relayed.map(\.ip) == [ip("192.0.2.1")])
        #expect(allocation.mapped == host.tuple.remote)
        #expect(allocation.lifetimeSeconds == 600)
        #expect(world.requests[.allocate] == 2)
    }

    @Test func `with what an earlier client has learned it takes one`() throws {
        let world = try World()
        let first = try world.client()
        first.start()
        world.run(.seconds(1))
        let challenge = try #require(first.challenge)
        first.close()
        world.run(.seconds(1))
        #expect(first.end == .closed)
        world.clients.removeAll()
        // The nonce is bound to the address, so this is the same socket.
        let second = try world.client { $0.challenge = challenge }
        second.start()
        let start = world.now
        #expect(world.run(atMost: .seconds(1)) { second.allocation != nil })
        #expect(world.now - start == .milliseconds(40))
    }

    @Test func `a cached nonce of another address costs one round trip more, nothing else`() throws {
        let world = try World()
        let first = try world.client()
        first.start()
        world.run(.seconds(1))
        let challenge = try #require(first.challenge)
        let second = try world.client("198.51.100.2:4001") { $0.challenge = challenge }
        second.start()
        let start = world.now
        #expect(world.run(atMost: .seconds(1)) { second.allocation != nil })
        #expect(world.now - start == .milliseconds(80))
    }

    @Test func `data goes out behind the request for its permission, without waiting (turn 125)`() throws {
        let world = try World()
        let host = try allocated(world)
        world.echoes = [address(peer)]
        let start = world.now
        #expect(host.send([1, 2, 3], to: peer) == .held)
        #expect(world.run(atMost: .seconds(1)) { !host.received.isEmpty })
        // To the server, to the peer and back: not one round trip more for the permission.
        #expect(world.now - start == .milliseconds(80))
        #expect(host.received.map(\.bytes) == [[1, 2, 3]])
        #expect(host.received.map(\.from) == [address(peer)])
        #expect(host.has(.permitted(ip("203.0.113.5"))))
        world.run(.seconds(2))
        #expect(world.atPeers.count == 1)
    }

    @Test func `first data survive a stale nonce`() throws {
        let world = try World()
        let host = try allocated(world)
        // The server's clock is set forward: every nonce is stale at once.
        world.engine.setWallClock(unixSeconds: 1_700_100_000)
        #expect(host.send([9], to: peer) == .held)
        world.run(.seconds(2))
        #expect(world.atPeers.map(\.bytes) == [[9]])
        #expect(host.end == nil)
    }

    @Test(arguments: [TransportProtocol.udp, .tcp, .tls])
    func `channels carry data both ways (turn 140)`(transport: TransportProtocol) throws {
        let world = try World()
        let host = try allocated(world) { $0.transport = transport }
        world.echoes = [address(peer)]
        let number = try #require(host.bind(peer))
        world.run(.milliseconds(100))
        #expect(host.has(.channelBound(address(peer), number)))
        for size in [0, 1, 2, 3, 4, 1200] {
            let payload = [UInt8](repeating: UInt8(size & 255), count: size)
            let framed = transport == .udp ? size + 4 : STUNFormat.padded(size) + 4
            #expect(host.send(payload, to: peer) == .written(byteCount: framed))
            world.run(.milliseconds(200))
            #expect(host.received.last?.bytes == payload)
        }
    }

    @Test func `data that comes before the response to ChannelBind is taken (turn 143)`() throws {
        let world = try World()
        let host = try allocated(world)
        let number = try #require(host.bind(peer))
        host.receive([UInt8(number.rawValue >> 8), UInt8(number.rawValue & 255), 0, 1, 42])
        #expect(host.received.map(\.bytes) == [[42]])
    }

    @Test func `two clients of one server reach each other`() throws {
        let world = try World()
        let first = try allocated(world)
        let second = try allocated(world, "198.51.100.9:999")
        let relays = [first, second].compactMap { $0.allocation?.relayed.first }
        second.permit("192.0.2.1")
        world.run(.milliseconds(100))
        first.send([1], to: relays[1])
        world.run(.seconds(1))
        #expect(second.received.map(\.bytes) == [[1]])
        #expect(second.received.map(\.from) == [relays[0]])
    }

    @Test func `an allocation, its permissions and its channels live for hours (turn 118)`() throws {
        let world = try World()
        world.echoes = [address(peer), address("203.0.113.6:1")]
        let host = try allocated(world)
        host.bind(peer)
        host.permit("203.0.113.6")
        for _ in 0..<24 {
            world.run(.seconds(600))
            let before = host.received.count
            host.send([1], to: peer)
            host.send([2], to: "203.0.113.6:1")
            world.run(.seconds(1))
            #expect(host.received.count == before + 2)
        }
        #expect(host.end == nil)
        // Four hours: a Refresh each 9 minutes, a ChannelBind each 220 s and a CreatePermission each 240 s, plus what
        // hourly new nonces cost.
        #expect((26...34).contains(world.requests[.refresh] ?? 0))
        #expect((64...74).contains(world.requests[.channelBind] ?? 0))
        #expect((58...68).contains(world.requests[.createPermission] ?? 0))
    }

    @Test func `closing deletes the allocation on the server`() throws {
        let world = try World()
        let host = try allocated(world)
        #expect(world.shared.allocationCount == 1)
        host.close()
        world.run(.seconds(1))
        #expect(host.end == .closed)
        #expect(world.shared.allocationCount == 0)
        #expect(host.nextTimeout == nil)
    }

    @Test func `closing before the allocation is there leaves none behind`() throws {
        let world = try World()
        let host = try world.client()
        host.start()
        world.run(.milliseconds(50))
        host.close()
        world.run(.seconds(2))
        #expect(host.end == .closed)
        #expect(host.events == [.ended(.closed)])
        #expect(world.shared.allocationCount == 0)
    }

    @Test func `permissions and channels can be wished for before there is an allocation`() throws {
        let world = try World()
        let host = try world.client()
        host.permit("203.0.113.1", "203.0.113.2")
        let number = try #require(host.bind(peer))
        host.start()
        world.run(.seconds(1))
        #expect(host.has(.permitted(ip("203.0.113.1"))))
        #expect(host.has(.permitted(ip("203.0.113.2"))))
        #expect(host.has(.channelBound(address(peer), number)))
        #expect(world.requests[.createPermission] == 1)
    }

    @Test func `one forbidden address does not spoil the others (turn 124)`() throws {
        let world = try World()
        let host = try allocated(world)
        host.permit("203.0.113.1", "127.0.0.1", "203.0.113.2")
        world.run(.seconds(1))
        #expect(host.has(.permitted(ip("203.0.113.1"))))
        #expect(host.has(.permitted(ip("203.0.113.2"))))
        #expect(host.has(.permissionFailed(ip("127.0.0.1"), .refused(.forbidden))))
    }

    @Test func `both families of a dual allocation reach peers (turn 106)`() throws {
        let world = try World()
        world.echoes = [address(peer), address("[2001:db8::99]:5")]
        let host = try allocated(world) { $0.families = .dual }
        #expect(host.allocation?.relayed.map(\.family) == [.ipv4, .ipv6])
        host.send([4], to: peer)
        host.send([6], to: "[2001:db8::99]:5")
        world.run(.seconds(1))
        #expect(Set(host.received.map(\.bytes)) == [[4], [6]])
    }

    @Test func `a half that is not granted is told with its reason`() throws {
        let world = try World { $0.relayAddresses.removeLast() }
        let host = try allocated(world) { $0.families = .dual }
        #expect(host.allocation?.relayed.count == 1)
        #expect(host.allocation?.refused?.family == .ipv6)
        #expect(host.allocation?.refused?.code == .addressFamilyNotSupported)
    }

    @Test func `a port pair is got with two clients (turn 109)`() throws {
        let world = try World()
        let first = try allocated(world) { $0.port = .evenReservingNext }
        let even = try #require(first.allocation?.relayed.first)
        let token = try #require(first.allocation?.reservationToken)
        #expect(even.port % 2 == 0)
        let second = try allocated(world, "198.51.100.1:4002") { $0.port = .reserved(token) }
        #expect(second.allocation?.relayed.first?.port == even.port + 1)
    }

    @Test func `a server without DONT-FRAGMENT gets a second request without it`() throws {
        let world = try World { $0.supportsDontFragment = false }
        let host = try allocated(world) { $0.dontFragment = true }
        #expect(host.allocation?.supportsDontFragment == false)
        #expect(world.requests[.allocate] == 3)
        host.send([1], to: peer, dontFragment: true)
        world.run(.seconds(1))
        #expect(world.atPeers.count == 1)
    }

    private func allocated(
        _ world: World,
        _ local: String = "198.51.100.1:4000",
        _ change: (inout TURNClientConfiguration) -> Void = { _ in }
    ) throws -> ClientHost {
        let host = try world.client(local, change)
        host.start()
        #expect(world.run(atMost: .seconds(5)) { host.allocation != nil })
        return host
    }
}
