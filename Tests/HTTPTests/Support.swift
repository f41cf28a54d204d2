import HTTP
import NetTypes

/// A connection with its time and everything that it has said so far.
final class TestConnection {
    var engine: HTTPServerConnection
    var now = Instant.zero + .seconds(100)
    var output: [UInt8] = []

    init(_ change: (inout HTTPLimits) -> Void = { _ in }) {
        var limits = HTTPLimits()
        change(&limits)
        engine = HTTPServerConnection(
            limits: limits,
            wallClock: WallClock(unixSeconds: 784_111_777, at: .zero + .seconds(100)),
            at: .zero + .seconds(100)
        )
    }

    var text: String { String(decoding: output, as: UTF8.self) }

    func feed(_ text: String) { engine.receive(Array(text.utf8).span, at: now) }

    func end() { engine.receiveEnd(at: now) }

    /// Takes at most `limit` bytes of output.
    func transmit(_ limit: Int = 1 << 20) {
        var left = limit
        var count = 1
        while count > 0 && left > 0 {
            let capacity = min(left, 1000)
            output += [UInt8](capacity: capacity) { count = engine.pollTransmit(at: now, into: &$0) }
            left -= count
        }
    }

    func events() -> [HTTPServerEvent] {
        var events: [HTTPServerEvent] = []
        while let event = engine.pollEvent() { events.append(event) }
        return events
    }

    /// The next event if it is a request.
    func request() -> HTTPRequest? {
        guard case .request(let request) = engine.pollEvent() else { return nil }
        return request
    }

    func pass(_ span: TimeSpan) {
        now = now + span
        engine.handleTimeout(at: now)
    }
}

/// Feeds the text in one piece and answers everything.
func serve(_ text: String, cut: Int = .max, _ change: (inout HTTPLimits) -> Void = { _ in }) -> HTTPExerciser.Outcome {
    var limits = HTTPLimits()
    change(&limits)
    return HTTPExerciser.serve(Array(text.utf8), limits: limits) { cut }
}

extension HTTPExerciser.Outcome {
    var text: String { String(decoding: output, as: UTF8.self) }

    var requests: [HTTPRequest] {
        events.compactMap { event in
            guard case .request(let request) = event else { return nil }
            return request
        }
    }

    /// The reasons of drops, without the one that depends on how the stream was cut.
    var drops: [HTTPDropReason] {
        events.compactMap { event in
            guard case .dropped(let reason) = event, reason != .afterClose else { return nil }
            return reason
        }
    }
}
