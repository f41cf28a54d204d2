public import NetTypes

/// How much longer than its delay a packet takes on a link.
public enum Jitter: Sendable, Hashable {
    /// No longer.
    case none
    /// Anything up to this, equally likely.
    case uniform(TimeSpan)
    /// Around twice this deviation: a bell whose lower end is cut at zero.
    case normal(deviation: TimeSpan)
    /// Mostly little, now and then many times this (a Pareto tail of exponent 2, at most a hundredfold).
    case longTail(TimeSpan)
}

/// How a link loses packets.
public enum Loss: Sendable, Hashable {
    /// It does not.
    case none
    /// Each packet with this probability, 0 to 1.
    case random(Double)
    /// In bursts: the Gilbert-Elliott model, with the probabilities of becoming bad and good again at each packet, and of
    /// loss while good and while bad.
    case bursts(toBad: Double, toGood: Double, lossWhenGood: Double = 0, lossWhenBad: Double = 1)
}

/// What a link does with packets that are longer than its MTU and must not be cut, as all of IPv6.
public enum OversizeAnswer: Sendable, Hashable {
    /// It tells the sender (ICMP "fragmentation needed", ICMPv6 "packet too big").
    case report
    /// It drops them without a word: a black hole.
    case drop
}

/// What one direction of a link does to packets.
///
///     var dsl = LinkConditions(delay: .milliseconds(12))
///     dsl.bitsPerSecond = 2_000_000
///     dsl.loss = .bursts(toBad: 0.01, toGood: 0.3)
public struct LinkConditions: Sendable, Hashable {
    /// Whether anything gets through at all.
    public var isUp = true
    /// The least time that a packet takes.
    public var delay: TimeSpan
    /// What comes on top of the delay.
    public var jitter = Jitter.none
    /// Whether packets overtake each other by jitter; otherwise a late one holds up those behind it.
    public var reorders = false
    /// The rate; `nil` means without end.
    public var bitsPerSecond: UInt64?
    /// How many bytes wait for their turn at most; more are dropped.
    public var queueByteCount = 64_000
    /// How packets are lost.
    public var loss = Loss.none
    /// How likely a packet arrives twice, 0 to 1.
    public var duplication = 0.0
    /// How likely a bit of a payload is turned and nobody notices, 0 to 1.
    public var corruption = 0.0
    /// The longest packet, headers included.
    public var mtu = 1500
    /// What happens to longer ones; those of IPv4 without DF pass as fragments would.
    public var oversize = OversizeAnswer.report
    /// Whether the ECN bits are erased.
    public var bleachesECN = false
    /// Whether a queue that is half full marks packets of senders that take part in ECN.
    public var marksCongestion = false

    /// Makes a link that only takes time.
    public init(delay: TimeSpan = .zero) { self.delay = delay }

    /// A link without delay or fault.
    public static let ideal = LinkConditions()
}
