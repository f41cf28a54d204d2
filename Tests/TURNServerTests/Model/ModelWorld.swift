import Bytes
import NetTypes
import STUN
import TURN
import TURNServer
import TestSupport
import Testing

/// Where server and model differ; ends the run, for what follows would say nothing.
struct Disagreement: Error, CustomStringConvertible {
    let description: String
}

/// Two shards of one server, ten clients of two users, and the model, moved along by one seed.
final class ModelWorld {
    private static let peers = [
        "203.0.113.0:1000", "203.0.113.1:1000", "203.0.113.1:1001", "203.0.113.2:1000", "203.0.113.3:1000",
        "203.0.113.4:1000", "203.0.113.5:1000", "203.0.113.6:1000", "[2001:db8::7]:1000", "[2001:db8::8]:1000",
    ]
    private static let forbidden = "10.0.0.1:1000"

    private let servers: [TestServer]
    private var clients: [TestClient] = []
    /// Shards to which streams were handed over.
    private let routes: Routes
    private var model: ReferenceModel
    private var entropy: Entropy
    /// The last request, to be sent again.
    private var repeatLast: (() throws -> Void)?
    private var connections: UInt64 = 100
    private var operation = 0
    /// What was done, to see that the run is worth something.
    private(set) var successes: [String: Int] = [:]

    final class Routes {
        var handedOver: [ClientTuple: Int] = [:]

        /// The kernel's choice: any function of the addresses will do.
        func home(_ client: ClientTuple) -> Int { handedOver[client] ?? Int(client.remote.port) % 2 }
    }

    init(seed: UInt64) throws {
        var configuration = try TestServer.configuration()
        let limits = ReferenceModel.Limits()
        configuration.allowsMobility = true
        configuration.relayPorts = 50_000...51_023
        configuration.limits.allocationsPerUser = limits.perUser
        configuration.limits.allocations = limits.total
        configuration.limits.permissionsPerAllocation = limits.permissions
        configuration.limits.channelsPerAllocation = limits.channels
        configuration.limits.newPeers = nil
        let shared = TURNServerShared(configuration, entropy: .seeded(seed))
        servers = try (0..<2).map { try TestServer(configuration, shared: shared, seed: seed &+ $0) }
        let routes = Routes()
        self.routes = routes
        model = ReferenceModel(limits, at: servers[0].now) { routes.home($0) }
        entropy = .seeded(seed)
        for index in 0..<10 { clients.append(try client(index)) }
    }

    private func client(_ index: Int) throws -> TestClient {
        let isStream = index % 3 == 0
        connections += 1
        let client = try TestClient(
            servers[0],
            "198.51.100.\(index):\(index + 1 + (isStream ? Int(connections) * 16 : 0))",
            transport: isStream ? .tcp : .udp,
            username: index % 2 == 0 ? "alice" : "bob",
            style: index < 7 ? .legacy : .modern
        )
        // One nonce for a run: its life is no part of this.
        client.nonce = try TestServer.nonceFactory().nonce(
            for: client.tuple.remote,
            atUnixSeconds: TestServer.wallClock
        )
        return client
    }

    private func random(_ count: Int) -> Int { Int(entropy.next() % UInt64(count)) }

    private func peer() -> String { Self.peers[random(Self.peers.count)] }

    // MARK: The run

    func run(_ count: Int) throws {
        for _ in 0..<count {
            operation += 1
            try step()
            if operation % 64 == 0 { try compare() }
        }
        try compare()
    }

    private func check(_ isRight: Bool, _ text: @autoclosure () -> String) throws {
        if !isRight { throw Disagreement(description: "operation \(operation): \(text())") }
    }

    private func step() throws {
        let index = random(clients.count)
        let client = clients[index]
        switch random(32) {
        case 0: advance(.seconds(UInt64(random(120))))
        case 1...4: try allocate(client)
        case 5, 6: try refresh(client)
        case 7...10: try permit(client)
        case 11...14: try bind(client)
        case 15...17: try send(client)
        case 18, 19: try sendChannelData(client)
        case 20...23: try receive()
        case 24...27: try move(client)
        case 28: try close(index)
        case 29: try repeatLast?()
        case 30: try damage(client)
        default:
            guard random(64) == 0 else { return try refresh(client) }
            let user = random(2) == 0 ? "alice" : "bob"
            for server in servers {
                _ = server.engine.revoke(user: user, at: server.now)
                server.drain()
            }
            model.end(of: user)
        }
    }

