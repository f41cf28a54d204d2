import CommandLineSupport
import Conformance
import NetTypes
import Testing

@testable import Server

@Suite struct ConformCommandTests {
    private func target(_ words: String...) throws -> ConformanceTarget {
        try ConformCommand.target(ParsedArguments(words, for: ConformCommand.specification))
    }

    @Test(arguments: [
        ("turn:127.0.0.1", "127.0.0.1:3478"), ("turn:127.0.0.1:99", "127.0.0.1:99"), ("127.0.0.1:99", "127.0.0.1:99"),
        ("turn:[::1]", "[::1]:3478"), ("turn:[::1]:99", "[::1]:99"), ("stun:::1", "[::1]:3478"),
    ])
    func `a server is named as in a TURN URI`(_ word: String, _ address: String) throws {
        #expect(try target(word, "--user", "a", "--password", "b").address.description == address)
    }

    @Test(arguments: ["turn:", "turn:127.0.0.1:0", "turn:127.0.0.1:x", "turn:a.invalid:70000", "turn::3478"])
    func `what names no server is refused with a sentence`(_ word: String) {
        #expect(throws: UsageError.self) { try target(word, "--user", "a", "--password", "b") }
    }

    @Test func `a secret makes two users that are good for the run`() throws {
        let found = try target("turn:127.0.0.1", "--secret", "a secret of tests", "--tls", "5349", "--quota", "7")
        #expect(found.account.username.hasSuffix(":conform"))
        #expect(found.otherAccount?.username.hasSuffix(":other") == true)
        #expect(found.secret == "a secret of tests")
        #expect(found.tlsAddress?.port == 5349)
        #expect(found.quota == 7)
        #expect(found.peerAddresses.map(\.description) == ["127.0.0.2", "127.0.0.3"])
    }

    @Test func `a fixed user goes before a secret, and another one can be named`() throws {
        let found = try target(
            "turn:127.0.0.1",
            "--user",
            "alice",
            "--password",
            "a:b",
            "--other-user",
            "bob:c:d",
            "--secret",
            "a secret of tests",
            "--peer-address",
            "::1"
        )
        #expect(found.account == ConformanceAccount(username: "alice", password: "a:b"))
        #expect(found.otherAccount == ConformanceAccount(username: "bob", password: "c:d"))
        #expect(found.peerAddresses == [.loopback(.ipv6)])
    }

    @Test(arguments: [
        [], ["turn:127.0.0.1"], ["turn:127.0.0.1", "--user", "a"], ["turn:127.0.0.1", "--secret", "short"],
        ["turn:127.0.0.1", "--user", "a", "--password", "b", "--other-user", "c"],
        ["turn:127.0.0.1", "--user", "a", "--password", "b", "--only", "99,4711"],
        ["turn:127.0.0.1", "--user", "a", "--password", "b", "--transport", "sctp"],
    ])
    func `what is missing or unknown is said before anything is tried`(_ words: [String]) {
        #expect(throws: UsageError.self) {
            try ConformCommand.run(ParsedArguments(words, for: ConformCommand.specification))
        }
    }
}
