import Bytes
import NetTypes

/// How many streams of each prefix (/24 of IPv4, /56 of IPv6) are half-open, and how fast its handshakes may come.
///
/// A table of fixed size: prefixes whose hashes meet share a place, and a seed that nobody knows says which do.
struct HalfOpenLedger {
    private struct Place {
        var bucket: TokenBucket
        var streams = 0
    }

    enum Entrance: Equatable {
        /// Loopback: a proxy of this machine, with everybody behind it.
        case exempt
        /// The prefix's place in the table.
        case place(Int)
        /// It has as many as it may.
        case refused
    }

    private static let count = 1024
    private let limits: StreamLobbyLimits
    private let seed: UInt64
    private var places: [Place]

    init(_ limits: StreamLobbyLimits, seed: UInt64, at now: Instant) {
        self.limits = limits
        self.seed = seed
        let bucket = TokenBucket(
            ratePerSecond: limits.handshakesPerSecond,
            burst: limits.handshakeBurst,
            at: now
        )
        places = Array(repeating: Place(bucket: bucket), count: Self.count)
    }

    /// Counts a stream of an address.
    mutating func enter(_ address: IPAddress) -> Entrance {
        guard !limits.exemptsLoopback || !address.isLoopback else { return .exempt }
        let index = index(of: address)
        guard places[index].streams < limits.streamsPerPrefix else { return .refused }
        places[index].streams += 1
        return .place(index)
    }

    /// Takes back what `enter` has counted.
    mutating func leave(_ entrance: Entrance) {
        if case .place(let index) = entrance { places[index].streams -= 1 }
    }

    /// Whether a stream may begin a TLS handshake.
    mutating func takeHandshake(_ entrance: Entrance, at now: Instant) -> Bool {
        guard case .place(let index) = entrance else { return entrance == .exempt }
        return places[index].bucket.take(at: now)
    }

    private func index(of address: IPAddress) -> Int {
        Int(truncatingIfNeeded: address.clientPrefix.flatHash(seed: seed)) & (Self.count - 1)
    }
}
