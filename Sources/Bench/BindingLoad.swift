import Bytes
import EventLoop
import Instruments
import NetTypes
import STUN
import Transport

/// Binding requests in a closed loop, from as many sockets as there are clients.
struct BindingLoad: ~Copyable {
    private let plan: BenchPlan
    private let sockets: [BenchPeer]
    private let poller: Poller
    private var events = PollEvents(capacity: 512)
    private var incoming = DatagramReceiveBatch()
    private var outgoing = DatagramSendBatch(capacity: 1024)
    private let mark: UInt32
    private var onTheWay = 0
    private var next = 0
    private var sent: UInt64 = 0
    private var received: UInt64 = 0
    private var arrived: UInt64 = 0
    private var measuredFrom = Instant.zero
    private var corrupt: UInt64 = 0
    private var latency = LatencyHistogram()

    init(_ plan: BenchPlan) throws(BenchError) {
        guard plan.target.transport == .udp else { throw BenchError("Binding requests are measured over UDP only") }
        var entropy = Entropy.system
        var sockets: [BenchPeer] = []
        let poller = try BenchFleet.makePoller()
        do {
            let family = plan.target.address.family
            let local = SocketAddress(plan.localAddress ?? .unspecified(family), port: 0)
            for index in 0..<plan.clients {
                let socket = try BenchPeer(local, BenchClient.options(plan))
                try poller.add(socket.descriptor, token: UInt64(index), interest: .read)
                sockets.append(socket)
            }
        } catch {
            throw BenchError("\(error)")
        }
        mark = UInt32(truncatingIfNeeded: entropy.next())
        self.plan = plan
        self.sockets = sockets
        self.poller = poller
    }

    mutating func run(_ meter: ServerMeter?, _ progress: (BenchProgress) -> Void) throws(BenchError) -> BenchResult {
        let start = MonotonicClock.now()
        let measured = start + plan.warmUp
        let end = measured + plan.duration
        var usage: UsageReading?
        var nextReport = start
        var lastCount: UInt64 = 0
        var lastArrival = start
        while true {
            let now = MonotonicClock.now()
            if now >= end { break }
            if usage == nil, now >= measured {
                usage = UsageReading(meter)
                (sent, received, arrived, corrupt, lastCount, measuredFrom) = (0, 0, 0, 0, 0, now)
                latency = LatencyHistogram()
            }
            if now >= nextReport {
                nextReport = now + .milliseconds(500)
                progress(.relaying(packetsPerSecond: Int((arrived - min(lastCount, arrived)) * 2), until: end))
                lastCount = arrived
            }
            send(at: now)
            let before = arrived
            try receive(until: onTheWay >= plan.window ? now + .milliseconds(1) : now)
            if arrived != before { lastArrival = now } else if lastArrival + .milliseconds(200) < now { onTheWay = 0 }
        }
        var result = BenchResult(plan)
        if let usage { result.note(usage, UsageReading(meter), operations: arrived) }
        let drained = MonotonicClock.now() + .milliseconds(300)
        while onTheWay > 0, MonotonicClock.now() < drained { try receive(until: drained) }
        result.take(
            sent: sent,
            received: min(sent, received),
            corrupt: corrupt,
            reordered: 0,
            lost: sent - min(sent, received),
            latency
        )
        return result
    }

    private mutating func send(at now: Instant) {
        while onTheWay < plan.window {
            let route = DatagramRoute(sockets[next].handle, to: plan.target.address)
            next = (next + 1) % sockets.count
            // The identifier carries the run's mark and the time; nobody could gain anything by guessing it.
            let id = TransactionID(high: now.nanoseconds, low: mark)
            if !outgoing.hasRoom(for: 64) { outgoing.flush() }
            _ = outgoing.enqueue(maximumCount: 64) { output in
                let builder = STUNMessageBuilder(.binding, .request, id, into: &output)
                return (try? builder.finish(into: &output)) == nil ? nil : route
            }
            onTheWay += 1
            sent &+= 1
        }
        outgoing.flush()
    }

    private mutating func receive(until deadline: Instant) throws(BenchError) {
        do throws(SystemError) { try poller.wait(until: deadline, into: &events) } catch {
            throw BenchError("\(error)")
        }
        let now = MonotonicClock.now()
        for index in events.indices {
            let socket = sockets[Int(events[index].token)]
            for position in incoming.receive(from: socket.handle) {
                guard let sentAt = Self.time(of: incoming.payload(of: position), mark, socket.address) else {
                    corrupt &+= 1
                    continue
                }
                onTheWay = max(0, onTheWay - 1)
                arrived &+= 1
                guard sentAt >= measuredFrom else { continue }
                received &+= 1
                latency.record(now - sentAt)
            }
            incoming.removeAll()
        }
    }

    /// When the request left that this is the right response to; `nil` if it is none.
    private static func time(of bytes: Span<UInt8>, _ mark: UInt32, _ local: SocketAddress) -> Instant? {
        guard let view = try? STUNMessageView(bytes), view.messageClass == .success, view.method == .binding,
            view.transactionID.low == mark, let mapped = try? view.xorMappedAddress(), mapped.port == local.port
        else { return nil }
        return Instant(nanoseconds: view.transactionID.high)
    }
}
