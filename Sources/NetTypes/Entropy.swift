/// Where random bits come from: the system for everything secret, a seed for tests that must repeat.
public struct Entropy: RandomNumberGenerator, Sendable {
    private enum Source {
        case system
        case seeded(UInt64)
    }

    private var source: Source

    /// The system's cryptographic generator.
    public static var system: Entropy { Entropy(source: .system) }

    /// A repeatable sequence (SplitMix64); for tests and simulations only.
    public static func seeded(_ seed: UInt64) -> Entropy { Entropy(source: .seeded(seed)) }

    private init(source: Source) { self.source = source }

    /// The next 64 random bits.
    public mutating func next() -> UInt64 {
        switch source {
        case .system:
            var generator = SystemRandomNumberGenerator()
            return generator.next()
        case .seeded(var state):
            state &+= 0x9E37_79B9_7F4A_7C15
            source = .seeded(state)
            var value = (state ^ state &>> 30) &* 0xBF58_476D_1CE4_E5B9
            value = (value ^ value &>> 27) &* 0x94D0_49BB_1331_11EB
            return value ^ value &>> 31
        }
    }

    /// A generator of its own for a part of the owner: the system's, or one whose seed is drawn from this one.
    public mutating func forked() -> Entropy {
        switch source {
        case .system: .system
        case .seeded: .seeded(next())
        }
    }

    /// `count` random bytes.
    public mutating func bytes(_ count: Int) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(count)
        while bytes.count < count {
            let value = next()
            for shift in 0..<min(8, count - bytes.count) {
                bytes.append(UInt8(truncatingIfNeeded: value &>> UInt64(8 * shift)))
            }
        }
        return bytes
    }
}
