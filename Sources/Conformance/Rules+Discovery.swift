import EventLoop
import NetTypes
import STUN

/// NAT behaviour discovery (RFC 5780): a server with two addresses.
extension RuleTable {
    mutating func addDiscovery() {
        add(
            176,
            "who has another address tells it, and where the response comes from",
            "RFC 5780 §6",
            on: [.udp],
            due: "OTHER-ADDRESS with another address and port, RESPONSE-ORIGIN as the source"
        ) { probe throws(Finding) in
            let (reply, other) = try Self.discover(probe, probe.client())
            try probe.expect(other.ip != reply.source.ip, "OTHER-ADDRESS has the same address")
            try probe.expect(other.port != reply.source.port, "OTHER-ADDRESS has the same port")
            try probe.expect(Self.origin(reply) == reply.source, "RESPONSE-ORIGIN is not \(reply.source)")
        }
        for (bits, what) in [(2, "port"), (4, "address"), (6, "address and port")] as [(UInt8, String)] {
            add(
                178,
                "CHANGE-REQUEST brings the response from the other \(what)",
                "RFC 5780 §6.1",
                on: [.udp],
                due: "a response from there, with RESPONSE-ORIGIN as the source"
            ) { probe throws(Finding) in
                let client = try probe.client()
                let (first, other) = try Self.discover(probe, client)
                let attribute = RawAttribute(.changeRequest, [0, 0, 0, bits])
                let reply = try client.exchange(RawMessage(.binding, .request, [attribute]))
                try probe.expectSuccess(reply)
                let ip = bits & 4 != 0 ? other.ip : first.source.ip
                let port = bits & 2 != 0 ? other.port : first.source.port
                try probe.expect(
                    reply.source.ip == ip && reply.source.port == port,
                    "\(SocketAddress(ip, port: port)) was due, it came from \(reply.source)"
                )
                try probe.expect(Self.origin(reply) == reply.source, "RESPONSE-ORIGIN is not \(reply.source)")
            }
        }
        add(
            177,
            "a server without another address does not know CHANGE-REQUEST",
            "RFC 5780 §6.1",
            on: [.udp],
            due: "420"
        ) { probe throws(Finding) in
            let client = try probe.client()
            let first = try client.exchange(RawMessage(.binding))
            try probe.require(!first.has(.otherAddress), "the server has another address")
            let attribute = RawAttribute(.changeRequest, [0, 0, 0, 2])
            try probe.expect(client.exchange(RawMessage(.binding, .request, [attribute])), error: 420)
        }
        add(
            179,
            "RESPONSE-PORT together with PADDING is refused",
            "RFC 5780 §7.5",
            on: [.udp],
            due: "400, or 420 from a server that does not know one of them"
        ) { probe throws(Finding) in
            let client = try probe.client()
            _ = try Self.discover(probe, client)
            let port = client.wire.local.port
            let attributes = [
                RawAttribute(.responsePort, [UInt8(port >> 8), UInt8(port & 255), 0, 0]),
                RawAttribute(.padding, [UInt8](repeating: 0, count: 64)),
            ]
            try probe.expect(client.exchange(RawMessage(.binding, .request, attributes)), error: 400, 420)
        }
        add(
            179,
            "RESPONSE-PORT brings the response to that port",
            "RFC 5780 §7.5",
            on: [.udp],
            due: "a response at the other port of the client, or 420"
        ) { probe throws(Finding) in
            let client = try probe.client()
            let elsewhere = try probe.client()
            _ = try Self.discover(probe, client)
            let port = elsewhere.wire.local.port
            let value = [UInt8(port >> 8), UInt8(port & 255), 0, 0]
            let message = RawMessage(.binding, .request, [RawAttribute(.responsePort, value)])
            client.sendRaw(message.bytes, message.name)
            let deadline = MonotonicClock.now() + probe.target.answerTime
            if let reply = elsewhere.answer(to: message.transactionID, until: deadline) {
                return try probe.expectSuccess(reply)
            }
            guard let reply = client.answer(to: message.transactionID, until: MonotonicClock.now()) else {
                throw .failed("no response came to the port of RESPONSE-PORT")
            }
            try probe.require(reply.errorCode != 420, "the server does not know RESPONSE-PORT (420)")
            try probe.expect(false, "the response came to the port of the request")
        }
        add(
            180,
            "PADDING in the request brings PADDING in the response",
            "RFC 5780 §6.1",
            on: [.udp],
            due: "success with PADDING, or 420"
        ) { probe throws(Finding) in
            let client = try probe.client()
            _ = try Self.discover(probe, client)
            let attribute = RawAttribute(.padding, [UInt8](repeating: 0, count: 64))
            let reply = try client.exchange(RawMessage(.binding, .request, [attribute]))
            try probe.require(reply.errorCode != 420, "the server does not know PADDING (420)")
            try probe.expectSuccess(reply)
            try probe.expect(reply.value(.padding)?.isEmpty == false, "PADDING was due, \(reply.name) came")
        }
    }

    private static func origin(_ reply: Reply) -> SocketAddress? {
        reply.read { (view) throws(STUNError) in try view.responseOrigin() }
    }

    /// An ordinary Binding response of a server with two addresses.
    private static func discover(_ probe: Probe, _ client: Client) throws(Finding) -> (Reply, SocketAddress) {
        let reply = try client.exchange(RawMessage(.binding))
        guard let other = reply.read({ (view) throws(STUNError) in try view.otherAddress() }) else {
            throw .notApplicable("the server has no other address for NAT discovery: no OTHER-ADDRESS")
        }
        return (reply, other)
    }
}
