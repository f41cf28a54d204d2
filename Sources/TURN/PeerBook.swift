import Bytes
import NetTypes

/// What a client knows of its peers: permissions by address, channels by transport address and by number.
///
/// A packet finds its channel or permission in flat tables, without allocation.
struct PeerBook: ~Copyable {
    struct Permission {
        /// Until when the server has it; `zero` before the first success.
        var expires = Instant.zero
        /// When it is to be refreshed; also the time of its one valid timer.
        var refreshAt = Instant.distantFuture
        /// Whether a request for it waits or is on its way.
        var isRequested = false
        /// Whether its owner still wants it.
        var isWanted = true
    }

    struct Channel {
        let number: ChannelNumber
        var expires = Instant.zero
        var refreshAt = Instant.distantFuture
        var isWanted = true
    }

    private(set) var permissions: FlatTable<IPAddress, Permission>
    private(set) var channels: FlatTable<SocketAddress, Channel>
    /// The peer of each number in use; a number whose channel has ended rests here until it may be used again.
    private(set) var peersByNumber: FlatTable<ChannelNumber, SocketAddress>
    /// Whole Send indications for peers whose permission is on its way.
    private var held: [IPAddress: [[UInt8]]] = [:]
    private var heldBytes = 0
    private var nextNumber = ChannelNumber.range.lowerBound
    private let limits: TURNClientLimits

    init(_ limits: TURNClientLimits, seed: UInt64) {
        self.limits = limits
        permissions = FlatTable(seed: seed)
        channels = FlatTable(seed: seed)
        peersByNumber = FlatTable(seed: seed)
    }

    // MARK: Permissions

    func isPermitted(_ ip: IPAddress, at now: Instant) -> Bool {
        guard let permission = permissions[ip] else { return false }
        return now < permission.expires
    }

    /// Adds a permission that is to be requested; `false` without room.
    mutating func addPermission(_ ip: IPAddress) -> Bool {
        guard permissions.count < limits.permissions else { return false }
        permissions.insert(Permission(isRequested: true), for: ip)
        return true
    }

    mutating func updatePermission(_ ip: IPAddress, _ change: (inout Permission) -> Void) {
        _ = permissions.update(ip, change)
    }

    mutating func removePermission(_ ip: IPAddress) {
        permissions.remove(ip)
        dropHeld(ip)
    }

    // MARK: Channels

    /// The number of a channel that carries data now.
    func channel(_ peer: SocketAddress, at now: Instant) -> ChannelNumber? {
        guard let channel = channels[peer], now < channel.expires else { return nil }
        return channel.number
    }

    /// Gives a peer a number that is not in use and does not rest; `nil` without room.
    mutating func addChannel(_ peer: SocketAddress) -> ChannelNumber? {
        guard peersByNumber.count < min(limits.channels, ChannelNumber.range.count) else { return nil }
        while true {
            guard let number = ChannelNumber(rawValue: nextNumber) else { return nil }
            nextNumber = nextNumber == ChannelNumber.range.upperBound ? ChannelNumber.range.lowerBound : nextNumber + 1
            guard peersByNumber[number] == nil else { continue }
            peersByNumber.insert(peer, for: number)
            channels.insert(Channel(number: number), for: peer)
            return number
        }
    }

    mutating func updateChannel(_ peer: SocketAddress, _ change: (inout Channel) -> Void) {
        _ = channels.update(peer, change)
    }

    /// Frees a number whose rest is over, with its peer (RFC 8656 §12).
    mutating func endRest(_ number: ChannelNumber) {
        guard let peer = peersByNumber.remove(number) else { return }
        if channels[peer]?.number == number { channels.remove(peer) }
    }

    // MARK: Held data

    mutating func hold(_ message: [UInt8], for ip: IPAddress) -> Bool {
        guard heldBytes + message.count <= limits.heldBytes else { return false }
        heldBytes += message.count
        held[ip, default: []].append(message)
        return true
    }

    func heldMessages(for ip: IPAddress) -> [[UInt8]] { held.isEmpty ? [] : held[ip] ?? [] }

    mutating func dropHeld(_ ip: IPAddress) {
        guard !held.isEmpty, let messages = held.removeValue(forKey: ip) else { return }
        heldBytes -= messages.reduce(0) { $0 + $1.count }
    }
}
