import Bytes
import NetTypes
import STUN
import TURN
import TURNServer
import TestSupport
import Testing

/// Requests that arrive several times and in any order, as datagrams do; connections whose outcomes do.
@Suite struct RepetitionTests {
    /// What an answer says; the lifetime that is left may differ.
    private struct Gist: Hashable {
        let isSuccess: Bool
        let code: Int
        let relayed: [SocketAddress]
    }

    /// Delivers each message one to three times, in an order that the seed decides; returns the answers of each.
    private func deliver(
        _ messages: [[UInt8]],
        from client: TestClient,
        _ entropy: inout Entropy
    ) throws -> [[Gist]] {
        var order: [Int] = []
        for index in messages.indices { order += Array(repeating: index, count: 1 + Int(entropy.next() % 3)) }
        order.shuffle(using: &entropy)
        var answers = Array(repeating: [Gist](), count: messages.count)
        for index in order {
            client.server.now = client.server.now + .milliseconds(entropy.next() % 300)
            guard let response = try client.exchange(messages[index]) else { continue }
            answers[index].append(
                Gist(isSuccess: response.isSuccess, code: response.code, relayed: response.relayed)
            )
        }
        return answers
    }

    @Test func `turn 32, 94: a request that comes again is answered as before, and changes nothing`() throws {
        for seed in seeds(600) {
            var entropy = Entropy.seeded(seed)
            let server = try TestServer()
            let client = try TestClient(server)
            try client.challenge()
            let options: [[STUNMessage.Attribute]] = [
                [], [.lifetime(900)], [.evenPort(0)], [.evenPort(0x80)], [.dontFragment], [.family(2)],
                [.additional(2)],
            ]
            let option = options[Int(entropy.next() % UInt64(options.count))]
            let allocate = try client.message(.allocate, [.requestedTransport(17)] + option)
            let allocated = try deliver([allocate], from: client, &entropy)
            #expect(Set(allocated[0]).count == 1 && allocated[0].first?.isSuccess == true, "seed \(seed)")
            let relays = allocated[0].first?.relayed.count ?? 0
            let sockets = server.sockets.count
            #expect(sockets == relays, "one socket for each relayed address, seed \(seed)")
            let isIPv6 = allocated[0].first?.relayed.first?.family == .ipv6
            let peers = (1...3).map { isIPv6 ? "[2001:db8::\(50 + $0)]:7000" : "203.0.113.\($0):7000" }
            let middle = try [
                client.message(.createPermission, [.peer(peers[0]), .peer(peers[1])]),
                client.message(.channelBind, [.channel(0x4000), .peer(peers[2])]),
                client.message(.refresh, [.lifetime(700)]), client.message(.createPermission, [.peer(peers[1])]),
                client.message(.channelBind, [.channel(0x4001), .peer(peers[0])]),
            ]
            for answers in try deliver(middle, from: client, &entropy) {
                #expect(!answers.isEmpty && answers.allSatisfy(\.isSuccess), "seed \(seed)")
            }
            let statistics = server.engine.statistics
            #expect(statistics.permissions == 3 && statistics.channels == 2, "seed \(seed)")
            let deleted = try deliver([client.message(.refresh, [.lifetime(0)])], from: client, &entropy)[0]
            #expect(deleted.first?.isSuccess == true, "seed \(seed)")
            // Whoever reads 437 knows that there is no allocation, which is what it asked for (turn 118).
            #expect(deleted.allSatisfy { $0.isSuccess || $0.code == 437 }, "seed \(seed)")
            #expect(server.sockets.isEmpty, "seed \(seed)")
        }
    }

    @Test func `turn 165-171: outcomes and binds of connections in any order`() throws {
        for seed in seeds(600) {
            var entropy = Entropy.seeded(seed)
            let server = try TestServer { $0.relaysTCP = true }
            let client = try TestClient(server, transport: .tcp)
            #expect(try client.request(.allocate, [.requestedTransport(6)]).isSuccess)
            for port in 80..<84 {
                let response = try client.exchange(client.message(.connect, [.peer("203.0.113.1:\(port)")]))
                #expect(response == nil)
            }
            var requests = server.connecting
            #expect(requests.count == 4)
            requests.shuffle(using: &entropy)
            var numbers: [(PeerConnectionID, [UInt8])] = []
            for request in requests {
                if entropy.next() % 4 == 0 {
                    // The driver has given the connection up; it is closed by nobody else.
                    server.connections.remove(request.id)
                    server.engine.peerConnectFailed(request.id, at: server.now)
                    server.drain()
                    #expect(try #require(try server.takeResponse(to: client.tuple)).code == 447, "seed \(seed)")
                } else {
                    server.engine.peerConnected(request.id, at: server.now)
                    server.drain()
                    let response = try #require(try server.takeResponse(to: client.tuple))
                    numbers.append((request.id, try #require(response[.connectionID])))
                }
            }
            #expect(Set(numbers.map(\.1)).count == numbers.count, "seed \(seed)")
            numbers.shuffle(using: &entropy)
            var owners: [PeerConnectionID: ClientTuple] = [:]
            for (index, (id, number)) in numbers.enumerated() {
                let stream = try TestClient(server, "198.51.100.1:\(5000 + index)", transport: .tcp)
                #expect(try stream.request(.connectionBind, [.init(.connectionID, number)]).isSuccess, "seed \(seed)")
                owners[id] = stream.tuple
                let late = try TestClient(server, "198.51.100.1:\(6000 + index)", transport: .tcp)
                #expect(try late.request(.connectionBind, [.init(.connectionID, number)]).code == 400, "seed \(seed)")
            }
            #expect(server.joined == owners, "seed \(seed)")
            #expect(try client.refresh(0).isSuccess)
            #expect(server.connections.isEmpty && server.joined.isEmpty && server.sockets.isEmpty, "seed \(seed)")
        }
    }
}
