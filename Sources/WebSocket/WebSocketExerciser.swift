import Bytes
import NetTypes

/// Runs arbitrary bytes through a connection as a driver would; for fuzzers and for tests.
package enum WebSocketExerciser {
    /// What a run saw.
    package struct Outcome: Equatable {
        /// The events in order.
        package var events: [WebSocketEvent] = []
        /// What was sent.
        package var output: [UInt8] = []
        /// Why the peer's bytes were dropped first.
        package var dropped: WebSocketDropReason?
        /// Whether the connection was done before its transport ended.
        package var isFinished = false
    }

    /// Feeds `stream` in pieces whose lengths `cuts` gives, and sends each message back.
    package static func echo(
        _ stream: [UInt8],
        role: WebSocketRole = .server,
        limits: WebSocketLimits = WebSocketLimits(),
        cuts: () -> Int
    ) -> Outcome {
        var outcome = Outcome()
        var connection = WebSocketConnection(role: role, limits: limits, entropy: .seeded(1))
        var offset = 0
        while offset < stream.count && !connection.isFinished {
            let end = min(stream.count, offset + max(1, cuts()))
            let result = connection.receive(stream.span.extracting(offset..<end), at: .zero)
            if case .ignored(let reason) = result, outcome.dropped == nil { outcome.dropped = reason }
            offset = end
            drain(&connection, &outcome)
        }
        outcome.isFinished = connection.isFinished
        connection.receiveEnd()
        drain(&connection, &outcome)
        return outcome
    }

    private static func drain(_ connection: inout WebSocketConnection, _ outcome: inout Outcome) {
        while let event = connection.pollEvent() {
            outcome.events.append(event)
            switch event {
            case .text(let text): _ = connection.send(text: text)
            case .binary(let bytes): _ = connection.send(binary: bytes)
            case .ping, .pong, .closed: break
            }
        }
        var count = 1
        while count > 0 {
            // Shorter than some frames, so that frames are cut on their way out too.
            outcome.output += [UInt8](capacity: 300) { count = connection.pollTransmit(into: &$0) }
        }
    }
}
