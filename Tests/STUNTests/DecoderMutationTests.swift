import Bytes
import NetTypes
import STUN
import TestSupport
import Testing

@Suite struct DecoderMutationTests {
    private static let valid = [
        Vectors.request, Vectors.ipv4Response, Vectors.ipv6Response, Vectors.longTermRequest, Vectors.userhashRequest,
    ]

    @Test(arguments: seeds(50))
    func `no mutation of a message makes the decoder trap or read two different things`(_ seed: UInt64) throws {
        var entropy = Entropy.seeded(seed)
        let nonces = try NonceFactory(secret: entropy.bytes(16), features: [])
        var results: [ExerciseResult: Int] = [:]
        for _ in 0..<1000 {
            let bytes = Mutation.mutated(Self.pick(using: &entropy), with: Self.pick(using: &entropy), using: &entropy)
            results[exerciseSTUNDecoder(bytes.span, key: Messages.key, nonces: nonces), default: 0] += 1
        }
        #expect(results[.inconsistent] == nil)
        #expect(results[.consistent, default: 0] > 50)
        #expect(results[.rejected, default: 0] > 50)
    }

    private static func pick(using entropy: inout Entropy) -> [UInt8] {
        guard entropy.next() % 2 == 0, let message = try? RandomMessages.message(using: &entropy).encoded() else {
            return valid[Int(entropy.next() % UInt64(valid.count))]
        }
        return message
    }
}
