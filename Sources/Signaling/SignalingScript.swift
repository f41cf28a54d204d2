import NetTypes
import SignalingMessages

/// Plays a server from arbitrary bytes, for fuzzers and tests: whatever they say, the server must come to rest.
package enum SignalingScript {
    /// Runs the steps that `bytes` spell and then lets all time-outs pass.
    ///
    /// A step is one byte for what is done and on which of 16 connections, one for a length in units of 8 bytes or a
    /// time in units of 250 ms, and then, for a text, its bytes. In a text `%` stands for the newest session's secret
    /// and `$` for its public id, which no bytes could guess.
    package static func run(_ bytes: [UInt8], limits: SignalingLimits = SignalingLimits()) -> SignalingStatistics {
        var now = Instant(nanoseconds: 1)
        var engine = SignalingEngine(
            limits: limits,
            iceServers: ICEServersMinter(secret: "secret"),
            entropy: .seeded(1),
            unixSeconds: 0,
            at: now
        )
        var newest: (secret: String, id: String) = ("", "")
        var names: [UInt64] = Array(0..<16)
        var rest = bytes[...]
        while let step = rest.popFirst() {
            let slot = Int(step & 15)
            let length = Int(rest.popFirst() ?? 0)
            switch step &>> 4 {
            case 0...1:
                // An id is used once.
                names[slot] += 16
                engine.connectionOpened(names[slot], host: "example.org", at: now)
            case 2: engine.connectionClosed(names[slot], at: now)
            case 3:
                now = now + .milliseconds(UInt64(length) * 250)
                engine.handleTimeout(at: now)
            case 4: engine.receiveNonText(from: names[slot], at: now)
            default:
                let text = String(decoding: rest.prefix(length * 8), as: UTF8.self)
                rest = rest.dropFirst(length * 8)
                let filled = text.replacing("%", with: newest.secret).replacing("$", with: newest.id)
                engine.receive(filled, from: names[slot], at: now)
            }
            drain(&engine, &newest)
        }
        while let next = engine.nextTimeout, engine.statistics.sessions + engine.statistics.connections > 0 {
            now = max(now, next)
            engine.handleTimeout(at: now)
            drain(&engine, &newest)
        }
        return engine.statistics
    }

    private static func drain(_ engine: inout SignalingEngine, _ newest: inout (secret: String, id: String)) {
        while engine.pollEvent() != nil {}
        while let transmit = engine.pollTransmit() {
            guard case .text(let text, _) = transmit else { continue }
            guard let frame = try? ServerFrame(decoding: text) else { preconditionFailure("unreadable: \(text)") }
            if case .joined(let secret, let welcome) = frame.message { newest = (secret, welcome.id) }
        }
    }
}
