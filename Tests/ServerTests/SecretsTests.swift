import CommandLineSupport
import Crypto
import FoundationEssentials
import NetTypes
import STUN
import ServiceTestSupport
import Store
import Testing

@testable import Server

/// Users, secrets and keys from files and the store.
@Suite struct SecretsTests {
    let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    private var statePath: String { folder.path + "/state" }

    @discardableResult
    private func file(_ name: String, _ content: String, mode: Int = 0o600) throws -> String {
        try folder.write(content, to: name)
        let path = folder.path + "/" + name
        try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: path)
        return path
    }

    private func secrets(_ words: String...) throws -> Secrets {
        let options = try OptionsFile.options(words)
        let state = try StateDirectory(statePath)
        return try Secrets(options, state, Database(path: state.database))
    }

    private func complaint(_ words: String...) throws -> String {
        let state = try StateDirectory(statePath)
        let error = #expect(throws: UsageError.self) {
            _ = try Secrets(OptionsFile.options(words), state, Database(path: state.database))
        }
        return try #require(error).description
    }

    @Test func `users, secrets and keys come from files, without comments and empty lines`() throws {
        let users = try file("users", "# who\n\nalice:a:b\n  bob:secret of bob  \r\n")
        let shared = try file("secrets", "a secret of sixteen\nanother secret of ours\n")
        let keys = try file("keys", "0123456789abcdef\n")
        let found = try secrets("--user-file", users, "--secret-file", shared, "--api-key-file", keys)
        #expect(found.users.map(\.username) == ["alice", "bob"])
        #expect(found.shared.count == 3 && found.shared.suffix(2) == ["a secret of sixteen", "another secret of ours"])
        #expect(found.ownCount == 1 && found.apiKeyDigests.count == 1)
    }

    @Test func `a file that everybody may read is refused`() throws {
        let path = try file("users", "alice:b\n", mode: 0o644)
        #expect(
            try complaint("--user-file", path)
                == "Every user of this machine has rights on '\(path)' of '--user-file', which holds a secret: close it "
                + "with 'chmod o= \(path)'."
        )
        try file("users", "alice:b\n", mode: 0o640)
        #expect(try secrets("--user-file", path).users.count == 1)
    }

    @Test func `each complaint names file, line and what is wrong`() throws {
        let users = try file("users", "alice:b\nnobody\n")
        #expect(try complaint("--user-file", users) == "'\(users)', line 2, is not NAME:PASSWORD.")
        let short = try file("short", "short\n")
        #expect(try complaint("--secret-file", short) == "'\(short)', line 1: a secret has at least 16 characters.")
        #expect(try complaint("--api-key-file", short) == "'\(short)', line 1: a key has at least 16 characters.")
        let missing = folder.path + "/missing"
        for option in ["--user-file", "--secret-file", "--api-key-file", "--oauth-key-file", "--config"] {
            #expect(
                try complaint(option, missing) == "There is no file '\(missing)', which '\(option)' names."
            )
            #expect(
                try complaint(option, folder.path) == "'\(folder.path)' of '\(option)' is a directory: name a file."
            )
        }
        let binary = try file("binary", "a\0b\n")
        #expect(
            try complaint("--user-file", binary)
                == "'\(binary)' of '--user-file' is not a text: it takes lines in UTF-8."
        )
        let twice = try file("twice", "alice:x\n")
        #expect(try complaint("--user", "alice:y", "--user-file", twice).hasPrefix("The user 'alice' is given twice"))
        let many = try file("many", (0..<16).map { "secret number \($0) of many\n" }.joined())
        #expect(try complaint("--secret-file", many).hasPrefix("There are 17 secrets of ephemeral credentials"))
    }

    @Test func `keys of access tokens come from JSON, one or several`() throws {
        let one = try file("one.json", #"{"kid": "north", "k": "\#(String(repeating: "A", count: 43))=", "exp": 5}"#)
        let found = try secrets("--oauth-key-file", one).tokenKeys
        #expect(found.map(\.id) == ["north"] && found[0].expiryUnixSeconds == 5)
        let two = try file(
            "two.json",
            #"[{"kid": "a", "k": "AAAAAAAAAAAAAAAAAAAAAA==", "enc": "A128GCM"}, {"kid": "b", "k": "\#(String(repeating: "_", count: 42))8"}]"#
        )
        #expect(
            try secrets("--oauth-key-file", one, "--oauth-key-file", two).tokenKeys.map(\.id) == ["north", "a", "b"]
        )
        #expect(try complaint("--oauth-key-file", one, "--oauth-key-file", one).contains("which another"))
        let bad = [
            ("not JSON", "is not JSON"), ("[]", "holds no key"), (#"{"kid": "a"}"#, "is not JSON of the form"),
            (#"{"kid": "a", "k": "AAAA"}"#, "has no 32 bytes of base64"),
            (#"{"kid": "a", "k": "AAAA", "enc": "A256CBC-HS512"}"#, "has an unknown \"enc\""),
            (#"{"kid": "", "k": "\#(String(repeating: "A", count: 43))="}"#, "cannot be used"),
        ]
        for (content, expected) in bad {
            let path = try file("bad.json", content)
            #expect(try complaint("--oauth-key-file", path).contains(expected), "\(content)")
        }
    }

    @Test func `users and keys in the store are added, listed, removed, and used`() throws {
        func run(_ name: String, _ words: String...) throws -> String {
            let command = try #require(StoreCommands.specifications.first { $0.name == name })
            return try StoreCommands.run(name, ParsedArguments(words + ["--state", statePath], for: command))
        }
        let password = try run("user add", "alice").dropLast()
        #expect(password.count == 24)
        let own = try file("password", "secret of bob\n")
        #expect(try run("user add", "bob", "--password-file", own) == "")
        #expect(try run("user add", "else", "--realm", "other") != "")
        #expect(try run("user list") == "alice\tfloe\nbob\tfloe\nelse\tother\n")
        let users = try secrets().users
        #expect(users.map(\.username) == ["alice", "bob"])
        let expected = try LongTermCredentials(username: "alice", realm: "floe", password: String(password))
        let message = Array("message".utf8)
        #expect(
            users[0].md5Key.sha1.authenticationCode(for: message)
                == expected.md5Key.sha1.authenticationCode(for: message)
        )
        #expect(try run("user remove", "alice") == "")
        #expect(throws: UsageError("There is no user 'alice' of the realm 'floe'; see 'floe user list'.")) {
            try run("user remove", "alice")
        }
        let key = try run("key add", "shop").dropLast()
        #expect(key.count == 32)
        #expect(try run("key list") == "shop\n")
        #expect(throws: UsageError.self) { try run("key add", "shop") }
        #expect(try secrets().apiKeyDigests.count == 1)
        #expect(try run("key remove", "shop") == "")
        #expect(try secrets().apiKeyDigests.isEmpty)
        #expect(throws: UsageError("There is no key 'shop'; see 'floe key list'.")) { try run("key remove", "shop") }
        #expect(throws: UsageError("'user add' needs a name: floe user add NAME.")) { try run("user add") }
        #expect(throws: UsageError("A user's name has no colon: 'a:b'.")) { try run("user add", "a:b") }
    }

    @Test func `a file of options stands before the command line`() throws {
        let path = try file("options", "# quotas\nuser-quota 5\nallow-peer = 10.0.0.0/8\nrfc3489\nuser a:b c\n")
        let options = try OptionsFile.options(["--config", path, "--allow-peer", "192.0.2.0/24"])
        #expect(options.userQuota == 5 && options.answersRFC3489)
        #expect(options.allowedPeers.map(\.description) == ["10.0.0.0/8", "192.0.2.0/24"])
        #expect(options.users.first?.password == "b c" && !options.showsSecrets)
        #expect(try OptionsFile.options(["--user", "a:b"]).showsSecrets)
        for (content, expected) in [
            ("\nnonsense 1\n", "line 2: 'serve' has no option '--nonsense'"),
            ("user-quota\n", "line 1: Option '--user-quota' needs"),
            ("rfc3489 yes\n", "line 1: "), ("config x\n", "line 1: a file of '--config' cannot name another"),
            ("user-quota none\n", "'none' is not right for '--user-quota'"),
        ] {
            let path = try file("bad", content)
            let error = #expect(throws: UsageError.self) { try OptionsFile.options(["--config", path]) }
            #expect(error?.description.contains(expected) == true, "\(error?.description ?? "")")
        }
    }

    @Test func `what is bound to sockets cannot change under a running server`() throws {
        let old = try OptionsFile.options(["--turn-port", "3478", "--user-quota", "5"])
        try FloeServer.checkFixed(
            old,
            OptionsFile.options(["--turn-port", "3478", "--user-quota", "6", "--user", "a:b"])
        )
        for words in [["--turn-port", "3479"], ["--turn-port", "3478", "--listen", "192.0.2.1"], []] {
            let error = #expect(throws: UsageError.self) {
                try FloeServer.checkFixed(old, OptionsFile.options(words))
            }
            #expect(error?.description.hasSuffix("has changed, which only a restart can bring about.") == true)
        }
    }

    @Test func `tokens are minted and read again, and complaints say what is missing`() throws {
        func run(_ action: (ParsedArguments) throws -> String, _ words: String...) throws -> String {
            try action(ParsedArguments(words, for: TokenCommand.specification))
        }
        let key = try file("key.json", try run(TokenCommand.makeKey, "--kid", "north"))
        let minted = try run(TokenCommand.mint, "--key-file", key, "--server-name", "here", "--ttl", "77")
        let path = try file("token.json", minted)
        let (grant, seconds) = try AccessTokenFile.grant(path, option: "--token-file")
        #expect(seconds == 77)
        #expect(grant.keyID == "north" && grant.macKey.count == 20)
        let token = try #require(try AccessTokenFile.keys(key).first?.open(grant.token.span, for: "here"))
        #expect(token.lifetimeSeconds == 77 && token.macKey == grant.macKey)
        let complaints: [([String], String)] = [
            (["mint"], "--key-file FILE"), (["mint", "--key-file", key], "--server-name NAME"),
            (["mint", "--key-file", key, "--server-name", "a", "--kid", "south"], "There is no key 'south'"),
            (["mint", "--key-file", key, "--server-name", "a", "--mac-key", "AAAA"], "'--mac-key' takes base64"),
            (["read", "--key-file", key, "--server-name", "a", "--token", "AAAA"], "was not made with key 'north'"),
            (["read", "--key-file", key, "--server-name", "a"], "--token BASE64"), (["key"], "--kid NAME"),
            (["key", "--kid", "a", "--enc", "AES"], "'AES' is not right for '--enc'"), (["burn"], "cannot 'burn'"),
            ([], "key, mint or read"),
        ]
        for (words, expected) in complaints {
            let error = #expect(throws: UsageError.self) {
                try TokenCommand.run(ParsedArguments(words, for: TokenCommand.specification))
            }
            #expect(error?.description.contains(expected) == true, "\(words): \(error?.description ?? "")")
        }
    }
}