    private func advance(_ span: TimeSpan) {
        for server in servers { server.advance(span) }
        model.advance(span)
        repeatLast = nil
    }

    // MARK: Messages on their way

    /// Gives a message to the shard of the kernel's choice, and to where that one sends it.
    @discardableResult
    private func deliver(_ bytes: [UInt8], _ client: ClientTuple) -> ClientDisposition {
        let disposition = servers[routes.home(client)].receive(bytes, from: client)
        guard case .handOver(let shard) = disposition else { return disposition }
        guard client.transport.isStream else { return servers[shard].forward(bytes, from: client) }
        routes.handedOver[client] = shard
        return servers[shard].receive(bytes, from: client)
    }

    private func exchange(_ client: TestClient, _ bytes: [UInt8]) throws -> Response? {
        deliver(bytes, client.tuple)
        for server in servers {
            if let response = try server.takeResponse(to: client.tuple) { return response }
        }
        return nil
    }

    /// Sends a request, now and perhaps again, and compares the codes.
    private func ask(
        _ client: TestClient,
        _ method: STUNMethod,
        _ attributes: [STUNMessage.Attribute],
        _ expected: @escaping (TransactionID, Response) throws -> Int
    ) throws {
        let transaction = client.newTransaction()
        let bytes = try client.message(method, attributes, transaction)
        let act = { [unowned self] in
            guard let response = try exchange(client, bytes) else { throw Disagreement(description: "no answer") }
            let code = try expected(transaction, response)
            try check(response.code == code, "\(method) of \(client.tuple.remote): \(response.code), expected \(code)")
            successes["\(method)", default: 0] += response.code == 0 ? 1 : 0
        }
        try act()
        repeatLast = act
    }

    // MARK: Requests

    private func allocate(_ client: TestClient) throws {
        var wish = ReferenceModel.Wish()
        var attributes: [STUNMessage.Attribute] = [.requestedTransport(17)]
        switch random(10) {
        case 0:
            wish.families = [.ipv6]
            attributes.append(.family(2))
        case 1, 2:
            wish.families = [.ipv4, .ipv6]
            attributes.append(.additional(2))
        case 3, 4:
            wish.reservesNext = true
            attributes.append(.evenPort(0x80))
        case 5, 6:
            let known = model.reservations.keys.min()
            let token = known.flatMap { random(4) == 0 ? nil : $0 } ?? entropy.next()
            wish.token = token
            attributes.append(.token(token))
        case 7:
            wish.isMalformed = true
            attributes += [.family(1), .additional(2)]
        case 8: attributes.append(.evenPort(0))
        default: break
        }
        if random(2) == 0 {
            wish.ticket = true
            attributes.append(.init(.mobilityTicket, []))
        }
        try ask(client, .allocate, attributes) { [unowned self] transaction, response in
            let (code, id) = model.allocate(client.tuple, client.username, wish, transaction)
            guard let id, code == 0, response.code == 0 else { return code }
            try noteGrant(id, wish, response)
            return 0
        }
    }

    private func noteGrant(_ id: Int, _ wish: ReferenceModel.Wish, _ response: Response) throws {
        let isNew = model.allocations[id]?.addresses.isEmpty == true
        if isNew {
            for address in response.relayed { model.allocations[id]?.addresses[address.family] = address }
            let families = Set(model.allocations[id]?.relays.keys.map(\.self) ?? [])
            try check(Set(response.relayed.map(\.family)) == families, "other families than asked for")
        } else {
            let known = model.allocations[id]?.relays.keys.compactMap { model.allocations[id]?.addresses[$0] }
            try check(Set(response.relayed) == Set(known ?? []), "another answer to the same request")
        }
        if let token = response.token, isNew, let address = response.relayed.first,
            let user = model.allocations[id]?.user
        {
            let next = SocketAddress(address.ip, port: address.port + 1)
            model.reservations[token] = .init(user: user, address: next, expires: model.now + .seconds(30))
            try check(address.port % 2 == 0, "an odd port for EVEN-PORT")
        }
        guard wish.ticket, isNew else { return }
        guard let ticket = response[.mobilityTicket] else { throw Disagreement(description: "no ticket") }
        model.allocations[id]?.tickets = 1
        model.tickets[ticket] = (id, 1)
    }

