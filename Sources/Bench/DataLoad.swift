import Bytes
import EventLoop
import NetTypes
import Transport

/// Packets on their way through the relay: sends, receives, checks and counts them.
struct DataLoad: ~Copyable {
    private let plan: BenchPlan
    private let payload: TestPayload
    private var onTheWay = 0
    private var window = LossyWindow()
    private var lastArrival = Instant.zero
    private var nextFlow = 0
    private var isTowardsClients = false
    private var pacer: Pacer?
    /// For each flow to peers, then for each to clients.
    private var arrivals: [ArrivalWindow]
    private var rateStart = Instant.zero
    private var rateCount: UInt64 = 0

    private var measuredFrom = Instant.zero
    private(set) var sent: UInt64 = 0
    /// Of what was sent since then.
    private(set) var received: UInt64 = 0
    /// What has come since then, whenever it was sent.
    private(set) var arrived: UInt64 = 0
    private(set) var corrupt: UInt64 = 0
    private(set) var reordered: UInt64 = 0
    private(set) var latency = LatencyHistogram()

    init(_ plan: BenchPlan) {
        self.plan = plan
        pacer = Self.pacer(plan)
        payload = TestPayload(byteCount: plan.packetBytes, seed: MonotonicClock.now().nanoseconds)
        arrivals = Array(repeating: ArrivalWindow(), count: plan.clients * 2)
    }

    mutating func beginMeasuring(at now: Instant) {
        measuredFrom = now
        (sent, received, arrived, corrupt, reordered) = (0, 0, 0, 0, 0)
        latency = LatencyHistogram()
        pacer = Self.pacer(plan)
        _ = pacer?.due(at: now)
    }

    private static func pacer(_ plan: BenchPlan) -> Pacer? {
        plan.packetsPerSecond.map { Pacer(packetsPerSecond: $0, burst: plan.burst) }
    }

    /// Packets a second since the last question.
    mutating func rate(at now: Instant) -> Int {
        defer { (rateStart, rateCount) = (now, 0) }
        let elapsed = (now - rateStart).nanoseconds
        return elapsed == 0 || rateStart == .zero ? 0 : Int(rateCount &* 1_000_000_000 / elapsed)
    }

    /// Sends what is due and takes what comes.
    mutating func turn(_ fleet: inout BenchFleet, at now: Instant) throws(BenchError) {
        send(&fleet, at: now)
        let isFull = plan.packetsPerSecond == nil ? onTheWay >= plan.window : true
        try receive(&fleet, until: isFull ? now + .milliseconds(1) : now)
        // Lost packets must not stop a closed loop.
        if onTheWay > 0, lastArrival + .milliseconds(200) < now {
            window = LossyWindow(forgiving: onTheWay - min(onTheWay, window.overtaken))
            onTheWay = 0
        }
    }

    /// Waits for the packets that are still on their way, and knows then how many were lost.
    mutating func finish(_ fleet: inout BenchFleet) throws(BenchError) {
        let end = MonotonicClock.now() + .milliseconds(500)
        while received < sent, MonotonicClock.now() < end {
            try receive(&fleet, until: MonotonicClock.now() + .milliseconds(10))
        }
    }

    /// Packets of the measured part that never came.
    var lost: UInt64 { sent - min(received, sent) }

    // MARK: Sending

    private mutating func send(_ fleet: inout BenchFleet, at now: Instant) {
        var allowed = pacer?.due(at: now) ?? min(plan.window - onTheWay, 512)
        var refused = 0
        while allowed >= plan.burst, refused < fleet.clients.count {
            let flow = nextFlow
            nextFlow = (nextFlow + 1) % fleet.clients.count
            let back = isTowardsClients
            if plan.direction == .both, nextFlow == 0 || fleet.clients.count < 3 { isTowardsClients.toggle() }
            guard
                sendBurst(
                    &fleet,
                    flow,
                    towardsClient: plan.direction == .both ? back : plan.direction == .toClients,
                    now
                )
            else {
                refused += 1
                continue
            }
            allowed -= plan.burst
            onTheWay += plan.burst
            sent &+= UInt64(plan.burst)
            pacer?.noteSent(plan.burst)
        }
        fleet.outgoing.flush()
    }

