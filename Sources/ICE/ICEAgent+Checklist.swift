import Bytes
import NetTypes
import STUN

/// Which pair is checked when (RFC 8445 §6.1.2.6, §6.1.4; RFC 8838 §12).
extension ICEAgent {
    /// Whether two pairs are of one foundation: what works for one is likely to work for the other.
    func isSameFoundation(_ one: Int, _ other: Int) -> Bool {
        guard pairs[one].generation == pairs[other].generation else { return false }
        return locals[Int(pairs[one].local)].foundation == locals[Int(pairs[other].local)].foundation
            && remotes[Int(pairs[one].remote)].foundation == remotes[Int(pairs[other].remote)].foundation
    }

    /// Finds the state of a pair that has just come in (RFC 8838 §12; ice 101).
    ///
    /// Before the first check, `settleFirstStates` does it for all pairs at once.
    mutating func settleNewPair(_ index: Int) {
        guard hasStarted else {
            hasWaiting = true
            return
        }
        var isTopmost = true
        for other in pairs.indices where other != index && pairs[other].state != .removed {
            guard isSameFoundation(other, index) else { continue }
            if pairs[other].flags.contains(.foundationStarted) { pairs[index].flags.insert(.foundationStarted) }
            if pairs[other].state == .succeeded {
                setState(index, .waiting)
                return
            }
            if isBefore(other, index), pairs[other].state.isUnfinished || pairs[other].state == .failed {
                isTopmost = false
            }
        }
        if isTopmost { setState(index, .waiting) }
    }

    /// One pair of each foundation waits: the lowest component, then the highest priority (ice 34).
    private mutating func settleFirstStates() {
        hasStarted = true
        for index in pairs.indices where pairs[index].state == .frozen {
            var isFirst = true
            for other in pairs.indices
            where other != index && isSameFoundation(other, index)
                && (pairs[other].state == .waiting || pairs[other].state == .inProgress
                    || pairs[other].state == .frozen && isBefore(other, index))
            {
                isFirst = false
                break
            }
            if isFirst { setState(index, .waiting) }
        }
    }

    private func isBefore(_ one: Int, _ other: Int) -> Bool {
        pairs[one].component == pairs[other].component
            ? pairs[one].priority > pairs[other].priority
            : pairs[one].component < pairs[other].component
    }

    /// The pair whose ordinary check is next (ice 37): the best of those that wait, else of foundations at rest.
    mutating func nextOrdinary() -> Int? {
        if !hasStarted { settleFirstStates() }
        if let best = bestWaiting() { return best }
        // Foundations of which no pair waits or is in progress give their next pair.
        var found = false
        for index in pairs.indices where pairs[index].state == .frozen {
            var isFirst = true
            for other in pairs.indices where other != index && isSameFoundation(other, index) {
                let state = pairs[other].state
                if state == .waiting || state == .inProgress || state == .frozen && isBefore(other, index) {
                    isFirst = false
                    break
                }
            }
            if isFirst {
                setState(index, .waiting)
                found = true
            }
        }
        return found ? bestWaiting() : nil
    }

    private func bestWaiting() -> Int? {
        var best: Int?
        for index in pairs.indices
        where pairs[index].state == .waiting && !pairs[index].flags.contains(.triggered) {
            if let other = best {
                let (one, two) = (pairs[index], pairs[other])
                let isBetter =
                    one.priority == two.priority ? one.component < two.component : one.priority > two.priority
                if isBetter { best = index }
            } else {
                best = index
            }
        }
        return best
    }

    /// Every frozen pair of that foundation may be checked now (ice 54).
    mutating func unfreeze(like index: Int) {
        for other in pairs.indices where pairs[other].state == .frozen && isSameFoundation(other, index) {
            setState(other, .waiting)
        }
    }

    /// Puts a pair into the triggered-check queue (RFC 8445 §6.1.4.1).
    mutating func enqueue(_ index: Int) {
        guard !pairs[index].flags.contains(.triggered) else { return }
        guard triggered.append(pairs[index].token(index)) else { return }
        pairs[index].flags.insert(.triggered)
    }

    /// Notes that a check of the foundation was sent; the first one of each may leave at the pacer's speed.
    private mutating func markFoundation(_ index: Int) {
        guard !pairs[index].flags.contains(.foundationStarted) else { return }
        burstCount += 1
        for other in pairs.indices where isSameFoundation(other, index) {
            pairs[other].flags.insert(.foundationStarted)
        }
    }

    // MARK: Sending

    /// Takes the next ordinary check, if it is time for one.
    mutating func takeOrdinary(at now: Instant, pacer: inout CheckPacer) -> Int? {
        while hasWaiting, canCheck, now >= checkSlot {
            guard let index = nextOrdinary() else {
                // Nothing waits: the slot is not used up (ice 38, 93).
                hasWaiting = false
                return nil
            }
            if prepareConnection(index, at: now) { continue }
            guard pacer.take(at: now) else {
                checkSlot = pacer.next
                return nil
            }
            markFoundation(index)
            planNextCheck(at: now, interval: pacer.interval)
            return index
        }
        return nil
    }

    /// The next ordinary check comes after Ta, or after the pacer's interval if it is the first of its foundation.
    ///
    /// Departure: RFC 8445 §6.1.4.2 sends one check per Ta from the beginning. One check per foundation, at most
    /// `burstLimit`, shows at 5 ms each which kinds of pairs work; the global limit of §14.2 holds.
    private mutating func planNextCheck(at now: Instant, interval: TimeSpan) {
        var isFirstOfFoundation = false
        for index in pairs.indices where pairs[index].state == .waiting {
            if !pairs[index].flags.contains(.foundationStarted) {
                isFirstOfFoundation = true
                break
            }
        }
        let step = isFirstOfFoundation && burstCount < configuration.burstLimit ? interval : pacing
        checkSlot = now + max(step, .milliseconds(1))
    }

    /// Takes the next triggered check: those leave at once (ice 36, 37).
    mutating func takeTriggered(at now: Instant, pacer: inout CheckPacer) -> Int? {
        while !triggered.isEmpty, canCheck {
            guard now >= pacer.nextUrgent else {
                urgentSlot = pacer.nextUrgent
                return nil
            }
            guard let token = triggered.popFirst() else { return nil }
            guard let index = pairIndex(token) else { continue }
            pairs[index].flags.remove(.triggered)
            guard pairs[index].state == .waiting || pairs[index].flags.contains(.nominating) else { continue }
            guard pairs[index].generation == generations[generations.count - 1].number else { continue }
            if prepareConnection(index, at: now) { continue }
            guard pacer.takeUrgent(at: now) else { continue }
            markFoundation(index)
            return index
        }
        return nil
    }
}
