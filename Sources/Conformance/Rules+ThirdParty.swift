import Crypto
import NetTypes
import STUN

/// Third-party authorization (RFC 7635), as far as a client with one token can see it.
extension RuleTable {
    mutating func addThirdParty() {
        add(
            184,
            "401 names the server that an access token must be for",
            "RFC 7635 §4, §6.1",
            due: "THIRD-PARTY-AUTHORIZATION with a name, beside REALM and NONCE"
        ) { probe throws(Finding) in
            _ = try Self.grant(probe)
            let reply = try probe.client().exchange(RawMessage(.allocate, .request, [.requestedTransport()]))
            try probe.expect(reply, error: 401)
            let count = reply.value(.thirdPartyAuthorization)?.count ?? 0
            try probe.expect(count > 0, "THIRD-PARTY-AUTHORIZATION was due, \(reply.name) came")
            try probe.expect(reply.has(.realm) && reply.has(.nonce), "REALM and NONCE were due, \(reply.name) came")
        }
        add(
            185,
            "an access token is taken, and its key protects the response",
            "RFC 7635 §5, §7",
            due: "success with the integrity of the session's key"
        ) { probe throws(Finding) in
            let client = try probe.client()
            let login = try Self.login(probe, client)
            let reply = try client.request(.allocate, [.requestedTransport()], as: login)
            try probe.expectSuccess(reply)
            try probe.expect(login.check(reply) == .valid, "integrity by the session's key was due, \(reply.name) came")
        }
        refused("an access token of which a bit was changed") { $0.accessToken?[20] ^= 1 }
        refused("an access token that is cut off") { $0.accessToken = $0.accessToken.map { Array($0.dropLast(5)) } }
        refused("the right access token with another session key") {
            $0.key = IntegrityKey([UInt8](repeating: 0x55, count: 20).span)
        }
        // RFC 7635 §7 leaves the checks of RFC 5389 §10.2.2 in force: a user name that the server does not know is 401.
        refused("the right access token with the name of another key", "RFC 7635 §7, RFC 8489 §9.2.4") {
            $0.username = Array("nobody's key".utf8)
        }
        add(
            188,
            "no allocation is granted for longer than the access token is good",
            "RFC 7635 §9",
            due: "LIFETIME of at most what the token was made for"
        ) { probe throws(Finding) in
            guard let seconds = probe.target.grantSeconds else {
                throw .notApplicable("how long the token is good was not told: \"expires_in\" in its file")
            }
            let client = try probe.client()
            let login = try Self.login(probe, client)
            let attributes: [RawAttribute] = [.requestedTransport(), .lifetime(3600)]
            let reply = try client.request(.allocate, attributes, as: login)
            try probe.expectSuccess(reply)
            try probe.expect((reply.lifetime ?? .max) <= seconds, "LIFETIME is longer than \(seconds) s")
        }
        add(
            184,
            "an access token that nobody has asked for is refused",
            "RFC 7635 §7",
            due: "420 where 401 has no THIRD-PARTY-AUTHORIZATION"
        ) { probe throws(Finding) in
            let client = try probe.client()
            let challenge = try client.exchange(RawMessage(.allocate, .request, [.requestedTransport()]))
            try probe.require(!challenge.has(.thirdPartyAuthorization), "the server asks for access tokens")
            var login = try client.logIn()
            login.accessToken = [UInt8](repeating: 7, count: 64)
            let reply = try client.request(.allocate, [.requestedTransport()], as: login)
            try probe.expect(reply, error: 420)
        }
    }

    private mutating func refused(
        _ what: String,
        _ section: String = "RFC 7635 §7",
        _ change: @escaping @Sendable (inout Login) -> Void
    ) {
        add(187, "\(what) is refused", section, due: "401") { probe throws(Finding) in
            let client = try probe.client()
            var login = try Self.login(probe, client)
            change(&login)
            try probe.expect(client.request(.allocate, [.requestedTransport()], as: login), error: 401)
        }
    }

    private static func grant(_ probe: Probe) throws(Finding) -> AccessGrant {
        guard let grant = probe.target.grant else {
            throw .notApplicable("no access token was given: --token-file")
        }
        return grant
    }

    /// The login of a client that has a token in place of a password.
    private static func login(_ probe: Probe, _ client: Client) throws(Finding) -> Login {
        let grant = try grant(probe)
        var login = try client.logIn()
        login.username = Array(grant.keyID.utf8)
        login.accessToken = grant.token
        login.key = IntegrityKey(grant.macKey.span)
        return login
    }
}
