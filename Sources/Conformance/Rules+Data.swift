import NetTypes
import STUN

/// Send and Data indications (RFC 8656 §11).
extension RuleTable {
    mutating func addSend() {
        add(
            129,
            "a Send indication becomes a datagram with just the data, from the relayed address",
            "RFC 8656 §11.2",
            due: "datagrams of 1, 2, 3, 4, 5 and 1200 bytes"
        ) { probe throws(Finding) in
            let (client, relayed, peer) = try Self.permitted(probe)
            for count in [1, 2, 3, 4, 5, 1200] {
                let data = (0..<count).map { UInt8(truncatingIfNeeded: $0 + 7) }
                let arrival = try Self.deliver(.peer(peer.address), data, client, peer)
                try probe.expect(arrival.bytes == data, "\(arrival.bytes.count) bytes instead of \(count)")
                try probe.expect(arrival.source == relayed, "from \(arrival.source) instead of \(relayed)")
            }
        }
        add(
            126,
            "a Send indication with empty data becomes an empty datagram",
            "RFC 8656 §11.2",
            due: "a datagram of no bytes"
        ) { probe throws(Finding) in
            let (client, _, peer) = try Self.permitted(probe)
            let arrival = try Self.deliver(.peer(peer.address), [], client, peer)
            try probe.expect(arrival.bytes.isEmpty, "\(arrival.bytes.count) bytes came")
        }
        discardedSend(126, "a Send indication without data is discarded") { peer in [.peer(peer.address)] }
        discardedSend(126, "a Send indication without a peer is discarded") { _ in [.data([1])] }
        discardedSend(29, "a Send indication with an unknown required attribute is discarded") { peer in
            [.peer(peer.address), .data([1]), RawAttribute(RawAttribute.unknownRequired)]
        }
        add(
            8,
            "of two XOR-PEER-ADDRESS in a Send indication the first counts",
            "RFC 8489 §14",
            .ours,
            due: "a datagram at the first peer only"
        ) { probe throws(Finding) in
            let client = try probe.client()
            try client.allocate()
            let (first, second) = (try probe.peer(), try probe.peer(at: 1))
            try client.permit(first, second)
            client.sendIndication([.peer(first.address), .peer(second.address), .data([1])])
            try probe.expect(first.receive()?.bytes == [1], "nothing at the first peer")
            try probe.expect(second.receiveLate() == nil, "a datagram at the second peer")
        }
        add(
            127,
            "a Send indication to a peer without permission is discarded",
            "RFC 8656 §11.2",
            due: "nothing at that peer"
        ) { probe throws(Finding) in
            let client = try probe.client()
            try client.allocate()
            let (peer, stranger) = (try probe.peer(), try probe.peer(at: 1))
            try client.permit(peer)
            client.sendIndication([.peer(stranger.address), .data([1])])
            _ = try Self.deliver(.peer(peer.address), [2], client, peer)
            try probe.expect(stranger.receiveLate() == nil, "a datagram at the peer without permission")
        }
        add(
            128,
            "a Send indication with DONT-FRAGMENT is relayed if the server supports it, else discarded",
            "RFC 8656 §11.2",
            due: "a datagram, or none, as the answer to DONT-FRAGMENT in Allocate was"
        ) { probe throws(Finding) in
            let attributes: [RawAttribute] = [.requestedTransport(), RawAttribute(.dontFragment)]
            let isSupported = try probe.client().request(.allocate, attributes).messageClass == .success
            let (client, _, peer) = try Self.permitted(probe)
            client.sendIndication([.peer(peer.address), .data([1]), RawAttribute(.dontFragment)])
            let first = isSupported ? peer.receive() : nil
            try probe.expect(first?.bytes == (isSupported ? [1] : nil), "nothing arrived")
            _ = try Self.deliver(.peer(peer.address), [2], client, peer)
            try probe.expect(peer.receiveLate() == nil, "a datagram arrived that was to be discarded")
        }
    }

