public import NetTypes

/// Happy Eyeballs (RFC 8305 §5): begins an attempt after the other until one succeeds, as a value without sockets.
///
/// For TCP and TLS an attempt is a connection; for UDP it is the first transaction with that address. The owner calls
/// `pollAttempt` after each call and when `nextTimeout` has come, and begins what it returns.
public struct ConnectionRace: Sendable {
    /// The bounds of RFC 8305 §8 for the delay between two attempts.
    public static let delayBounds = TimeSpan.milliseconds(10)...TimeSpan.seconds(2)

    private enum State {
        case waiting
        case running
        case lost
    }

    private var states: [State]
    private let delay: TimeSpan
    private var nextStart: Instant
    /// The attempt that has succeeded first.
    public private(set) var winner: Int?

    /// Makes a race of so many attempts, the one to begin with first.
    public init(count: Int, delay: TimeSpan = .milliseconds(250), at now: Instant) {
        states = Array(repeating: .waiting, count: count)
        self.delay = min(max(delay, Self.delayBounds.lowerBound), Self.delayBounds.upperBound)
        nextStart = now
    }

    /// The next attempt to begin at `now`.
    public mutating func pollAttempt(at now: Instant) -> Int? {
        guard winner == nil, now >= nextStart, let index = states.firstIndex(of: .waiting) else { return nil }
        states[index] = .running
        nextStart = now + delay
        return index
    }

    /// An attempt has failed: the next one need not wait.
    public mutating func failed(_ index: Int, at now: Instant) {
        guard winner == nil, states.indices.contains(index), states[index] == .running else { return }
        states[index] = .lost
        nextStart = now
    }

    /// An attempt has succeeded; returns those to end.
    ///
    /// Who succeeds later has lost, too.
    public mutating func succeeded(_ index: Int) -> [Int] {
        guard states.indices.contains(index), states[index] == .running else { return [] }
        if winner == nil { winner = index }
        defer {
            for other in states.indices where other != winner { states[other] = .lost }
        }
        return states.indices.filter { $0 != winner && states[$0] == .running }
    }

    /// Whether all attempts have failed.
    public var isLost: Bool { winner == nil && states.allSatisfy { $0 == .lost } }

    /// When `pollAttempt` has something to return, if nothing fails before.
    public var nextTimeout: Instant? { winner == nil && states.contains(.waiting) ? nextStart : nil }
}
