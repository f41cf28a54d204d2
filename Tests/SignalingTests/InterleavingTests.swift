import NetTypes
import TestSupport
import Testing

@testable import Signaling
@testable import SignalingMessages

/// Clients in two rooms on a bad network, all of it in virtual time from one seed.
struct Playground: ~Copyable {
    var world: World
    var clients: [ModelClient]
    var entropy: Entropy
    var lastConnection: UInt64 = 0
    let limits: SignalingLimits

    init(seed: UInt64, limits: SignalingLimits) {
        world = World(limits: limits, seed: seed)
        entropy = .seeded(seed &+ 99)
        self.limits = limits
        clients = (0..<5).map { ModelClient(name: "client\($0)", room: $0 < 3 ? "one" : "two") }
    }

    mutating func connect(_ index: Int) {
        lastConnection += 1
        world.open(lastConnection)
        clients[index].connect(lastConnection)
    }

    /// Lets one text reach the server, and what the server says reach the downlinks.
    mutating func carry(_ index: Int) {
        guard let connection = clients[index].connection, !clients[index].uplink.isEmpty else { return }
        let text = clients[index].uplink.removeFirst()
        world.say(text, on: connection)
        collect()
    }

    mutating func collect() {
        for index in clients.indices {
            guard let connection = clients[index].connection else { continue }
            clients[index].downlink += world.take(connection)
            if world.closes[connection] != nil, clients[index].downlink.isEmpty { clients[index].disconnect() }
        }
    }

    mutating func step() {
        let index = Int.random(in: clients.indices, using: &entropy)
        switch Int.random(in: 0..<20, using: &entropy) {
        case 0: connect(index)
        case 1:
            // The server may notice that the connection is gone, now or never.
            if let connection = clients[index].connection, Bool.random(using: &entropy) { world.drop(connection) }
            clients[index].disconnect()
        case 2: clients[index].repeatUnacknowledged()
        case 3: clients[index].acknowledge()
        case 4:
            world.wait(.milliseconds(UInt64.random(in: 1...1500, using: &entropy)))
            collect()
        case 5...9:
            if let peer = clients[index].roster.sorted().randomElement(using: &entropy) {
                clients[index].send(to: peer)
            }
        case 10...14: carry(index)
        default: clients[index].read()
        }
    }

    /// Connects everybody and carries everything until nothing is under way.
    mutating func settle() {
        for index in clients.indices { connect(index) }
        for _ in 0..<3 {
            var isBusy = true
            while isBusy {
                isBusy = false
                for index in clients.indices {
                    while clients[index].connection != nil, !clients[index].uplink.isEmpty {
                        carry(index)
                        isBusy = true
                    }
                    while !clients[index].downlink.isEmpty {
                        clients[index].read()
                        isBusy = true
                    }
                }
                collect()
            }
            for index in clients.indices { clients[index].acknowledge() }
            world.wait(.seconds(2))
            collect()
        }
    }

    /// The server dies without a word, and another one takes up what was stored.
    mutating func restart() {
        let stored = world.stored
        world = World(limits: limits, seed: entropy.next())
        world.stored = stored
        world.engine.restore(stored.values.sorted { $0.peerID < $1.peerID }, at: world.now)
        world.drain()
        for index in clients.indices { clients[index].disconnect() }
    }
}

@Suite("Random interleavings")
struct InterleavingTests {
    @Test(arguments: seeds(30))
    func `every message arrives exactly once and in order`(seed: UInt64) {
        var limits = SignalingLimits()
        limits.replayMessages = 100_000
        limits.messageBurst = 100_000
        limits.resumeSeconds = 100_000
        var playground = Playground(seed: seed, limits: limits)
        playground.settle()
        for _ in 0..<1500 { playground.step() }
        playground.settle()
        let clients = playground.clients
        for receiver in clients {
            #expect(receiver.errors.isEmpty && receiver.losses == 0 && receiver.unacknowledged.isEmpty)
            let others = clients.filter { $0.room == receiver.room && $0.id != receiver.id }
            #expect(receiver.roster == Set(others.map(\.id)))
            #expect(Set(receiver.inbox.keys).isSubset(of: others.map(\.id)))
            for sender in others {
                let count = sender.sentCounts[receiver.id] ?? 0
                #expect(receiver.inbox[sender.id] ?? [] == Array(0..<count), "seed \(seed)")
            }
        }
        // Connections on which a client never said its first word take a while to be given up.
        playground.world.wait(.seconds(15))
        let statistics = playground.world.engine.statistics
        #expect(statistics.replayBytes == 0, "all is acknowledged")
        #expect(statistics.sessions == 5 && statistics.awaySessions == 0 && statistics.connections == 5)
    }

    @Test(arguments: seeds(30))
    func `with losses and restarts nothing comes twice or out of order`(seed: UInt64) {
        var limits = SignalingLimits()
        limits.replayMessages = 8
        limits.replayBytes = 1500
        limits.totalReplayBytes = 4000
        limits.messageBurst = 100_000
        limits.resumeSeconds = 100_000
        var playground = Playground(seed: seed, limits: limits)
        playground.settle()
        for step in 0..<1500 {
            playground.step()
            if step % 400 == 399 { playground.restart() }
            let held = playground.world.engine.statistics.replayBytes
            #expect(held >= 0 && held <= 4000)
        }
        playground.settle()
        let clients = playground.clients
        for receiver in clients {
            #expect(receiver.errors.isEmpty && receiver.unacknowledged.isEmpty)
            let others = clients.filter { $0.room == receiver.room && $0.id != receiver.id }
            #expect(receiver.roster == Set(others.map(\.id)))
            for (sender, numbers) in receiver.inbox {
                #expect(others.contains { $0.id == sender })
                #expect(zip(numbers, numbers.dropFirst()).allSatisfy { $0 < $1 }, "seed \(seed)")
            }
        }
        #expect(playground.world.engine.statistics.replayBytes == 0)
        #expect(clients.contains { $0.losses > 0 })
    }

