import Bytes
import NetTypes
import STUN

/// An agent's number in an `AgentTable`, hidden in the identifiers of its transactions.
///
/// 64 of the 96 bits are random; the others are the number under a mask made of them and of a secret of the process. To
/// anybody else they look random too, and a response finds its agent without a table of transactions.
public struct AgentTag: Hashable, Sendable {
    /// The number; `nil` for an agent that shares no socket.
    public let index: UInt32?
    private let secret: UInt64

    /// No number: all 96 bits are random.
    public static let none = AgentTag(index: nil, secret: 0)

    init(index: UInt32?, secret: UInt64) {
        self.index = index
        self.secret = secret
    }

    /// An identifier whose first 64 bits are given.
    func identifier(high: UInt64, randomLow: UInt32) -> TransactionID {
        guard let index else { return TransactionID(high: high, low: randomLow) }
        return TransactionID(high: high, low: index ^ Self.mask(high, secret))
    }

    /// The number that an identifier hides, if it is one of this process.
    static func index(of id: TransactionID, secret: UInt64) -> UInt32 { id.low ^ mask(id.high, secret) }

    private static func mask(_ high: UInt64, _ secret: UInt64) -> UInt32 {
        UInt32(truncatingIfNeeded: high.flatHash(seed: secret) &>> 16)
    }
}

/// Random words, kept or given back word by word when an agent's life is recorded or replayed.
struct AgentEntropy {
    private var source: Entropy
    /// What was drawn since recording began; `nil` without recording.
    var tape: [UInt64]?
    /// What is to be drawn in a replay, the last word first.
    private var replay: [UInt64] = []

    init(_ source: Entropy) { self.source = source }

    init(replaying words: [UInt64]) {
        source = .seeded(0)
        replay = words.reversed()
    }

    mutating func next() -> UInt64 {
        let word = replay.popLast() ?? source.next()
        tape?.append(word)
        return word
    }
}

extension TimeSpan {
    /// The sum of two lengths.
    static func + (one: TimeSpan, other: TimeSpan) -> TimeSpan {
        TimeSpan(nanoseconds: one.nanoseconds &+ other.nanoseconds)
    }
}
