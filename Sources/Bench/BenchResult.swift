import EventLoop
public import NetTypes

/// What a measurement has found.
public struct BenchResult: Sendable {
    /// What was done.
    public let plan: BenchPlan
    /// How long the measured part lasted.
    public private(set) var elapsed = TimeSpan.zero
    /// Packets, requests or allocations sent in it.
    public internal(set) var sent: UInt64 = 0
    /// How many of them came through.
    public internal(set) var received: UInt64 = 0
    /// How many never came.
    public private(set) var lost: UInt64 = 0
    /// How many came with other bytes than were sent, or to somebody else.
    public private(set) var corrupt: UInt64 = 0
    /// How many came after one of the same flow that was sent later.
    public private(set) var reordered: UInt64 = 0
    /// The server's processor time for one packet, request or allocation.
    public private(set) var serverTimePerOperation: TimeSpan?
    /// The server's share of one processor, 1 for all of it.
    public private(set) var serverLoad: Double?
    /// The generator's share of its processor; near 1 the generator is the limit, not the server.
    public private(set) var ownLoad = 0.0
    /// What the server's memory has grown by, divided by the allocations, in bytes.
    public internal(set) var bytesPerAllocation: Int?
    /// Times from send to receipt: median, 90, 99 and 99.9 %, and the greatest.
    public private(set) var latency: [TimeSpan] = []
    private var measuredOperations: UInt64 = 0

    init(_ plan: BenchPlan) { self.plan = plan }

    /// Packets, requests or allocations a second.
    public var operationsPerSecond: Double {
        elapsed.nanoseconds == 0 ? 0 : Double(measuredOperations) * 1e9 / Double(elapsed.nanoseconds)
    }

    mutating func note(_ before: UsageReading, _ after: UsageReading, operations: UInt64) {
        elapsed = after.at - before.at
        measuredOperations = operations
        let nanoseconds = Double(max(1, elapsed.nanoseconds))
        ownLoad = Double(after.own - before.own) / nanoseconds
        guard let start = before.server, let end = after.server else { return }
        serverLoad = Double(end - min(start, end)) / nanoseconds
        if operations > 0 { serverTimePerOperation = TimeSpan(nanoseconds: (end - min(start, end)) / operations) }
    }

    mutating func take(_ load: borrowing DataLoad) {
        take(
            sent: load.sent,
            received: load.received,
            corrupt: load.corrupt,
            reordered: load.reordered,
            lost: load.lost,
            load.latency
        )
    }

    mutating func take(
        sent: UInt64,
        received: UInt64,
        corrupt: UInt64,
        reordered: UInt64,
        lost: UInt64,
        _ histogram: LatencyHistogram
    ) {
        (self.sent, self.received, self.corrupt, self.reordered) = (sent, received, corrupt, reordered)
        self.lost = lost
        latency = [0.5, 0.9, 0.99, 0.999].compactMap { histogram.quantile($0) }
        if !latency.isEmpty { latency.append(histogram.greatest) }
    }
}
