import Bytes
import EventLoop
import NetTypes
import TURN

/// One end of a connection that the server relays (RFC 6062 §4.5).
private final class DataEndpoint {
    let link: StreamLink
    private var engine: TURNDataConnection
    private var received: [UInt8] = []

    init(_ engine: consuming TURNDataConnection, _ target: ServerTarget) throws(InstrumentError) {
        link = try target.openStream()
        self.engine = engine
        self.engine.start(at: MonotonicClock.now())
        transmit()
    }

    var isBound: Bool { engine.outcome == .bound }
    var nextTimeout: Instant { engine.nextTimeout ?? .distantFuture }

    var failure: String? {
        if case .failed(let failure)? = engine.outcome { return "\(failure)" }
        return link.failure
    }

    func send(_ bytes: [UInt8]) { link.send(bytes.span) }

    /// Takes what has come and does what is due.
    func turn() {
        let now = MonotonicClock.now()
        link.receive { bytes, _ in
            if engine.outcome == .bound {
                for index in bytes.indices { received.append(bytes[index]) }
            } else {
                engine.receive(bytes, at: now)
                // From here on no message comes any more, not even in what was read already.
                link.isRaw = engine.outcome == .bound
            }
        }
        if link.failure != nil { engine.transportFailed() }
        engine.handleTimeout(at: now)
        transmit()
    }

    func takeReceived() -> [UInt8] {
        defer { received.removeAll(keepingCapacity: true) }
        return received
    }

    private func transmit() {
        while true {
            let bytes = buildBytes(capacity: TURNClient.maximumMessageByteCount) { output in
                _ = engine.pollTransmit(into: &output)
            }
            if bytes.isEmpty { return }
            link.send(bytes.span)
        }
    }
}

/// Two TCP allocations, one of which connects to the other.
extension TURNProbe {
    func echoConnected(
        _ first: TURNEndpoint,
        _ second: TURNEndpoint,
        at target: ServerTarget,
        _ report: inout Report
    ) throws(InstrumentError) {
        guard let from = first.allocation?.relayed.first, let to = second.allocation?.relayed.first else { return }
        var links = try LinkSet([first.link, second.link])
        let deadline = MonotonicClock.now() + .seconds(40)
        func control(until isDone: () -> Bool) throws(InstrumentError) -> Bool {
            while !isDone(), MonotonicClock.now() < deadline, first.connectFailure == nil {
                guard first.end == nil, second.end == nil else { return false }
                _ = try links.wait(until: min(deadline, min(first.nextTimeout, second.nextTimeout)))
                first.turn()
                second.turn()
            }
            return isDone()
        }
        second.permit(from)
        guard try control(until: { second.permitted.contains(from.ip) }) else {
            report.failure = "the server gave no permission for its own relayed address"
            return
        }
        first.connect(to: to)
        guard try control(until: { !first.connections.isEmpty && !second.connections.isEmpty }) else {
            report.failure =
                first.connectFailure.map { "\($0)" } ?? "the connection between the allocations was not made in time"
            return
        }
        let ends = try (
            DataEndpoint(first.dataConnection(first.connections[0].id), target),
            DataEndpoint(second.dataConnection(second.connections[0].id), target)
        )
        try echo(ends, &report)
        first.close()
        second.close()
        let end = MonotonicClock.now() + .seconds(2)
        while MonotonicClock.now() < end, first.end == nil || second.end == nil {
            _ = try links.wait(until: end)
            first.turn()
            second.turn()
        }
    }

    private func echo(
        _ ends: (first: DataEndpoint, second: DataEndpoint),
        _ report: inout Report
    ) throws(InstrumentError) {
        var links = try LinkSet([ends.first.link, ends.second.link])
        for number in -1..<count {
            let payload = Array("floe \(number)".utf8)
            let start = MonotonicClock.now()
            let deadline = start + (number < 0 ? .seconds(40) : patience)
            if number >= 0 {
                ends.first.send(payload)
                report.sent += 1
            }
            var arrived: [UInt8] = []
            while MonotonicClock.now() < deadline {
                _ = try links.wait(until: min(deadline, min(ends.first.nextTimeout, ends.second.nextTimeout)))
                ends.first.turn()
                ends.second.turn()
                if let failure = ends.first.failure ?? ends.second.failure {
                    report.failure = failure
                    return
                }
                // The first round is for the two ends to be bound.
                if number < 0, ends.first.isBound, ends.second.isBound { break }
                let bytes = ends.second.takeReceived()
                if !bytes.isEmpty { ends.second.send(bytes) }
                arrived += ends.first.takeReceived()
                guard arrived != payload else {
                    report.roundTrips.append(MonotonicClock.now() - start)
                    break
                }
            }
        }
        if report.roundTrips.isEmpty, count > 0 {
            report.failure = "the server connected two allocations, but no data came from one to the other"
        }
    }
}
