import Connectivity
import NetTypes
import Testing

@Suite struct AddressSelectionTests {
    private func ip(_ text: String) -> IPAddress { IPAddress(text) ?? .unspecified(.ipv4) }

    private func interface(
        _ index: UInt32,
        _ addresses: [InterfaceAddress],
        kind: NetworkInterface.Kind = .wired,
        isDefaultRoute: Bool = true,
        cost: UInt16 = 0
    ) -> NetworkInterface {
        NetworkInterface(
            index: index,
            name: "if\(index)",
            kind: kind,
            addresses: addresses,
            isDefaultRoute: isDefaultRoute,
            cost: cost
        )
    }

    private func address(
        _ text: String,
        temporary: Bool = false,
        deprecated: Bool = false,
        tentative: Bool = false
    )
        -> InterfaceAddress
    {
        InterfaceAddress(
            ip(text),
            prefixLength: 64,
            isTemporary: temporary,
            isDeprecated: deprecated,
            isTentative: tentative
        )
    }

    private func chosen(_ interfaces: [NetworkInterface], onlyDefaultRoute: Bool = false) -> [String] {
        AddressSelection.select(interfaces, onlyDefaultRoute: onlyDefaultRoute).map { "\($0.address.ip)" }
    }

    @Test func `loopback, unspecified, site-local, mapped, compatible and multicast addresses are none (ice 2, 3, 4)`()
    {
        let bad = [
            "127.0.0.1", "0.0.0.0", "::1", "::", "fec0::1", "::ffff:192.0.2.1", "::192.0.2.1", "ff02::1", "224.0.0.1",
        ]
        #expect(chosen([interface(1, bad.map { address($0) })]).isEmpty)
        #expect(chosen([interface(1, [address("192.0.2.1")], kind: .loopback)]).isEmpty)
    }

    @Test func `each address that is left is used, IPv6 first (ice 1)`() {
        #expect(
            chosen([interface(1, [address("192.0.2.1"), address("192.0.2.2"), address("2001:db8::1")])]) == [
                "2001:db8::1", "192.0.2.1", "192.0.2.2",
            ]
        )
    }

    @Test func `a temporary address makes tracking-prone ones of its prefix and link-local ones needless (ice 5, 142)`()
    {
        let addresses = [
            address("fe80::211:22ff:fe33:4455"), address("2001:db8:0:1:211:22ff:fe33:4455"),
            address("2001:db8:0:1:1234:5678:9abc:def0", temporary: true), address("2001:db8:0:2:1::2"),
        ]
        #expect(
            chosen([interface(1, addresses)])
                == ["2001:db8:0:1:1234:5678:9abc:def0", "2001:db8:0:2:1:0:0:2"].map { "\(ip($0))" }
        )
        #expect(chosen([interface(1, [addresses[0]])]) == ["\(addresses[0].ip)"])
        #expect(chosen([interface(1, Array(addresses[...1]))]) == ["\(addresses[1].ip)"])
    }

    @Test func `deprecated and tentative addresses are left out while others are there (ice 142)`() {
        let addresses = [
            address("2001:db8::1", deprecated: true), address("2001:db8::2", tentative: true), address("2001:db8::3"),
        ]
        #expect(chosen([interface(1, addresses)]) == ["2001:db8::3"])
        #expect(chosen([interface(1, Array(addresses[..<2]))]) == ["2001:db8::1"])
    }

    @Test func `unique local addresses are used only where nothing wider is`() {
        #expect(chosen([interface(1, [address("fd00::1"), address("2001:db8::1")])]) == ["2001:db8::1"])
        #expect(chosen([interface(1, [address("fd00::1")])]) == ["fd00::1"])
    }

    @Test
    func `default routes come first, tunnels and costs later, and mode 2 has default routes alone (ice 141, 144)`() {
        let interfaces = [
            interface(1, [address("192.0.2.1")], isDefaultRoute: false),
            interface(2, [address("192.0.2.2")], kind: .tunnel), interface(3, [address("192.0.2.3")], cost: 900),
            interface(4, [address("192.0.2.4")]),
        ]
        #expect(chosen(interfaces) == ["192.0.2.4", "192.0.2.3", "192.0.2.2", "192.0.2.1"])
        #expect(chosen(interfaces, onlyDefaultRoute: true) == ["192.0.2.4", "192.0.2.3", "192.0.2.2"])
    }

    @Test func `a link-local address carries its interface`() {
        let selected = AddressSelection.select([interface(7, [address("fe80::1")])])
        #expect(selected.map(\.address.scope) == [7])
    }

    @Test func `no more than five networks of IPv6 are used`() {
        let many = (1...9).map { address("2001:db8:0:\($0)::1") }
        #expect(chosen([interface(1, many + [address("192.0.2.1")])]).count == 6)
    }

    @Test(arguments: [
        ("2001:db8:c000:221::", "2001:db8:c000:aa::", 32), ("2001:db8:1c0:2:21::", "2001:db8:1c0:0:aa::", 40),
        ("2001:db8:122:c000:2:2100::", "2001:db8:122:c000:0:aa00::", 48),
        ("2001:db8:122:3c0:0:221::", "2001:db8:122:3c0:0:aa::", 56),
        ("2001:db8:122:344:c0:2:2100::", "2001:db8:122:344:c0:0:aa00::", 64),
        ("2001:db8:122:344::192.0.2.33", "2001:db8:122:344::192.0.0.170", 96),
        ("64:ff9b::192.0.2.33", "64:ff9b::192.0.0.171", 96),
    ])
    func `the prefix of NAT64 is found and used as RFC 6052 §2.4 shows (ice 14)`(
        _ expected: String,
        _ answer: String,
        _ length: Int
    ) throws {
        let prefix = try #require(NAT64Prefix(answers: [ip("2001:db8::1"), ip(answer)]))
        #expect(prefix.length == length)
        #expect(prefix.synthesized(ip("192.0.2.33")) == ip(expected))
        #expect(prefix.extracted(ip(expected)) == ip("192.0.2.33"))
        #expect(prefix.extracted(ip("2001:dead::1")) == nil)
        for bits: UInt32 in [0, .max, 0x0102_0304, 0x8000_0001] {
            #expect(prefix.extracted(prefix.synthesized(IPAddress(ipv4: bits))) == IPAddress(ipv4: bits))
        }
        #expect(NAT64Prefix(answers: [ip("192.0.0.170"), ip("2001:db8::5")]) == nil)
    }
}
