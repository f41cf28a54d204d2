public import NetTypes
import STUN

/// What to do after an allocation has failed or was lost.
public enum TURNRetryPlan: Hashable, Sendable {
    /// Nothing with this server, before somebody has changed something.
    case giveUp
    /// Allocate again at once.
    case again
    /// Allocate again at once from another local address or port.
    case fromOtherAddress
    /// Allocate again at once, asking for no special port.
    case withoutPortRequest
    /// Try another transport to the same server, if there is one.
    case otherTransport
    /// Allocate at that server, over the same transport and with the same credentials.
    ///
    /// Over TLS its certificate must be for `domain`, or for the first server's name if that is `nil` (RFC 8489 §10).
    case otherServer(SocketAddress, domain: String?)
    /// Not before that time; other servers may be tried meanwhile.
    case wait(until: Instant)
}

/// Remembers what was tried with a server and tells what to try next (RFC 8656 §7.4, RFC 8489 §10).
///
/// One for each server of a configuration, kept over the lives of its clients.
public struct TURNRetryPlanner: Sendable {
    /// After how many client addresses a mismatch is final.
    public static let clientAddresses = 3
    /// How long to leave a server alone then.
    public static let mismatchPause = TimeSpan.seconds(120)
    /// How long to leave a server alone that has no room.
    public static let capacityPause = TimeSpan.seconds(60)
    /// How long a visited server is not visited again by a redirection.
    public static let redirectionMemory = TimeSpan.seconds(300)
    /// How many redirections are followed within that time.
    public static let redirectionLimit = 8

    private var mismatches = 0
    private var visited: [(server: SocketAddress, at: Instant)] = []

    /// Knows of no failure.
    public init() {}

    /// Notes that an allocation was made: earlier mismatches do not count any more.
    public mutating func noteSuccess() { mismatches = 0 }

    /// Notes a failure of a client at `server` and tells what to do.
    public mutating func plan(
        after failure: TURNClientFailure,
        at server: SocketAddress,
        port: RequestedPort,
        now: Instant
    ) -> TURNRetryPlan {
        switch failure {
        case .refused(let code): return plan(after: code, port: port, now: now)
        case .redirected(let target, let domain):
            visited.removeAll { now - $0.at >= Self.redirectionMemory }
            if !visited.contains(where: { $0.server == server }) { visited.append((server, now)) }
            guard !visited.contains(where: { $0.server == target }), visited.count <= Self.redirectionLimit else {
                return .giveUp
            }
            return .otherServer(target, domain: domain)
        case .transaction(.timedOut), .transaction(.transportFailed): return .otherTransport
        case .transaction, .unprotectedRedirect, .unusableAddressFamily, .notRedirected, .streamNeeded: return .giveUp
        case .allocationLost, .expired, .outOfSync, .connectionDead: return .again
        }
    }

    private mutating func plan(after code: ErrorCode, port: RequestedPort, now: Instant) -> TURNRetryPlan {
        switch code {
        case .allocationMismatch:
            mismatches += 1
            guard mismatches >= Self.clientAddresses else { return .fromOtherAddress }
            mismatches = 0
            return .wait(until: now + Self.mismatchPause)
        case .insufficientCapacity where port.isSpecial: return .withoutPortRequest
        case .insufficientCapacity, .allocationQuotaReached: return .wait(until: now + Self.capacityPause)
        // A server in trouble: 500 may pass (RFC 8489 §6.3.4), and so may a code that is not known.
        case .serverError: return .wait(until: now + Self.capacityPause)
        default: return .giveUp
        }
    }
}