    private func refresh(_ client: TestClient) throws {
        let seconds: UInt32? = [nil, nil, 0, 30, 1200, 100_000][random(6)]
        let family: AddressFamily? = [nil, nil, .ipv4, .ipv6][random(4)]
        var attributes: [STUNMessage.Attribute] = seconds.map { [.lifetime($0)] } ?? []
        if let family { attributes.append(.family(family == .ipv4 ? 1 : 2)) }
        try ask(client, .refresh, attributes) { [unowned self] transaction, _ in
            model.refresh(client.tuple, client.username, seconds, family, transaction)
        }
    }

    private func permit(_ client: TestClient) throws {
        let peers = (0...random(3)).map { _ in peer() }
        let isForbidden = random(8) == 0
        let all = isForbidden ? peers + [Self.forbidden] : peers
        try ask(client, .createPermission, all.map { .peer($0) }) { [unowned self] _, _ in
            model.permit(client.tuple, client.username, all.map { address($0) }, isForbidden: isForbidden)
        }
    }

    private func bind(_ client: TestClient) throws {
        let number = 0x4000 + UInt16(random(6))
        let peer = peer()
        try ask(client, .channelBind, [.channel(number), .peer(peer)]) { [unowned self] _, _ in
            model.bind(client.tuple, client.username, number, address(peer))
        }
    }

    private func move(_ client: TestClient) throws {
        var ticket = entropy.bytes(44)
        let ofAnybody = random(8) == 0
        let live = model.allocations.filter { entry in
            entry.value.tickets > 0 && (ofAnybody || entry.value.user == client.username)
        }
        let wanted = live.keys.sorted().randomElement(using: &entropy)
        let isOld = random(6) == 0
        // In an order that is the same in every run.
        let known = model.tickets.filter { entry in
            guard let wanted else { return true }
            return entry.value.allocation == wanted
                && (isOld || entry.value.number == model.allocations[wanted]?.tickets)
        }
        let chosen = known.min { ($0.value.allocation, $0.value.number) < ($1.value.allocation, $1.value.number) }
        if let chosen, random(10) > 0 { ticket = chosen.key }
        let seconds: UInt32? = random(12) == 0 ? 0 : nil
        let attributes: [STUNMessage.Attribute] =
            (seconds.map { [.lifetime($0)] } ?? []) + [.init(.mobilityTicket, ticket)]
        try ask(client, .refresh, attributes) { [unowned self] transaction, response in
            let (code, next) = model.move(client.tuple, client.username, ticket, seconds, transaction)
            guard code == 0, response.code == 0, let next else { return code }
            guard let bytes = response[.mobilityTicket] else { throw Disagreement(description: "no new ticket") }
            let known = model.tickets.updateValue(next, forKey: bytes)
            try check(known.map { $0 == next } ?? true, "a ticket that was another's")
            successes["move", default: 0] += 1
            return 0
        }
        if model.tickets.count > 200 {
            model.tickets = model.tickets.filter { model.allocations[$0.value.allocation] != nil }
        }
    }

    // MARK: Data

    private func send(_ client: TestClient) throws {
        let peer = peer()
        let bytes = try client.indication(.send, [.peer(peer), .init(.data, [1, 2, 3])])
        let isExpected = model.send(client.tuple, to: address(peer))
        guard case .relay(let transmit) = deliver(bytes, client.tuple) else {
            return try check(!isExpected, "Send is not relayed")
        }
        try check(isExpected && transmit.destination == address(peer), "Send is relayed")
        successes["send", default: 0] += 1
    }

    private func sendChannelData(_ client: TestClient) throws {
        let number = 0x4000 + UInt16(random(6))
        let expected = model.send(client.tuple, on: number)
        let bytes = [UInt8(number >> 8), UInt8(number & 255), 0, 1, 9]
        guard case .relay(let transmit) = deliver(bytes, client.tuple) else {
            return try check(expected == nil, "ChannelData is not relayed")
        }
        try check(transmit.destination == expected, "ChannelData is relayed elsewhere")
        successes["channel", default: 0] += 1
    }

    private func receive() throws {
        guard let id = model.allocations.keys.sorted().randomElement(using: &entropy), let found = model.allocations[id]
        else {
            return
        }
        let source = address(peer())
        guard let relay = found.addresses[source.family], found.relays[source.family] != nil else { return }
        let expected = model.deliver(from: source, to: id)
        let arrival = servers[found.shard].receiveFromPeer([1, 2, 3, 4], at: relay, from: source)
        guard case .delivered(let client, let bytes) = arrival else {
            return try check(expected == nil && arrival != .noSocket, "data of \(source) get lost: \(arrival)")
        }
        try check(client == expected?.client, "data of \(source) for somebody else")
        let isChannel = bytes[0] >= 0x40
        try check(isChannel == (expected?.channel != nil), "the wrong frame for data of \(source)")
        if let channel = expected?.channel {
            try check(bytes.prefix(2) == [UInt8(channel >> 8), UInt8(channel & 255)], "the wrong channel")
        }
        successes["receive", default: 0] += 1
    }

