import Bytes
import STUN
import Testing

@Suite struct CredentialTests {
    @Test func `equivalent spellings of a name make the same key and the same hash`() throws {
        let composed = try LongTermCredentials(username: "Ren\u{E9}", realm: "example.org", password: "pass\u{A0}word")
        let decomposed = try LongTermCredentials(username: "Rene\u{301}", realm: "example.org", password: "pass word")
        #expect(Array(composed.username.utf8) == Array(decomposed.username.utf8))
        #expect(composed.userhash == decomposed.userhash)
        let bytes = try Messages.built([], protectedBy: .sha1(composed.md5Key))
        let check = try STUNMessageView(bytes.span).checkMessageIntegrity(decomposed.md5Key)
        #expect(check == .valid)
    }

    @Test func `compatibility characters and case stay as they are`() throws {
        let wide = try LongTermCredentials(username: "\u{2168}", realm: "Realm", password: "p")
        #expect(wide.username == "\u{2168}")
        #expect(wide.realm == "Realm")
        #expect(try UserHash(username: "a", realm: "r") != UserHash(username: "A", realm: "r"))
    }

    @Test(arguments: ["a\u{0}", "\u{7F}", "a\nb", "a\u{85}", "soft\u{AD}hyphen", "\u{FFFE}", "\u{1100}"])
    func `controls and invisible characters are refused`(_ name: String) throws {
        let scalar = try #require(
            name.unicodeScalars.first { !"abcdefghijklmnopqrstuvwxyz".unicodeScalars.contains($0) }
        )
        #expect(throws: CredentialError.forbiddenCharacter(.username, codePoint: scalar.value)) {
            _ = try LongTermCredentials(username: name, realm: "r", password: "p")
        }
    }

    @Test func `empty parts are refused, and the words say which`() {
        #expect(throws: CredentialError.empty(.username)) { _ = try UserHash(username: "", realm: "r") }
        #expect(throws: CredentialError.empty(.realm)) { _ = try UserHash(username: "u", realm: "") }
        #expect(throws: CredentialError.empty(.password)) { _ = try IntegrityKey(shortTermPassword: "") }
        #expect(CredentialError.empty(.realm).description == "the realm is empty; give one")
    }

    @Test func `turn 41: a name has fewer than 509 bytes`() throws {
        let longest = String(repeating: "x", count: 508)
        #expect(try LongTermCredentials(username: longest, realm: "r", password: "p").username == longest)
        #expect(throws: CredentialError.tooLong(.username, byteCount: 509, limit: 508)) {
            _ = try LongTermCredentials(username: longest + "x", realm: "r", password: "p")
        }
    }

    @Test func `turn 71: stored keys do as well as the password`() throws {
        let parts = (username: "alice", realm: "example.org", password: "secret")
        let user = try LongTermCredentials(username: parts.username, realm: parts.realm, password: parts.password)
        let keys = try [PasswordAlgorithm.md5, .sha256].map { algorithm in
            try LongTermCredentials.keyBytes(
                algorithm,
                username: parts.username,
                realm: parts.realm,
                password: parts.password
            )
        }
        let stored = try LongTermCredentials(
            username: "alice",
            realm: "example.org",
            md5Key: keys[0],
            sha256Key: keys[1]
        )
        for algorithm in [PasswordAlgorithm.md5, .sha256] {
            let (first, second) = (try #require(user.key(for: algorithm)), try #require(stored.key(for: algorithm)))
            let bytes = try Messages.built([], protectedBy: .both(first))
            let view = try STUNMessageView(bytes.span)
            let checks = [view.checkMessageIntegrity(second), view.checkMessageIntegritySHA256(second)]
            #expect(checks == [.valid, .valid])
        }
        #expect(user.key(for: PasswordAlgorithm(rawValue: 3)) == nil)
        #expect(throws: CredentialError.self) {
            _ = try LongTermCredentials(username: "a", realm: "r", md5Key: [1], sha256Key: nil)
        }
    }

    @Test func `a credential does not show in a dump`() throws {
        let user = try LongTermCredentials(username: "alice", realm: "example.org", password: "secret")
        var text = ""
        dump(user, to: &text)
        #expect(!text.contains("alice"))
        #expect("\(user)" == "LongTermCredentials")
    }
}
