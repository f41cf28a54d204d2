/// What one shard has done so far: a snapshot, cheap to take, of numbers that only grow and a few that also fall.
public struct TURNServerStatistics: Sendable {
    /// Allocations that exist now.
    public let allocations: Int
    /// Permissions that are held now, some of which may just have expired.
    public let permissions: Int
    /// Channels that are held now, some of which may just have expired.
    public let channels: Int
    /// TCP connections with peers that exist now, those that are being made included.
    public let peerConnections: Int
    /// Allocations ever made.
    public let allocationsCreated: UInt64
    /// How often an allocation has followed its client to another address.
    public let allocationsMoved: UInt64
    /// What was relayed.
    public let traffic: RelayedTraffic
    /// Requests by method name, each with how many came in, retransmissions included.
    public let requests: [(name: String, count: UInt64)]
    /// Error responses by code.
    public let errors: [(code: Int, count: UInt64)]
    /// Success responses, Binding included.
    public let successes: UInt64
    /// Dropped messages by reason.
    public let drops: [(name: String, count: UInt64)]

    /// How many messages were dropped for that reason.
    public func drops(_ reason: TURNServerDrop) -> UInt64 {
        drops.first { $0.name == reason.rawValue }?.count ?? 0
    }

    /// How many error responses had that code.
    public func errors(_ code: Int) -> UInt64 { errors.first { $0.code == code }?.count ?? 0 }
}
