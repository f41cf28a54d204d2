import NetTypes

/// One direction of a link: its conditions and what it remembers.
final class Link {
    /// What became of a packet.
    enum Passage {
        /// It arrives then, and a second time if it was duplicated.
        case arrives(Instant, again: Instant?)
        case dropped(NetworkDrop)
        case tooBig(mtu: Int)
    }

    var conditions: LinkConditions {
        didSet { isInstant = conditions == .ideal }
    }
    /// Whether packets come out in the moment in which they go in.
    private(set) var isInstant: Bool
    let index: Int
    /// Where packets come out.
    let end: LinkEnd
    let attachment: Int
    private var entropy: Entropy
    private var busyUntil = Instant.zero
    private var lastArrival = Instant.zero
    private var isBad = false

    init(_ conditions: LinkConditions, index: Int, attachment: Int, end: LinkEnd, entropy: Entropy) {
        self.conditions = conditions
        isInstant = conditions == .ideal
        self.index = index
        self.attachment = attachment
        self.end = end
        self.entropy = entropy
    }

    /// Sends a packet into the link.
    func pass(_ packet: inout Packet, at now: Instant) -> Passage {
        guard conditions.isUp else { return .dropped(.linkDown) }
        let byteCount = packet.byteCount
        if byteCount > conditions.mtu, packet.dontFragment || packet.destination.family == .ipv6 {
            return conditions.oversize == .report ? .tooBig(mtu: conditions.mtu) : .dropped(.blackHole)
        }
        if loses() { return .dropped(.lost) }
        let start = max(now, busyUntil)
        if let rate = conditions.bitsPerSecond, rate > 0 {
            let waiting = (start - now).nanoseconds &* (rate / 8) / 1_000_000_000
            if waiting + UInt64(byteCount) > UInt64(conditions.queueByteCount) { return .dropped(.queueFull) }
            if conditions.marksCongestion, packet.ecn != .notCapable, waiting * 2 > UInt64(conditions.queueByteCount) {
                packet.ecn = .congestionExperienced
            }
            busyUntil = start + TimeSpan(nanoseconds: UInt64(byteCount) &* 8_000_000_000 / rate)
        }
        if conditions.bleachesECN { packet.ecn = .notCapable }
        if conditions.corruption > 0, chance(conditions.corruption), !packet.payload.isEmpty {
            packet.payload[Int(entropy.next() % UInt64(packet.payload.count))] ^= 1 << UInt8(entropy.next() & 7)
        }
        let sent = max(start, busyUntil)
        let arrival = arrivalTime(sent)
        let again = conditions.duplication > 0 && chance(conditions.duplication) ? arrivalTime(sent) : nil
        return .arrives(arrival, again: again)
    }

    private func arrivalTime(_ sent: Instant) -> Instant {
        let arrival = sent + conditions.delay + jitter()
        if conditions.reorders { return arrival }
        lastArrival = max(lastArrival, arrival)
        return lastArrival
    }

    private func loses() -> Bool {
        switch conditions.loss {
        case .none: return false
        case .random(let probability): return chance(probability)
        case .bursts(let toBad, let toGood, let lossWhenGood, let lossWhenBad):
            if chance(isBad ? toGood : toBad) { isBad.toggle() }
            return chance(isBad ? lossWhenBad : lossWhenGood)
        }
    }

    private func jitter() -> TimeSpan {
        switch conditions.jitter {
        case .none: return .zero
        case .uniform(let span): return span.scaled(by: unit())
        case .normal(let deviation):
            // The sum of twelve uniform numbers has a variance of one.
            var sum = -4.0
            for _ in 0..<12 { sum += unit() }
            return deviation.scaled(by: max(0, sum))
        case .longTail(let scale):
            return scale.scaled(by: min(100, 1 / max(unit(), 1e-9).squareRoot() - 1))
        }
    }

    private func chance(_ probability: Double) -> Bool { probability > 0 && unit() < probability }

    private func unit() -> Double { Double(entropy.next() >> 11) * 0x1p-53 }
}

/// What a link leads to.
enum LinkEnd {
    /// The segment that the attachment is on.
    case segment
    /// The host or gateway that the attachment belongs to.
    case owner
}

extension TimeSpan {
    func scaled(by factor: Double) -> TimeSpan { TimeSpan(nanoseconds: UInt64(Double(nanoseconds) * factor)) }
}
