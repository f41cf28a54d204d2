import Bytes
import CommandLineSupport
import Crypto
import EventLoop
import FoundationEssentials
import Glibc
import NetTypes
import ServiceTestSupport
import Testing
import Transport

@testable import Server

/// What a command did in a process of its own.
struct CommandResult {
    let status: Int32
    let output: String
    let errors: String

    /// Runs `floe` with these words.
    init(_ words: [String]) async throws {
        let result = await #expect(
            processExitsWith: .success,
            observing: [\.standardOutputContent, \.standardErrorContent]
        ) { [words = words as [String]] in
            let status = Floe.run(words)
            // The status goes with the output: an exit test that expects one status cannot tell which it was. Both
            // streams get something, for of an empty one the testing library's own mark is left.
            Console.print("\nend")
            Console.printError("\nstatus \(status)")
            exit(0)
        }
        let observed = try #require(result)
        output = try #require(Self.parts(observed.standardOutputContent, "\nend")).before
        let parts = try #require(Self.parts(observed.standardErrorContent, "\nstatus "))
        errors = parts.before
        status = try #require(Int32(parts.after.prefix { $0.isNumber }))
    }

    private static func parts(_ bytes: [UInt8], _ mark: String) -> (before: String, after: Substring)? {
        let text = String(decoding: bytes, as: UTF8.self)
        let parts = text.split(separator: mark, omittingEmptySubsequences: false)
        guard parts.count == 2 else { return nil }
        return (String(parts[0]), parts[1])
    }
}

@Suite struct CommandTests {
    private struct Credentials: Decodable {
        struct Server: Decodable {
            let urls: [String]
            let username: String?
            let credential: String?
        }

        let iceServers: [Server]
        let ttlSeconds: Int
    }

    private func credentials(_ words: String...) async throws -> Credentials {
        let result = try await CommandResult(["credentials"] + words)
        #expect(result.status == 0)
        #expect(result.errors == "")
        return try JSONDecoder().decode(Credentials.self, from: Data(result.output.utf8))
    }

    private func password(of username: String, _ secret: String) -> String {
        Base64.encode(HMACKey(.sha1, key: Array(secret.utf8)).authenticationCode(for: Array(username.utf8)))
    }

