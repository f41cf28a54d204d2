import Crypto
import NetTypes
import STUN

/// Password algorithms, the protection of messages, and what stands behind it (RFC 8489 §9.2.4, §14.5, §14.6).
extension RuleTable {
    mutating func addPasswordAlgorithms() {
        add(
            48,
            "PASSWORD-ALGORITHMS is a list of numbers with empty parameters",
            "RFC 8489 §14.11",
            due: "MD5 or SHA-256 at least, each with the parameter length 0"
        ) { probe throws(Finding) in
            let offered = try Self.offered(probe, probe.client().logIn())
            try probe.expect(!offered.isEmpty && offered.count % 4 == 0, "\(offered.count) bytes came")
            var known = false
            for start in stride(from: 0, to: offered.count - 3, by: 4) {
                known = known || offered[start..<start + 2] == [0, 1] || offered[start..<start + 2] == [0, 2]
                try probe.expect(offered[start + 2] == 0 && offered[start + 3] == 0, "an algorithm has parameters")
            }
            try probe.expect(known, "neither MD5 nor SHA-256 is offered")
        }
        add(
            62,
            "a client that names no algorithm is taken to mean MD5",
            "RFC 8489 §9.2.4",
            due: "success with MESSAGE-INTEGRITY"
        ) { probe throws(Finding) in
            let client = try probe.client()
            _ = try Self.offered(probe, client.logIn())
            let login = try client.logIn().fallingBack()
            let reply = try client.request(.allocate, [.requestedTransport()], as: login)
            try probe.expectSuccess(reply)
            try probe.expect(login.check(reply) == .valid, "MESSAGE-INTEGRITY of MD5 was due, \(reply.name) came")
        }
        bidDown("a shortened list of algorithms") { login in login.algorithms = Array(login.algorithms?.prefix(4) ?? [])
        }
        bidDown("a reordered list of algorithms") { login in
            let list = login.algorithms ?? []
            login.algorithms = Array(list.suffix(4) + list.dropLast(4))
        }
        bidDown("an algorithm that is not in the list") { $0.algorithm = PasswordAlgorithm(rawValue: 0x7777) }
        bidDown("a list of algorithms without a choice") { $0.algorithm = nil }
        bidDown("a choice of algorithm without the list") { $0.algorithms = nil }
        add(
            65,
            "of two integrity attributes the one of SHA-256 counts",
            "RFC 8489 §9.2.4",
            due: "401, since only the other one is right"
        ) { probe throws(Finding) in
            let client = try probe.client()
            let login = try client.logIn()
            _ = try Self.offered(probe, login)
            var message = RawMessage(.allocate, .request, [.requestedTransport()])
            login.describe(in: &message)
            message.addIntegrity(.messageIntegrity, login.key)
            message.addIntegrity(.messageIntegritySHA256, login.key, isWrong: true)
            try probe.expect(client.exchange(message), error: 401)
        }
        add(
            44,
            "a shortened MESSAGE-INTEGRITY-SHA256 is not accepted",
            "RFC 8489 §14.6",
            due: "an error: TURN does not define a shorter one"
        ) { probe throws(Finding) in
            let client = try probe.client()
            let login = try client.logIn()
            _ = try Self.offered(probe, login)
            var message = RawMessage(.allocate, .request, [.requestedTransport()])
            login.describe(in: &message)
            message.addIntegrity(.messageIntegritySHA256, login.key, byteCount: 16)
            let reply = try client.exchange(message)
            try probe.expect(reply.messageClass == .error, "\(reply.name) came")
        }
    }

    private static func offered(_ probe: Probe, _ login: Login) throws(Finding) -> [UInt8] {
        guard let offered = login.offered else { throw .notApplicable("the server offers no password algorithms") }
        return offered
    }

