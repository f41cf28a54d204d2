import NetTypes
import WebSocket

/// Frames as bytes, written without the module under test.
enum Frame {
    static let key: [UInt8] = [0x37, 0xFA, 0x21, 0x3D]

    /// A frame with `first` as its first byte (FIN, reserved bits, opcode), masked like a client's unless told otherwise.
    static func make(_ first: UInt8, _ payload: [UInt8] = [], masked: Bool = true) -> [UInt8] {
        var bytes = [first]
        let mask: UInt8 = masked ? 0x80 : 0
        switch payload.count {
        case 0..<126: bytes.append(mask | UInt8(payload.count))
        case 126..<65536: bytes += [mask | 126, UInt8(payload.count >> 8), UInt8(payload.count & 255)]
        default: bytes += [mask | 127] + (0..<8).map { UInt8(truncatingIfNeeded: payload.count >> (56 - 8 * $0)) }
        }
        guard masked else { return bytes + payload }
        return bytes + key + payload.enumerated().map { $1 ^ key[$0 % 4] }
    }

    static func text(_ text: String, masked: Bool = true) -> [UInt8] { make(0x81, Array(text.utf8), masked: masked) }

    static func close(_ code: UInt16, _ reason: String = "", masked: Bool = true) -> [UInt8] {
        make(0x88, [UInt8(code >> 8), UInt8(code & 255)] + Array(reason.utf8), masked: masked)
    }
}

/// One end with everything that it has said so far.
final class TestEnd {
    var engine: WebSocketConnection
    var now = Instant.zero

    init(_ role: WebSocketRole = .server, _ change: (inout WebSocketLimits) -> Void = { _ in }) {
        var limits = WebSocketLimits()
        change(&limits)
        engine = WebSocketConnection(role: role, limits: limits, entropy: .seeded(7))
    }

    @discardableResult
    func feed(_ bytes: [UInt8]) -> Disposition<WebSocketDropReason> { engine.receive(bytes.span, at: now) }

    func events() -> [WebSocketEvent] {
        var events: [WebSocketEvent] = []
        while let event = engine.pollEvent() { events.append(event) }
        return events
    }

    func send(_ text: String) -> Bool { engine.send(text: text) }

    /// Takes all output, `step` bytes at a time.
    func output(step: Int = 1000) -> [UInt8] {
        var output: [UInt8] = []
        var count = 1
        while count > 0 {
            output += [UInt8](capacity: step) { count = engine.pollTransmit(into: &$0) }
        }
        return output
    }

    var isFinished: Bool { engine.isFinished }
    var isOpen: Bool { engine.isOpen }
    var queuedBytes: Int { engine.queuedBytes }
    var nextTimeout: Instant? { engine.nextTimeout }

    func close(_ code: WebSocketCloseCode = .normal, _ reason: String = "") {
        engine.close(code, reason: reason, at: now)
    }

    func pass(_ span: TimeSpan) {
        now = now + span
        engine.handleTimeout(at: now)
    }
}

/// Feeds the stream in pieces of `cut` bytes to a server that sends everything back.
func echo(
    _ stream: [UInt8],
    cut: Int = .max,
    _ change: (inout WebSocketLimits) -> Void = { _ in }
) -> WebSocketExerciser.Outcome {
    var limits = WebSocketLimits()
    change(&limits)
    return WebSocketExerciser.echo(stream, limits: limits) { min(cut, 1 << 30) }
}
