import Bytes
import NetTypes
import STUN
import TURN
import TURNServer
import Testing

@Suite struct AllocateTests {
    @Test func `turn 112: a success has relayed address, lifetime and mapped address`() throws {
        let server = try TestServer()
        let client = try TestClient(server)
        let response = try client.allocate()
        let relayed = try #require(response.relayed.first)
        #expect(response.relayed.count == 1)
        #expect(relayed.ip == TestServer.relay4.local)
        #expect((49152...65535).contains(relayed.port))
        #expect(response.lifetime == 600)
        #expect(response.mapped == client.tuple.remote)
        #expect(response.types == [.xorRelayedAddress, .lifetime, .xorMappedAddress])
        #expect(server.sockets.values.map(\.local) == [relayed])
        #expect(server.shared.livePortCount == 1)
    }

    @Test func `turn 10: SOFTWARE is in authenticated Allocate and Refresh responses only`() throws {
        let server = try TestServer { $0.software = "floe" }
        let client = try TestClient(server)
        #expect(try client.allocate()[.software] == Array("floe".utf8))
        #expect(try client.allocate()[.software] != nil)
        #expect(try client.refresh()[.software] != nil)
        #expect(try client.permit("203.0.113.1:1")[.software] == nil)
        let stranger = try TestClient(server, "198.51.100.1:6666", username: "mallory")
        #expect(try stranger.allocate()[.software] == nil)
    }

    @Test func `turn 99: a second Allocate on the 5-tuple gets 437`() throws {
        let client = try TestClient(try TestServer())
        _ = try client.relay()
        #expect(try client.allocate().code == 437)
        #expect(try client.refresh(0).isSuccess)
        #expect(try client.allocate().isSuccess)
    }

    @Test func `turn 94: a retransmitted Allocate gets the same success and makes no second allocation`() throws {
        let server = try TestServer()
        let client = try TestClient(server)
        try client.challenge()
        let bytes = try client.message(.allocate, [.requestedTransport(17), .evenPort(0x80)])
        let first = try #require(try client.exchange(bytes))
        server.advance(.milliseconds(500))
        let second = try #require(try client.exchange(bytes))
        #expect(first.relayed == second.relayed)
        #expect(first.token == second.token && first.token != nil)
        #expect(second.lifetime == 599)
        #expect(server.sockets.count == 1)
        #expect(server.shared.allocationCount == 2, "the allocation and its reservation")
    }

    @Test func `another user's Allocate with the same transaction is no retransmission`() throws {
        let server = try TestServer()
        let (alice, bob) = (try TestClient(server), try TestClient(server, username: "bob"))
        let transaction = alice.newTransaction()
        for (client, code) in [(alice, 0), (bob, 437)] {
            try client.challenge()
            let bytes = try client.message(.allocate, [.requestedTransport(17)], transaction)
            #expect(try #require(try client.exchange(bytes)).code == code)
        }
    }

    @Test func `turn 94: a retransmission while the socket is opened is absorbed, another request gets 437`() throws {
        let server = try TestServer()
        server.opensAtOnce = false
        let client = try TestClient(server)
        try client.challenge()
        let bytes = try client.message(.allocate, [.requestedTransport(17)])
        #expect(try client.exchange(bytes) == nil)
        #expect(server.receive(bytes, from: client.tuple) == .ignored(.retransmission))
        #expect(try client.allocate().code == 437)
        #expect(try client.refresh().code == 437)
        server.openWaiting()
        #expect(try #require(try server.takeResponse(to: client.tuple)).isSuccess)
        #expect(server.sockets.count == 1)
    }

    @Test func `turn 94: a retransmission is not stale, even if its nonce has just become so`() throws {
        let server = try TestServer()
        let client = try TestClient(server)
        try client.challenge()
        server.engine.setWallClock(unixSeconds: TestServer.wallClock + 3599)
        let bytes = try client.message(.allocate, [.requestedTransport(17)])
        let first = try #require(try client.exchange(bytes))
        server.engine.setWallClock(unixSeconds: TestServer.wallClock + 3601)
        #expect(try #require(try client.exchange(bytes)).relayed == first.relayed)
        #expect(try #require(try client.exchange(client.message(.refresh, []))).code == 438)
    }

    @Test func `turn 100: REQUESTED-TRANSPORT missing or malformed gets 400, another protocol 442`() throws {
        let client = try TestClient(try TestServer())
        #expect(try client.request(.allocate).code == 400)
        #expect(try client.request(.allocate, [.init(.requestedTransport, [17])]).code == 400)
        #expect(try client.request(.allocate, [.requestedTransport(6)]).code == 442)
        #expect(try client.request(.allocate, [.requestedTransport(0)]).code == 442)
    }

