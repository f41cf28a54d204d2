import NetTypes

/// Makes broken messages out of good ones: flipped bits, cuts, repeats, splices, interesting values.
public struct ByteMutator: Sendable {
    private let corpus: [[UInt8]]
    private var entropy: Entropy

    /// Makes a mutator of `corpus`, which must not be empty; equal seeds give equal sequences.
    public init(corpus: [[UInt8]], seed: UInt64) {
        self.corpus = corpus
        entropy = .seeded(seed)
    }

    /// The next input: a member of the corpus with one to four changes.
    public mutating func next() -> [UInt8] {
        var bytes = pick()
        for _ in 0...index(4) { change(&bytes) }
        return bytes
    }

    /// A number from 0 to `bound - 1`.
    public mutating func index(_ bound: Int) -> Int { Int.random(in: 0..<max(1, bound), using: &entropy) }

    private mutating func pick() -> [UInt8] { corpus[index(corpus.count)] }

    private mutating func range(_ bytes: [UInt8]) -> Range<Int> {
        let first = index(bytes.count + 1)
        return first..<min(bytes.count, first + index(32))
    }

    private mutating func change(_ bytes: inout [UInt8]) {
        guard !bytes.isEmpty else {
            bytes = pick()
            return
        }
        let place = index(bytes.count)
        switch index(16) {
        case 0...3: bytes[place] ^= 1 &<< UInt8(index(8))
        case 4...5: bytes[place] = UInt8(index(256))
        case 6...7: bytes[place] = [0, 9, 10, 13, 32, 44, 58, 126, 127, 128, 255][index(11)]
        case 8...9: bytes.removeSubrange(range(bytes))
        case 10...11: bytes.insert(contentsOf: bytes[range(bytes)], at: place)
        case 12: bytes.insert(UInt8(index(256)), at: place)
        case 13: bytes.removeLast(index(bytes.count))
        case 14: bytes += pick()
        default:
            let other = pick()
            bytes.insert(contentsOf: other[range(other)], at: place)
        }
    }
}
