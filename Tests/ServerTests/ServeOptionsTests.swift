import CommandLineSupport
import Diagnostics
import NetTypes
import Testing

@testable import Server

@Suite struct ServeOptionsTests {
    private func options(_ words: String...) throws -> ServeOptions {
        try ServeOptions(ParsedArguments(words, for: ServeCommand.specification))
    }

    @Test func `without options the defaults are safe`() throws {
        let options = try options()
        #expect(
            [options.turnPort, options.turnsPort, options.httpsPort, options.httpPort] == [3478, 5349, 8443, 8080]
        )
        #expect(options.dtlsPort == 5349)
        #expect(options.relayPorts == 49152...65535)
        #expect(
            options.allowedPeers.isEmpty && options.users.isEmpty && options.apiKeys.isEmpty && options.origins.isEmpty
        )
        #expect(options.advertiseTLS == .auto)
        #expect(options.logAddresses == .truncated)
    }

    @Test func `every option arrives`() throws {
        let options = try options(
            "--listen",
            "192.0.2.1",
            "--listen",
            "::1",
            "--turn-port=1",
            "--turns-port",
            "0",
            "--https-port",
            "443",
            "--http-port",
            "0",
            "--state",
            "/s",
            "--cert",
            "c",
            "--key",
            "k",
            "--public-host",
            "h",
            "--realm",
            "r",
            "--advertise-tls",
            "always",
            "--relay-ip",
            "192.0.2.1",
            "--external-ip",
            "198.51.100.1/192.0.2.1",
            "--relay-ports",
            "20000-20999",
            "--allow-peer",
            "10.0.0.0/8",
            "--deny-peer",
            "10.1.0.0/16",
            "--user-quota",
            "5",
            "--total-quota",
            "6",
            "--user",
            "a:b:c",
            "--api-key",
            "0123456789abcdef",
            "--origin",
            "https://example.org/",
            "--metrics-from",
            "10.0.0.9",
            "--threads",
            "2",
            "--log-level",
            "debug",
            "--log-format",
            "json",
            "--log-addresses",
            "hidden"
        )
        #expect(options.listen == [IPAddress("192.0.2.1"), IPAddress("::1")].compactMap { $0 })
        #expect([options.turnPort, options.turnsPort, options.httpsPort, options.httpPort] == [1, 0, 443, 0])
        #expect(options.state == "/s" && options.certificates == [.init(chain: "c", key: "k")])
        #expect(options.publicHost == "h" && options.realm == "r" && options.advertiseTLS == .always)
        #expect(options.externalAddresses.map(\.description) == ["198.51.100.1/192.0.2.1"])
        #expect(options.relayPorts == 20000...20999)
        #expect(options.allowedPeers.map(\.description) == ["10.0.0.0/8"])
        #expect(options.deniedPeers.map(\.description) == ["10.1.0.0/16"])
        #expect(options.userQuota == 5 && options.totalQuota == 6 && options.threads == 2)
        #expect(options.users.first?.name == "a" && options.users.first?.password == "b:c")
        #expect(options.origins == ["https://example.org"])
        #expect(options.logLevel == .debug && options.logFormat == .json && options.logAddresses == .hidden)
    }

    @Test func `TURN over TLS may have the port of HTTPS, and certificates come in pairs`() throws {
        let options = try options(
            "--turns-port",
            "443",
            "--https-port",
            "443",
            "--cert",
            "a",
            "--key",
            "b",
            "--cert",
            "c",
            "--key",
            "d",
            "--proxy-protocol-from",
            "10.0.0.0/8"
        )
        #expect(options.turnsPort == 443 && options.httpsPort == 443)
        #expect(options.certificates == [.init(chain: "a", key: "b"), .init(chain: "c", key: "d")])
        #expect(options.proxies.map(\.description) == ["10.0.0.0/8"])
    }

    @Test(arguments: [
        (["--listen", "nowhere"], "'nowhere' is not right for '--listen': it takes an IPv4 or IPv6 address."),
        (["--cert", "c"], "'--cert' needs '--key FILE' beside it."),
        (["--cert", "c", "--key", "k", "--cert", "d"], "'--cert' needs '--key FILE' beside it."),
        (
            ["--proxy-protocol-from", "lb"],
            "'lb' is not right for '--proxy-protocol-from': it takes an address range such as 10.0.0.0/8."
        ),
        (["--key", "k"], "'--key' needs '--cert FILE' beside it."),
        (
            ["--https-port", "3478"],
            "'--turn-port' and '--https-port' are both 3478: give each service a port of its own."
        ),
        (
            ["--turn-port", "50000"],
            "'--turn-port' is 50000, which lies within '--relay-ports': choose ranges that do not overlap."
        ),
        (["--turn-port", "0"], "'0' is not right for '--turn-port': it takes a whole number from 1 to 65535."),
        (["--relay-ports", "9-8"], "'9-8' is not right for '--relay-ports': it takes FIRST-LAST within 1024-65535."),
        (["--user", "name"], "'name' is not right for '--user': it takes NAME:PASSWORD."),
        (
            ["--allow-peer", "10/8"],
            "'10/8' is not right for '--allow-peer': it takes an address range such as 10.0.0.0/8."
        ),
        (["--api-key", "short"], "'--api-key' takes at least 16 characters: make one with 'openssl rand -hex 16'."),
        (
            ["--origin", "example.org"],
            "'example.org' is not right for '--origin': it takes an origin such as https://example.org."
        ),
        (["--log-level", "loud"], "'loud' is not right for '--log-level': it takes debug, info, warning or error."),
        (["--fast-path", "auto", "--fast-path", "eth0"], "'--fast-path' takes 'auto' or 'off' alone, or interfaces."),
        (["--log-format", "x"], "'x' is not right for '--log-format': it takes one of human, json."),
        (["--realm", "a\"b"], "'--realm' takes at most 127 printable ASCII characters without quotes or backslashes."),
        (
            ["--external-ip", "1.2.3.4/::1"],
            "'1.2.3.4/::1' is not right for '--external-ip': it takes an address, or EXTERNAL/LOCAL of one family."
        ),
    ])
    func `a wrong option is one sentence`(words: [String], sentence: String) {
        #expect(throws: UsageError(sentence)) {
            try ServeOptions(ParsedArguments(words, for: ServeCommand.specification))
        }
    }

    @Test func `DTLS may have the port of STUN and TURN, or of a service over TCP, but none to relay from`() throws {
        for port in ["3478", "5349", "8443", "0"] { #expect(try options("--dtls-port", port).dtlsPort == UInt16(port)) }
        #expect(throws: UsageError.self) { try options("--dtls-port", "50000") }
    }
}
