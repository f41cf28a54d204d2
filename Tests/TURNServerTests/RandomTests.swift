import NetTypes
import STUN
import TURN
import TURNServer
import TestSupport
import Testing

@Suite struct ExerciseTests {
    @Test(arguments: seeds(4))
    func `turn 216: after random scripts everything is back at its base`(seed: UInt64) throws {
        var entropy = Entropy.seeded(seed)
        var exercise = try TURNServerExercise(seed: seed)
        for _ in 0..<400 {
            exercise.run(Self.script(steps: 60, using: &entropy).span)
        }
        let created = exercise.allocationsCreated
        #expect(created > 100, "the scripts hardly do anything")
        exercise.finish()
    }

    @Test(arguments: seeds(4))
    func `scripts of noise trap nothing and leave nothing`(seed: UInt64) throws {
        var entropy = Entropy.seeded(seed)
        var exercise = try TURNServerExercise(seed: seed)
        for _ in 0..<2000 { exercise.run(entropy.bytes(Int(entropy.next() % 200)).span) }
        exercise.finish()
    }

    /// Steps that mostly make sense: an Allocate has a transport, a ChannelBind a channel and a peer.
    static func script(steps: Int, using entropy: inout Entropy) -> [UInt8] {
        var script: [UInt8] = []
        for _ in 0..<steps {
            let bits = entropy.next()
            let byte = UInt8(truncatingIfNeeded: bits >> 8)
            let client = UInt8(truncatingIfNeeded: bits >> 16)
            switch bits % 17 {
            case 0: script += [byte & 0x18, client]
            case 1: script += [1, client]
            case 2: script += [byte & 0x38 | 2, client]
            case 3, 4: script += [byte & 0xF8 | 3, client] + entropy.bytes(2)
            case 5...7: script += [5, client, 3, 0, 0, 0, 0] + entropy.bytes(8)
            case 8: script += [5, client | 1, 1, 0, 0, 0, 1]
            case 9: script += [5 | 1 << 3, client, 1] + entropy.bytes(4)
            case 10, 11: script += [5 | 2 << 3, client, 2, 9, 0] + entropy.bytes(2) + [10, 0] + entropy.bytes(2)
            case 12, 13: script += [5 | 3 << 3, client, 2, 8, 0] + entropy.bytes(2) + [9, 0] + entropy.bytes(2)
            case 14: script += [5 | 4 << 3, client | 1, 1, 9, 0] + entropy.bytes(2)
            case 15: script += [5 | 5 << 3, client | 1, 1, 7, 0, 0, 1]
            default: script += [7, client, 2, 9, 0] + entropy.bytes(2) + [14] + entropy.bytes(3)
            }
        }
        return script
    }
}

@Suite struct MutationTests {
    @Test(arguments: seeds(3))
    func `20 000 mutated messages trap nothing, and indications get no answer`(seed: UInt64) throws {
        var entropy = Entropy.seeded(seed)
        let server = try TestServer { $0.limits.unauthenticatedAnswers = RateLimit(perSecond: 1e6, burst: 1e6) }
        let clients = try [TestClient.Style.legacy, .modern, .anonymous].enumerated().map {
            try TestClient(server, "198.51.100.1:\($0.offset + 1)", style: $0.element)
        }
        for client in clients { _ = try client.relay() }
        for round in 0..<20_000 {
            let client = clients[round % clients.count]
            if round % 500 == 0 { server.advance(.seconds(100)) }
            let transaction = client.newTransaction()
            var bytes = try original(round, client, transaction)
            mutate(&bytes, with: try original(Int(entropy.next() % 16), client, transaction), &entropy)
            server.responses.removeAll(keepingCapacity: true)
            server.receive(bytes, from: client.tuple)
            let isIndication = bytes.count >= 2 && bytes[0] & 1 == 0 && bytes[1] & 0x10 != 0
            #expect(server.responses.count <= 1)
            if isIndication { #expect(server.responses.isEmpty) }
            for response in server.responses {
                _ = try Response(response.bytes)
                #expect(response.bytes.count <= 300)
            }
        }
        server.engine.revokeAll(at: server.now)
        server.drain()
        server.advance(.seconds(60))
        #expect(server.sockets.isEmpty && server.shared.takenPortCount == 0 && server.shared.allocationCount == 0)
    }

    private func original(_ kind: Int, _ client: TestClient, _ transaction: TransactionID) throws -> [UInt8] {
        let peer = STUNMessage.Attribute.peer("203.0.113.\(kind % 5):7")
        return switch kind % 8 {
        case 0: try client.message(.allocate, [.requestedTransport(17), .evenPort(0x80), .lifetime(900)], transaction)
        case 1: try client.message(.refresh, [.lifetime(600), .family(1)], transaction)
        case 2: try client.message(.createPermission, [peer, .peer("203.0.113.9:1")], transaction)
        case 3: try client.message(.channelBind, [.channel(0x4000), peer], transaction)
        case 4: try client.indication(.send, [peer, .dontFragment, .init(.data, [1, 2, 3])])
        case 5: [0x40, 0x00, 0x00, 0x04, 1, 2, 3, 4]
        case 6: try STUNMessage(STUNMessageType(.binding, .request), transaction).encoded(fingerprint: true)
        default: try client.message(.allocate, [.requestedTransport(17), .additional(2), .dontFragment], transaction)
        }
    }

    private func mutate(_ bytes: inout [UInt8], with other: [UInt8], _ entropy: inout Entropy) {
        switch entropy.next() % 6 {
        case 0: break
        case 1: bytes.removeLast(Int(entropy.next() % UInt64(bytes.count)))
        case 2:
            bytes =
                Array(bytes.prefix(Int(entropy.next() % UInt64(bytes.count))))
                + other.suffix(Int(entropy.next() % UInt64(other.count)))
        case 3: bytes += entropy.bytes(Int(entropy.next() % 20))
        default:
            for _ in 0...entropy.next() % 3 {
                bytes[Int(entropy.next() % UInt64(bytes.count))] ^= 1 << UInt8(entropy.next() % 8)
            }
        }
    }
}
