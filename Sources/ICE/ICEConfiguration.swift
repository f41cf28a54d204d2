public import NetTypes
public import STUN

/// Who decides which pair is used (RFC 8445 §6.1.1).
public enum ICERole: UInt8, Hashable, Sendable {
    /// Nominates.
    case controlling
    /// Follows.
    case controlled

    /// The peer's role.
    public var opposite: ICERole { self == .controlling ? .controlled : .controlling }
}

/// What an agent is told at its beginning; the defaults suit a WebRTC peer.
public struct ICEConfiguration: Hashable, Sendable {
    /// Who nominates; the initiator is controlling unless it is lite and the peer is not (ice 27).
    public var role: ICERole
    /// Whether the agent only answers checks.
    public var isLite = false
    /// How many components the stream has, 1 to 256: 1 with RTCP multiplexing, else 2.
    public var componentCount = 1
    /// How far apart ordinary checks are; signalled, and the larger of both sides' values is used (ice 86).
    public var pacing = TimeSpan.milliseconds(20)
    /// What is announced.
    public var options: ICEOptions = [.ice2, .trickle, .renomination]
    /// How many pairs the checklist has at most (ice 33).
    public var pairLimit = 100
    /// How many candidates of the peer are kept at most, peer-reflexive ones included.
    public var remoteCandidateLimit = 100
    /// How many candidates of our own are kept at most.
    public var localCandidateLimit = 64
    /// How many first checks of new foundations may follow each other at the pacer's speed.
    public var burstLimit = 32
    /// When checks over UDP are sent again and given up (RFC 8489 §6.2.1).
    public var retransmission = RetransmissionPolicy()
    /// How long no failure is declared after both sides' credentials are known (RFC 8863 §4); "patient" sessions raise it.
    public var patience = TimeSpan.milliseconds(39_500)
    /// How long after a pair has failed by silence all such pairs of datagrams are checked anew, while patience lasts and
    /// there is no valid pair; 5 s to an hour, zero for never.
    ///
    /// Checks begin so much and their retransmissions apart. For descriptions that a person carries: one end begins minutes
    /// before the other, and NATs forget what it has opened.
    ///
    /// Departure: RFC 8445 lets a pair out of Failed only for a check of the peer (§7.3.1.4), which a NAT that filters by
    /// address and port would not let in; so the default is never. With RFC 8863 waiting, the agent may as well ask.
    public var recheckInterval = TimeSpan.zero
    /// Whether consent is asked for (RFC 7675); without it, keepalives are sent.
    public var asksConsent = true
    /// The middle of the time between two consent checks; each is drawn from 0.8 to 1.2 times it, never below 4 s.
    public var consentInterval = TimeSpan.seconds(5)
    /// How long sending goes on without an authenticated response (RFC 7675 §5.1).
    public var consentLifetime = TimeSpan.seconds(30)
    /// How far apart keepalives of pairs without consent are (Tr), at least 15 s by the text (ice 79).
    public var keepaliveInterval = TimeSpan.seconds(15)
    /// Whether data may go to where an authenticated request came from before our own check of that path has succeeded:
    /// a round trip earlier, for a server whose peers are first to be served (ice 175).
    ///
    /// Departure: RFC 7675 §5.1 and RFC 8445 §12.1 want consent first (ice 128), and so does the default. A source that
    /// was forged by whoever knows the credentials gets data until our own check fails, for 2 s at most and once in a
    /// generation; no more than eight pairs of a generation are believed that way.
    public var presumesPaths = false
    /// Whether the candidates of this host are of both families, so that their preferences take turns.
    public var isDualStack = true

    /// Whether all that goes in and comes out is kept, for `ICEAgent.recording()`; costs memory without bound.
    public var isRecorded = false

    /// The same with numbers that tables and counters can hold.
    var bounded: ICEConfiguration {
        var copy = self
        copy.componentCount = min(max(componentCount, 1), 256)
        copy.pairLimit = min(max(pairLimit, 1), 4096)
        copy.remoteCandidateLimit = min(max(remoteCandidateLimit, 1), 4096)
        copy.localCandidateLimit = min(max(localCandidateLimit, 1), 4096)
        copy.retransmission.requestCount = min(max(retransmission.requestCount, 1), 32)
        copy.retransmission.initialTimeout = min(retransmission.initialTimeout, .seconds(3600))
        if recheckInterval > .zero { copy.recheckInterval = min(max(recheckInterval, .seconds(5)), .seconds(3600)) }
        copy.consentInterval = min(consentInterval, .seconds(3600))
        return copy
    }

    /// Makes a configuration with defaults for everything but the role.
    public init(role: ICERole) { self.role = role }
}

/// Lets the agents of a process, and their gatherers, start at most one transaction per interval (RFC 8445 §14.2; ice 87).
///
/// A value that the driver owns and hands to whoever wants to send.
public struct CheckPacer: Hashable, Sendable {
    /// How far apart transactions start, 5 ms by the text.
    public let interval: TimeSpan
    /// When the next transaction may start.
    public private(set) var next = Instant.zero
    private static let credit: UInt64 = 4

    /// Makes a pacer that lets the first transaction start at once.
    public init(interval: TimeSpan = .milliseconds(5)) { self.interval = interval }

    init(interval: TimeSpan, next: Instant) {
        self.interval = interval
        self.next = next
    }

    /// Starts a transaction if it is time.
    public mutating func take(at now: Instant) -> Bool {
        guard now >= next else { return false }
        next = now + interval
        return true
    }

    /// Starts a transaction that the peer waits for, up to four ahead of time; later ones wait longer for it.
    ///
    /// Departure: RFC 8445 §14.2 has no exception for triggered checks. The rate over 25 ms is the one of the text, and a
    /// triggered check need not wait behind the checks of other agents.
    public mutating func takeUrgent(at now: Instant) -> Bool {
        guard now + interval * Self.credit >= next else { return false }
        next = max(now, next) + interval
        return true
    }

    /// When `takeUrgent` succeeds.
    public var nextUrgent: Instant {
        let ahead = interval * Self.credit
        return next.nanoseconds > ahead.nanoseconds ? Instant(nanoseconds: next.nanoseconds - ahead.nanoseconds) : .zero
    }
}
