import CommandLineSupport
import Crypto
import NetTypes
import ServiceTestSupport
import Testing

@testable import Server

@Suite struct StartReportTests {
    private let folder: TemporaryFolder
    private let state: StateDirectory
    /// Good from 14 November 2023 on, for a year.
    private let identity: Identity
    private static let start: Int64 = 1_700_000_000

    init() throws {
        folder = try TemporaryFolder()
        state = try StateDirectory(folder.path)
        identity = try Identity.selfSigned(
            commonName: "Floe",
            dnsNames: ["localhost"],
            validForDays: 365,
            notBefore: Self.start
        )
    }

    private func report(
        _ words: [String] = [],
        addresses: [String] = ["198.51.100.5", "2001:db8::5"],
        now: Int64 = 1
    ) throws
        -> String
    {
        let options = try ServeOptions(ParsedArguments(words, for: ServeCommand.specification))
        let candidates = addresses.compactMap { IPAddress($0) }.map {
            RelayAddressing.Candidate(interface: "eth0", address: $0, isDefaultSource: true)
        }
        let addressing = try RelayAddressing(candidates, options)
        return StartReport(options, state, identity, addressing, try Machine(), now: UInt64(Self.start + now)).text
    }

    @Test func `the report says where to go and what is handed out`() throws {
        #expect(
            try report() == """
                Floe \(Floe.version) is ready.

                  Call page       https://198.51.100.5:8443/    from other machines (the browser asks about the certificate)
                                  https://[2001:db8::5]:8443/
                                  http://localhost:8080/        on this machine
                  STUN and TURN   UDP and TCP 3478, TLS 5349 and 8443, DTLS 5349
                  Relays from     198.51.100.5, found on eth0, where the default route leads, UDP ports 49152-65535
                                  2001:db8::5, found on eth0, where the default route leads
                  Certificate     SHA-256 \(identity.fingerprintSHA256)
                                  \(state.certificatePath), good until 2024-11-13
                  State           \(state.path)


                """
        )
    }

    @Test func `what is turned off is not in it`() throws {
        let text = try report(["--https-port", "0", "--turns-port", "0", "--dtls-port", "0"])
        #expect(!text.contains("https://") && !text.contains("TLS"))
        #expect(text.contains("  Call page       http://localhost:8080/   on this machine\n"))
        #expect(text.contains("  STUN and TURN   UDP and TCP 3478\n"))
        #expect(!(try report(["--https-port", "0", "--http-port", "0"])).contains("Call page"))
    }

    @Test func `with a certificate and a name of the operator they stand there`() throws {
        let text = try report([
            "--cert", "/etc/chain.pem", "--key", "/etc/key.pem", "--public-host", "call.example.org", "--https-port",
            "443",
        ])
        #expect(text.contains("  Call page       https://call.example.org/\n"))
        #expect(text.contains("/etc/chain.pem, good until 2024-11-13\n"))
        #expect(!text.contains("the browser asks") && !text.contains("198.51.100.5:8443"))
    }

    @Test func `an address that peers see otherwise is told with its local one`() throws {
        let text = try report(["--external-ip", "203.0.113.9"], addresses: ["10.0.0.5"])
        #expect(
            text.contains(
                "  Relays from     203.0.113.9 (local 10.0.0.5), found on eth0, where the default route leads, "
                    + "seen by peers as --external-ip says, UDP ports 49152-65535\n"
            )
        )
        #expect(text.contains("https://203.0.113.9:8443/"))
        #expect(!text.contains("Warning"))
    }

    private static let secretsWarning =
        "Passwords or keys on the command line can be read by every user of this machine (ps): see --user-file, "
        + "--api-key-file and --secret-file."

    @Test(arguments: [
        (
            ["--allow-peer", "10.0.0.0/8"],
            "Clients may relay to 10.0.0.0/8 (--allow-peer): whatever listens there is within their reach."
        ),
        (["--user", "a:b"], secretsWarning), (["--api-key", "0123456789abcdef"], secretsWarning),
        (["--log-addresses", "full"], "Clients' addresses are logged in full (--log-addresses)."),
        (["--metrics-from", "0.0.0.0/0"], "Everybody can read the metrics (--metrics-from 0.0.0.0/0)."),
        (["--metrics-from", "::/0"], "Everybody can read the metrics (--metrics-from ::/0)."),
    ])
    func `what is not safe is said`(words: [String], warning: String) throws {
        let text = try report(words)
        #expect(text.hasSuffix("\n\nWarning: \(warning)\n"))
    }

    @Test func `passwords and keys are not printed`() throws {
        let text = try report(["--user", "alice:verysecret", "--api-key", "0123456789abcdef"])
        #expect(!text.contains("verysecret") && !text.contains("0123456789abcdef"))
    }

    @Test func `a certificate that is not valid now is said`() throws {
        #expect(!(try report()).contains("Warning"))
        #expect(try report(now: -1).hasSuffix("Warning: The certificate is not valid yet: is the clock right?\n"))
        #expect(
            try report(now: 365 * 86400 + 1).hasSuffix(
                "Warning: The certificate has expired: browsers will refuse it.\n"
            )
        )
    }

    @Test func `a private or missing relay address is said`() throws {
        #expect(try report(addresses: ["10.0.0.5"]).contains("Warning: Relayed address 10.0.0.5 is private: "))
        #expect(try report(addresses: []).contains("Warning: No address to relay from was found: "))
    }
}
