import EventLoop
import NetTypes
import STUN
import Transport

/// TCP allocations (RFC 6062).
extension RuleTable {
    private static let tcp: UInt8 = 6
    private static let streams: [TransportProtocol] = [.tcp, .tls]

    mutating func addTCPAllocations() {
        add(
            161,
            "a TCP allocation is not for clients over UDP",
            "RFC 6062 §5.1",
            on: [.udp],
            due: "400, or 442 where nobody gets one"
        ) { probe throws(Finding) in
            try probe.expect(probe.client().request(.allocate, [.requestedTransport(Self.tcp)]), error: 400, 442)
        }
        for (attribute, name) in [
            (RawAttribute.evenPort(reservesNext: false), "EVEN-PORT"), (RawAttribute(.dontFragment), "DONT-FRAGMENT"),
            (RawAttribute(.reservationToken, [1, 2, 3, 4, 5, 6, 7, 8]), "RESERVATION-TOKEN"),
        ] {
            add(
                162,
                "a TCP allocation with \(name) is refused",
                "RFC 6062 §5.1",
                on: Self.streams,
                due: "400"
            ) { probe throws(Finding) in
                _ = try Self.allocate(probe, probe.client())
                let attributes = [.requestedTransport(Self.tcp), attribute]
                try probe.expect(probe.client().request(.allocate, attributes), error: 400)
            }
        }
        add(165, "Connect without an allocation is refused", "RFC 6062 §5.2", on: Self.streams, due: "437") {
            probe throws(Finding) in
            _ = try Self.allocate(probe, probe.client())
            try probe.expect(probe.client().request(.connect, [.peer(Self.someone(.ipv4))]), error: 437)
        }
        add(165, "Connect without XOR-PEER-ADDRESS is refused", "RFC 6062 §5.2", on: Self.streams, due: "400") {
            probe throws(Finding) in
            let client = try probe.client()
            _ = try Self.allocate(probe, client)
            try probe.expect(client.request(.connect), error: 400)
        }
        add(
            166,
            "Connect to a peer that refuses it fails",
            "RFC 6062 §5.2",
            on: Self.streams,
            due: "447"
        ) { probe throws(Finding) in
            let client = try probe.client()
            _ = try Self.allocate(probe, client)
            let closed: SocketAddress
            do {
                // Its port is free again when it goes out of scope.
                let listener = try TCPListener(boundTo: SocketAddress(probe.target.peerAddresses[0], port: 0))
                closed = listener.localAddress
            } catch {
                throw .blocked("no port for a peer: \(error)")
            }
            try probe.expect(client.request(.connect, [.peer(closed)]), error: 447)
        }
        add(
            167,
            "Connect gives the connection a name, and a second one to the same peer is refused",
            "RFC 6062 §5.2",
            on: Self.streams,
            due: "success with CONNECTION-ID, then 446"
        ) { probe throws(Finding) in
            let client = try probe.client()
            _ = try Self.allocate(probe, client)
            let peer = try Self.listener(probe)
            let reply = try client.request(.connect, [.peer(peer.localAddress)])
            try probe.expectSuccess(reply)
            try probe.expect(reply.value(.connectionID)?.count == 4, "CONNECTION-ID was due, \(reply.name) came")
            try probe.expect(client.request(.connect, [.peer(peer.localAddress)]), error: 446)
        }
        add(
            170,
            "ConnectionBind takes the connection of that name once, and no other",
            "RFC 6062 §5.4",
            on: Self.streams,
            due: "400 to an unknown CONNECTION-ID, success, 400 to a second one"
        ) { probe throws(Finding) in
            let client = try probe.client()
            _ = try Self.allocate(probe, client)
            let peer = try Self.listener(probe)
            let name = try probe.setUp("no connection") { () throws(Finding) in
                let reply = try client.request(.connect, [.peer(peer.localAddress)])
                try probe.expectSuccess(reply)
                return reply.value(.connectionID) ?? []
            }
            let wrong = name.map { $0 ^ 0x5A }
            try probe.expect(
                probe.client().request(.connectionBind, [RawAttribute(.connectionID, wrong)]),
                error: 400
            )
            try probe.expect(probe.client().request(.connectionBind), error: 400)
            let data = try probe.client()
            try probe.expectSuccess(data.request(.connectionBind, [RawAttribute(.connectionID, name)]))
            try probe.expect(
                probe.client().request(.connectionBind, [RawAttribute(.connectionID, name)]),
                error: 400
            )
        }
        add(
            169,
            "a peer with a permission that connects is announced",
            "RFC 6062 §5.3",
            on: Self.streams,
            due: "ConnectionAttempt with XOR-PEER-ADDRESS and CONNECTION-ID"
        ) { probe throws(Finding) in
            let client = try probe.client()
            let relayed = try Self.allocate(probe, client)
            let peer = SocketAddress(probe.target.peerAddresses[0], port: 0)
            try probe.setUp("no permission") { () throws(Finding) in
                try probe.expectSuccess(client.request(.createPermission, [.peer(SocketAddress(peer.ip, port: 9))]))
            }
            let wire: StreamWire
            do throws(WireFailure) {
                let deadline = MonotonicClock.now() + probe.target.answerTime
                wire = try StreamWire(at: peer, to: relayed, tls: nil, serverName: "", until: deadline)
            } catch {
                throw .failed("the peer cannot connect to the relayed address: \(error.reason)")
            }
            let arrival = client.wire.receive(until: MonotonicClock.now() + probe.target.answerTime)
            guard let arrival, let reply = Reply(arrival.bytes, from: arrival.source) else {
                throw .failed("no ConnectionAttempt came")
            }
            let isAttempt = reply.method == .connectionAttempt && reply.messageClass == .indication
            try probe.expect(isAttempt, "ConnectionAttempt was due, \(reply.name) came")
            try probe.expect(reply.peerAddress == wire.local, "XOR-PEER-ADDRESS is not the peer's \(wire.local)")
            try probe.expect(reply.value(.connectionID)?.count == 4, "CONNECTION-ID was due, \(reply.name) came")
        }
    }

    /// A TCP allocation, where the server makes any; returns the relayed address.
    private static func allocate(_ probe: Probe, _ client: Client) throws(Finding) -> SocketAddress {
        let reply = try client.request(.allocate, [.requestedTransport(tcp)])
        try probe.require(reply.errorCode != 442, "the server makes no TCP allocations (442)")
        return try probe.setUp("no TCP allocation") { () throws(Finding) in try Allocation(reply).relayed }
    }

    /// A peer that takes connections, as far as the kernel does for it.
    private static func listener(_ probe: Probe) throws(Finding) -> TCPListener {
        do {
            return try TCPListener(boundTo: SocketAddress(probe.target.peerAddresses[0], port: 0))
        } catch {
            throw .blocked("no port for a peer: \(error)")
        }
    }
}
