import Bytes
import Crypto
import STUN
import TURN
import Testing

@Suite struct RESTCredentialsTests {
    private static let secret = Array("north-secret".utf8)

    private func username(_ text: String) -> RESTUsername? { RESTUsername(Array(text.utf8).span) }

    @Test func `turn 205: name and password are those of the draft`() throws {
        let credentials = try RESTSecret(Self.secret).mint(userID: "alice", expiryUnixSeconds: 1_700_000_000)
        #expect(credentials.username == "1700000000:alice")
        #expect(credentials.password == "g+jb180fcj+xlpA/2mP60OdIgU0=")
        let other = try RESTSecret(Self.secret, hash: .sha256).mint(userID: "alice", expiryUnixSeconds: 1_700_000_000)
        #expect(other.password == "ZinI73FM5Y7uUjYQ1Yn/1ZBWak8HOG/2jQCqW6gxTg8=")
        #expect(try RESTSecret(Self.secret).mint(userID: "", expiryUnixSeconds: 5).username == "5")
    }

    @Test func `turn 207: each of several secrets verifies its own passwords only`() throws {
        let secrets = try ["first secret", "second secret"].map { try RESTSecret(Array($0.utf8)) }
        for (index, secret) in secrets.enumerated() {
            let minted = secret.mint(userID: "bob", expiryUnixSeconds: 1000)
            let (name, password) = (Array(minted.username.utf8), Array(minted.password.utf8))
            let verified = secrets.map { $0.verify(username: name.span, password: password.span) }
            #expect(verified == [index == 0, index == 1])
            let (shortName, shortPassword) = (Array(name.dropLast()), Array(password.dropLast()))
            let cut = [
                secret.verify(username: name.span, password: shortPassword.span),
                secret.verify(username: shortName.span, password: password.span),
            ]
            #expect(cut == [false, false])
        }
    }

    @Test func `the key of a minted credential is the long-term key of its password`() throws {
        let secret = try RESTSecret(Self.secret)
        let minted = secret.mint(userID: "carol", expiryUnixSeconds: 1000)
        let user = try LongTermCredentials(username: minted.username, realm: "example.org", password: minted.password)
        let name = Array(minted.username.utf8)
        for algorithm in [PasswordAlgorithm.md5, .sha256] {
            let key = try secret.integrityKey(username: name.span, realm: "example.org", algorithm: algorithm)
            let bytes = try STUNMessage(STUNMessageType(.allocate, .request), TransactionID(high: 1, low: 1))
                .encoded(protectedBy: .sha1(try #require(user.key(for: algorithm))))
            let check = try STUNMessageView(bytes.span).checkMessageIntegrity(key)
            #expect(check == .valid)
        }
    }

    @Test(
        arguments: [
            ("0", 0, ""), ("1700000000:alice", 1_700_000_000, "alice"), ("17:", 17, ""), ("17:a:b", 17, "a:b"),
            ("007:x", 7, "x"), ("18446744073709551615:x", UInt64.max, "x"),
        ] as [(String, UInt64, String)]
    )
    func `turn 205, 209: names are taken apart`(_ text: String, _ expiry: UInt64, _ userID: String) throws {
        let name = try #require(username(text))
        #expect(name.expiryUnixSeconds == expiry)
        #expect(String(decoding: Array(text.utf8)[name.userID], as: UTF8.self) == userID)
    }

    @Test func `the key is that of the name as it came, which browsers do not prepare`() throws {
        let secret = try RESTSecret(Self.secret)
        let name = Array(secret.mint(userID: "Rene\u{301}", expiryUnixSeconds: 1000).username.utf8)
        let text = name + Array(":example.org:\(secret.password(for: name.span))".utf8)
        let expected = IntegrityKey(MessageDigest.md5(text).span)
        let key = try secret.integrityKey(username: name.span, realm: "example.org", algorithm: .md5)
        let bytes = try STUNMessage(STUNMessageType(.allocate, .request), TransactionID(high: 1, low: 1))
            .encoded(protectedBy: .sha1(expected))
        let check = try STUNMessageView(bytes.span).checkMessageIntegrity(key)
        #expect(check == .valid)
    }

    @Test func `turn 63: an algorithm that is not known makes no key, least of all an empty one`() throws {
        let unknown = PasswordAlgorithm(rawValue: 3)
        #expect(throws: CredentialError.unknownAlgorithm(unknown)) {
            _ = try RESTSecret(Self.secret).integrityKey(
                username: Array("1:a".utf8).span,
                realm: "example.org",
                algorithm: unknown
            )
        }
    }

    @Test(arguments: [
        "", ":", ":alice", "alice", "-1:alice", "+1:alice", " 1:alice", "1 :alice", "0x10:alice", "1.5:alice", "1e9",
        "18446744073709551616:x", "99999999999999999999999999:x", "\u{661}\u{662}:x",
    ])
    func `turn 208: malformed names are none`(_ text: String) {
        #expect(username(text) == nil)
    }

    @Test(
        arguments: [
            (0, true), (1, true), (86_400, true), (2_592_000, true), (2_592_030, true), (2_592_031, false), (-30, true),
            (-31, false),
        ] as [(Int64, Bool)]
    )
    func `turn 206, 207: a credential ends in time, and not too far ahead`(_ offset: Int64, _ isValid: Bool) throws {
        let now: UInt64 = 1_700_000_000
        let name = try #require(username("\(Int64(now) + offset):u"))
        #expect(name.isValid(atUnixSeconds: now) == isValid)
    }

    @Test(arguments: [0, 1, .max] as [UInt64], [0, 1, .max] as [UInt64])
    func `no time makes the check overflow`(_ expiry: UInt64, _ now: UInt64) throws {
        let name = try #require(username("\(expiry):u"))
        #expect(name.isValid(atUnixSeconds: now) == (max(expiry, now) - min(expiry, now) <= 30))
        #expect(name.isValid(atUnixSeconds: now, maximumLifetimeSeconds: .max, toleranceSeconds: .max))
    }

    @Test func `a short secret is refused`() {
        #expect(throws: CredentialError.tooShort(.secret, byteCount: 7, minimum: 8)) {
            _ = try RESTSecret(Array("1234567".utf8))
        }
    }
}
