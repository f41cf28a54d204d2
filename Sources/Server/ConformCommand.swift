import CommandLineSupport
import Conformance
import EventLoop
import FoundationEssentials
import NetTypes
import TURN
import Transport

/// The command `conform`: tries the numbered rules of STUN and TURN on any server, from outside.
enum ConformCommand {
    static let specification = CommandSpecification(
        "conform",
        "Try the numbered rules of STUN and TURN on any server, and say which it keeps.",
        [
            (
                "Who may allocate there",
                [
                    OptionSpecification("user", "NAME", help: "a user of the server, with --password"),
                    OptionSpecification("password", "PASSWORD", help: "the user's password"),
                    OptionSpecification("other-user", "NAME:PASSWORD", help: "another user, for rules that need two"),
                    OptionSpecification("secret", "SECRET", help: "the secret of temporary credentials"),
                    OptionSpecification(
                        "token-file",
                        "FILE",
                        help: "an access token with its key, as 'floe token mint' prints it (RFC 7635)"
                    ),
                    OptionSpecification("realm", "REALM", help: "the realm that is due"),
                ]
            ),
            (
                "Where",
                [
                    OptionSpecification("tls", "PORT", help: "the port for TLS; without it TLS is not tried"),
                    OptionSpecification("dtls", "PORT", help: "the port for DTLS; without it DTLS is not tried"),
                    OptionSpecification(
                        "transport",
                        "NAME",
                        standard: "udp, tcp and, with their ports, tls and dtls",
                        repeats: true,
                        help: "what to speak with the server: udp, tcp, tls or dtls"
                    ),
                    OptionSpecification(
                        "peer-address",
                        "ADDRESS",
                        standard: "the address that routes to the server",
                        repeats: true,
                        help: "addresses of this host that the server can reach; some rules need two"
                    ),
                    OptionSpecification(
                        "client-address",
                        "ADDRESS",
                        help: "another address of this host, for a second client"
                    ),
                ]
            ),
            (
                "What",
                [
                    OptionSpecification("only", "N,N…", help: "the numbers of the rules to try"),
                    OptionSpecification("slow", help: "try those as well that take ten minutes each"),
                    OptionSpecification("quota", "N", help: "how many allocations a user may have there"),
                    OptionSpecification(
                        "wait",
                        "MILLISECONDS",
                        standard: "2000",
                        help: "how long the server has for an answer"
                    ),
                ]
            ),
            (
                "Results",
                [
                    OptionSpecification("json", "FILE", help: "write them for programs"),
                    OptionSpecification("markdown", "FILE", help: "write them as a page"),
                ]
            ),
        ],
        operand: ("turn:HOST[:PORT]", "the server to be tried"),
        notes: """
            Each rule ends as pass, fail, n/a (it says nothing about this server) or blocked (what it presupposes was
            missing, so nothing is known). The exit code is 0 if no MUST failed, 1 if one did, 2 if nothing could be tried.
            The server must let peers at --peer-address be reached: for a test on one machine give it
            --allow-peer 127.0.0.0/8 (floe) or --allow-loopback-peers (coturn).
            """
    )

    static func run(_ arguments: ParsedArguments) throws(UsageError) -> Int32 {
        var suite = ConformanceSuite(try target(arguments))
        suite.includesSlow = arguments.has("slow")
        suite.only = try numbers(arguments.text("only"))
        if arguments.has("transport") {
            suite.transports = try arguments.texts("transport").map { name throws(UsageError) in
                guard let one = TransportProtocol.allCases.first(where: { "\($0)" == name }) else {
                    throw UsageError("'\(name)' is not right for '--transport': it takes udp, tcp, tls or dtls.")
                }
                return one
            }
        }
        let report = suite.run { Console.print($0.line + "\n") }
        Console.print(report.text)
        if let path = arguments.text("json") { try write(report.json, to: path) }
        if let path = arguments.text("markdown") { try write(report.markdown, to: path) }
        guard report.count(.pass) + report.count(.fail) > 0 else { return 2 }
        return report.isConformant ? 0 : 1
    }

    private static func numbers(_ text: String?) throws(UsageError) -> Set<Int> {
        guard let text else { return [] }
        let known = Set(ConformanceSuite.rules.map(\.number))
        var numbers: Set<Int> = []
        for part in text.split(separator: ",") {
            guard let number = Int(part), known.contains(number) else {
                throw UsageError("There is no trial for rule '\(part)': '--only' takes numbers such as 99,100.")
            }
            numbers.insert(number)
        }
        return numbers
    }

    private static func write(_ text: String, to path: String) throws(UsageError) {
        do {
            try Data(text.utf8).write(to: URL(filePath: path), options: .atomic)
        } catch {
            throw UsageError("The results cannot be written to '\(path)'.")
        }
    }
}
