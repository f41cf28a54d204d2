public import NetTypes

/// Damage to bytes that are valid, as a network or an attacker would do it.
public enum Mutation {
    /// Flips bits, overwrites, cuts, splices and repeats; half of the results get a header length that fits again.
    public static func mutated(_ bytes: [UInt8], with other: [UInt8], using entropy: inout Entropy) -> [UInt8] {
        var bytes = bytes
        for _ in 0...entropy.next() % 3 { mutate(&bytes, other, &entropy) }
        if entropy.next() % 2 == 0 { repairLength(&bytes) }
        return bytes
    }

    private static func mutate(_ bytes: inout [UInt8], _ other: [UInt8], _ entropy: inout Entropy) {
        guard !bytes.isEmpty, !other.isEmpty else { return }
        let position = Int(entropy.next() % UInt64(bytes.count))
        switch entropy.next() % 6 {
        case 0: bytes[position] ^= 1 << UInt8(entropy.next() % 8)
        case 1: bytes[position] = [0, 1, 4, 0x7F, 0x80, 0xFF][Int(entropy.next() % 6)]
        case 2: bytes.removeSubrange(position...)
        case 3: bytes = Array(bytes[..<position]) + other[Int(entropy.next() % UInt64(other.count))...]
        case 4: bytes.insert(contentsOf: entropy.bytes(4 * Int(entropy.next() % 4)), at: position & ~3)
        default: bytes += bytes[position...]
        }
    }

    /// Cuts to a multiple of four and writes the length where a STUN header has it.
    private static func repairLength(_ bytes: inout [UInt8]) {
        guard bytes.count >= 20 else { return }
        bytes.removeLast(bytes.count % 4)
        bytes[2] = UInt8((bytes.count - 20) >> 8 & 0xFF)
        bytes[3] = UInt8((bytes.count - 20) & 0xFF)
    }
}
