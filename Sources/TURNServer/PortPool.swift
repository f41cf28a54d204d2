import NetTypes

/// The ports of one relay address: which are free, which rest after use, and a random choice among the free ones.
///
/// A returned port rests before it is given out again, so that late datagrams for its last owner do not reach the next
/// one (RFC 8656 §7.2 and RFC 6056 ask for random choice; the rest is what RFC 6056 §3.2 wants from it).
struct PortPool {
    let range: ClosedRange<UInt16>
    let rest: TimeSpan
    // Free ports, even and odd; `place[port - lowerBound]` is the index in its list, or -1.
    private var free: [[UInt16]] = [[], []]
    private var place: [Int32]
    private var resting: [(port: UInt16, since: Instant)] = []
    private var firstResting = 0

    /// How many ports are neither free nor resting.
    private(set) var takenCount = 0

    init(range: ClosedRange<UInt16>, rest: TimeSpan) {
        self.range = range
        self.rest = rest
        place = Array(repeating: -1, count: range.count)
        for port in range { addFree(port) }
    }

    /// Takes a random free port, or the one that has rested longest if only resting ones are left.
    mutating func take(even: Bool, using entropy: inout Entropy, at now: Instant) -> UInt16? {
        wakeRested(at: now)
        if free[0].isEmpty, even || free[1].isEmpty { wakeOldest(even: even) }
        let evenCount = free[0].count
        let total = evenCount + (even ? 0 : free[1].count)
        guard total > 0 else { return nil }
        let choice = Int.random(in: 0..<total, using: &entropy)
        let port = choice < evenCount ? free[0][choice] : free[1][choice - evenCount]
        removeFree(port)
        takenCount += 1
        return port
    }

    /// Takes a random even port together with the next one (EVEN-PORT with R = 1); returns the even one.
    mutating func takePair(using entropy: inout Entropy, at now: Instant) -> UInt16? {
        wakeRested(at: now)
        let count = free[0].count
        guard count > 0 else { return nil }
        let start = Int.random(in: 0..<count, using: &entropy)
        for step in 0..<count {
            let port = free[0][(start + step) % count]
            guard port < range.upperBound, isFree(port + 1) else { continue }
            removeFree(port)
            removeFree(port + 1)
            takenCount += 2
            return port
        }
        return nil
    }

    /// Gives a taken port back.
    mutating func giveBack(_ port: UInt16, at now: Instant) {
        takenCount -= 1
        resting.append((port, now))
    }

    private mutating func wakeRested(at now: Instant) {
        while firstResting < resting.count, now - resting[firstResting].since >= rest {
            addFree(resting[firstResting].port)
            firstResting += 1
        }
        compact()
    }

    // Better a port that has rested less than it should than a refused client.
    private mutating func wakeOldest(even: Bool) {
        guard let index = resting[firstResting...].firstIndex(where: { !even || $0.port & 1 == 0 }) else { return }
        addFree(resting.remove(at: index).port)
    }

    private mutating func compact() {
        guard firstResting > 64, firstResting * 2 > resting.count else { return }
        resting.removeFirst(firstResting)
        firstResting = 0
    }

    private func isFree(_ port: UInt16) -> Bool { place[Int(port - range.lowerBound)] >= 0 }

    private mutating func addFree(_ port: UInt16) {
        place[Int(port - range.lowerBound)] = Int32(free[Int(port & 1)].count)
        free[Int(port & 1)].append(port)
    }

    private mutating func removeFree(_ port: UInt16) {
        let list = Int(port & 1)
        let index = Int(place[Int(port - range.lowerBound)])
        let last = free[list].removeLast()
        if last != port {
            free[list][index] = last
            place[Int(last - range.lowerBound)] = Int32(index)
        }
        place[Int(port - range.lowerBound)] = -1
    }
}