    /// A client with an allocation and a permission for a peer.
    static func permitted(_ probe: Probe) throws(Finding) -> (Client, SocketAddress, Peer) {
        let client = try probe.client()
        let relayed = try client.allocate().relayed
        let peer = try probe.peer()
        try client.permit(peer)
        return (client, relayed, peer)
    }

    /// Sends data to a peer, again if a datagram was lost, and returns what arrived.
    private static func deliver(
        _ address: RawAttribute,
        _ data: [UInt8],
        _ client: Client,
        _ peer: Peer
    ) throws(Finding) -> Arrival {
        for _ in 0..<2 {
            client.sendIndication([address, .data(data)])
            if let arrival = peer.receive() {
                client.probe.noteSent("Send indication with \(data.count) bytes of data")
                client.probe.noteCame("datagram of \(arrival.bytes.count) bytes at the peer, from \(arrival.source)")
                return arrival
            }
        }
        throw .failed("nothing arrived at the peer")
    }

    private mutating func discardedSend(
        _ number: Int,
        _ title: String,
        _ attributes: @escaping @Sendable (Peer) -> [RawAttribute]
    ) {
        add(number, title, "RFC 8656 §11.2", due: "nothing at the peer, no answer") { probe throws(Finding) in
            let (client, _, peer) = try Self.permitted(probe)
            try client.expectSilence(after: RawMessage(.send, .indication, attributes(peer)))
            try probe.expect(
                Self.deliver(.peer(peer.address), [9, 9], client, peer).bytes == [9, 9],
                "it was relayed"
            )
        }
    }

    mutating func addData() {
        add(
            130,
            "a datagram of a permitted peer becomes a Data indication",
            "RFC 8656 §11.3",
            due: "XOR-PEER-ADDRESS of the peer, DATA of 0, 1, 5 and 1200 bytes"
        ) { probe throws(Finding) in
            let (client, relayed, peer) = try Self.permitted(probe)
            for count in [1, 5, 1200, 0] {
                let data = [UInt8](repeating: 0x5A, count: count)
                peer.send(data, to: relayed)
                let delivery = client.delivery()
                let isRight = delivery == .indication(peer: peer.address, data: data)
                try probe.expect(isRight, "\(delivery?.name ?? "nothing") came for \(count) bytes")
            }
        }
        add(
            130,
            "a datagram of a peer with a channel becomes ChannelData, and nothing else",
            "RFC 8656 §11.3",
            due: "ChannelData alone"
        ) { probe throws(Finding) in
            let client = try probe.client()
            let relayed = try client.allocate().relayed
            let peer = try probe.peer()
            try client.bind(0x4010, to: peer)
            peer.send([1, 2, 3], to: relayed)
            let delivery = client.delivery()
            let isRight = delivery == .channelData(number: 0x4010, data: [1, 2, 3])
            try probe.expect(isRight, "\(delivery?.name ?? "nothing") came")
            let late = client.delivery(within: probe.target.quietTime)
            try probe.expect(late == nil, "\(late?.name ?? "") came as well")
        }
        add(
            159,
            "two clients of the same server reach each other over their relayed addresses",
            "RFC 8656 §9",
            .ours,
            due: "data in both directions, from the relayed address of the other"
        ) { probe throws(Finding) in
            let clients = [try probe.client(), try probe.client()]
            var relayed: [SocketAddress] = []
            for client in clients { relayed.append(try client.allocate().relayed) }
            for index in [0, 1] {
                try probe.expectSuccess(clients[index].request(.createPermission, [.peer(relayed[1 - index])]))
            }
            for index in [0, 1] {
                clients[index].sendIndication([.peer(relayed[1 - index]), .data([UInt8(index)])])
                let delivery = clients[1 - index].delivery()
                let isRight = delivery == .indication(peer: relayed[index], data: [UInt8(index)])
                try probe.expect(isRight, "\(delivery?.name ?? "nothing") came")
            }
        }
    }
}