    // MARK: Trouble

    /// Ends a stream; its client comes back with another one.
    private func close(_ index: Int) throws {
        let client = clients[index]
        guard client.tuple.transport.isStream else { return }
        servers[routes.home(client.tuple)].close(client.tuple)
        model.close(client.tuple)
        routes.handedOver[client.tuple] = nil
        repeatLast = nil
        clients[index] = try self.client(index)
    }

    /// A request with one bit or the end wrong changes nothing, whatever it is.
    private func damage(_ client: TestClient) throws {
        let methods: [STUNMethod] = [.allocate, .refresh, .createPermission, .channelBind]
        var bytes = try client.message(
            methods[random(methods.count)],
            [.requestedTransport(17), .lifetime(0), .channel(0x4001), .peer(peer())]
        )
        if random(4) == 0 {
            bytes.removeLast(1 + random(bytes.count - 1))
        } else {
            let place = random(bytes.count)
            bytes[place] ^= 1 << UInt8(random(8))
        }
        // It has become a channel's: that is data, and checked elsewhere.
        guard bytes[0] < 64 else { return }
        let response = try exchange(client, bytes)
        // One bit makes a Binding request of an Allocate request, and that needs no credentials.
        let isBinding = response?.message.type.method == .binding
        try check(response?.isSuccess != true || isBinding, "a damaged request succeeds")
    }

    // MARK: Counting

    /// Whether the server counts what the model has.
    private func compare() throws {
        for server in servers { server.events.removeAll() }
        let shared = servers[0].shared
        let allocations = servers.reduce(0) { $0 + $1.engine.statistics.allocations }
        try check(allocations == model.allocations.count, "\(allocations) allocations, not \(model.allocations.count)")
        let units = model.allocations.count + model.reservations.count
        try check(shared.allocationCount == units, "the quota counts \(shared.allocationCount), not \(units)")
        for user in ["alice", "bob"] {
            try check(shared.allocationCount(of: user) == model.held(by: user), "the quota of \(user)")
        }
        let ports = model.relayCount + model.reservations.count
        try check(shared.takenPortCount == ports, "\(shared.takenPortCount) ports taken, not \(ports)")
        try check(shared.livePortCount == model.relayCount, "\(shared.livePortCount) live ports")
        try check(shared.reservationCount == model.reservations.count, "\(shared.reservationCount) reservations")
        try check(servers.reduce(0) { $0 + $1.sockets.count } == model.relayCount, "sockets")
        try check(
            shared.forwardedClientCount == model.forwardedCount,
            "\(shared.forwardedClientCount) clients are forwarded, not \(model.forwardedCount)"
        )
        try check(servers.allSatisfy(\.responses.isEmpty), "answers that nobody has asked for")
    }

    /// Ends everything, in one of the ways there are, and looks for what is left.
    func shutDown() throws {
        switch random(3) {
        case 0: advance(.seconds(4000))
        case 1:
            for server in servers {
                server.engine.revokeAll(at: server.now)
                server.drain()
            }
        default:
            for client in clients { _ = try exchange(client, client.message(.refresh, [.lifetime(0)])) }
            for server in servers { _ = server.engine.revoke(user: "alice", at: server.now) }
            for server in servers { _ = server.engine.revoke(user: "bob", at: server.now) }
            for server in servers { server.drain() }
        }
        for server in servers { server.advance(.seconds(100)) }
        let shared = servers[0].shared
        for server in servers {
            let statistics = server.engine.statistics
            let timeout = server.engine.nextTimeout
            try check(statistics.allocations == 0, "allocations are left")
            try check(statistics.permissions == 0 && statistics.channels == 0, "permissions or channels are left")
            try check(server.sockets.isEmpty && timeout == nil, "sockets or timers are left")
        }
        try check(shared.allocationCount == 0 && shared.userCount == 0, "the quota is not empty")
        try check(shared.takenPortCount == 0 && shared.livePortCount == 0, "ports are left")
        try check(shared.reservationCount == 0 && shared.forwardedClientCount == 0, "reservations or routes are left")
    }
}
