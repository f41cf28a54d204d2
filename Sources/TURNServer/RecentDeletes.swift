import Bytes
import NetTypes
import STUN

/// The Refresh requests that have deleted an allocation, for as long as a client may send them again (turn 94).
///
/// RFC 8656 §8.2 lets a server answer such a retransmission with 437; the success that got lost is the better answer.
struct RecentDeletes: ~Copyable {
    private struct Delete {
        let transactionID: TransactionID
        let sequence: UInt64
        let forgotten: Instant
    }

    // RFC 8489 §6.3.1: a request may come again for 40 s.
    private static let memory = TimeSpan.seconds(40)
    private var deletes: FlatTable<ClientTuple, Delete>
    private var order: [ClientTuple] = []
    private var sequence: UInt64 = 0
    private let limit: Int

    init(limit: Int, seed: UInt64) {
        self.limit = limit
        deletes = FlatTable(seed: seed)
    }

    var count: Int { deletes.count }

    mutating func note(_ transactionID: TransactionID, from client: ClientTuple, at now: Instant) {
        let place = Int(sequence % UInt64(limit))
        if order.count == limit {
            if let oldest = deletes[order[place]], oldest.sequence &+ UInt64(limit) == sequence {
                deletes.remove(order[place])
            }
            order[place] = client
        } else {
            order.append(client)
        }
        deletes.insert(
            Delete(transactionID: transactionID, sequence: sequence, forgotten: now + Self.memory),
            for: client
        )
        sequence &+= 1
    }

    func contains(_ transactionID: TransactionID, from client: ClientTuple, at now: Instant) -> Bool {
        guard let delete = deletes[client] else { return false }
        return delete.transactionID == transactionID && now < delete.forgotten
    }
}
