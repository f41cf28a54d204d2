import NetTypes

/// Says how many packets are due at a given rate.
struct Pacer: Sendable {
    private let packetsPerSecond: Int
    /// How many packets are made up for at most after a pause of this process: all of them would measure the pause.
    private let most: UInt64
    private var started: Instant?
    private var sent: UInt64 = 0

    init(packetsPerSecond: Int, burst: Int) {
        self.packetsPerSecond = packetsPerSecond
        most = UInt64(max(packetsPerSecond / 50, burst))
    }

    /// How many packets should have been sent by now, and were not; the first question starts the clock.
    mutating func due(at now: Instant) -> Int {
        let start = started ?? now
        started = start
        let planned = (now - start).nanoseconds / 1000 &* UInt64(packetsPerSecond) / 1_000_000
        if planned > sent + most { sent = planned - most }
        return Int(planned - min(planned, sent))
    }

    mutating func noteSent(_ count: Int) { sent &+= UInt64(count) }
}
