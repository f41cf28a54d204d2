import NetTypes
import STUN

/// Retransmissions and Refresh (RFC 8489 §6.3.1, RFC 8656 §5, §8).
extension RuleTable {
    mutating func addRetransmissions() {
        add(
            32,
            "a repeated Binding request gets an equivalent response",
            "RFC 8489 §6.3.1",
            on: [.udp],
            due: "the same answer twice"
        ) { probe throws(Finding) in
            let client = try probe.client()
            let message = RawMessage(.binding)
            let first = try client.exchange(message)
            let second = try client.exchange(message)
            try probe.expect(first.message == second.message, "\(first.name), then \(second.name)")
        }
        add(
            32,
            "a repeated CreatePermission request gets an equivalent response",
            "RFC 8489 §6.3.1",
            on: [.udp],
            due: "success twice"
        ) { probe throws(Finding) in
            let client = try probe.client()
            try client.allocate()
            let peer = try probe.peer()
            try client.permit(peer)
            let message = client.signed(.createPermission, [.peer(peer.address)], as: try client.logIn())
            for _ in 0..<2 { try probe.expectSuccess(client.exchange(message)) }
        }
        add(
            94,
            "a repeated Allocate request gets the same relayed address",
            "RFC 8656 §7.2",
            on: [.udp],
            due: "success with the same XOR-RELAYED-ADDRESS"
        ) { probe throws(Finding) in
            let client = try probe.client()
            let message = client.signed(.allocate, [.requestedTransport()], as: try client.logIn())
            let first = try probe.setUp("no allocation") { () throws(Finding) in
                try Allocation(client.exchange(message))
            }
            let second = try client.exchange(message)
            try probe.expectSuccess(second)
            try probe.expect(second.relayedAddress == first.relayed, "another relayed address came")
        }
        add(
            94,
            "a repeated Refresh that deletes does not fail in a way that matters",
            "RFC 8656 §8.2",
            .ours,
            on: [.udp],
            due: "success, or 437, which means the same to a client"
        ) { probe throws(Finding) in
            let client = try probe.client()
            try client.allocate()
            let message = client.signed(.refresh, [.lifetime(0)], as: try client.logIn())
            try probe.expectSuccess(client.exchange(message))
            let second = try client.exchange(message)
            try probe.expect(second.messageClass == .success || second.errorCode == 437, "\(second.name) came")
        }
    }

    mutating func addRefresh() {
        for (method, attributes) in [
            (.refresh, []), (.createPermission, [.peer(Self.someone(.ipv4))]),
            (.channelBind, [.channel(0x4001), .peer(Self.someone(.ipv4))]),
        ] as [(STUNMethod, [RawAttribute])] {
            add(
                89,
                "\(method) without an allocation is refused",
                "RFC 8656 §5",
                due: "437"
            ) { probe throws(Finding) in
                try probe.expect(probe.client().request(method, attributes), error: 437)
            }
            add(
                90,
                "\(method) by another user than the allocation's is refused",
                "RFC 8656 §5",
                due: "441"
            ) { probe throws(Finding) in
                guard let other = probe.target.otherAccount else {
                    throw .notApplicable("it needs a second user: give --other-user or --secret")
                }
                let client = try probe.client()
                try client.allocate()
                // The nonce is good for both: it is the client address's, and the user is checked after it.
                let challenge = try client.exchange(RawMessage(.refresh))
                let login = try probe.setUp("no challenge") { () throws(Finding) in
                    try Login(other, answering: challenge)
                }
                try probe.expect(client.request(method, attributes, as: login), error: 441)
            }
        }
        add(
            116,
            "Refresh sets the lifetime anew and says it",
            "RFC 8656 §8.2",
            due: "success with a LIFETIME of at least the default"
        ) { probe throws(Finding) in
            let client = try probe.client()
            let lifetime = try client.allocate().lifetime
            for attributes in [[], [.lifetime(60)], [.lifetime(.max)]] as [[RawAttribute]] {
                let reply = try client.request(.refresh, attributes)
                try probe.expectSuccess(reply)
                try probe.expect(reply.grants(lifetime), "\(reply.lifetime ?? 0) s after \(lifetime) s")
            }
        }
        add(
            116,
            "Refresh with LIFETIME 0 deletes the allocation",
            "RFC 8656 §8.2",
            due: "success with LIFETIME 0, then 437"
        ) { probe throws(Finding) in
            let client = try probe.client()
            try client.allocate()
            let reply = try client.request(.refresh, [.lifetime(0)])
            try probe.expectSuccess(reply)
            try probe.expect(reply.lifetime == 0, "LIFETIME 0 was due, \(reply.name) came")
            try probe.expect(client.request(.refresh), error: 437)
        }
        add(
            116,
            "a client can allocate again after it has deleted its allocation",
            "RFC 8656 §8.2",
            due: "success with another relayed address"
        ) { probe throws(Finding) in
            let client = try probe.client()
            try client.allocate()
            try probe.expectSuccess(client.request(.refresh, [.lifetime(0)]))
            try probe.expectSuccess(client.request(.allocate, [.requestedTransport()]))
        }
        add(
            117,
            "Refresh for a family that the allocation does not have is refused",
            "RFC 8656 §8.2",
            due: "443"
        ) { probe throws(Finding) in
            let client = try probe.client()
            let family = try client.allocate().relayed.family
            try probe.expect(client.request(.refresh, [.family(family == .ipv4 ? 2 : 1)]), error: 443)
        }
    }

    /// A public address that no test sends to.
    static func someone(_ family: AddressFamily) -> SocketAddress {
        let ip = family == .ipv4 ? IPAddress(ipv4: 0x0808_0808) : IPAddress(ipv6: 0x2600_1F18_0000_0000, 1)
        return SocketAddress(ip, port: 9)
    }
}