    @Test func `turn 101, 128: DONT-FRAGMENT is granted, or unknown where the driver cannot do it`() throws {
        #expect(try TestClient(try TestServer()).allocate([.dontFragment]).isSuccess)
        let client = try TestClient(try TestServer { $0.supportsDontFragment = false })
        let response = try client.allocate([.dontFragment])
        #expect(response.code == 420)
        #expect(response[.unknownAttributes] == [0, 0x1A])
        _ = try client.relay()
        try client.permit("203.0.113.1:1")
        #expect(try client.send([1], to: "203.0.113.1:9", [.dontFragment]) == .ignored(.malformedIndication))
    }

    @Test func `turn 102, 103, 105, 106: contradictions get 400`() throws {
        let client = try TestClient(try TestServer())
        for attributes in [
            [.token(1), .evenPort(0)], [.token(1), .family(1)], [.token(1), .additional(2)],
            [.family(1), .additional(2)],
            [.evenPort(0x80), .additional(2)], [.additional(1)], [.additional(3)],
            [.init(.evenPort, [0, 0])], [.init(.reservationToken, [1])], [.init(.requestedAddressFamily, [1])],
            [.init(.lifetime, [1, 2])],
        ] as [[STUNMessage.Attribute]] {
            #expect(try client.allocate(attributes).code == 400)
        }
    }

    @Test func `turn 102: an unknown token gets 508`() throws {
        #expect(try TestClient(try TestServer()).allocate([.token(1)]).code == 508)
    }

    @Test func `turn 104, 160: families`() throws {
        let server = try TestServer()
        #expect(try TestClient(server, "[2001:db8::9]:1").relay().ip == TestServer.relay4.local)
        #expect(try TestClient(server, "198.51.100.1:2").relay([.family(2)]).ip == TestServer.relay6.local)
        #expect(try TestClient(server, "198.51.100.1:3").relay([.family(1)]).ip == TestServer.relay4.local)
        #expect(try TestClient(server, "198.51.100.1:4").allocate([.family(9)]).code == 440)
        let only6 = try TestServer(try TestServer.configuration(relays: [TestServer.relay6]))
        #expect(try TestClient(only6).allocate().code == 440)
        #expect(try TestClient(only6).allocate([.family(1)]).code == 440)
        let only4 = try TestServer(try TestServer.configuration(relays: [TestServer.relay4]))
        #expect(try TestClient(only4).allocate([.family(2)]).code == 440)
    }

    @Test func `turn 104: following the client's family is a choice of the operator`() throws {
        let server = try TestServer { $0.followsClientFamily = true }
        #expect(try TestClient(server, "[2001:db8::9]:1").relay().ip == TestServer.relay6.local)
        #expect(try TestClient(server, "198.51.100.1:2").relay().ip == TestServer.relay4.local)
    }

    @Test func `turn 109: EVEN-PORT without R gives an even port and no token`() throws {
        let server = try TestServer()
        for port in 1...40 as ClosedRange<UInt16> {
            let response = try TestClient(server, "198.51.100.1:\(port)").allocate([.evenPort(0x7F)])
            #expect(try #require(response.relayed.first).port % 2 == 0)
            #expect(response.token == nil)
        }
    }

    @Test func `turn 109: EVEN-PORT with R reserves the next port for whoever shows the token`() throws {
        let server = try TestServer()
        let first = try TestClient(server).allocate([.evenPort(0x80)])
        let token = try #require(first.token)
        let even = try #require(first.relayed.first)
        #expect(even.port % 2 == 0)
        #expect(server.shared.reservationCount == 1)
        server.advance(.seconds(29))
        let second = try TestClient(server, "203.0.113.77:5", transport: .tcp, username: "bob").relay([.token(token)])
        #expect(second == SocketAddress(even.ip, port: even.port + 1))
        #expect(server.shared.reservationCount == 0)
        #expect(server.shared.allocationCount == 2)
        #expect(try TestClient(server, "198.51.100.1:9").allocate([.token(token)]).code == 508)
    }

    @Test func `turn 109: a reservation that nobody takes gives its port and its quota back`() throws {
        let server = try TestServer { $0.limits.allocationsPerUser = 2 }
        let client = try TestClient(server)
        let token = try #require(try client.allocate([.evenPort(0x80)]).token)
        #expect(server.shared.takenPortCount == 2)
        #expect(try TestClient(server, "198.51.100.1:2").allocate().code == 486)
        #expect(try client.refresh(0).isSuccess)
        #expect(server.shared.takenPortCount == 1)
        let timeout = server.engine.nextTimeout
        #expect(timeout == server.now + .seconds(30))
        server.advance(.seconds(30))
        #expect(server.shared.takenPortCount == 0)
        #expect(server.shared.allocationCount == 0)
        let rest = server.engine.nextTimeout
        #expect(rest == nil)
        #expect(try client.allocate([.token(token)]).code == 508)
    }

