import Bytes
import NetTypes
import STUN
import TURN
import TestSupport
import Testing

@Suite struct DecoderMutationTests {
    private static let types: [AttributeType] = [
        .channelNumber, .lifetime, .xorPeerAddress, .data, .xorRelayedAddress, .requestedAddressFamily, .evenPort,
        .requestedTransport, .dontFragment, .reservationToken, .additionalAddressFamily, .addressErrorCode, .icmp,
        .connectionID,
    ]

    @Test(arguments: seeds(50))
    func `no mutation of a message or a stream makes the decoders trap`(_ seed: UInt64) throws {
        var entropy = Entropy.seeded(seed)
        var results: [ExerciseResult: Int] = [:]
        for _ in 0..<1000 {
            let (first, second) = (try Self.valid(using: &entropy), try Self.valid(using: &entropy))
            let bytes = Mutation.mutated(first, with: second, using: &entropy)
            results[exerciseTURNDecoder(bytes.span), default: 0] += 1
        }
        #expect(results[.inconsistent] == nil)
        #expect(results[.consistent, default: 0] > 50)
        #expect(results[.rejected, default: 0] > 50)
    }

    private static func valid(using entropy: inout Entropy) throws -> [UInt8] {
        switch entropy.next() % 4 {
        case 0:
            let data = entropy.bytes(Int(entropy.next() % 40))
            return [0x40 | UInt8(entropy.next() % 16), 1, 0, UInt8(data.count)] + data
        case 1: return Array("\(entropy.next() % 4_000_000_000):user".utf8)
        default:
            var message = STUNMessage(STUNMessageType(.allocate, .request), .random(using: &entropy))
            for _ in 0..<entropy.next() % 6 {
                let type = types[Int(entropy.next() % UInt64(types.count))]
                message.attributes.append(.init(type, entropy.bytes([0, 1, 4, 8, 20][Int(entropy.next() % 5)])))
            }
            return try message.encoded()
        }
    }
}
