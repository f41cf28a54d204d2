package import NetTypes

/// Judges what a gateway says of its outside: it may err, and it may lie.
package enum ExternalAddress {
    /// Nothing that can be reached from anywhere: no gateway has it.
    static func isImpossible(_ address: SocketAddress, client: IPAddress) -> Bool {
        let ip = address.ip
        guard address.port != 0, ip.family == client.family, !ip.isUnspecified, !ip.isLoopback, !ip.isLinkLocal else {
            return true
        }
        return ip.family == .ipv4
            // Multicast, reserved and broadcast; 0.0.0.0/8; and our own private address is no outside.
            ? ip.ipv4Bits >= 0xE000_0000 || ip.ipv4Bits &>> 24 == 0 || ip == client && isPrivate(ip)
            : ip.high &>> 56 == 0xFF
    }

    /// Private (RFC 1918), shared (RFC 6598), or unique local (RFC 4193): another NAT is behind it (ice 182).
    package static func isPrivate(_ ip: IPAddress) -> Bool {
        guard ip.family == .ipv4 else { return ip.high &>> 57 == 0x7E }
        let bits = ip.ipv4Bits
        return bits &>> 24 == 10 || bits &>> 20 == 0xAC1 || bits &>> 16 == 0xC0A8 || bits &>> 22 == 0x6440 &>> 6
    }
}

/// The server's clock as PCP and NAT-PMP show it, and whether it says that the server has forgotten everything.
struct EpochMonitor {
    private var previous: (server: UInt32, client: Instant)?

    /// Takes the epoch of a response; returns `false` if state was lost in between (RFC 6887 §8.5, RFC 6886 §3.6).
    mutating func note(_ epoch: UInt32, at now: Instant) -> Bool {
        defer { previous = (epoch, now) }
        guard let (server, client) = previous else { return true }
        guard epoch >= server || server - epoch <= 1 else { return false }
        let clientDelta = (now - client).seconds
        let serverDelta = UInt64(epoch >= server ? epoch - server : 0)
        return clientDelta + 2 >= serverDelta - serverDelta / 16 && serverDelta + 2 >= clientDelta - clientDelta / 16
    }
}

/// When a mapping is renewed: after half of its time, then after half of the rest, and so on (RFC 6887 §11.2.1).
struct Lease {
    /// The longest time that is believed, one day, and the pause between attempts that is never gone below.
    static let longest: UInt32 = 86_400
    static let shortestPause = TimeSpan.seconds(4)

    let granted: Instant
    let expires: Instant
    private(set) var renewAt: Instant
    private var attempts: UInt64 = 0

    init(seconds: UInt32, at now: Instant, using entropy: inout Entropy) {
        granted = now
        let span = TimeSpan.seconds(UInt64(min(seconds, Self.longest)))
        expires = now + span
        renewAt = now
        schedule(at: now, using: &entropy)
    }

    /// Plans the next attempt: at 1/2 to 5/8, 3/4 to 13/16, 7/8 to 29/32 of the time, at random, four seconds apart.
    mutating func schedule(at now: Instant, using entropy: inout Entropy) {
        attempts += 1
        let span = (expires - granted).nanoseconds
        let rest = span &>> min(attempts, 62)
        let jitter = UInt64.random(in: 0...rest / 4, using: &entropy)
        renewAt = max(granted + TimeSpan(nanoseconds: span - rest + jitter), now + Self.shortestPause)
    }
}