    @Test(arguments: seeds(10))
    func `peers that come and go leave nothing behind`(seed: UInt64) {
        var entropy = Entropy.seeded(seed)
        var world = World(seed: seed)
        var secrets: [String] = []
        for connection in UInt64(1)...600 {
            let recent = connection - min(connection - 1, UInt64.random(in: 0...20, using: &entropy))
            switch Int.random(in: 0..<8, using: &entropy) {
            case 0...2: secrets.append(world.join(connection, room: "r\(connection / 6)").session)
            case 3: world.say(.leave, on: recent)
            case 4: world.drop(recent)
            case 5: world.wait(.milliseconds(UInt64.random(in: 1...20000, using: &entropy)))
            case 6: world.say("nonsense", on: recent)
            default:
                if let secret = secrets.randomElement(using: &entropy) {
                    _ = world.resume(secret, ack: UInt64.random(in: 0...3, using: &entropy), on: connection)
                }
            }
            let (sessions, stored) = (world.engine.statistics.sessions, world.stored.count)
            #expect(sessions == stored, "the store knows what the server knows")
        }
        world.wait(.seconds(300))
        let statistics = world.engine.statistics
        #expect(statistics.connections == 0 && statistics.sessions == 0 && statistics.rooms == 0)
        #expect(statistics.awaySessions == 0 && statistics.replayBytes == 0)
        #expect(world.stored.isEmpty)
        let next = world.engine.nextTimeout
        #expect(next == nil || world.engine.timers.count < 1100, "entries of what is gone are few")
    }

    @Test(arguments: seeds(20))
    func `mutated messages never break the server`(seed: UInt64) {
        var entropy = Entropy.seeded(seed)
        var limits = SignalingLimits()
        limits.messageBurst = 100_000
        var world = World(limits: limits, seed: seed)
        var samples = MessageTests.clientFrames.map { Array($0.text.utf8) }
        var connection: UInt64 = 0
        for round in 0..<1200 {
            if round % 10 == 0 {
                connection += 1
                world.drop(connection - 1)
                let member = world.join(connection, room: "r\(connection / 4)")
                samples.append(Array(ClientFrame(.resume(session: member.session), acknowledged: 0).text.utf8))
                samples.append(Array(ClientFrame(.description(to: member.id, offer), sequence: 1).text.utf8))
                connection += 1
                if connection % 2 == 0 {
                    _ = world.join(connection, room: "r\(connection / 4)")
                } else {
                    world.open(connection)
                }
            }
            world.say(String(decoding: mutated(samples, &entropy), as: UTF8.self), on: connection)
            world.wait(.milliseconds(UInt64.random(in: 0...500, using: &entropy)))
        }
        world.wait(.seconds(600))
        let statistics = world.engine.statistics
        #expect(statistics.sessions == 0 && statistics.connections == 0 && statistics.replayBytes == 0)
        // Which codes come up depends on the seed; that messages were refused at all must not.
        #expect(statistics.errors.count >= 2)
    }

    @Test(arguments: seeds(10))
    func `a server comes to rest after any script`(seed: UInt64) {
        var entropy = Entropy.seeded(seed)
        let texts = [
            #"{"type":"join","version":1,"room":"r","name":"n"}"#,
            #"{"type":"resume","version":1,"session":"%","ack":0}"#,
            #"{"type":"candidate","to":"$","candidate":null,"seq":1,"ack":0}"#, #"{"type":"leave"}"#,
            #"{"type":"description","to":"$","seq":2,"description":{"type":"offer","sdp":"x"}}"#,
            #"{"type":"refresh"}"#,
        ]
        let step = { (code: UInt8, entropy: inout Entropy) -> [UInt8] in
            let slot = UInt8.random(in: 0..<4, using: &entropy)
            guard code >= 5 else { return [code << 4 | slot, UInt8.random(in: 0...255, using: &entropy)] }
            var text = Array((texts.randomElement(using: &entropy) ?? "").utf8)
            text += Array(repeating: 0x20, count: (8 - text.count % 8) % 8)
            return [code << 4 | slot, UInt8(text.count / 8)] + text
        }
        var resumes: UInt64 = 0
        for _ in 0..<100 {
            let script = (0..<30).flatMap { _ in step(UInt8.random(in: 0..<16, using: &entropy), &entropy) }
            for bytes in [script] + (0..<8).map({ _ in mutated([script], &entropy) }) {
                let statistics = SignalingScript.run(bytes)
                #expect(statistics.sessions == 0 && statistics.connections == 0 && statistics.rooms == 0)
                #expect(statistics.replayBytes == 0 && statistics.awaySessions == 0)
                resumes += statistics.resumesComplete + statistics.resumesLost
            }
        }
        #expect(resumes > 0, "scripts must reach the inside")
    }
}