    private mutating func bidDown(_ name: String, _ change: @escaping @Sendable (inout Login) -> Void) {
        add(63, "\(name) is refused", "RFC 8489 §9.2.4", due: "400") { probe throws(Finding) in
            let client = try probe.client()
            var login = try client.logIn()
            let offered = try Self.offered(probe, login)
            login.algorithms = offered
            login.algorithm = login.algorithm ?? .md5
            let before = (login.algorithms, login.algorithm)
            change(&login)
            try probe.require(
                login.algorithms != before.0 || login.algorithm != before.1,
                "the server offers a single algorithm"
            )
            try probe.expect(client.request(.allocate, [.requestedTransport()], as: login), error: 400)
        }
    }

    mutating func addProtection() {
        add(
            43,
            "an authenticated response is protected with the user's key",
            "RFC 8489 §14.5, §14.6",
            due: "integrity that is right"
        ) { probe throws(Finding) in
            let client = try probe.client()
            let reply = try client.request(.allocate, [.requestedTransport()])
            try probe.expectSuccess(reply)
            try probe.expect(client.logIn().check(reply) == .valid, "its integrity is missing or wrong: \(reply.name)")
        }
        add(
            67,
            "success and error after authentication have the integrity of the request's kind, and only that",
            "RFC 8489 §9.2.4",
            due: "MESSAGE-INTEGRITY-SHA256, or MESSAGE-INTEGRITY if the client named no algorithm"
        ) { probe throws(Finding) in
            let client = try probe.client()
            let success = try client.request(.allocate, [.requestedTransport()])
            let error = try client.request(.allocate, [.requestedTransport()])
            try probe.expectSuccess(success)
            try probe.expect(error.messageClass == .error, "an error was due, \(error.name) came")
            let login = try client.logIn()
            for reply in [success, error] {
                let isAlone = reply.has(.messageIntegrity) != reply.has(.messageIntegritySHA256)
                try probe.expect(isAlone && login.check(reply) == .valid, "\(reply.name) came")
            }
        }
        add(
            67,
            "responses after authentication repeat no credentials",
            "RFC 8489 §9.2.4",
            .should,
            due: "no REALM, NONCE, USERNAME or USERHASH"
        ) { probe throws(Finding) in
            let reply = try probe.client().allocate().reply
            for type in [AttributeType.realm, .nonce, .username, .userhash] {
                try probe.expect(!reply.has(type), "\(type) came")
            }
        }
        behind("LIFETIME 0 behind the integrity has no effect", .lifetime(0)) { probe, reply throws(Finding) in
            try probe.expect(reply.lifetime.map { $0 > 0 } ?? false, "the allocation was deleted")
        }
        behind(
            "an unknown required attribute behind the integrity has no effect",
            RawAttribute(.init(rawValue: 0x7F31))
        ) {
            _,
            _ throws(Finding) in
        }
        add(
            42,
            "a user can be named by USERHASH",
            "RFC 8489 §9.2.4",
            due: "success"
        ) { probe throws(Finding) in
            let client = try probe.client()
            var login = try client.logIn()
            try probe.require(login.features?.contains(.usernameAnonymity) ?? false, "the server does not announce it")
            let text = (login.username ?? []) + [UInt8(ascii: ":")] + (login.realm ?? [])
            (login.username, login.userhash) = (nil, MessageDigest.sha256(text))
            try probe.expectSuccess(client.request(.allocate, [.requestedTransport()], as: login))
        }
    }

    private mutating func behind(
        _ title: String,
        _ attribute: RawAttribute,
        _ body: @escaping @Sendable (Probe, Reply) throws(Finding) -> Void
    ) {
        add(45, title, "RFC 8489 §14.5, §14.6", due: "success, as without it") { probe throws(Finding) in
            let client = try probe.client()
            try client.allocate()
            var message = client.signed(.refresh, [.lifetime(900)], as: try client.logIn())
            message.add(attribute)
            let reply = try client.exchange(message)
            try probe.expectSuccess(reply)
            try body(probe, reply)
        }
    }
}
