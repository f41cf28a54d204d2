/// What losses do to a closed loop: each narrows its window, and one place comes back for every 200 packets that arrive.
///
/// Without that, a server that drops what its buffers do not hold would be sent more and more of it, and one with few losses
/// would soon have nothing to do.
struct LossyWindow {
    static let arrivalsPerPlace = 200

    /// Packets that were overtaken in their flow and take up places still.
    private(set) var overtaken = 0
    private var arrivals = 0
    /// Packets that are lost, it seems, and take up no places any more: their flows may tell so late.
    private var forgiven: Int

    /// Makes one where `forgiven` packets have been given up.
    init(forgiving forgiven: Int = 0) { self.forgiven = forgiven }

    /// A packet has come ahead of `skipped` ones; returns how many places of the window become free.
    mutating func arrival(overtaking skipped: Int) -> Int {
        let known = min(skipped, forgiven)
        forgiven -= known
        overtaken += skipped - known
        guard overtaken > 0 else { return 1 }
        arrivals += 1
        guard arrivals >= Self.arrivalsPerPlace else { return 1 }
        arrivals = 0
        overtaken -= 1
        return 2
    }

    /// One of those that were overtaken has come; returns how many places become free: its own, unless that came back.
    mutating func lateArrival() -> Int {
        guard overtaken > 0 else { return 0 }
        overtaken -= 1
        return 1
    }
}