    @Test func `credentials are printed as a browser takes them`() async throws {
        let before = WallClock.unixSeconds()
        let made = try await credentials(
            "--secret",
            "a secret of a server",
            "--host",
            "turn.example.org",
            "--user",
            "alice",
            "--ttl",
            "600",
            "--turn-port",
            "3479",
            "--turns-port",
            "443"
        )
        let after = WallClock.unixSeconds()
        #expect(made.ttlSeconds == 600)
        #expect(
            made.iceServers.flatMap(\.urls) == [
                "stun:turn.example.org:3479", "turn:turn.example.org:3479?transport=udp",
                "turn:turn.example.org:3479?transport=tcp", "turns:turn.example.org:443?transport=tcp",
            ]
        )
        let turn = try #require(made.iceServers.last)
        let username = try #require(turn.username)
        let parts = username.split(separator: ":")
        let expiry = try #require(UInt64(parts[0]))
        #expect((before + 600...after + 600).contains(expiry))
        #expect(parts.dropFirst() == ["alice"])
        #expect(turn.credential == password(of: username, "a secret of a server"))
    }

    @Test func `without a secret that of the server's state is taken`() async throws {
        let folder = try TemporaryFolder()
        let secret = try #require(try StateDirectory(folder.path).turnSecrets().first)
        let made = try await credentials("--state", folder.path)
        #expect(made.ttlSeconds == 86400)
        let turn = try #require(made.iceServers.last)
        #expect(turn.urls.first == "turn:localhost:3478?transport=udp")
        let username = try #require(turn.username)
        #expect(username.hasSuffix(":user"))
        #expect(turn.credential == password(of: username, secret))
    }

    @Test func `an IPv6 address is a host`() async throws {
        let made = try await credentials("--secret", "a secret of a server", "--host", "2001:db8::1")
        #expect(made.iceServers.first?.urls == ["stun:[2001:db8::1]:3478"])
    }

    @Test(
        arguments: [
            (["version"], 0, "floe \(Floe.version)\n"), (["--version"], 0, "floe \(Floe.version)\n"),
            (["--help"], 0, Floe.program.help), (["-h"], 0, Floe.program.help), (["help"], 0, Floe.program.help),
            ([], 2, Floe.program.help),
            (["help", "serve"], 0, ServeCommand.specification.help(program: "floe")),
            (["serve", "--help"], 0, ServeCommand.specification.help(program: "floe")),
            (["credentials", "--help"], 0, CredentialsCommand.specification.help(program: "floe")),
        ] as [([String], Int32, String)]
    )
    func `what is asked for is printed`(words: [String], status: Int32, output: String) async throws {
        let result = try await CommandResult(words)
        #expect(result.status == status)
        #expect(result.output == output)
        #expect(result.errors == "")
    }

    @Test(
        arguments: [
            (
                ["sreve"],
                "There is no command 'sreve'; the commands are: \(commandNames)."
            ),
            ([""], "There is no command ''; the commands are: \(commandNames)."),
            (["key", "ring"], "'key' needs to know what to do: key add, key remove, key list."),
            (["credentials", "--secret", "short"], "'--secret' takes at least 8 characters."),
            (
                ["credentials", "--secret", "long enough", "--ttl", "1"],
                "'1' is not right for '--ttl': it takes a whole number from 60 to 31536000."
            ),
            (
                ["credentials", "--secret", "long enough", "--turn-port", "0"],
                "'0' is not right for '--turn-port': it takes a whole number from 1 to 65535."
            ),
            (
                ["credentials", "--secret", "long enough", "--user", "a\nb"],
                "The user's id must have 1 to 400 bytes and no control characters."
            ),
            (["serve", "--cert", "/c.pem"], "'--cert' needs '--key FILE' beside it."),
            (["bench"], "'bench' needs a server: floe bench turn:HOST."),
            (
                ["bench", "turn:127.0.0.1", "--load", "bindings", "--burst", "64", "--window", "63"],
                "'--window' is less than '--burst': nothing could be sent."
            ),
            (
                ["bench", "turn:127.0.0.1", "--load", "bindings", "--burst", "64", "--size", "1200", "--merge"],
                "A burst of 64 packets of 1200 bytes cannot be merged: at most 65000 bytes."
            ),
            (
                ["bench", "turns:127.0.0.1?transport=udp", "--insecure", "--load", "bindings", "--size", "4001"],
                "'--size 4001' does not fit into a DTLS record here: at most 4000 bytes."
            ),
            (
                [
                    "bench", "turn:127.0.0.1", "--user", "a", "--password", "b", "--client-block", "127.1.0.0/30",
                    "--clients", "4",
                ],
                "'--client-block 127.1.0.0/30' has too few addresses for 4 clients."
            ),
            (
                ["bench", "turn:127.0.0.1", "--load", "bindings", "--client-block", "127.1.0.0/16"],
                "'--client-block' is for allocations over UDP, with addresses of the server's family."
            ),
            (
                ["bench", "turn:127.0.0.1", "--load", "everything"],
                "'--load everything' is none of: channels, indications, allocations, bindings."
            ),
            (["turn"], "'turn' needs a server: floe turn turn:HOST, or floe turn --discover."),
            (["turn", "turn:127.0.0.1", "--discover"], "'--discover' stands in place of a URI: leave one out."),
            (
                ["turn", "turn:127.0.0.1?transport=udp", "--user", "a", "--password", "b", "--tcp-relay"],
                "'--tcp-relay' needs a server over TCP or TLS: floe turn turn:HOST?transport=tcp."
            ),
        ] as [([String], String)]
    )
    func `what is wrong is one sentence and the status is 2`(words: [String], sentence: String) async throws {
        let result = try await CommandResult(words)
        #expect(result.status == 2)
        #expect(result.errors == "floe: \(sentence)\n")
        #expect(result.output.isEmpty)
    }

    @Test func `a host that is none names its own option`() async throws {
        let result = try await CommandResult(["credentials", "--secret", "long enough", "--host", "a b"])
        #expect(result.status == 2)
        #expect(result.errors == "floe: 'a b' is not right for '--host': it takes a DNS name or an address.\n")
    }

    @Test(arguments: ["--turn-port", "--turns-port", "--https-port", "--http-port"])
    func `a port that is taken stops the start and names its option`(option: String) async throws {
        let folder = try TemporaryFolder()
        let taken = try TCPListener(boundTo: SocketAddress(.loopback(.ipv4), port: 0))
        var ports = [option: taken.localAddress.port]
        let names = ["--turn-port", "--turns-port", "--https-port", "--http-port"]
        let free = try withFreePorts(4) { $0 }
        for (name, port) in zip(names, free) where ports[name] == nil { ports[name] = port }
        var words = ["serve", "--listen", "127.0.0.1", "--relay-ip", "127.0.0.1", "--state", folder.path]
        // Ports of this test may lie anywhere but where relays are.
        words += ["--relay-ports", "1024-1100", "--dtls-port", "0"]
        for (name, port) in ports { words += [name, "\(port)"] }
        let result = try await CommandResult(words)
        #expect(result.status == 2)
        #expect(result.errors.contains("stop the other program, or choose another with \(option)."))
        #expect(result.errors.contains("\(taken.localAddress.port)"))
        #expect(result.output.isEmpty)
    }

    @Test func `a port for DTLS that is taken is told from that for TLS`() async throws {
        var errors = ""
        // Where somebody has that port of TCP meanwhile it is told first, and says nothing of ours.
        for _ in 0..<10 where errors.isEmpty || errors.contains("Cannot listen on TCP") {
            let folder = try TemporaryFolder()
            let free = try withFreePorts(2) { $0 }
            let taken = try UDPSocket(boundTo: SocketAddress(.loopback(.ipv4), port: free[0]))
            let port = "\(taken.localAddress.port)"
            let result = try await CommandResult([
                "serve", "--listen", "127.0.0.1", "--relay-ip", "127.0.0.1", "--state", folder.path, "--relay-ports",
                "1024-1100", "--turn-port", "\(free[1])", "--turns-port", port, "--dtls-port", port, "--https-port",
                "0", "--http-port", "0",
            ])
            #expect(result.status == 2)
            errors = result.errors
        }
        #expect(errors.contains("stop the other program, or choose another with --dtls-port."))
    }

    @Test func `over TLS, over DTLS and over TCP exclude each other`() async throws {
        for words in [["--tls", "--dtls"], ["--tcp", "--dtls"], ["--tcp", "--tls"]] {
            let result = try await CommandResult(["stun", "192.0.2.1"] + words)
            #expect(result.status == 2 && result.errors.contains("exclude each other"))
        }
    }

    @Test func `a state that cannot be used stops the start`() async throws {
        let folder = try TemporaryFolder()
        try folder.write("no database, but a text that is long enough to be one", to: "floe.sqlite")
        let result = try await CommandResult(["serve", "--listen", "127.0.0.1", "--state", folder.path])
        #expect(result.status == 2)
        #expect(result.errors.contains("floe.sqlite"))
        let named = try await CommandResult([
            "serve", "--state", folder.path, "--cert", "/nowhere.pem", "--key", "/nowhere.key",
        ])
        #expect(named.status == 2)
        #expect(named.errors == "floe: There is no certificate file '/nowhere.pem'.\n")
    }
}

private let commandNames = Floe.program.commands.map(\.name).joined(separator: ", ")
