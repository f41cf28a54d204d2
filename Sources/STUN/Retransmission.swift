public import NetTypes

/// How long and how often a client asks before it gives up (RFC 8489 §6.2).
public struct RetransmissionPolicy: Hashable, Sendable {
    /// The shortest first wait for a response over UDP (RTO); RFC 8489 wants at least 500 ms.
    public var initialTimeout: TimeSpan = .milliseconds(500)
    /// How often a request is sent over UDP at most (Rc), at least once.
    public var requestCount = 7
    /// The wait after the last request in multiples of the first wait (Rm).
    public var lastWaitFactor: UInt64 = 16
    /// How long a response is waited for over TCP and TLS, where nothing is sent again (Ti).
    public var reliableTimeout: TimeSpan = .milliseconds(39_500)

    /// Makes the values of the text: requests at 0, 0.5, 1.5, 3.5, 7.5, 15.5 and 31.5 s, failure at 39.5 s.
    public init() {}
}

/// When one request is sent again and when its client gives up; accurate to the driver's clock, never rounded.
public struct RetransmissionTimer: Sendable {
    /// What is due.
    public enum Action: Hashable, Sendable {
        /// Nothing yet.
        case wait
        /// The same bytes again.
        case retransmit
        /// The transaction has failed.
        case timedOut
    }

    /// When the request was sent first.
    public let started: Instant
    /// When `fire` has something to do.
    public private(set) var deadline: Instant
    /// How often the request was sent.
    public private(set) var sentCount = 1
    private let policy: RetransmissionPolicy
    private let isReliable: Bool
    private let timeout: TimeSpan

    /// Starts with the sending of a request; `timeout` is the first wait over UDP, raised to the policy's.
    public init(_ policy: RetransmissionPolicy, timeout: TimeSpan, isReliable: Bool, at now: Instant) {
        self.policy = policy
        self.isReliable = isReliable
        self.timeout = max(policy.initialTimeout, timeout)
        started = now
        deadline = now
        deadline = now + wait
    }

    /// Does what is due at `now`.
    ///
    /// Waits are counted from when the driver came, so that after a pause of the whole host, requests do not burst out.
    public mutating func fire(at now: Instant) -> Action {
        guard now >= deadline else { return .wait }
        guard !isReliable, sentCount < policy.requestCount else { return .timedOut }
        sentCount += 1
        deadline = now + wait
        return .retransmit
    }

    private var wait: TimeSpan {
        if isReliable { return policy.reliableTimeout }
        guard sentCount < policy.requestCount else { return timeout * policy.lastWaitFactor }
        return timeout * (1 &<< UInt64(min(sentCount - 1, 16)))
    }
}

/// How long one server takes to answer, and the wait that follows from it (RFC 6298 §2, RFC 8489 §6.2.1).
public struct RoundTripEstimator: Sendable {
    /// After how long without a sample nothing is known any more.
    public static let staleAfter = TimeSpan.seconds(600)

    private var smoothed: UInt64?
    private var variation: UInt64 = 0
    private var updated = Instant.zero

    /// Knows nothing.
    public init() {}

    /// The smoothed round-trip time; `nil` if nothing is known.
    public var roundTrip: TimeSpan? { smoothed.map { TimeSpan(nanoseconds: $0) } }

    /// Takes the time of a request that was sent once: an answer to one of several tells nothing (Karn's rule).
    public mutating func add(_ sample: TimeSpan, at now: Instant) {
        let sample = min(sample.nanoseconds, 60_000_000_000)
        if let old = smoothed, now - updated < Self.staleAfter {
            let distance = old > sample ? old - sample : sample - old
            variation = (3 * variation + distance) / 4
            smoothed = (7 * old + sample) / 8
        } else {
            smoothed = sample
            variation = sample / 2
        }
        updated = now
    }

    /// The first wait for a response, zero if nothing is known; the policy's least value is the caller's to apply.
    public func timeout(at now: Instant) -> TimeSpan {
        guard let smoothed, now - updated < Self.staleAfter else { return .zero }
        return TimeSpan(nanoseconds: smoothed + 4 * variation)
    }
}