    @Test func `turn 105: no pair of ports gets 508`() throws {
        let server = try TestServer { $0.relayPorts = 50001...50002 }
        #expect(try TestClient(server).allocate([.evenPort(0x80)]).code == 508)
        #expect(try TestClient(server).allocate([.evenPort(0)]).isSuccess)
        #expect(try TestClient(server, "198.51.100.1:2").allocate([.evenPort(0)]).code == 508)
        #expect(try TestClient(server, "198.51.100.1:2").allocate().isSuccess)
        #expect(try TestClient(server, "198.51.100.1:3").allocate().code == 508)
        #expect(server.shared.allocationCount == 2)
    }

    @Test func `turn 107: quota by user gets 486, by total 508`() throws {
        let server = try TestServer {
            $0.limits.allocationsPerUser = 2
            $0.limits.allocations = 3
        }
        let clients = try (1...3).map { try TestClient(server, "198.51.100.1:\($0)") }
        _ = try clients[0].relay()
        _ = try clients[1].relay()
        #expect(try clients[2].allocate().code == 486)
        _ = try TestClient(server, "198.51.100.1:4", username: "bob").relay()
        #expect(try TestClient(server, "198.51.100.1:5", username: "bob").allocate().code == 508)
        #expect(try clients[0].refresh(0).isSuccess)
        #expect(try clients[2].allocate().isSuccess)
    }

    @Test(
        arguments: [(nil, 600), (0, 600), (1, 600), (599, 600), (601, 601), (3600, 3600), (3601, 3600), (.max, 3600)]
            as [(UInt32?, UInt32)]
    )
    func `turn 111: the lifetime lies between default and maximum`(asked: UInt32?, granted: UInt32) throws {
        let client = try TestClient(try TestServer())
        #expect(try client.allocate(asked.map { [.lifetime($0)] } ?? []).lifetime == granted)
        guard asked != 0 else { return }
        #expect(try client.refresh(asked).lifetime == granted)
    }

    @Test func `turn 154: a client behind Teredo or 6to4 gets 403`() throws {
        let server = try TestServer()
        #expect(try TestClient(server, "[2001::9]:1").allocate().code == 403)
        #expect(try TestClient(server, "[2002:808:808::1]:1").allocate().code == 403)
    }

    @Test func `a port in use on the host is replaced, after too many the client gets 508`() throws {
        let server = try TestServer { $0.limits.portAttempts = 3 }
        server.busyPorts = 3
        #expect(try TestClient(server).allocate().isSuccess)
        server.busyPorts = 4
        #expect(try TestClient(server, "198.51.100.1:2").allocate([.evenPort(0x80)]).code == 508)
        #expect(server.shared.takenPortCount == 1)
        #expect(server.shared.allocationCount == 1)
        server.busyPorts = 0
        server.refusesSockets = true
        #expect(try TestClient(server, "198.51.100.1:3").allocate([.additional(2)]).code == 508)
        server.refusesSockets = false
        #expect(server.shared.takenPortCount == 1)
        #expect(try TestClient(server, "198.51.100.1:3").allocate().isSuccess)
    }

    @Test func `turn 214: a draining server answers new allocations with 508, and the old live to their deadline`()
        throws
    {
        let server = try TestServer()
        let client = try TestClient(server)
        try client.challenge()
        let request = try client.message(.allocate, [.requestedTransport(17)])
        let relay = try #require(client.exchange(request)?.relayed.first)
        try client.bind(0x4000, "198.51.100.9:9")
        server.engine.acceptsAllocations = false
        let other = try TestClient(server, "198.51.100.1:2")
        #expect(try other.allocate().code == 508)
        #expect(try other.allocate([.evenPort(0x80)]).code == 508)
        // The answer to what was asked before gets through, however late it is asked for again.
        #expect(try client.exchange(request)?.relayed.first == relay)
        server.advance(.seconds(300))
        #expect(try client.refresh(600).isSuccess)
        #expect(try client.bind(0x4000, "198.51.100.9:9").isSuccess)
        #expect(try client.permit("198.51.100.8:0").isSuccess)
        server.advance(.seconds(280))
        #expect(server.receiveFromPeer([1], at: relay, from: address("198.51.100.9:9")).bytes == [0x40, 0, 0, 1, 1])
        guard case .relay = client.sendChannelData([2], on: 0x4000) else {
            Issue.record("an allocation that lives is relayed for")
            return
        }
        #expect(try other.allocate().code == 508)
        let left = server.engine.statistics.allocations
        #expect(left == 1)
        server.advance(.seconds(321))
        let none = server.engine.statistics.allocations
        #expect(none == 0 && server.sockets.isEmpty)
    }

