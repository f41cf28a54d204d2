import Bytes

/// How the key of a long-term credential is derived (RFC 8489 §18.5).
public struct PasswordAlgorithm: RawRepresentable, Hashable, Sendable {
    /// The number in the registry.
    public let rawValue: UInt16

    /// Makes an algorithm from its number.
    @inlinable
    public init(rawValue: UInt16) { self.rawValue = rawValue }

    /// MD5, a key of 16 bytes, for compatibility only.
    public static let md5 = PasswordAlgorithm(rawValue: 1)
    /// SHA-256, a key of 32 bytes.
    public static let sha256 = PasswordAlgorithm(rawValue: 2)
}

/// The algorithms that a server offers, best first, as PASSWORD-ALGORITHMS carries them (RFC 8489 §14.11).
///
/// No registered algorithm has parameters. The parameters of others are skipped, and `isComplete` tells of it.
public struct PasswordAlgorithmList: Sendable, ExpressibleByArrayLiteral {
    /// How many algorithms the list holds at most; those behind them are not looked at.
    public static let maximumCount = 8

    private var numbers = InlineArray<8, UInt16>(repeating: 0)
    /// How many algorithms the list holds.
    public private(set) var count = 0
    /// Whether the list says all that the attribute says: no parameters, no more algorithms.
    public private(set) var isComplete = true

    /// Makes a list; algorithms behind the eighth are left out.
    public init(arrayLiteral algorithms: PasswordAlgorithm...) {
        for algorithm in algorithms { append(algorithm) }
    }

    /// Reads PASSWORD-ALGORITHM or PASSWORD-ALGORITHMS; `nil` if empty, cut off, or if MD5 or SHA-256 has parameters.
    init?(attributeValue value: Span<UInt8>) {
        var offset = 0
        repeat {
            guard value.count &- offset >= 4 else { return nil }
            let algorithm = PasswordAlgorithm(rawValue: value.bigEndianUInt16(at: offset))
            let parameterCount = Int(value.bigEndianUInt16(at: offset &+ 2))
            offset &+= 4
            guard parameterCount <= value.count &- offset else { return nil }
            if parameterCount > 0 {
                guard algorithm != .md5, algorithm != .sha256 else { return nil }
                isComplete = false
            }
            // The padding of the last one may be inside the value or outside: both are seen.
            offset = min(value.count, offset &+ STUNFormat.padded(parameterCount))
            append(algorithm)
        } while offset < value.count
    }

    /// The algorithm of that position, which must be below `count`.
    public subscript(index: Int) -> PasswordAlgorithm { PasswordAlgorithm(rawValue: numbers[index]) }

    /// Whether the algorithm is in the list.
    public func contains(_ algorithm: PasswordAlgorithm) -> Bool {
        for index in 0..<count where numbers[index] == algorithm.rawValue { return true }
        return false
    }

    private mutating func append(_ algorithm: PasswordAlgorithm) {
        guard count < Self.maximumCount else {
            isComplete = false
            return
        }
        numbers[count] = algorithm.rawValue
        count &+= 1
    }
}

extension PasswordAlgorithmList: Equatable {
    /// Whether both have the same algorithms in the same order and nothing else: the bid-down check of turn 63.
    ///
    /// A list that is not complete is equal to none.
    public static func == (left: PasswordAlgorithmList, right: PasswordAlgorithmList) -> Bool {
        guard left.count == right.count, left.isComplete, right.isComplete else { return false }
        for index in 0..<left.count where left.numbers[index] != right.numbers[index] { return false }
        return true
    }
}
