/// The protocol between server and peer, by its number in the IP header (RFC 8656 §18.8).
public struct RelayedTransport: RawRepresentable, Hashable, Sendable {
    /// The protocol number.
    public let rawValue: UInt8

    /// Takes a protocol number.
    @inlinable
    public init(rawValue: UInt8) { self.rawValue = rawValue }

    /// UDP.
    public static let udp = RelayedTransport(rawValue: 17)
    /// TCP (RFC 6062 §4.1).
    public static let tcp = RelayedTransport(rawValue: 6)
}

/// The number of a connection between server and peer (RFC 6062 §6.2.1).
public struct ConnectionID: RawRepresentable, Hashable, Sendable {
    /// The number.
    public let rawValue: UInt32

    /// Takes a number.
    @inlinable
    public init(rawValue: UInt32) { self.rawValue = rawValue }
}

/// The token of a relayed address that is held in reserve (RFC 8656 §18.10).
public struct ReservationToken: RawRepresentable, Hashable, Sendable {
    /// The eight bytes as an integer.
    public let rawValue: UInt64

    /// Takes the eight bytes as an integer.
    @inlinable
    public init(rawValue: UInt64) { self.rawValue = rawValue }
}

/// What an ICMP message said about a datagram that was relayed (RFC 8656 §18.13).
public struct ICMPReport: Hashable, Sendable {
    /// The type, of ICMPv4 or ICMPv6 by the family of the peer.
    public let type: UInt8
    /// The code.
    public let code: UInt8
    /// The next hop's MTU for "packet too big" and "fragmentation needed", else 0.
    public let errorData: UInt32

    /// Makes a report.
    public init(type: UInt8, code: UInt8, errorData: UInt32 = 0) {
        self.type = type
        self.code = code
        self.errorData = errorData
    }
}

/// The longest and the shortest times of RFC 8656, in seconds.
public enum TURNLifetime {
    /// An allocation for which nothing else is asked (§6).
    public static let allocationSeconds: UInt32 = 600
    /// The longest that a server should grant (§7.2).
    public static let maximumAllocationSeconds: UInt32 = 3600
    /// A permission (§9).
    public static let permissionSeconds: UInt32 = 300
    /// A channel binding (§12).
    public static let channelSeconds: UInt32 = 600
    /// The shortest time for which a reserved port is kept (§7.2).
    public static let reservationSeconds: UInt32 = 30
}
