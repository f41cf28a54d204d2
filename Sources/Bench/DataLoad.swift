import Bytes
import EventLoop
import NetTypes
import Transport

/// Packets on their way through the relay: sends, receives, checks and counts them.
struct DataLoad: ~Copyable {
    private let plan: BenchPlan
    private let payload: TestPayload
    private var onTheWay = 0
    private var lastArrival = Instant.zero
    private var nextFlow = 0
    private var isTowardsClients = false
    private var pacer: Pacer?
    private var isMeasuring = false
    private var lastNumbers: [UInt64]
    private var rateStart = Instant.zero
    private var rateCount: UInt64 = 0

    private(set) var sent: UInt64 = 0
    private(set) var received: UInt64 = 0
    private(set) var corrupt: UInt64 = 0
    private(set) var reordered: UInt64 = 0
    private(set) var unmeasured: UInt64 = 0
    private(set) var latency = LatencyHistogram()

    init(_ plan: BenchPlan) {
        self.plan = plan
        pacer = Self.pacer(plan)
        payload = TestPayload(byteCount: plan.packetBytes, seed: MonotonicClock.now().nanoseconds)
        lastNumbers = Array(repeating: 0, count: plan.clients * 2)
    }

    mutating func beginMeasuring(at now: Instant) {
        isMeasuring = true
        // What is on its way was not sent in the measured part, but will arrive in it.
        unmeasured = UInt64(onTheWay)
        (sent, received, corrupt, reordered) = (0, 0, 0, 0)
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
        if onTheWay > 0, lastArrival + .milliseconds(200) < now { onTheWay = 0 }
    }

    /// Waits for the packets that are still on their way, and knows then how many were lost.
    mutating func finish(_ fleet: inout BenchFleet) throws(BenchError) {
        let end = MonotonicClock.now() + .milliseconds(500)
        while received < sent + unmeasured, MonotonicClock.now() < end {
            try receive(&fleet, until: MonotonicClock.now() + .milliseconds(10))
        }
    }

    /// Packets of the measured part that never came.
    var lost: UInt64 { sent + unmeasured - min(received, sent + unmeasured) }

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
                    payload.write(.init(flow: UInt32(flow), number: client.nextNumberBack, sentAt: now), into: &output)
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
            case .client(let index):
                let client = fleet.clients[index]
                client.receive(through: &fleet.incoming, at: now) { bytes in
                    take(payload.read(bytes), for: index, at: now)
                }
                while client.drain(into: &fleet.outgoing, at: now) != nil {}
            case .peer(let index):
                for position in fleet.incoming.receive(from: fleet.peers[index].handle) {
                    take(payload.read(fleet.incoming.payload(of: position)), for: nil, at: now)
                }
                fleet.incoming.removeAll()
            }
        }
    }

    /// Counts a packet that came to a client, or to a peer without one.
    private mutating func take(_ reading: TestPayload.Reading, for client: Int?, at now: Instant) {
        if case .foreign = reading { return }
        guard case .whole(let header) = reading, header.flow < plan.clients, client == nil || client == Int(header.flow)
        else {
            corrupt &+= 1
            return
        }
        received &+= 1
        rateCount &+= 1
        onTheWay = max(0, onTheWay - 1)
        lastArrival = now
        latency.record(now - header.sentAt)
        let way = Int(header.flow) + (client == nil ? 0 : plan.clients)
        if UInt64(header.number) < lastNumbers[way] {
            reordered &+= 1
        } else {
            lastNumbers[way] = UInt64(header.number)
        }
    }
}
