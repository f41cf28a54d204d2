import Bytes
import NetTypes

/// An agent that is connected needs little: what checks have left behind is given back.
extension ICEAgent {
    /// Closes the gaps in the tables, and gives memory back.
    mutating func compact(at now: Instant) {
        guard triggered.isEmpty, errands.isEmpty else { return }
        let oldPairs = pairs
        var kept: [Pair] = []
        kept.reserveCapacity(pairCount)
        var newRemotes: [RemoteEntry] = []
        var remotePlaces = [Int](repeating: -1, count: remotes.count)
        // The peer's signalled candidates stay known, so that pairs with candidates to come can be formed.
        for index in remotes.indices where !remotes[index].isRemoved || isUsed(remote: index) {
            remotePlaces[index] = newRemotes.count
            newRemotes.append(remotes[index])
        }
        var places = [Int](repeating: -1, count: oldPairs.count)
        for index in oldPairs.indices where oldPairs[index].state != .removed {
            places[index] = kept.count
            var pair = oldPairs[index]
            pair.remote = UInt16(remotePlaces[Int(pair.remote)])
            kept.append(pair)
        }
        func moved(_ token: UInt32) -> UInt32? {
            let old = Int(token & 0xFFFF)
            guard old < oldPairs.count, places[old] >= 0, oldPairs[old].token(old) == token else { return nil }
            return kept[places[old]].token(places[old])
        }
        transactions.shrink(at: now, lifetime: answerLifetime)
        for place in transactions.slots.indices where transactions[place].isLive {
            if let token = moved(transactions[place].pair) {
                transactions[place].pair = token
            } else {
                transactions.remove(place)
            }
        }
        for component in components.indices {
            components[component].nominated = components[component].nominated.map { places[$0] }
            components[component].carrier = moved(components[component].carrier) ?? 0
        }
        remotes = newRemotes
        pairs = kept
        triggered = RingBuffer(limit: 1024)
        errands = RingBuffer(limit: 1024)
        deadlines.removeAll()
        self.places = rebuildIndex()
        for index in pairs.indices { reschedule(index) }
    }

    private func isUsed(remote: Int) -> Bool {
        pairs.contains { Int($0.remote) == remote && $0.state != .removed }
    }
}
