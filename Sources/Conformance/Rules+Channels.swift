import NetTypes
import STUN
import TURN

/// Channels (RFC 8656 §12).
extension RuleTable {
    mutating func addChannelBinding() {
        refuseBinding("ChannelBind without a number is refused", 400) { peer in [.peer(peer.address)] }
        refuseBinding("ChannelBind without a peer is refused", 400) { _ in [.channel(0x4001)] }
        for number: UInt16 in [0, 0x3FFF, 0x5000, 0x7FFF, 0xFFFF] {
            let name = "0x" + String(number, radix: 16, uppercase: true)
            refuseBinding("ChannelBind for the number \(name), which is none of a channel, is refused", 400) { peer in
                [.channel(number), .peer(peer.address)]
            }
        }
        refuseBinding("ChannelBind of a bound number to another peer is refused", 400, bound: 0x4002) { peer in
            [.channel(0x4002), .peer(SocketAddress(peer.address.ip, port: peer.address.port ^ 1))]
        }
        refuseBinding("ChannelBind of a bound peer to another number is refused", 400, bound: 0x4002) { peer in
            [.channel(0x4003), .peer(peer.address)]
        }
        refuseBinding("ChannelBind to a peer of the other family is refused", 443, number: 136) { peer in
            [.channel(0x4001), .peer(Self.someone(peer.address.family == .ipv4 ? .ipv6 : .ipv4))]
        }
        refuseBinding("ChannelBind to port 0 is refused", 400, number: 158, .ours) { peer in
            [.channel(0x4001), .peer(SocketAddress(peer.address.ip, port: 0))]
        }
        add(
            136,
            "ChannelBind to a forbidden peer is refused",
            "RFC 8656 §12.2",
            due: "403"
        ) { probe throws(Finding) in
            let client = try probe.client()
            try client.allocate()
            let (forbidden, _) = try Self.forbiddenPeer(client)
            try probe.expect(client.request(.channelBind, [.channel(0x4001), .peer(forbidden)]), error: 403)
        }
        add(
            137,
            "the same number can be bound to the same peer again",
            "RFC 8656 §12",
            due: "success each time"
        ) { probe throws(Finding) in
            let client = try probe.client()
            try client.allocate()
            let peer = try probe.peer()
            try client.bind(0x4005, to: peer)
            for _ in 0..<2 {
                try probe.expectSuccess(client.request(.channelBind, [.channel(0x4005), .peer(peer.address)]))
            }
        }
        add(
            139,
            "ChannelBind permits the peer's address, all ports of it",
            "RFC 8656 §12.2",
            due: "a Data indication from another port of the peer"
        ) { probe throws(Finding) in
            let client = try probe.client()
            let relayed = try client.allocate().relayed
            try client.bind(0x4006, to: probe.peer())
            try Self.expectOnly([6], from: probe.peer(), at: client, relayed)
        }
        add(
            151,
            "reserved bytes of CHANNEL-NUMBER are ignored",
            "RFC 8656 §18.1",
            due: "success"
        ) { probe throws(Finding) in
            let client = try probe.client()
            try client.allocate()
            let peer = try probe.peer()
            try client.permit(peer)
            let number = RawAttribute(.channelNumber, [0x40, 0x07, 0xAB, 0xCD])
            try probe.expectSuccess(client.request(.channelBind, [number, .peer(peer.address)]))
        }
    }

    private mutating func refuseBinding(
        _ title: String,
        _ code: UInt16,
        bound: UInt16? = nil,
        number: Int = 135,
        _ level: RuleLevel = .must,
        _ attributes: @escaping @Sendable (Peer) -> [RawAttribute]
    ) {
        add(number, title, "RFC 8656 §12.2", level, due: "\(code)") { probe throws(Finding) in
            let client = try probe.client()
            try client.allocate()
            let peer = try probe.peer()
            try client.permit(peer)
            if let bound { try client.bind(bound, to: peer) }
            try probe.expect(client.request(.channelBind, attributes(peer)), error: code)
        }
    }

