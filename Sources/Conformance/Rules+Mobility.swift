import NetTypes
import STUN

/// Mobility (RFC 8016): an allocation that follows its client to another address.
extension RuleTable {
    mutating func addMobility() {
        add(
            190,
            "a MOBILITY-TICKET in Allocate that is not empty is refused",
            "RFC 8016 §3.1.2",
            due: "400"
        ) { probe throws(Finding) in
            _ = try Self.ticket(probe, probe.client())
            let attributes = [.requestedTransport(), RawAttribute(.mobilityTicket, [1, 2, 3, 4])]
            try probe.expect(probe.client().request(.allocate, attributes), error: 400)
        }
        add(
            191,
            "who asks for mobility gets a ticket, or is told that it is forbidden",
            "RFC 8016 §3.1.2",
            due: "success with MOBILITY-TICKET, or 405"
        ) { probe throws(Finding) in
            let reply = try probe.client().request(.allocate, [.requestedTransport(), RawAttribute(.mobilityTicket)])
            if reply.errorCode == 405 { return try probe.expect(!reply.has(.mobilityTicket), "a ticket came with 405") }
            try probe.setUp("no allocation") { () throws(Finding) in try probe.expectSuccess(reply) }
            try probe.require(reply.has(.mobilityTicket), "the server does not offer mobility")
            try probe.expect(reply.value(.mobilityTicket)?.isEmpty == false, "the ticket is empty")
        }
        add(
            192,
            "a Refresh with the ticket from elsewhere moves the allocation",
            "RFC 8016 §3.2.2",
            due: "success with LIFETIME and another ticket"
        ) { probe throws(Finding) in
            let ticket = try Self.ticket(probe, probe.client())
            let moved = try probe.client()
            let reply = try moved.request(.refresh, [RawAttribute(.mobilityTicket, ticket)])
            try probe.expectSuccess(reply)
            try probe.expect((reply.lifetime ?? 0) > 0, "LIFETIME was due, \(reply.name) came")
            let next = reply.value(.mobilityTicket)
            try probe.expect(next?.isEmpty == false && next != ticket, "another ticket was due, \(reply.name) came")
            // What was moved is there, and is deleted here.
            try probe.expectSuccess(moved.request(.refresh, [.lifetime(0)]))
        }
        add(
            192,
            "a Refresh from elsewhere with a forged ticket is refused",
            "RFC 8016 §3.2.2",
            due: "400, or 437 where the ticket is no more than the name of an allocation"
        ) { probe throws(Finding) in
            var ticket = try Self.ticket(probe, probe.client())
            ticket[ticket.count / 2] ^= 0x40
            try probe.expect(
                probe.client().request(.refresh, [RawAttribute(.mobilityTicket, ticket)]),
                error: 400,
                437
            )
        }
        add(
            192,
            "a ticket is of no use to another user",
            "RFC 8016 §3.2.2",
            due: "441, or 400"
        ) { probe throws(Finding) in
            guard let other = probe.target.otherAccount else {
                throw .notApplicable("it needs two users: --other-user")
            }
            let ticket = try Self.ticket(probe, probe.client())
            let thief = try probe.client()
            let login = try thief.logIn(as: other)
            let reply = try thief.request(.refresh, [RawAttribute(.mobilityTicket, ticket)], as: login)
            try probe.expect(reply, error: 441, 400)
        }
        add(
            193,
            "a ticket is good once",
            "RFC 8016 §3.2.2",
            due: "400 or 437 to the old ticket after the allocation has moved"
        ) { probe throws(Finding) in
            let ticket = try Self.ticket(probe, probe.client())
            let moved = try probe.client()
            try probe.setUp("the allocation does not move") { () throws(Finding) in
                let attributes = [RawAttribute(.mobilityTicket, ticket)]
                try probe.expectSuccess(moved.request(.refresh, attributes))
                // The new way is in use now.
                try probe.expectSuccess(moved.request(.refresh))
            }
            // From elsewhere it is no retransmission, the only thing that the old ticket is kept for.
            try probe.expect(
                probe.client().request(.refresh, [RawAttribute(.mobilityTicket, ticket)]),
                error: 400,
                437
            )
        }
    }

    /// The ticket of a new allocation.
    private static func ticket(_ probe: Probe, _ client: Client) throws(Finding) -> [UInt8] {
        let reply = try client.request(.allocate, [.requestedTransport(), RawAttribute(.mobilityTicket)])
        try probe.require(reply.errorCode != 405, "the server forbids mobility (405)")
        try probe.setUp("no allocation") { () throws(Finding) in try probe.expectSuccess(reply) }
        guard let ticket = reply.value(.mobilityTicket), !ticket.isEmpty else {
            throw .notApplicable("the server does not offer mobility")
        }
        return ticket
    }
}
