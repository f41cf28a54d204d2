import NetTypes
import STUN

/// The long-term credential mechanism, in the order of the server's checks (RFC 8489 §9.2.4).
extension RuleTable {
    mutating func addChallenges() {
        add(
            56,
            "a nonce begins with the nonce cookie",
            "RFC 8489 §9.2",
            due: "obMatJos2 and four characters of base 64"
        ) { probe throws(Finding) in
            let login = try probe.client().logIn()
            let text = String(decoding: (login.nonce ?? []).prefix(13), as: UTF8.self)
            try probe.expect(login.features != nil, "the nonce begins with '\(text)'")
        }
        add(
            57,
            "a request without credentials is challenged with REALM and NONCE",
            "RFC 8489 §9.2.4",
            due: "401 with REALM and NONCE"
        ) { probe throws(Finding) in
            let reply = try probe.client().exchange(RawMessage(.allocate, .request, [.requestedTransport()]))
            try Self.expectChallenge(probe, reply, 401)
        }
        add(
            57,
            "a challenge has no USERNAME, USERHASH or integrity",
            "RFC 8489 §9.2.4",
            .should,
            due: "401 without them"
        ) { probe throws(Finding) in
            let reply = try probe.client().exchange(RawMessage(.allocate, .request, [.requestedTransport()]))
            try probe.expect(reply, error: 401)
            for type in [AttributeType.username, .userhash, .messageIntegrity, .messageIntegritySHA256] {
                try probe.expect(!reply.has(type), "\(type) came")
            }
        }
        add(
            58,
            "no two clients get the same nonce",
            "RFC 8489 §9.2.4",
            due: "another nonce for another port"
        ) { probe throws(Finding) in
            var nonces: Set<[UInt8]> = []
            for count in 1...4 {
                nonces.insert(try probe.client().logIn().nonce ?? [])
                try probe.expect(nonces.count == count, "two of \(count) clients have the same nonce")
            }
        }
        add(
            59,
            "PASSWORD-ALGORITHMS is there if, and only if, the nonce announces it",
            "RFC 8489 §9.2.4",
            due: "the attribute and bit 0, or neither"
        ) { probe throws(Finding) in
            let reply = try probe.client().exchange(RawMessage(.allocate, .request, [.requestedTransport()]))
            try Self.expectChallenge(probe, reply, 401)
            let announced = Login.features(of: reply.value(.nonce) ?? [])?.contains(.passwordAlgorithms) ?? false
            try probe.expect(announced == reply.has(.passwordAlgorithms), "bit 0 is \(announced), \(reply.name) came")
        }
    }

    static func expectChallenge(_ probe: Probe, _ reply: Reply, _ code: UInt16) throws(Finding) {
        try probe.expect(reply, error: code)
        try probe.expect(reply.has(.realm) && reply.has(.nonce), "REALM and NONCE were due, \(reply.name) came")
    }

    mutating func addRefusedCredentials() {
        incomplete("USERNAME") { $0.username = nil }
        incomplete("REALM") { $0.realm = nil }
        incomplete("NONCE") { $0.nonce = nil }
        add(
            61,
            "the refusal of incomplete credentials has none of USERNAME, USERHASH, NONCE, REALM",
            "RFC 8489 §9.2.4",
            .should,
            due: "400 without them"
        ) { probe throws(Finding) in
            let client = try probe.client()
            var login = try client.logIn()
            login.nonce = nil
            let reply = try client.request(.allocate, [.requestedTransport()], as: login)
            try probe.expect(reply, error: 400)
            for type in [AttributeType.username, .userhash, .nonce, .realm] {
                try probe.expect(!reply.has(type), "\(type) came")
            }
        }
        add(
            64,
            "an unknown user is challenged",
            "RFC 8489 §9.2.4",
            due: "401 with REALM and NONCE"
        ) { probe throws(Finding) in
            let client = try probe.client()
            var login = try client.logIn()
            login.username = Array("nobody-\(client.wire.local.port)".utf8)
            let reply = try client.request(.allocate, [.requestedTransport()], as: login)
            try Self.expectChallenge(probe, reply, 401)
            let isOffered = login.offered == nil || reply.has(.passwordAlgorithms)
            try probe.expect(isOffered, "PASSWORD-ALGORITHMS was due, \(reply.name) came")
        }
        add(
            65,
            "a wrong password is challenged",
            "RFC 8489 §9.2.4",
            due: "401 with REALM and NONCE"
        ) { probe throws(Finding) in
            let client = try probe.client()
            let login = try client.logIn().withPassword("not the password")
            let reply = try client.request(.allocate, [.requestedTransport()], as: login)
            try Self.expectChallenge(probe, reply, 401)
        }
        add(
            65,
            "a message that was changed on its way is challenged",
            "RFC 8489 §9.2.4",
            due: "401 with REALM and NONCE"
        ) { probe throws(Finding) in
            let client = try probe.client()
            let login = try client.logIn()
            var message = client.signed(.allocate, [.requestedTransport(), .lifetime(700)], as: login)
            message.corrupt("LIFETIME changed afterwards") { $0[35] ^= 1 }
            try Self.expectChallenge(probe, client.exchange(message), 401)
        }
        addStaleNonces()
    }

