import CommandLineSupport
import NetTypes
import Testing

@testable import Server

@Suite struct RelayAddressingTests {
    private let machine = [
        candidate("lo", "127.0.0.1"), candidate("lo", "::1"), candidate("docker0", "172.17.0.1"),
        candidate("eth0", "10.0.0.5", isDefault: true), candidate("eth0", "fe80::1"),
        candidate("eth0", "2001:db8::5", isDefault: true),
    ]

    private static func candidate(
        _ interface: String,
        _ address: String,
        isDefault: Bool = false
    ) -> RelayAddressing.Candidate {
        .init(interface: interface, address: IPAddress(address) ?? .unspecified(.ipv4), isDefaultSource: isDefault)
    }

    private func choose(_ candidates: [RelayAddressing.Candidate], _ words: String...) throws -> RelayAddressing {
        try RelayAddressing(candidates, ServeOptions(ParsedArguments(words, for: ServeCommand.specification)))
    }

    @Test func `one address of each family is taken, from where the default route leads`() throws {
        let addressing = try choose(machine)
        #expect(addressing.choices.map(\.local.description) == ["10.0.0.5", "2001:db8::5"])
        #expect(addressing.choices[0].reason == "found on eth0, where the default route leads")
        #expect(addressing.warnings.count == 1)
        #expect(addressing.warnings[0].contains("10.0.0.5 is private"))
    }

    @Test func `an external address replaces that of its family, and the warning goes`() throws {
        let addressing = try choose(machine, "--external-ip", "198.51.100.7")
        #expect(addressing.choices.map(\.external.description) == ["198.51.100.7", "2001:db8::5"])
        #expect(addressing.choices[0].local.description == "10.0.0.5")
        #expect(addressing.warnings.isEmpty)
    }

    @Test func `an external address may name its local one`() throws {
        let addressing = try choose(
            machine,
            "--relay-ip",
            "172.17.0.1",
            "--relay-ip",
            "10.0.0.5",
            "--external-ip",
            "198.51.100.8/10.0.0.5"
        )
        #expect(addressing.choices.map(\.external.description) == ["172.17.0.1", "198.51.100.8"])
    }

    @Test func `an external address that fits nothing is an error`() {
        #expect(
            throws: UsageError(
                "'--external-ip 198.51.100.8/10.9.9.9' fits none of the relay addresses, which are: 10.0.0.5, 2001:db8::5."
            )
        ) { try choose(machine, "--external-ip", "198.51.100.8/10.9.9.9") }
    }

    @Test func `a named address must be of this machine`() {
        #expect(
            throws: UsageError(
                "'--relay-ip 10.9.9.9' is not an address of this machine, which has: "
                    + "127.0.0.1, ::1, 172.17.0.1, 10.0.0.5, fe80::1, 2001:db8::5."
            )
        ) { try choose(machine, "--relay-ip", "10.9.9.9") }
    }

    @Test func `a listening address is also the relay's`() throws {
        let addressing = try choose(machine, "--listen", "172.17.0.1")
        #expect(addressing.choices.map(\.local.description) == ["172.17.0.1"])
    }

    @Test func `of several listening addresses one that peers can reach is the relay's`() throws {
        let addressing = try choose(
            machine,
            "--listen",
            "127.0.0.1",
            "--listen",
            "172.17.0.1",
            "--listen",
            "10.0.0.5"
        )
        #expect(addressing.choices.map(\.local.description) == ["10.0.0.5"])
        #expect(try choose(machine, "--listen", "127.0.0.1").choices.map(\.local.description) == ["127.0.0.1"])
    }

    @Test func `a machine without network relays on loopback and says so`() throws {
        let addressing = try choose([Self.candidate("lo", "127.0.0.1"), Self.candidate("lo", "::1")])
        #expect(addressing.choices.map(\.local.description) == ["127.0.0.1"])
        #expect(addressing.warnings.first?.contains("loopback") == true)
        #expect(try choose([]).warnings.first?.contains("No address") == true)
    }

    @Test(arguments: [
        ("10.1.2.3", true), ("172.15.0.1", false), ("172.31.0.1", true), ("192.168.9.9", true), ("100.64.0.1", true),
        ("100.128.0.1", false), ("fd00::1", true), ("fc00::1", true), ("fe00::1", false), ("8.8.8.8", false),
    ])
    func `private addresses are known`(text: String, isPrivate: Bool) {
        #expect(IPAddress(text)?.isPrivate == isPrivate)
    }
}
