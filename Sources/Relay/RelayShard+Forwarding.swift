import Bytes
import Diagnostics
import EventLoop
import NetTypes
import TURNServer
import Transport

/// A datagram of a client that has moved (RFC 8016), on its way to the shard that has the client's allocation.
struct ForwardedDatagram: Sendable {
    let client: ClientTuple
    let bytes: [UInt8]
    let trafficClass: UInt8
    let hopLimit: UInt8

    /// How many wait for one shard at most: what a burst brings in a turn of its loop.
    static let mailboxLimit = 1024
}

/// Datagrams between shards: the kernel chooses a shard by the client's address, and that changes when the client moves.
extension RelayShard {
    mutating func forward(_ index: Int, from client: ClientTuple, to shard: Int) {
        let datagram = ForwardedDatagram(
            client: client,
            bytes: packets.payload(of: index).toArray(),
            trafficClass: relayedTrafficClass(of: index),
            hopLimit: packets.hopLimit(of: index)
        )
        guard shard < forwards.count, forwards[shard].push(datagram) else { return drops.count(.mailboxFull) }
    }

    mutating func receiveForwarded(at now: Instant) {
        var datagrams: [ForwardedDatagram] = []
        forwards[engine.shard].receive(into: &datagrams, limit: 256)
        for datagram in datagrams {
            let bytes = datagram.bytes.span
            switch engine.receiveForwarded(bytes, from: datagram.client, at: now) {
            case .relay where datagram.hopLimit == 1: drops.count(.hopLimitReached)
            case .relay(let transmit):
                let hops = datagram.hopLimit == 0 ? 0 : datagram.hopLimit - 1
                relay(bytes, transmit, trafficClass: datagram.trafficClass, hopLimit: hops)
            case .accepted: drainEngine(at: now)
            case .ignored, .handOver: break
            }
        }
    }
}