    mutating func addChannelData() {
        add(
            140,
            "ChannelData from the server is padded on streams, and its length does not count that",
            "RFC 8656 §12.5",
            on: [.tcp, .tls],
            due: "1, 2, 3 and 5 bytes, one after the other"
        ) { probe throws(Finding) in
            let (client, relayed, peer) = try Self.bound(probe, 0x4020)
            for count in [1, 2, 3, 5] {
                let data = [UInt8](repeating: UInt8(count), count: count)
                peer.send(data, to: relayed)
                let delivery = client.delivery()
                let isRight = delivery == .channelData(number: 0x4020, data: data)
                try probe.expect(isRight, "\(delivery?.name ?? "nothing") came for \(count) bytes")
            }
        }
        add(
            140,
            "the padding of ChannelData is not relayed",
            "RFC 8656 §12.5",
            due: "datagrams of 1, 2, 3 and 5 bytes"
        ) { probe throws(Finding) in
            let (client, relayed, peer) = try Self.bound(probe, 0x4021)
            for count in [1, 2, 3, 5] {
                let data = [UInt8](repeating: UInt8(count), count: count)
                client.sendRaw(Self.channelData(0x4021, data), "ChannelData of \(count) bytes, padded")
                let arrival = peer.receive()
                try probe.expect(arrival?.bytes == data, "\(arrival?.bytes.count ?? -1) bytes instead of \(count)")
                try probe.expect(arrival?.source == relayed, "it is not from the relayed address")
            }
        }
        add(
            142,
            "ChannelData of length 0 becomes an empty datagram",
            "RFC 8656 §12.6",
            due: "a datagram of no bytes"
        ) { probe throws(Finding) in
            let (client, _, peer) = try Self.bound(probe, 0x4022)
            client.sendRaw(Self.channelData(0x4022, []), "ChannelData of 0 bytes")
            let arrival = peer.receive()
            try probe.expect(arrival?.bytes == [], "\(arrival.map { "\($0.bytes.count) bytes" } ?? "nothing") came")
        }
        discardedChannelData("ChannelData on a number that is not bound is discarded") {
            Self.channelData(0x4FF0, [1])
        }
        discardedChannelData("ChannelData on a reserved number is discarded") { Self.channelData(0x5001, [1]) }
        discardedChannelData("ChannelData that is shorter than it says is discarded", on: [.udp]) {
            [0x40, 0x23, 0, 9, 1, 2, 3, 4]
        }
    }

    private static func bound(_ probe: Probe, _ number: UInt16) throws(Finding) -> (Client, SocketAddress, Peer) {
        let client = try probe.client()
        let relayed = try client.allocate().relayed
        let peer = try probe.peer()
        try client.bind(number, to: peer)
        return (client, relayed, peer)
    }

    private static func channelData(_ number: UInt16, _ data: [UInt8]) -> [UInt8] {
        var bytes = [UInt8(number >> 8), UInt8(number & 255), UInt8(data.count >> 8), UInt8(data.count & 255)] + data
        while bytes.count % 4 != 0 { bytes.append(0) }
        return bytes
    }

    private mutating func discardedChannelData(
        _ title: String,
        on transports: [TransportProtocol] = TransportProtocol.allCases,
        _ bytes: @escaping @Sendable () -> [UInt8]
    ) {
        add(
            141,
            title,
            "RFC 8656 §12.6",
            on: transports,
            due: "nothing at the peer, no answer, and the channel still works"
        ) { probe throws(Finding) in
            let (client, _, peer) = try Self.bound(probe, 0x4023)
            try client.expectSilence(after: bytes(), "\(title.prefix(while: { $0 != "," }))")
            client.sendRaw(Self.channelData(0x4023, [9, 9]), "ChannelData on a bound channel")
            let arrival = peer.receive()
            try probe.expect(arrival?.bytes == [9, 9], "\(arrival?.bytes.count ?? -1) bytes came")
        }
    }
}
