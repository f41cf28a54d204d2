import Bytes
import NetTypes
import TURN
import TURNServer
import Transport

/// A client's TCP or TLS connection with the bytes of a message that is not complete yet.
struct RelayStream: ~Copyable {
    var connection: StreamConnection
    var client: ClientTuple
    let prefix: IPAddress
    /// The beginning of a message whose rest has not come.
    var pending: [UInt8] = []
    /// When the last whole message came, or the stream was accepted.
    var lastMessage: Instant
    var hasSpoken = false
    var allocations = 0
    /// The earliest entry in the deadline queue; later ones do not count.
    var scheduled = Instant.distantFuture
    /// Whether the poller watches for room to write.
    var watchesWriting = false
    /// Whether something was queued in this turn that has to be flushed at its end.
    var isDirty = false
    /// Whether our side has ended, and only the peer's end is waited for.
    var isEnding = false

    init(_ connection: consuming StreamConnection, client: ClientTuple, at now: Instant) {
        self.connection = connection
        self.client = client
        prefix = client.remote.ip.limitPrefix
        lastMessage = now
    }

    /// When the stream is to be given up, if nothing comes before.
    func deadline(_ configuration: RelayConfiguration) -> Instant {
        if isEnding { return lastMessage + .seconds(2) }
        if !hasSpoken { return lastMessage + configuration.firstMessageTime }
        return allocations > 0 ? .distantFuture : lastMessage + configuration.idleTime
    }
}

extension IPAddress {
    /// What one subscriber has: the address of IPv4, the /64 of IPv6.
    var limitPrefix: IPAddress { family == .ipv4 ? self : IPAddress(ipv6: high, 0) }
}