    @Test func `the operator ends all allocations`() throws {
        let server = try TestServer()
        _ = try TestClient(server).relay()
        server.engine.revokeAll(at: server.now)
        server.drain()
        #expect(server.sockets.isEmpty)
    }

    @Test func `the operator ends the allocations of a user`() throws {
        let server = try TestServer()
        _ = try TestClient(server).relay()
        _ = try TestClient(server, "198.51.100.1:2", username: "bob").relay()
        let ended = server.engine.revoke(user: "alice", at: server.now)
        server.drain()
        #expect(ended == 1)
        #expect(server.sockets.count == 1)
        #expect(
            server.events.contains {
                if case .allocationEnded(let summary, .revoked) = $0 { summary.user == "alice" } else { false }
            }
        )
    }
}

@Suite struct DualAllocationTests {
    @Test func `turn 106: both families in one allocation, counted once`() throws {
        let server = try TestServer()
        let client = try TestClient(server)
        let response = try client.allocate([.additional(2)])
        #expect(response.relayed.map(\.ip) == [TestServer.relay4.local, TestServer.relay6.local])
        #expect(response[.addressErrorCode] == nil)
        #expect(server.shared.allocationCount == 1)
        #expect(server.sockets.count == 2)
        #expect(try client.permit("203.0.113.1:1", "[2001:db8::7]:1").isSuccess)
        #expect(try client.bind(0x4000, "203.0.113.1:7").isSuccess)
        #expect(try client.bind(0x4001, "[2001:db8::7]:7").isSuccess)
        for (channel, relay) in zip([0x4000, 0x4001] as [UInt16], response.relayed) {
            guard case .relay(let transmit) = client.sendChannelData([1], on: channel) else {
                Issue.record("not relayed")
                continue
            }
            #expect(server.sockets[transmit.token]?.local == relay)
        }
    }

    @Test func `turn 106, 152: one family only is a success with ADDRESS-ERROR-CODE`() throws {
        let only4 = try TestServer(try TestServer.configuration(relays: [TestServer.relay4]))
        let client = try TestClient(only4)
        let response = try client.allocate([.additional(2)])
        #expect(response.relayed.map(\.ip) == [TestServer.relay4.local])
        #expect(response[.addressErrorCode] == [2, 0, 4, 40])
        let full = try TestServer {
            $0.relayPorts = 50000...50000
        }
        _ = try TestClient(full).relay([.family(1)])
        let partial = try TestClient(full, "198.51.100.1:2").allocate([.additional(2)])
        #expect(partial.relayed.map(\.ip) == [TestServer.relay6.local])
        #expect(partial[.addressErrorCode] == [1, 0, 5, 8])
        #expect(try TestClient(full, "198.51.100.1:3").allocate([.additional(2)]).code == 508)
    }

    @Test func `turn 117: Refresh with a family is for that half, and deletes it alone`() throws {
        let server = try TestServer()
        let client = try TestClient(server)
        _ = try client.allocate([.additional(2)])
        try client.permit("203.0.113.1:1", "[2001:db8::7]:1")
        try client.bind(0x4000, "203.0.113.1:7")
        try client.bind(0x4001, "[2001:db8::7]:7")
        #expect(try client.refresh(0, [.family(1)]).lifetime == 0)
        #expect(server.sockets.count == 1)
        #expect(client.sendChannelData([1], on: 0x4000) == .ignored(.unboundChannel))
        guard case .relay = client.sendChannelData([1], on: 0x4001) else {
            Issue.record("the other half is gone too")
            return
        }
        #expect(try client.permit("203.0.113.1:1").code == 443)
        #expect(try client.refresh(600, [.family(1)]).code == 443)
        #expect(try client.refresh(600, [.family(2)]).isSuccess)
        #expect(try client.refresh(0).isSuccess)
        #expect(server.sockets.isEmpty)
        #expect(server.shared.allocationCount == 0)
    }

    @Test func `the halves expire by themselves`() throws {
        let server = try TestServer()
        let client = try TestClient(server)
        _ = try client.allocate([.additional(2)])
        server.advance(.seconds(300))
        #expect(try client.refresh(600, [.family(2)]).isSuccess)
        server.advance(.seconds(300))
        #expect(server.sockets.values.map(\.local.ip) == [TestServer.relay6.local])
        #expect(try client.refresh(600, [.family(1)]).code == 443)
        server.advance(.seconds(300))
        #expect(server.sockets.isEmpty)
        #expect(
            server.events.contains {
                if case .allocationEnded(let summary, .expired) = $0 { summary.relayed.count == 2 } else { false }
            }
        )
    }
}