    private mutating func incomplete(_ name: String, _ remove: @escaping @Sendable (inout Login) -> Void) {
        add(
            61,
            "a request with integrity but without \(name) is refused, and not challenged",
            "RFC 8489 §9.2.4",
            due: "400"
        ) { probe throws(Finding) in
            let client = try probe.client()
            var login = try client.logIn()
            remove(&login)
            try probe.expect(client.request(.allocate, [.requestedTransport()], as: login), error: 400)
        }
    }

    private mutating func addStaleNonces() {
        add(
            66,
            "a nonce that the server did not make is stale",
            "RFC 8489 §9.2.4",
            due: "438 with REALM and a NONCE that works"
        ) { probe throws(Finding) in
            let client = try probe.client()
            var login = try client.logIn()
            login.nonce = Self.changed(login.nonce ?? [])
            let reply = try client.request(.allocate, [.requestedTransport()], as: login)
            try Self.expectChallenge(probe, reply, 438)
            try probe.expect(!reply.has(.username) && !reply.has(.userhash), "\(reply.name) came")
            login.nonce = reply.value(.nonce)
            try probe.expectSuccess(client.request(.allocate, [.requestedTransport()], as: login))
        }
        add(
            66,
            "a wrong password is found before a stale nonce",
            "RFC 8489 §9.2.4",
            due: "401"
        ) { probe throws(Finding) in
            let client = try probe.client()
            var login = try client.logIn().withPassword("not the password")
            login.nonce = Self.changed(login.nonce ?? [])
            try probe.expect(client.request(.allocate, [.requestedTransport()], as: login), error: 401)
        }
        add(
            69,
            "the nonce of another client is stale",
            "RFC 8489 §9.2.4",
            .ours,
            due: "438"
        ) { probe throws(Finding) in
            let client = try probe.client()
            var login = try client.logIn()
            login.nonce = try probe.client(from: probe.target.otherClientAddress).logIn().nonce
            try probe.expect(client.request(.allocate, [.requestedTransport()], as: login), error: 438)
        }
        add(
            69,
            "a nonce whose features were changed is not accepted",
            "RFC 8489 §9.2",
            .ours,
            due: "an error"
        ) { probe throws(Finding) in
            let client = try probe.client()
            var login = try client.logIn().fallingBack()
            try probe.require(login.features != nil, "the nonce announces no features")
            // The first six bits become zero or, if they are, one of them is set.
            var nonce = login.nonce ?? []
            nonce[9] = nonce[9] == UInt8(ascii: "A") ? UInt8(ascii: "g") : UInt8(ascii: "A")
            login.nonce = nonce
            let reply = try client.request(.allocate, [.requestedTransport()], as: login)
            try probe.expect(reply.messageClass == .error, "\(reply.name) came")
        }
    }

    /// A nonce with the same cookie and another end.
    private static func changed(_ nonce: [UInt8]) -> [UInt8] {
        guard let last = nonce.last else { return [UInt8(ascii: "0")] }
        return nonce.dropLast() + [last == UInt8(ascii: "0") ? UInt8(ascii: "1") : UInt8(ascii: "0")]
    }
}
