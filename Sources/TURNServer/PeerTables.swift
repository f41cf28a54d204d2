import Bytes
import NetTypes

/// The permissions and channels of all allocations of a shard, found in O(1) by packed keys (RFC 8656 §9, §12).
///
/// Entries that have expired count as absent; they are removed when their allocation asks for new ones, and when it ends.
struct PeerTables: ~Copyable {
    /// A peer's address within an allocation; the port is 0 in the key of a permission, where it does not count.
    struct Key: FlatKey {
        let high: UInt64
        let low: UInt64
        let rest: UInt64

        @inline(__always)
        init(_ allocation: UInt32, _ ip: IPAddress, port: UInt16 = 0) {
            high = ip.high
            low = ip.low
            rest = UInt64(allocation) &<< 32 | UInt64(port) &<< 8 | UInt64(ip.family.rawValue)
        }

        func flatHash(seed: UInt64) -> UInt64 {
            let hash = high == 0 ? seed : high.flatHash(seed: seed)
            return rest.flatHash(seed: low.flatHash(seed: hash))
        }
    }

    struct Permission {
        var expires: Instant
        let isOwnRelay: Bool
    }

    struct Channel {
        let peer: SocketAddress
        let destination: SocketAddress
        let isOwnRelay: Bool
        var expires: Instant
    }

    struct Binding {
        let number: UInt16
        var expires: Instant
    }

    private var permissions: FlatTable<Key, Permission>
    private var channels: FlatTable<UInt64, Channel>
    private var bindings: FlatTable<Key, Binding>

    init(seed: UInt64) {
        permissions = FlatTable(seed: seed)
        channels = FlatTable(seed: seed ^ 1)
        bindings = FlatTable(seed: seed ^ 2)
    }

    var permissionCount: Int { permissions.count }
    var channelCount: Int { channels.count }

    private static func channelKey(_ allocation: UInt32, _ number: UInt16) -> UInt64 {
        UInt64(allocation) &<< 16 | UInt64(number)
    }
}

// MARK: - Look-ups, once for each packet

extension PeerTables {
    func permission(_ allocation: UInt32, _ ip: IPAddress, at now: Instant) -> Permission? {
        guard let permission = permissions[Key(allocation, ip)], now < permission.expires else { return nil }
        return permission
    }

    func channel(_ allocation: UInt32, _ number: UInt16, at now: Instant) -> Channel? {
        guard let channel = channels[Self.channelKey(allocation, number)], now < channel.expires else { return nil }
        return channel
    }

    func channelNumber(_ allocation: UInt32, _ peer: SocketAddress, at now: Instant) -> UInt16? {
        guard let binding = bindings[Key(allocation, peer.ip, port: peer.port)], now < binding.expires else {
            return nil
        }
        return binding.number
    }
}

// MARK: - Changes

extension PeerTables {
    /// Installs or refreshes; returns whether the permission is new.
    mutating func permit(_ allocation: UInt32, _ ip: IPAddress, isOwnRelay: Bool, until expires: Instant) -> Bool {
        permissions.insert(Permission(expires: expires, isOwnRelay: isOwnRelay), for: Key(allocation, ip)) == nil
    }

    /// Binds or rebinds; returns whether the channel is new.
    mutating func bind(_ allocation: UInt32, _ number: UInt16, _ channel: Channel) -> Bool {
        let peer = channel.peer
        bindings.insert(
            Binding(number: number, expires: channel.expires),
            for: Key(allocation, peer.ip, port: peer.port)
        )
        return channels.insert(channel, for: Self.channelKey(allocation, number)) == nil
    }

    mutating func removePermission(_ allocation: UInt32, _ ip: IPAddress) { permissions.remove(Key(allocation, ip)) }

    mutating func removeChannel(_ allocation: UInt32, _ number: UInt16) {
        guard let channel = channels.remove(Self.channelKey(allocation, number)) else { return }
        bindings.remove(Key(allocation, channel.peer.ip, port: channel.peer.port))
    }

    /// The peer that a channel is bound to, whether the binding has expired or not.
    func address(_ allocation: UInt32, ofChannel number: UInt16) -> SocketAddress? {
        channels[Self.channelKey(allocation, number)]?.peer
    }

    /// The channel that a peer is bound to, whether the binding has expired or not.
    func number(_ allocation: UInt32, boundTo peer: SocketAddress) -> UInt16? {
        bindings[Key(allocation, peer.ip, port: peer.port)]?.number
    }
}
