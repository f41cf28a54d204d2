import NetTypes
import Synchronization

/// The clients whose datagrams the kernel gives to one shard while their allocation lives on another one.
///
/// The kernel spreads clients over the shards by their addresses, so one that moves (RFC 8016) may arrive at the wrong one.
/// Only what finds no allocation on its own shard looks here, and takes the lock only if there is such a client at all.
final class ForwardedClients: Sendable {
    private let count = Atomic(0)
    private let shards = Mutex<[ClientTuple: Int]>([:])

    /// The shard that has the client's allocation, if it is registered.
    func shard(of client: ClientTuple) -> Int? {
        guard count.load(ordering: .relaxed) > 0 else { return nil }
        return shards.withLock { $0[client] }
    }

    func register(_ client: ClientTuple, at shard: Int) {
        shards.withLock { shards in
            shards[client] = shard
            count.store(shards.count, ordering: .relaxed)
        }
    }

    /// Forgets the client, if it is that shard which has registered it.
    func forget(_ client: ClientTuple, of shard: Int) {
        guard count.load(ordering: .relaxed) > 0 else { return }
        shards.withLock { shards in
            if shards[client] == shard { shards[client] = nil }
            count.store(shards.count, ordering: .relaxed)
        }
    }

    /// How many clients are registered.
    var clientCount: Int { shards.withLock { $0.count } }
}