    private mutating func sendBurst(
        _ fleet: inout BenchFleet,
        _ flow: Int,
        towardsClient: Bool,
        _ now: Instant
    ) -> Bool {
        let client = fleet.clients[flow]
        guard !client.isCongested, client.failure == nil else { return false }
        if lastArrival == .zero { lastArrival = now }
        guard towardsClient else {
            client.sendBurst(
                plan.burst,
                flow: UInt32(flow),
                payload,
                merged: plan.mergesPackets && plan.load == .channels,
                &fleet.outgoing,
                at: now
            )
            return true
        }
        guard let relayed = client.relayed else { return false }
        let route = DatagramRoute(fleet.peers[flow % fleet.peers.count].handle, to: relayed)
        let together = plan.mergesPackets ? plan.burst : 1
        for _ in 0..<plan.burst / together {
            if !fleet.outgoing.hasRoom(for: payload.byteCount * together) { fleet.outgoing.flush() }
            _ = fleet.outgoing.enqueue(maximumCount: payload.byteCount * together) { output in
                for _ in 0..<together {
                    let number = client.nextNumberBack
                    let header = TestPayload.Header(flow: UInt32(flow), number: number, sentAt: now, isToClient: true)
                    payload.write(header, into: &output)
                    client.nextNumberBack &+= 1
                }
                return route
            }
        }
        return true
    }

    // MARK: Receiving

    private mutating func receive(_ fleet: inout BenchFleet, until deadline: Instant) throws(BenchError) {
        try fleet.wait(until: deadline) { source, fleet in
            let now = MonotonicClock.now()
            switch source {
            case .client, .clients:
                let stirred = fleet.receive(source, at: now) { index, bytes in
                    take(payload.read(bytes), toClient: index, at: now)
                }
                for index in stirred {
                    while fleet.clients[index].drain(into: &fleet.outgoing, at: now) != nil {}
                }
            case .peer(let index):
                for position in fleet.incoming.receive(from: fleet.peers[index].handle) {
                    let reading = payload.read(fleet.incoming.payload(of: position))
                    take(reading, toPeer: index, of: fleet.peers.count, at: now)
                }
                fleet.incoming.removeAll()
            }
        }
    }

    private mutating func take(_ reading: TestPayload.Reading, toClient index: Int, at now: Instant) {
        if case .whole(let header) = reading, !header.isToClient || header.flow != index { return corrupt &+= 1 }
        take(reading, at: now)
    }

    private mutating func take(_ reading: TestPayload.Reading, toPeer index: Int, of count: Int, at now: Instant) {
        if case .whole(let header) = reading, header.isToClient || Int(header.flow) % count != index {
            return corrupt &+= 1
        }
        take(reading, at: now)
    }

    /// Counts what came where it should.
    private mutating func take(_ reading: TestPayload.Reading, at now: Instant) {
        if case .foreign = reading { return }
        guard case .whole(let header) = reading, header.flow < plan.clients else { return corrupt &+= 1 }
        switch arrivals[Int(header.flow) + (header.isToClient ? plan.clients : 0)].take(header.number) {
        case .next(let skipped): onTheWay = max(0, onTheWay - window.arrival(overtaking: Int(skipped)))
        case .late:
            reordered &+= 1
            onTheWay = max(0, onTheWay - window.lateArrival())
        // Counted as received it would stand for one that was lost.
        case .again: return corrupt &+= 1
        }
        arrived &+= 1
        rateCount &+= 1
        lastArrival = now
        // What was sent before is of the server's cost alone.
        guard header.sentAt >= measuredFrom else { return }
        received &+= 1
        latency.record(now - header.sentAt)
    }
}
