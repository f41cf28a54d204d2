import Bytes
import EventLoop
import Instruments
public import NetTypes
import Transport

/// Makes one measurement from beginning to end.
public struct BenchRun: ~Copyable {
    private let plan: BenchPlan
    private let meter: ServerMeter?
    private let progress: (BenchProgress) -> Void

    /// - Throws: If the plan's server process cannot be read.
    public init(_ plan: BenchPlan, progress: @escaping (BenchProgress) -> Void) throws(BenchError) {
        self.plan = plan
        self.progress = progress
        meter = try plan.serverProcess.map { (number) throws(BenchError) in
            try ServerMeter(process: number, kernelThreads: plan.serverThreads)
        }
    }

    /// Does it.
    ///
    /// - Throws: If the server refuses what the plan needs, or this machine does.
    public func run() throws(BenchError) -> BenchResult {
        switch plan.load {
        case .allocations: try measureAllocations()
        case .bindings: try measureBindings()
        case .channels, .indications: try measureData()
        }
    }

    // MARK: Allocations

    private func measureAllocations() throws(BenchError) -> BenchResult {
        var fleet = try BenchFleet(plan)
        let memory = meter?.residentBytes ?? 0
        let usage = UsageReading(meter)
        try fleet.allocate(bindsPeers: false) { progress(.allocating($0, of: plan.clients)) }
        var result = BenchResult(plan)
        result.note(usage, UsageReading(meter), operations: UInt64(plan.clients))
        if let meter {
            let now = meter.residentBytes
            result.bytesPerAllocation = Int((now > memory ? now - memory : 0) / UInt64(plan.clients))
        }
        (result.sent, result.received) = (UInt64(plan.clients), UInt64(plan.clients))
        try fleet.close()
        return result
    }

    // MARK: Bindings

    private func measureBindings() throws(BenchError) -> BenchResult {
        var load = try BindingLoad(plan)
        return try load.run(meter, progress)
    }

    // MARK: Relayed data

    private func measureData() throws(BenchError) -> BenchResult {
        var fleet = try BenchFleet(plan)
        let memory = meter?.residentBytes ?? 0
        try fleet.allocate(bindsPeers: true) { progress(.allocating($0, of: plan.clients)) }
        if plan.mergesPackets, !plan.target.transport.isStream { try segment(&fleet) }
        var load = DataLoad(plan)
        let start = MonotonicClock.now()
        let measured = start + plan.warmUp
        let end = measured + plan.duration
        var usage: UsageReading?
        var nextReport = start
        var lastChecked = start
        while true {
            let now = MonotonicClock.now()
            if now >= end { break }
            if usage == nil, now >= measured {
                usage = UsageReading(meter)
                load.beginMeasuring(at: now)
            }
            if now >= nextReport {
                nextReport = now + .milliseconds(500)
                progress(.relaying(packetsPerSecond: load.rate(at: now), until: end))
            }
            if now >= lastChecked + .seconds(1) {
                lastChecked = now
                for client in fleet.clients {
                    client.handleTimeout(at: now)
                    while client.drain(into: &fleet.outgoing, at: now) != nil {}
                }
            }
            try load.turn(&fleet, at: now)
        }
        var result = BenchResult(plan)
        if let usage { result.note(usage, UsageReading(meter), operations: load.arrived) }
        if let meter {
            let now = meter.residentBytes
            result.bytesPerAllocation = Int((now > memory ? now - memory : 0) / UInt64(plan.clients))
        }
        try load.finish(&fleet)
        result.take(load)
        try fleet.close()
        return result
    }

    /// Has the kernel cut what is sent into packets.
    private func segment(_ fleet: inout BenchFleet) throws(BenchError) {
        do throws(SocketError) {
            for client in fleet.clients { try client.cutIntoSegments(of: plan.packetBytes + 4) }
            try fleet.shared?.cutIntoSegments(of: plan.packetBytes + 4)
            for peer in fleet.peers { try peer.cutIntoSegments(of: plan.packetBytes) }
        } catch {
            throw BenchError("\(error)")
        }
    }
}

/// How far a measurement has come.
public enum BenchProgress: Sendable {
    /// So many allocations are there.
    case allocating(Int, of: Int)
    /// Packets, or requests, flow.
    case relaying(packetsPerSecond: Int, until: Instant)
}

/// Processor time at one moment.
struct UsageReading {
    let at: Instant
    let server: UInt64?
    let own: UInt64

    init(at: Instant, server: UInt64?, own: UInt64) { (self.at, self.server, self.own) = (at, server, own) }

    init(_ meter: ServerMeter?) {
        self.init(
            at: MonotonicClock.now(),
            server: meter?.processorNanoseconds,
            own: ServerMeter.ownNanoseconds
        )
    }
}
