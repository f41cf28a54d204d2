import NetTypes
import STUN

/// Permissions (RFC 8656 §9, §10).
extension RuleTable {
    mutating func addPermissions() {
        add(
            112,
            "a new allocation has no permissions",
            "RFC 8656 §7.2",
            due: "nothing for the client; data once there is a permission"
        ) { probe throws(Finding) in
            let client = try probe.client()
            let relayed = try client.allocate().relayed
            let peer = try probe.peer()
            peer.send([1], to: relayed)
            try Self.expectNothing(at: client)
            try client.permit(peer)
            try Self.expectOnly([2], from: peer, at: client, relayed)
        }
        add(
            119,
            "a permission is for an address, whatever the port",
            "RFC 8656 §9",
            due: "data from another port of the same address"
        ) { probe throws(Finding) in
            let client = try probe.client()
            let relayed = try client.allocate().relayed
            try client.permit(probe.peer())
            try Self.expectOnly([3], from: probe.peer(), at: client, relayed)
        }
        add(
            120,
            "a permission is for one address and no other",
            "RFC 8656 §9",
            due: "nothing from the other address"
        ) { probe throws(Finding) in
            let client = try probe.client()
            let relayed = try client.allocate().relayed
            let (peer, stranger) = (try probe.peer(), try probe.peer(at: 1))
            try client.permit(peer)
            stranger.send([1], to: relayed)
            try Self.expectNothing(at: client)
            try Self.expectOnly([2], from: peer, at: client, relayed)
        }
        add(
            121,
            "a CreatePermission with several peers permits all of them",
            "RFC 8656 §10.2",
            due: "data from each of them"
        ) { probe throws(Finding) in
            let client = try probe.client()
            let relayed = try client.allocate().relayed
            let peers = [try probe.peer(), try probe.peer(at: 1)]
            try probe.expectSuccess(client.request(.createPermission, peers.map { .peer($0.address) }))
            for (index, peer) in peers.enumerated() {
                try Self.expectOnly([UInt8(index)], from: peer, at: client, relayed)
            }
        }
        add(
            123,
            "CreatePermission can be repeated, and its success needs no attribute but protection",
            "RFC 8656 §10.2",
            due: "success each time"
        ) { probe throws(Finding) in
            let client = try probe.client()
            try client.allocate()
            let peer = try probe.peer()
            try client.permit(peer)
            for _ in 0..<2 { try probe.expectSuccess(client.request(.createPermission, [.peer(peer.address)])) }
        }
    }

    /// What a peer has sent must not arrive; a server may look at its sockets in any order, so it gets a moment.
    static func expectNothing(at client: Client) throws(Finding) {
        let delivery = client.delivery(within: client.probe.target.quietTime)
        try client.probe.expect(delivery == nil, "\(delivery?.name ?? "") came")
    }

    /// What the peer sends must be the first thing that the client gets: so what was sent before has been dropped.
    static func expectOnly(
        _ data: [UInt8],
        from peer: Peer,
        at client: Client,
        _ relayed: SocketAddress
    ) throws(Finding) {
        let probe = client.probe
        for _ in 0..<3 {
            peer.send(data, to: relayed)
            guard let delivery = client.delivery(within: .milliseconds(700)) else { continue }
            try probe.expect(delivery == .indication(peer: peer.address, data: data), "\(delivery.name) came")
            return
        }
        try probe.expect(false, "nothing came from the permitted peer")
    }

    mutating func addPermissionRefusals() {
        refusePermission(121, "CreatePermission without a peer is refused", 400) { _ in [] }
        refusePermission(121, "CreatePermission with a malformed peer address is refused", 400) { _ in
            [RawAttribute(.xorPeerAddress, [0, 1, 2, 3, 4])]
        }
        refusePermission(121, "CreatePermission with a good and a malformed peer address is refused", 400) { family in
            [.peer(Self.someone(family)), RawAttribute(.xorPeerAddress, [0, 1, 2, 3, 4])]
        }
        refusePermission(122, "CreatePermission for a peer of the other family is refused", 443) { family in
            [.peer(Self.someone(family == .ipv4 ? .ipv6 : .ipv4))]
        }
        add(
            123,
            "CreatePermission for a forbidden peer is refused",
            "RFC 8656 §10.2",
            due: "403"
        ) { probe throws(Finding) in
            let client = try probe.client()
            try client.allocate()
            let (forbidden, reply) = try Self.forbiddenPeer(client)
            try probe.expect(reply.errorCode == 403, "\(reply.name) came for \(forbidden)")
        }
        add(
            124,
            "CreatePermission for a good and a forbidden peer permits neither",
            "RFC 8656 §10.2",
            .ours,
            due: "403, and nothing from the good one"
        ) { probe throws(Finding) in
            let client = try probe.client()
            let relayed = try client.allocate().relayed
            let (forbidden, _) = try Self.forbiddenPeer(client)
            let (peer, other) = (try probe.peer(), try probe.peer(at: 1))
            let mixed: [RawAttribute] = [.peer(peer.address), .peer(forbidden)]
            try probe.expect(client.request(.createPermission, mixed), error: 403)
            peer.send([1], to: relayed)
            try Self.expectNothing(at: client)
            try client.permit(other)
            try Self.expectOnly([2], from: other, at: client, relayed)
        }
    }

    /// An address that the server refuses as a peer, with its answer.
    static func forbiddenPeer(_ client: Client) throws(Finding) -> (SocketAddress, Reply) {
        let tried = ["0.0.0.0", "224.0.0.1", "255.255.255.255", "127.0.0.1", "169.254.169.254", "10.0.0.1"]
        let tried6 = ["::", "ff02::1", "::1", "fe80::1", "fc00::1"]
        for ip in client.probe.target.peerFamily == .ipv4 ? tried : tried6 {
            guard let ip = IPAddress(ip) else { continue }
            let address = SocketAddress(ip, port: 9)
            let reply = try client.request(.createPermission, [.peer(address)])
            if reply.messageClass == .error { return (address, reply) }
        }
        throw .notApplicable("the server refuses no peer that was tried")
    }

    private mutating func refusePermission(
        _ number: Int,
        _ title: String,
        _ code: UInt16,
        _ attributes: @escaping @Sendable (AddressFamily) -> [RawAttribute]
    ) {
        add(number, title, "RFC 8656 §10.2", due: "\(code)") { probe throws(Finding) in
            let client = try probe.client()
            let family = try client.allocate().relayed.family
            try probe.expect(client.request(.createPermission, attributes(family)), error: code)
        }
    }
}
